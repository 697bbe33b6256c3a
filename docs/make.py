"""Make what README.md and docs/ show from files: tables from docs/results/*.csv, and the plot.

Run: python -m docs.make

A block stands between `<!-- made from SOURCE -->` and `<!-- end -->`. SOURCE is a key of `BLOCKS`,
or a CSV of docs/ as compare.py writes it, a line a run, with a kind of table, a key of `TABLES`:
`results/digits.csv: differences`. Without a kind it is the summary.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from utils.comparison.definitions import verified_name
from utils.comparison.statistics import (
    BCE,
    CLEAN,
    Run,
    Scores,
    noise_recovered,
    paired_difference,
    spread,
)
from utils.comparison.tables import format_difference, format_share, format_spread, table
from utils.files import atomic_path
from utils.options.choices import DATASETS, LOSSES, RECIPES
from utils.options.table import default_of, describe_default, flags_of
from utils.options.training import FROZEN, NO_GPU, OWN_PHOTOS, SCRIPTS, TrainingOptions

T = TypeVar("T")
DOCS = Path(__file__).resolve().parent
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
PLOTS = {
    DOCS / "digits.png": DOCS / "results" / "digits.csv",
    DOCS / "verified.png": DOCS / "results" / "verified.csv",
}
STAMP = "made from SHA-256"  # in a plot's metadata, of its CSV
REFERENCE = "posterior"
BLOCK = re.compile(r"(?P<begin><!-- made from (?P<source>.+?) -->\n).*?(?P<end><!-- end -->)", re.S)

Record = dict[str, str]


class Results(NamedTuple):
    """Runs of a CSV, and their methods, rates and seeds in the order that tables have."""

    records: list[Record]
    runs: list[Run]
    methods: list[str]
    rates: list[float]
    seeds: list[int]

    def scores(self, column: str) -> Scores:
        """A column's value of each run that has one."""
        values = zip(self.runs, (record[column] for record in self.records))
        return {run: float(value) for run, value in values if value}


def read_results(path: Path) -> Results:
    """Read a CSV with a method, a seed and, except for clean labels, a rate in each line."""
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    runs = [
        Run(r["method"], float(r["rate"]) if r["rate"] else None, int(r["seed"])) for r in records
    ]
    rates = sorted({run.rate for run in runs if run.rate is not None})
    methods = list(dict.fromkeys(run.method for run in runs))
    return Results(records, runs, methods, rates, sorted({run.seed for run in runs}))


def summary(results: Results) -> str:
    """Mean mAP and its spread at each rate, and the noise recovered where its bounds are there."""
    scores, asked = results.scores("mAP"), len(results.seeds)
    columns = {f"rate {rate:g}": (rate, False) for rate in results.rates}
    if {CLEAN, BCE} <= set(results.methods):
        columns |= {f"recovered at {rate:g}": (rate, True) for rate in results.rates}

    def cell(method: str, column: tuple[float, bool]) -> str:
        rate, recovered = column
        if recovered:
            return format_share(noise_recovered(scores, method, rate, results.seeds), asked)
        return format_spread(spread(scores, method, rate, results.seeds), asked)

    return table(results.methods, columns, cell)


def candidate_ap(results: Results) -> str:
    """Mean candidate AP and its spread at each rate; clean labels have none."""
    scores, asked = results.scores("candidate_AP"), len(results.seeds)
    methods = list(dict.fromkeys(run.method for run in scores))
    return table(
        methods,
        {f"rate {rate:g}": rate for rate in results.rates},
        lambda method, rate: format_spread(spread(scores, method, rate, results.seeds), asked),
    )


def differences(results: Results) -> str:
    """Paired differences of the other methods' mAP from that of `REFERENCE`."""
    scores = results.scores("mAP")
    columns: dict[str, Sequence[float]] = {f"rate {rate:g}": [rate] for rate in results.rates}
    return table(
        [method for method in results.methods if method != REFERENCE],
        columns | {"all rates": results.rates},
        lambda method, rates: format_difference(
            paired_difference(scores, method, REFERENCE, rates, results.seeds)
        ),
    )


def seeds(results: Results) -> str:
    """mAP of each seed, in a column for each trunk and rate."""
    columns = {f"{r['trunk']}, {r['rate']}": (r["trunk"], r["rate"]) for r in results.records}

    def cell(method: str, column: tuple[str, str]) -> str:
        at = (method, *column)
        chosen = [r for r in results.records if (r["method"], r["trunk"], r["rate"]) == at]
        return ", ".join(r["mAP"] for r in sorted(chosen, key=lambda r: int(r["seed"])))

    return table(results.methods, columns, cell)


def lines(results: Results) -> str:
    """The CSV as it is."""
    names, *rows = (list(results.records[0]), *(r.values() for r in results.records))
    first, *rest = (f"| {' | '.join(line)} |" for line in [names, *rows])
    return "\n".join([first, "|" + "---|" * len(names), *rest])


def by_noise(results: Results) -> dict[str, Results]:
    """The runs of each noise, by its name and rate."""
    runs: dict[str, list[int]] = {}
    for number, record in enumerate(results.records):
        runs.setdefault(record["noise"], []).append(number)
    found = {}
    for noise, chosen in runs.items():
        records = [results.records[k] for k in chosen]
        of_noise = results._replace(records=records, runs=[results.runs[k] for k in chosen])
        (rate,) = {run.rate for run in of_noise.runs} - {None}
        found[noise] = of_noise._replace(rates=[rate])
    return found


def numbers_verified(results: Results) -> list[int]:
    found = {int(name.partition("-verified")[2] or 0) for name in results.methods}
    return sorted(found)


def verified(results: Results) -> str:
    """The cost of noise, and the share of it recovered by number of verified images."""
    counts, asked = numbers_verified(results), len(results.seeds)
    columns: dict[str, str] = {CLEAN: CLEAN, BCE: BCE}
    columns |= {str(count): verified_name(REFERENCE, count) for count in counts}
    if verified_name(BCE, counts[-1]) in results.methods:
        columns[f"{BCE}, {counts[-1]}"] = verified_name(BCE, counts[-1])
    groups = by_noise(results)

    def cell(noise: str, method: str) -> str:
        scores, rate = groups[noise].scores("mAP"), groups[noise].rates[0]
        if method in (CLEAN, BCE):
            return format_spread(spread(scores, method, rate, results.seeds), asked)
        return format_share(noise_recovered(scores, method, rate, results.seeds), asked)

    return table(list(groups), columns, cell).replace("| method |", "| noise |", 1)


def noises(results: Results) -> str:
    """The share of what each noise costs that each method recovers."""
    groups, asked = by_noise(results), len(results.seeds)

    def cell(method: str, noise: str) -> str:
        scores, rate = groups[noise].scores("mAP"), groups[noise].rates[0]
        return format_share(noise_recovered(scores, method, rate, results.seeds), asked)

    methods = [method for method in results.methods if method not in (CLEAN, BCE)]
    return table(methods, {noise: noise for noise in groups}, cell)


TABLES: dict[str, Callable[[Results], str]] = {
    "summary": summary,
    "candidate AP": candidate_ap,
    "differences": differences,
    "seeds": seeds,
    "lines": lines,
    "verified": verified,
    "noises": noises,
    "verified images": lambda results: noises(results).replace("| method |", "| verified |", 1),
}


def options_table() -> str:
    """Every flag of the training scripts, with its meaning, default and scripts."""
    cases, rows = (*DATASETS, *RECIPES, *LOSSES, FROZEN, OWN_PHOTOS, NO_GPU), []
    for name, (field, flag) in flags_of(TrainingOptions).items():
        default = describe_default(default_of(field), flag, cases)
        default = re.sub("^default:? ", "", default).replace("<", "&lt;")
        having = [s for s in SCRIPTS if not flag.trait or flag.trait in SCRIPTS[s].traits]
        scripts = "all" if len(having) == len(SCRIPTS) else ", ".join(f"{s}.py" for s in having)
        rows.append(f"| `--{name}` | {flag.help} | {default} | {scripts} |")
    return "\n".join(["| flag | meaning | default | scripts |", "|---|---|---|---|", *rows])


# Blocks that are made from something else than runs, by what the marker names.
BLOCKS: dict[str, Callable[[], str]] = {"the options table": options_table}


def fill(text: str) -> str:
    """A page with all its blocks made anew.

    Raises:
        KeyError: a marker names a block or a kind of table that is not known.
    """

    def made(block: re.Match[str]) -> str:
        source = block["source"]
        path, _, kind = source.partition(": ")
        if path.endswith(".csv"):
            content = TABLES[kind or "summary"](read_results(DOCS / path))
        else:
            content = BLOCKS[source]()
        return f"{block['begin']}\n{content}\n\n{block['end']}"

    return BLOCK.sub(made, text)


def draw(path: Path, source: Path) -> None:
    """Draw a plot, and stamp it with the CSV that it is made from."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    results = read_results(source)
    stamp = PngInfo()
    stamp.add_text(STAMP, sha256(source))
    with atomic_path(path) as temporary:
        draw_curves(results, temporary)
        with Image.open(temporary) as image:
            image.load()
        image.save(temporary, format="PNG", pnginfo=stamp, optimize=True)


def draw_curves(results: Results, path: Path) -> None:
    """Draw mAP over the rate, or, a panel a noise, over the number of verified images."""
    from utils.plots import rate_curves, verified_curves  # slow to import

    def points(part: Results, methods: Mapping[T, tuple[str, float]]) -> list[Any]:
        scores = part.scores("mAP")
        found = {at: spread(scores, *cell, results.seeds) for at, cell in methods.items()}
        return [(at, each.mean, each.deviation) for at, each in found.items() if each]

    if "noise" not in results.records[0]:
        lines = {
            method: points(results, {rate: (method, rate) for rate in results.rates})
            for method in results.methods
        }
        rate_curves(lines, path)
        return
    counts = numbers_verified(results)
    names = {name: [verified_name(name, count) for count in counts] for name in (BCE, REFERENCE)}
    names[CLEAN] = [CLEAN] * len(counts)
    panels = {
        noise: {
            name: points(part, {str(c): (row, part.rates[0]) for c, row in zip(counts, rows)})
            for name, rows in names.items()
        }
        for noise, part in by_noise(results).items()
    }
    verified_curves(panels, path)


def is_drawn(path: Path, source: Path) -> bool:
    """Tell whether the plot is that of the CSV as it is now."""
    from PIL import Image

    if not path.exists():
        return False
    with Image.open(path) as image:
        return bool(image.info.get(STAMP) == sha256(source))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Write the pages and plots that have changed."""
    for page in PAGES:
        old = page.read_text("utf-8")
        if (new := fill(old)) != old:
            with atomic_path(page) as temporary:
                temporary.write_text(new, "utf-8")
            print(f"made {page.relative_to(DOCS.parent)}")
    for path, source in PLOTS.items():
        if not is_drawn(path, source):
            draw(path, source)
            print(f"made {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
