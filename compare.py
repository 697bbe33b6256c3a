"""Compare methods over noise rates and seeds: mean and spread of the last epoch's mAP."""

import argparse
import json
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from utils.errors import UserError, exit_status
from utils.files import atomic_path
from utils.options import NATURAL, RATE

METHODS = {
    "clean": ["main_BCE.py", "--partial_rate", "0"],
    "bce": ["main_BCE.py"],
    "released": ["main_CoNeS.py", "--recipe", "released"],
    "paper": ["main_CoNeS.py", "--recipe", "paper"],
}


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
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="(default all)")
    add("--rates", nargs="+", type=RATE, default=[0.1, 0.2, 0.4], help="(default 0.1 0.2 0.4)")
    add("--seeds", nargs="+", type=NATURAL, default=[0, 1, 2], help="(default 0 1 2)")
    add("--output_dir", metavar="DIR", help="of all runs (default runs/compare-<dataset>)")
    add("flags", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()

    folder = Path(options.output_dir or f"runs/compare-{options.dataset}").resolve()
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


def finish_run(folder: Path, script: str, flags: list[str]) -> dict:
    """The result of the run in `folder`, begun or resumed; a finished one ends at once.

    Raises:
        UserError: the script failed, for example since the folder holds a run with other flags.
    """
    place = "--resume" if (folder / "config.json").exists() else "--output_dir"
    command = [sys.executable, str(Path(__file__).parent / script), *flags, place, str(folder)]
    if subprocess.run(command).returncode:
        raise UserError(f"stopped at {folder}, see above; the same command goes on from there")
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
