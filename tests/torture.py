"""Kill trainings at seeded moments, resume them, and compare with the unbroken ones bit for bit.

Run: python -m tests.torture --kills 30

A moment is a training step, or one of four within a file that is being written: its first half is
there, it is complete, it is on the disk, it has its name. Each run is killed and resumed until it
ends; another begins until there have been enough kills. What must be equal: all weights, momentum,
the method's state and the position (last.pt), the weights alone, and metrics.jsonl but for times.
"""

import argparse
import contextlib
import csv
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import safetensors.torch
import torch

from pipeline import engine
from tests.helpers import SMALL, ForkedScript
from tests.kept_runs import trunk  # noqa: F401 - registers the small trunk

DIGITS = [*SMALL, "--dataset", "digits", "--batch_size", "125", "--partial_rate", "0.3"]
CASES = {
    "paper": ["--recipe", "paper"],
    "posterior": ["--recipe", "posterior"],
    "frozen": ["--recipe", "posterior", "--targets", "neighbours", "--freeze"],
    "verified": ["--recipe", "posterior", "--verified", "50"],
    "loader process": ["--recipe", "posterior", "--workers", "1"],
}
TIMES = ("seconds", "images_per_second")
KINDS = ("step", "half written", "written", "on the disk", "named")


class Kill:
    """Counts a process's moments, and kills it at one of them."""

    def __init__(self, at, log):
        self.at, self.log, self.moment = at, log, itertools.count(1)

    def pass_by(self, kind):
        here = next(self.moment)
        if here == self.at:
            self.log.write_text(kind)
            os.kill(os.getpid(), signal.SIGKILL)

    def launch(self, main):
        """Call a script's main with its steps and writes watched."""
        step, write, fsync, replace = (
            engine.train_step,
            pathlib.Path.write_bytes,
            os.fsync,
            os.replace,
        )

        def watched_step(*arguments):
            self.pass_by("step")
            return step(*arguments)

        def watched_write(path, content):
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                self.pass_by("half written")
                file.write(content[len(content) // 2 :])
            self.pass_by("written")

        def watched_fsync(descriptor):
            fsync(descriptor)
            self.pass_by("on the disk")

        def watched_replace(*paths):
            replace(*paths)
            self.pass_by("named")

        engine.train_step, pathlib.Path.write_bytes = watched_step, watched_write
        os.fsync, os.replace = watched_fsync, watched_replace
        try:
            return main()
        finally:
            engine.train_step, pathlib.Path.write_bytes = step, write
            os.fsync, os.replace = fsync, replace
            with contextlib.suppress(FileNotFoundError):
                self.log.with_suffix(".count").write_text(str(next(self.moment) - 1))


def run(folder, flags, at=0):
    """Train in `folder`, or go on there; (exit status, kind of the moment, moments, output)."""
    log = folder.with_suffix(".killed")
    log.unlink(missing_ok=True)
    started = (folder / "config.json").exists()
    words = ["--resume", folder] if started else [*DIGITS, *flags, "--output_dir", folder]
    status, printed = ForkedScript("main_CoNeS", *words, launch=Kill(at, log).launch).wait()
    if status == -signal.SIGKILL:
        return status, log.read_text(), at, printed
    assert status == 0, printed
    return status, "", int(log.with_suffix(".count").read_text()), printed


def state(folder):
    """What a finished run must have in common with another."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in TIMES:
            del line[name]
    content = torch.load(folder / "last.pt", weights_only=True)
    del content["history"], content["totals"]["seconds"]
    return content, safetensors.torch.load_file(folder / "model.safetensors"), lines


def equal(one, other):
    """Whether two states are the same, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def torture(folder, name, kills, seed):
    """Kill runs of a case so many times; the kinds of the moments, and how many runs it took.

    Raises:
        AssertionError: a resumed run differs from the unbroken one.
    """
    chance, found = random.Random(f"{seed} {name}"), []
    whole = folder / "whole"
    *_, moments, _ = run(whole, CASES[name])
    expected = state(whole)
    for number in itertools.count(1):
        broken, status = folder / f"broken{number}", -signal.SIGKILL
        while status == -signal.SIGKILL:
            at = chance.randint(1, moments) if len(found) < kills else 0
            status, kind, *_ = run(broken, CASES[name], at)
            found += [kind] if kind else []
            print(f"{name}: kill {len(found)} of {kills}, {kind or 'finished'}", file=sys.stderr)
        assert equal(state(broken), expected), f"{name}: {broken} differs from {whole}"
        shutil.rmtree(broken)
        if len(found) >= kills:
            return found, number


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of each case")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--output", help="a CSV of how often it was killed at which moment")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [["case", "kills", "runs", *KINDS]]
    for name in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            found, runs = torture(Path(folder), name, options.kills, options.seed)
        lines.append([name, len(found), runs, *map(found.count, KINDS)])
        print(", ".join(map(str, lines[-1])), flush=True)
    if options.output:
        with open(options.output, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)


if __name__ == "__main__":
    main()
