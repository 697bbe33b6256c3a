"""Every benchmark, one after the other, and a table and a plot of their ratios.

Run: python -m benchmarks [NAME ...]
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.timing import RATIOS
from utils.files import atomic_path
from utils.options.table import OptionsParser

NAMES = "start step loop features correlation metrics loading memory state review page".split()
FOLDER = Path("runs") / "bench"


def main() -> int:
    parser = OptionsParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{' '.join(NAMES)} (default all)")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"{min(unknown)} is none of {' '.join(NAMES)}")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratios.jsonl"
        path.touch()
        environment = os.environ | {RATIOS: str(path), "PYTHONUNBUFFERED": "1"}
        for name in names:
            print(f"\n{name}", flush=True)
            command = [sys.executable, "-m", f"benchmarks.{name}"]
            if subprocess.run(command, env=environment).returncode:
                failed.append(name)
        ratios = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows = [
        f"| {r['what']} | {r['baseline']} | {r['times']:.3g} times as {r['better']} |"
        for r in ratios
    ]
    table = "\n".join(["| what | baseline | result |", "|---|---|---|", *rows]) + "\n"
    with atomic_path(FOLDER / "ratios.md") as temporary:
        temporary.write_text(table, "utf-8")
    with atomic_path(FOLDER / "ratios.png") as temporary:
        draw(ratios, temporary)
    print(f"\n{table}\n{FOLDER / 'ratios.md'} and ratios.png")
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def draw(ratios: list[dict], path: Path) -> None:
    """Bars from 1, as good as the baseline, to each ratio."""
    figure = Figure(figsize=(9, 1 + 0.3 * len(ratios)), layout="constrained")
    axes = figure.subplots()
    names = [f"{r['what']} / {r['baseline']}" for r in ratios]
    times = [r["times"] for r in ratios]
    colours = ["tab:blue" if value >= 0.95 else "tab:orange" for value in times]
    axes.barh(names, [value - 1 for value in times], left=1, color=colours)
    axes.bar_label(axes.containers[0], [f"{value:.3g}" for value in times], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(min([0.5, *times]) / 2.5, max([2.0, *times]) * 2.5)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times as fast, or as small, as the baseline")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
