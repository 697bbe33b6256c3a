"""Compare methods over noise rates and seeds: tables, significance and a plot."""

import contextlib
import dataclasses
import io
import math
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.comparison import compare_settings
from utils.comparison.child_processes import ChildProcesses
from utils.comparison.definitions import (
    ABLATED,
    BASELINES,
    DEFAULT_METHODS,
    FORMER_METHODS,
    METHOD_FLAGS,
    METHODS,
    OWN_FLAGS,
    AddedMethod,
    definitions,
    folded,
    own_flags,
    verified_name,
)
from utils.comparison.grid import Grid
from utils.comparison.statistics import CLEAN, Run, Scores, expected_seconds, spread
from utils.comparison.tables import csv_text, markdown_report
from utils.errors import UserError, exit_status
from utils.files import atomic_path, check_output_dir, claimed, remove_leftovers
from utils.options.choices import NEED_VERIFIED
from utils.options.groups import NoiseOptions, check_noise_options
from utils.options.kinds import COUNT, NATURAL, POSITIVE, RATE, CountOrShare
from utils.options.table import OptionsParser, check_inputs, option, parse

if TYPE_CHECKING:
    from utils.options.training import TrainingOptions

DESCRIPTION = (
    "Compare methods over noise rates and seeds. Every run is one of the training scripts in a "
    "folder of its own. Finished runs are not repeated and a broken one is resumed, so the command "
    "can be stopped and given again. After every run it writes table.md (mAP, noise recovered, how "
    "well candidates are told apart, significance), results.csv (all metrics of every run), "
    "comparison.png and, over the number of verified images, verified.png."
)


@dataclass(frozen=True, kw_only=True)
class CompareOptions(NoiseOptions):
    """The options of compare.py; those of NoiseOptions say what its false labels are."""

    dataset: str = option("digits", "as in main_CoNeS.py")
    methods: list[str] = option(
        DEFAULT_METHODS,
        "rows of the tables. clean: BCE on labels without noise; bce: on candidates; released, "
        "paper, posterior: recipes of main_CoNeS.py; bce-forward-known: bce-forward told the rate; "
        f"{', '.join(BASELINES)}: losses of main_BCE.py; {', '.join(ABLATED)}: paper with one step "
        "of the released code (--head gap; --ablate), posterior without one of its parts",
        metavar="NAME",
        many="+",
    )
    add: list[tuple[str, list[str]]] = option(
        [],
        'another row, e.g. paper-mu="main_CoNeS.py --recipe paper --mu 0.9"; {rate} in FLAGS '
        "stands for the noise rate; can be given several times",
        AddedMethod(),
        metavar='NAME="SCRIPT FLAGS"',
        shown="",
        many="append",
    )
    rates: list[float] = option(
        [0.1, 0.2, 0.4],
        "columns: shares of false labels made candidates, 0..0.99; of --noise class, whose rates "
        "lie between 0 and twice it, the mean",
        RATE,
        many="+",
    )
    verified: list[float] = option(
        [],
        "rows again, each with so many verified images, or this share of them; see the training "
        "scripts' --verified",
        CountOrShare(),
        metavar="N",
        shown="default: none",
        many="+",
    )
    seeds: list[int] = option(
        [0, 1, 2], "runs of each, over which mean and spread are taken", NATURAL, many="+"
    )
    reference: str = option(
        None,
        "method that the others are tested against",
        metavar="NAME",
        shown="default posterior; else paper; else the last",
    )
    jobs: int = option(
        1,
        "runs at a time, each with its share of the cores unless OMP_NUM_THREADS is set; above 1 "
        "their output goes to <run>.log",
        COUNT,
    )
    budget: float = option(
        math.inf,
        "stop then, with status 0, and store what runs, though not candidates half made: the same "
        "command goes on",
        POSITIVE,
        metavar="MINUTES",
        shown="default: no limit",
    )
    output_dir: str | None = option(
        None, "of all runs", metavar="DIR", shown="default runs/compare-<dataset>"
    )
    flags: list[str] = option(
        [], "after --, for every training script", metavar="FLAGS", shown="", many="*"
    )


@exit_status
def main() -> None:
    options = parse_options()
    kind = "" if options.noise == "uniform" else f"-{options.noise}"
    kind += f"-missing{options.missing:g}" if options.missing else ""
    folder = Path(options.output_dir or f"runs/compare-{options.dataset}{kind}").resolve()
    added = dict(options.add)
    grid = Grid(
        folder,
        options.dataset,
        options.flags,
        definitions=definitions(added, options.verified),
        jobs=options.jobs,
        noise=options.noise,
        scorer=options.load_from and str(Path(options.load_from).resolve()),
        missing=options.missing,
    )
    runs = grid.runs(options.methods, options.rates, options.seeds)
    if any(grid.making_command(run) for run in runs if grid.result(run) is None):
        check_inputs(options)  # the run that scores images for them
    checked = check_flags(grid, [run for run in runs if not grid.begun(run)])
    check_known(checked, options.verified)
    if not (folder / compare_settings.SETTINGS).exists():
        check_output_dir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder):
        remove_leftovers(folder)
        compare_settings.keep(folder, grid.shared(), added)
        finish(grid, runs, options)


def parse_options(argv: Sequence[str] | None = None) -> CompareOptions:
    """Options, with all that needs more than one of them checked and resolved."""
    parser = OptionsParser(
        prog="compare.py",
        description=DESCRIPTION,
        epilog="Flags for every training script follow '--', e.g. -- --total_epoch 5. "
        "A method's own flags win over them.",
    )
    options = parse(CompareOptions, parser, argv)
    if options.flags and not options.flags[0].startswith("-"):
        parser.error(f"unrecognized arguments: {options.flags[0]}")
    if taken := own_flags(options.flags, OWN_FLAGS | METHOD_FLAGS):
        parser.error(f"{taken} is set for every run: it cannot follow '--'")
    methods = check_methods(parser, options)
    # As the folders' names write them, so that two rates never share one.
    rates = list(dict.fromkeys(float(f"{rate:g}") for rate in options.rates))
    check_noise_options(parser, options, max(rates))
    usual = [name for name in ("posterior", "paper") if name in methods]
    reference = options.reference or (usual or methods[-1:])[0]
    if reference not in methods:
        parser.error(f"--reference {reference} is none of {' '.join(methods)}")
    return dataclasses.replace(
        options,
        methods=methods,
        reference=reference,
        seeds=list(dict.fromkeys(options.seeds)),
        verified=list(dict.fromkeys(options.verified)),
        rates=rates,
    )


def check_methods(parser: OptionsParser, options: CompareOptions) -> list[str]:
    """The rows asked for, once each; bad usage where one is not defined, or twice."""
    names = [name for name, _ in options.add]
    if repeated := [name for i, name in enumerate(names) if folded(name) in map(folded, names[:i])]:
        parser.error(f"--add {repeated[0]} is given twice: each needs a name of its own")
    if 0 in options.verified:
        parser.error("--verified 0: rows without verified images are there already, leave it out")
    unknown = [name for name in options.methods if name not in (*METHODS, *FORMER_METHODS, *names)]
    if unknown:
        parser.error(
            f"--methods {unknown[0]} is none of {' '.join([*METHODS, *names])}: define it by --add"
        )
    rows = list(dict.fromkeys([*options.methods, *names]))
    plain = [name for name in rows if not options.verified or name not in NEED_VERIFIED]
    return plain + [
        verified_name(name, count)
        for count in dict.fromkeys(options.verified)
        for name in rows
        if name != CLEAN  # whose labels are all known
    ]


def check_flags(grid: Grid, runs: Sequence[Run]) -> "dict[Run, TrainingOptions]":
    """Refuse what a run's script would refuse, before days of others have been trained.

    Returns:
        the options of each run.

    Raises:
        SystemExit: 2 and one line, bad usage; 0, --help is among them.
        UserError: an input that it names does not exist.
    """
    found = {}
    for run in runs:
        row = f"{run.method} ({grid.definitions[run.method][0]})"
        printed = io.StringIO()
        try:
            with contextlib.redirect_stderr(printed):
                found[run] = grid.options(run)
        except SystemExit as stopped:
            if not stopped.code:  # --help
                raise
            reason = printed.getvalue().splitlines()[-1].removeprefix("error: ")
            print(f"error: {row}: {reason}", file=sys.stderr)
            raise
        except UserError as error:
            raise UserError(f"{row}: {error}") from None
    return found


def check_known(runs: "Mapping[Run, TrainingOptions]", verified: Sequence[float]) -> None:
    """Refuse runs that would know other numbers of verified images than their rows say.

    Raises:
        UserError: a loss has none though it needs some, or the list has some of its own beside
            those asked for.
    """
    needs = [of for of in runs.values() if of.method in NEED_VERIFIED]
    if not runs or not (verified or needs):
        return
    options, own = next(iter(runs.values())), None
    if options.dataset == "files":
        from pipeline.data.registry import load_data  # slow to import
        from pipeline.data.verified import of_list

        own = of_list(load_data(options, options.seed)[0])
    if verified and own is not None:
        raise UserError(
            f"--verified: {options.labels} has {len(own.rows)} verified images of its own, which "
            "the rows without a number would know: give a list without the column verified"
        )
    if not verified:
        from pipeline.methods import check_verified  # slow to import

        check_verified(needs[0], own)


def finish(grid: Grid, runs: Sequence[Run], options: CompareOptions) -> None:
    """Finish `runs`, or those that the budget allows, and print the table."""
    folder = grid.folder
    results = {run: result for run in runs if (result := grid.result(run)) is not None}
    todo = [run for run in runs if run not in results]
    finished = [(run.method, result["seconds"]) for run, result in results.items()]
    report = write_outputs(folder, options, results) if results else ""

    children, began = ChildProcesses(), time.monotonic()
    allowed = min(60 * options.budget, threading.TIMEOUT_MAX)
    timer = threading.Timer(allowed, children.terminate)
    timer.daemon = True  # ends with this process
    with children.until_signalled():
        timer.start()
        grid.make_candidates(todo, children)
        for run, result, seconds in grid.finish_all(todo, children):
            todo.remove(run)
            results[run] = result
            # What a resumed run took before counts too.
            finished.append((run.method, max(seconds, result["seconds"])))
            report = write_outputs(folder, options, results)
            print(
                f"{run}: mAP {format_score(result['mAP'])}, {seconds:.0f} s; {len(results)} of "
                f"{len(runs)} runs finished{time_left(todo, finished, options.jobs)}",
                flush=True,
            )
    unjudged = {run: found for run in todo if (found := grid.unjudged(run)) is not None}
    if unjudged:
        report = write_outputs(folder, options, results | unjudged)
    if todo and time.monotonic() - began < allowed:
        raise UserError(f"stopped with {len(todo)} runs left; the same command goes on with them")
    if report:
        print(f"\n{report}\n{folder / 'table.md'}")
    if todo:
        print(
            f"the budget of {options.budget:g} minutes is over: {len(todo)} of {len(runs)} runs "
            f"are left{time_left(todo, finished, options.jobs)}; the same command goes on with them"
        )


def write_outputs(
    folder: Path, options: CompareOptions, results: Mapping[Run, dict[str, Any]]
) -> str:
    """Write results.csv, table.md and comparison.png of the runs so far; the tables' text."""
    from utils.plots import rate_curves, verified_curves  # slow to import

    methods, rates, seeds = options.methods, options.rates, options.seeds
    order = sorted(results, key=lambda run: (methods.index(run.method), run.rate or 0, run.seed))
    with atomic_path(folder / "results.csv") as temporary:
        text = csv_text([run._asdict() | results[run] for run in order])
        temporary.write_text(text, "utf-8")
    scores, candidates = (
        {run: result[name] for run, result in results.items() if result[name] is not None}
        for name in ("mAP", "candidate_AP")
    )
    report = markdown_report(
        options.dataset, scores, candidates, methods, rates, seeds, options.reference
    )
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(report, "utf-8")
    if options.verified:
        with atomic_path(folder / "verified.png") as temporary:
            verified_curves(verified_panels(options, scores), temporary)
    curves = {
        method: [
            (rate, found.mean, found.deviation)
            for rate in rates
            if (found := spread(scores, method, rate, seeds))
        ]
        for method in methods
    }
    with atomic_path(folder / "comparison.png") as temporary:
        rate_curves({name: points for name, points in curves.items() if points}, temporary)
    return report


def verified_panels(
    options: CompareOptions, scores: Scores
) -> dict[str, dict[str, list[tuple[str, float, float | None]]]]:
    """Content of verified.png: a panel a rate, a line a row, (images, mean, deviation) a point."""
    mark = verified_name("", options.verified[0])

    def points(name: str, rate: float) -> list[tuple[str, float, float | None]]:
        names = {f"{count}": verified_name(name, count) for count in (0, *options.verified)}
        if name == CLEAN:
            names = dict.fromkeys(names, CLEAN)  # the bound, whatever is verified
        found = {at: spread(scores, each, rate, options.seeds) for at, each in names.items()}
        return [(at, each.mean, each.deviation) for at, each in found.items() if each]

    shown = [  # not by the rows without verified images, which some losses lack
        name.removesuffix(mark) for name in options.methods if name == CLEAN or name.endswith(mark)
    ]
    return {
        f"rate {rate:g}": {name: found for name in shown if (found := points(name, rate))}
        for rate in options.rates
    }


def time_left(todo: list[Run], finished: list[tuple[str, float]], jobs: int) -> str:
    """Format the time left, e.g. ', about 12 min left'; empty when nothing is left or known."""
    if not todo or not finished:
        return ""
    seconds = sum(expected_seconds(run.method, finished) or 0 for run in todo)
    return f", about {max(1, round(seconds / jobs / 60))} min left"


def format_score(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
