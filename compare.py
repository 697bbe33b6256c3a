"""Compare methods over noise rates and seeds: tables, significance and a plot."""

import argparse
import contextlib
import io
import math
import re
import shlex
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.comparison import compare_settings
from utils.comparison.child_processes import ChildProcesses
from utils.comparison.grid import Grid
from utils.comparison.statistics import Run, csv_text, expected_seconds, markdown_report, spread
from utils.errors import UserError, exit_status
from utils.files import atomic_path, check_output_dir, claimed
from utils.options.defaults import ABLATIONS, LOSSES
from utils.options.flags import (
    COUNT,
    NATURAL,
    POSITIVE,
    RATE,
    ScriptParser,
    add_noise_flags,
    check_inputs,
    check_noise_flags,
)
from utils.options.training import TRAINING_SCRIPTS

# Script and flags; {rate} stands for the column's noise rate.
METHODS = {
    "clean": ["main_BCE.py", "--partial_rate", "0"],
    "bce": ["main_BCE.py"],
    "released": ["main_CoNeS.py", "--recipe", "released"],
    "paper": ["main_CoNeS.py", "--recipe", "paper"],
    "posterior": ["main_CoNeS.py", "--recipe", "posterior"],
    "bce-forward-known": ["main_BCE.py", "--loss", "bce-forward", "--noise_rate", "{rate}"],
}
DEFAULT_METHODS = ["clean", "bce", "released", "paper", "posterior"]
BASELINES = [loss for loss in LOSSES if loss != "bce"]
METHODS |= {loss: ["main_BCE.py", "--loss", loss] for loss in BASELINES}
# Each difference between the released code and the paper alone, and posterior less each part.
METHODS["paper+gap"] = [*METHODS["paper"], "--head", "gap"]
for recipe, sign in ("paper", "+"), ("posterior", "-"):
    for part in ABLATIONS[recipe]:
        METHODS[f"{recipe}{sign}{part}"] = [*METHODS[recipe], "--ablate", part]
ABLATED = [name for name in METHODS if name.startswith(("paper+", "posterior-"))]

OWN_FLAGS = {"--dataset", "--seed", "--partial_rate", "--noise_file", "--output_dir", "--resume"}
METHOD_FLAGS = {"--recipe", "--loss", "--noise_rate", "--ablate"}


@exit_status
def main() -> None:
    options = parse(sys.argv[1:])
    kind = "" if options.noise == "uniform" else f"-{options.noise}"
    folder = Path(options.output_dir or f"runs/compare-{options.dataset}{kind}").resolve()
    added = dict(options.add)
    definitions = METHODS | added
    scorer = options.load_from and str(Path(options.load_from).resolve())
    grid = Grid(
        folder, options.dataset, options.flags, definitions, options.jobs, options.noise, scorer
    )
    runs = grid.runs(options.methods, options.rates, options.seeds)
    if any(grid.making_command(run) for run in runs if grid.result(run) is None):
        check_inputs(options)  # the run that scores images for them
    check_flags(grid, [run for run in runs if not grid.begun(run)])
    if not (folder / compare_settings.SETTINGS).exists():
        check_output_dir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder):
        compare_settings.keep(folder, grid.shared(), added)
        finish(grid, runs, options)


def check_flags(grid: Grid, runs: Sequence[Run]) -> None:
    """Refuse what a run's script would refuse, before days of others have been trained.

    Raises:
        SystemExit: 2 and one line, bad usage; 0, --help is among them.
        UserError: an input that it names does not exist.
    """
    for run in runs:
        row = f"{run.method} ({grid.definitions[run.method][0]})"
        printed = io.StringIO()
        try:
            with contextlib.redirect_stderr(printed):
                grid.options(run)
        except SystemExit as stopped:
            if not stopped.code:  # --help
                raise
            reason = printed.getvalue().splitlines()[-1].removeprefix("error: ")
            print(f"error: {row}: {reason}", file=sys.stderr)
            raise
        except UserError as error:
            raise UserError(f"{row}: {error}") from None


def finish(grid: Grid, runs: Sequence[Run], options: argparse.Namespace) -> None:
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
    if todo and time.monotonic() - began < allowed:
        raise UserError(f"stopped with {len(todo)} runs left; the same command goes on with them")
    if report:
        print(f"\n{report}\n{folder / 'table.md'}")
    if todo:
        print(
            f"the budget of {options.budget:g} minutes is over: {len(todo)} of {len(runs)} runs "
            f"are left{time_left(todo, finished, options.jobs)}; the same command goes on with them"
        )


def parse(argv: list[str]) -> argparse.Namespace:
    """Options, with all that needs more than one of them checked and resolved."""
    parser = ScriptParser(
        description="Compare methods over noise rates and seeds. Every run is one of the training "
        "scripts in a folder of its own. Finished runs are not repeated and a broken one is "
        "resumed, so the command can be stopped and given again. After every run it writes "
        "table.md (mAP, noise recovered, how well candidates are told apart, significance), "
        "results.csv (all metrics of every run) and comparison.png.",
        epilog="Flags for every training script follow '--', e.g. -- --total_epoch 5. "
        "A method's own flags win over them.",
    )
    add = parser.add_argument
    add("--dataset", default="digits", help="as in main_CoNeS.py (default digits)")
    add(
        "--methods",
        nargs="+",
        metavar="NAME",
        default=DEFAULT_METHODS,
        help="rows of the tables. clean: BCE on labels without noise; bce: on candidates; "
        "released, paper, posterior: recipes of main_CoNeS.py; bce-forward-known: bce-forward "
        f"told the rate; {', '.join(BASELINES)}: losses of main_BCE.py; {', '.join(ABLATED)}: "
        "paper with one step of the released code (--head gap; --ablate), posterior without one "
        f"of its parts (default {' '.join(DEFAULT_METHODS)})",
    )
    add(
        "--add",
        action="append",
        type=added_method,
        default=[],
        metavar='NAME="SCRIPT FLAGS"',
        help='another row, e.g. paper-mu="main_CoNeS.py --recipe paper --mu 0.9"; {rate} in FLAGS '
        "stands for the noise rate; can be given several times",
    )
    add(
        "--rates",
        nargs="+",
        type=RATE,
        default=[0.1, 0.2, 0.4],
        help="columns: shares of false labels made candidates, 0..0.99; of --noise class, whose "
        "rates lie between 0 and twice it, the mean (default 0.1 0.2 0.4)",
    )
    add_noise_flags(parser)
    add(
        "--seeds",
        nargs="+",
        type=NATURAL,
        default=[0, 1, 2],
        help="runs of each, over which mean and spread are taken (default 0 1 2)",
    )
    add(
        "--reference",
        metavar="NAME",
        help="method that the others are tested against (default posterior; else paper; else the "
        "last)",
    )
    add(
        "--jobs",
        type=COUNT,
        default=1,
        help="runs at a time, each with its share of the cores unless OMP_NUM_THREADS is set; "
        "above 1 their output goes to <run>.log (default 1)",
    )
    add(
        "--budget",
        type=POSITIVE,
        default=math.inf,
        metavar="MINUTES",
        help="stop then, with status 0, and store what runs, though not candidates half made: the "
        "same command goes on (default: no limit)",
    )
    add("--output_dir", metavar="DIR", help="of all runs (default runs/compare-<dataset>)")

    cut = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_args(argv[:cut])
    options.flags = argv[cut + 1 :]
    if taken := own_flags(options.flags, OWN_FLAGS | METHOD_FLAGS):
        parser.error(f"{taken} is set for every run: it cannot follow '--'")
    names = [name for name, _ in options.add]
    if repeated := [name for i, name in enumerate(names) if folded(name) in map(folded, names[:i])]:
        parser.error(f"--add {repeated[0]} is given twice: each needs a name of its own")
    unknown = [name for name in options.methods if name not in (*METHODS, *names)]
    if unknown:
        parser.error(
            f"--methods {unknown[0]} is none of {' '.join([*METHODS, *names])}: define it by --add"
        )
    options.methods = list(dict.fromkeys([*options.methods, *names]))
    options.seeds = list(dict.fromkeys(options.seeds))
    # As the folders' names write them, so that two rates never share one.
    options.rates = list(dict.fromkeys(float(f"{rate:g}") for rate in options.rates))
    check_noise_flags(parser, options, options.rates)
    if options.reference is None:
        usual = [name for name in ("posterior", "paper") if name in options.methods]
        options.reference = (usual or options.methods[-1:])[0]
    if options.reference not in options.methods:
        parser.error(f"--reference {options.reference} is none of {' '.join(options.methods)}")
    return options


def added_method(text: str) -> tuple[str, list[str]]:
    """The argparse type of --add: a name and its [script, flags]."""
    name, _, command = text.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{,39}", name) or not command:
        raise argparse.ArgumentTypeError(
            f'expected NAME="SCRIPT FLAGS", the name of letters, digits, - _ . , but got {text!r}'
        )
    # Such names could make the folder of another method's run.
    if "-rate" in folded(name) or "-seed" in folded(name):
        raise argparse.ArgumentTypeError(f"expected a name without -rate and -seed, but got {name}")
    if folded(name) in map(folded, METHODS):
        raise argparse.ArgumentTypeError(f"{name} is a method already: give another name")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error} in {command!r}") from None
    scripts = [f"{script}.py" for script in TRAINING_SCRIPTS]
    if not words or words[0] not in scripts:
        raise argparse.ArgumentTypeError(
            f"{name}: expected one of {', '.join(scripts)} first, but got {command!r}"
        )
    if taken := own_flags(words, OWN_FLAGS):
        raise argparse.ArgumentTypeError(f"{name}: {taken} is set for every run, leave it out")
    return name, words


def own_flags(words: Sequence[str], own: set[str]) -> str | None:
    """The first in the alphabet of the flags in `words` that are among `own`."""
    return min(own & compare_settings.by_flag(words).keys(), default=None)


def folded(name: str) -> str:
    """Names that differ only so share their folders on some disks."""
    return name.casefold()


def write_outputs(
    folder: Path, options: argparse.Namespace, results: Mapping[Run, dict[str, Any]]
) -> str:
    """Write results.csv, table.md and comparison.png of the runs so far; the tables' text."""
    from utils.plots import rate_curves  # slow to import

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


def time_left(todo: list[Run], finished: list[tuple[str, float]], jobs: int) -> str:
    """For example ', about 12 min left'; empty when nothing is left, or no time is known."""
    if not todo or not finished:
        return ""
    seconds = sum(expected_seconds(run.method, finished) or 0 for run in todo)
    return f", about {max(1, round(seconds / jobs / 60))} min left"


def format_score(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
