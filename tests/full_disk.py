"""Run the scripts on disks of every size up to what they need, then with room enough.

Run as root, for it mounts disks in memory: python -m tests.full_disk --sizes 20

On a disk that is too small a command must end in one line that names the file and the disk, must
leave no half-written file under a final name, and a run must keep its last checkpoint. Then the
disk grows, the same command (or --resume, where a checkpoint is there) goes on, and what it
leaves is what it leaves on a disk with room.
"""

import argparse
import contextlib
import csv
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from tests.helpers import ForkedScript, last_line
from tests.kept_runs.make import DATA
from tests.torture import PHOTOS, contents, equal, prepare, state
from utils.files import LEFTOVERS

ROOM = 64 << 20  # bytes
PAGE = 4096


class Case(NamedTuple):
    """A command whose files go to the folder `disk`.

    again: with which it goes on once `disk/run` holds a checkpoint. result: what must be as on a
    disk with room.
    """

    script: str
    flags: str
    again: str | None = None
    result: Callable[[Path], object] = contents


def trained(disk: Path) -> object:
    return state(disk / "run")


CASES = {
    "training": Case(
        "main_CoNeS",
        f"{PHOTOS} --recipe paper --clusters 2 --output_dir disk/run",
        "--resume disk/run",
        trained,
    ),
    "frozen trunk": Case(
        "main_CoNeS",
        f"{PHOTOS} --recipe posterior --freeze --output_dir disk/run",
        "--resume disk/run",
        trained,
    ),
    "image cache": Case(
        "main_CoNeS",
        f"{PHOTOS} --recipe paper --clusters 2 --cache disk/cache --output_dir run",
        result=lambda disk: contents(disk / "cache"),
    ),
    "candidate file": Case(
        "make_candidates", f"{DATA} --partial_rate 0.3 --output disk/candidates.npy"
    ),
    "predictions": Case(
        "predict", "photos --load_from trained --output_dir disk/p --cam disk/maps"
    ),
    "review": Case("review", "--load_from trained --output_dir disk/review"),
}


@contextlib.contextmanager
def small_disk(place: Path, size: int):
    """A disk in memory of `size` bytes; needs root."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def run(script: str, flags: str) -> tuple[int, str]:
    return ForkedScript(script, *flags.split()).wait()


def clean() -> None:
    """Remove what a command leaves beside the disk."""
    for path in (Path("run"), Path("features")):
        shutil.rmtree(path, ignore_errors=True)


def try_sizes(name: str, count: int) -> tuple[int, int]:
    """Count the disks that were tried, and those on which the command failed at first.

    Raises:
        AssertionError: it failed otherwise than it should, or what it left in the end differs.
    """
    case, disk = CASES[name], Path("disk")
    with small_disk(disk, ROOM):
        status, printed = run(case.script, case.flags)
        assert status == 0, printed
        expected, usage = case.result(disk), shutil.disk_usage(disk).used
    clean()
    failed = 0
    for number in range(count):
        size = max(PAGE, usage * number // (count - 1) // PAGE * PAGE)
        with small_disk(disk, size):
            status, printed = run(case.script, case.flags)
            what = f"{name} on a disk of {size} bytes: status {status}\n{printed}"
            if status:
                failed += 1
                assert status == 1, what
                assert "Traceback" not in printed, what
                line = last_line(printed)
                assert line.startswith("error: "), what
                assert "No space left" in line or "disk" in line, what
                left = [path for path in disk.rglob(LEFTOVERS) if path.is_file()]
                assert not left, f"{what}{left}"
            subprocess.run(["mount", "-o", f"remount,size={ROOM}", disk], check=True)
            if status:
                begun = case.again is not None and (disk / "run" / "last.pt").exists()
                status, printed = run(case.script, case.again if begun else case.flags)
                assert status == 0, f"{name}, after a disk of {size} bytes: {printed}"
            same = equal(case.result(disk), expected)
            assert same, f"{name}, after a disk of {size} bytes, left something else"
        clean()
        print(f"{name}: disk {number + 1} of {count}, {failed} too small", file=sys.stderr)
    return count, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, default=20, help="disks of each case")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--output", help="a CSV of disks tried and too small")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[list] = [["case", "disks", "too small"]]
    place = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare()
        for name in options.cases:
            lines.append([name, *try_sizes(name, options.sizes)])
            print(", ".join(map(str, lines[-1])), flush=True)
        os.chdir(place)
    if options.output:
        with open(options.output, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)


if __name__ == "__main__":
    main()
