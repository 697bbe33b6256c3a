"""Compare methods over noise rates and seeds: mean and spread of the last epoch's mAP."""

import argparse
import json
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from utils.errors import UserError, exit_status
from utils.files import atomic_path, write_json
from utils.options import NATURAL, RATE

METHODS = {
    "clean": ["main_BCE.py", "--partial_rate", "0"],
    "bce": ["main_BCE.py"],
    "released": ["main_CoNeS.py", "--recipe", "released"],
    "paper": ["main_CoNeS.py", "--recipe", "paper"],
}

OWN_FLAGS = {"--dataset", "--seed", "--partial_rate", "--noise_file", "--recipe"}
OWN_FLAGS |= {"--output_dir", "--resume"}


@exit_status
def main() -> None:
    parser = argparse.ArgumentParser(
        description="Compare methods over noise rates and seeds. Every run is one of the training "
        "scripts in a folder of its own. Finished runs are not repeated and a broken one is "
        "resumed, so the command can be stopped and given again. Writes table.md: mean and "
        "standard deviation over the seeds of the last epoch's mAP.",
        epilog="Flags for every training script follow '--', e.g. -- --total_epoch 5",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dataset", default="digits", help="as in main_CoNeS.py (default digits)")
    add(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=list(METHODS),
        help="rows of the table: BCE on clean labels, BCE on candidates, CoNeS as released and as "
        "in the paper (default all)",
    )
    add(
        "--rates",
        nargs="+",
        type=RATE,
        default=[0.1, 0.2, 0.4],
        help="columns: shares of false labels made candidates, 0..0.99 (default 0.1 0.2 0.4)",
    )
    add(
        "--seeds",
        nargs="+",
        type=NATURAL,
        default=[0, 1, 2],
        help="runs of each, over which mean and spread are taken (default 0 1 2)",
    )
    add("--output_dir", metavar="DIR", help="of all runs (default runs/compare-<dataset>)")
    add("flags", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    taken = OWN_FLAGS & {flag.split("=")[0] for flag in options.flags}
    if taken:
        parser.error(f"{min(taken)} is set for every run: it cannot follow '--'")
    for name in ("methods", "rates", "seeds"):
        setattr(options, name, list(dict.fromkeys(getattr(options, name))))

    folder = Path(options.output_dir or f"runs/compare-{options.dataset}").resolve()
    check_settings(folder, {"dataset": options.dataset, "flags": options.flags})
    # Ctrl-C reaches the running script too, which stores its state and ends: only that counts.
    signal.signal(signal.SIGINT, lambda *_: None)
    cells = [(m, r, s) for s in options.seeds for m in options.methods for r in options.rates]
    scores: dict[tuple, float] = {}
    for number, (method, rate, seed) in enumerate(cells, 1):
        script, *flags = METHODS[method]
        flags += ["--dataset", options.dataset, "--seed", str(seed), *options.flags]
        # Clean labels know no rate: one run a seed serves them all.
        name = f"clean-seed{seed}" if method == "clean" else f"{method}-rate{rate:g}-seed{seed}"
        if method != "clean":
            flags += ["--partial_rate", str(rate)]
            if options.dataset != "digits":  # digits' noise is made anew by every run
                noise = folder / f"candidates-rate{rate:g}-seed{seed}.npy"
                flags += ["--noise_file", str(noise)]
        print(f"\nrun {number} of {len(cells)}: {name}", flush=True)
        scores[method, rate, seed] = finish_run(folder / name, script, flags)["mAP"]
    table = markdown_table(scores, options.methods, options.rates, options.seeds)
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(table, "utf-8")
    print(f"\n{table}\n{folder / 'table.md'}")


def check_settings(folder: Path, settings: dict) -> None:
    """Keep the settings of all runs in `folder`, or refuse it where it has others.

    Raises:
        UserError: the runs in it were made with other settings; mixed, they would mean nothing.
    """
    path = folder / "compare.json"
    if not path.exists():
        write_json(path, settings)
        return
    try:
        stored = json.loads(path.read_text("utf-8"))
    except ValueError:
        stored = None
    if stored != settings:
        raise UserError(
            f"{folder} holds runs with {stored}, but {settings} is asked for: give the same flags "
            "again, or another --output_dir"
        )


def finish_run(folder: Path, script: str, flags: list[str]) -> dict:
    """The result of the run in `folder`, begun or resumed; a finished one ends at once.

    Raises:
        UserError: the script failed, or was stopped.
    """
    place = "--resume" if (folder / "config.json").exists() else "--output_dir"
    command = [sys.executable, str(Path(__file__).parent / script), *flags, place, str(folder)]
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # as Ctrl-C: it stores and ends
    if process.wait():
        raise UserError(
            f"stopped at {folder}, see above; when that is mended, the same command goes on there"
        )
    return json.loads((folder / "result.json").read_text("utf-8"))


def markdown_table(
    scores: dict[tuple, float], methods: list[str], rates: list[float], seeds: list[int]
) -> str:
    """Rows of methods, columns of rates; scores by (method, rate, seed) in percent."""
    lines = ["| method | " + " | ".join(f"rate {rate:g}" for rate in rates) + " |"]
    lines.append("|---|" + "---|" * len(rates))
    for method in methods:
        cells = []
        for rate in rates:
            values = [scores[method, rate, seed] for seed in seeds]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
