"""Kill commands at seeded moments, repeat them, and compare with what unbroken ones leave.

Run: python -m tests.torture --kills 30

A moment is a batch of images, or one of four within a file that is being written: its first half is
there, it is complete, it is on the disk, it has its name. A command is killed and repeated, or its
run resumed, until it ends; another begins until there have been enough kills. What must be equal
of trainings: all weights, momentum, the method's state and the position (last.pt), the weights
alone, and metrics.jsonl but for times. Of all else: every file. No temporary file may be left.
"""

import argparse
import contextlib
import csv
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from tqdm import tqdm

from pipeline import features
from pipeline.data import digits, feature_store
from tests.helpers import SMALL, ForkedScript, in_processes, last_line
from tests.kept_runs import trunk  # noqa: F401 - registers the small trunk
from tests.kept_runs.make import DATA, SHORT, make_photos
from utils.comparison import grid
from utils.files import LEFTOVERS

TIMES = ("seconds", "images_per_second")
KINDS = ("batch", "half written", "written", "on the disk", "named")
WORK = Path("work")  # what commands write to
SECONDS_TO_END = 60  # of a command one of whose processes is killed
ATTEMPTS = itertools.count(1)

DIGITS = " ".join([*SMALL, "--dataset digits --batch_size 125 --partial_rate 0.3"])
PHOTOS = f"{DATA} --partial_rate 0.3 --noise_file candidates.npy {SHORT} --total_epoch 2"
TRAIN = f"{PHOTOS} --recipe posterior --output_dir"
FEW = f"{SHORT} --total_epoch 2".replace("--seed 3", "")


def contents(folder: Path) -> dict[str, str]:
    """The hashes of all files in a folder, but for those that hold times."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("events.")
    }


def state(folder: Path) -> Any:
    """The parts of a finished run that another must have in common with it."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in TIMES:
            del line[name]
    content = torch.load(folder / "last.pt", weights_only=True)
    del content["history"], content["totals"]["seconds"]
    return content, safetensors.torch.load_file(folder / "model.safetensors"), lines


def trained(work: Path) -> Any:
    """A run, and the features and images that are kept beside it."""
    return state(work / "run"), contents(work / "features"), contents(work / "cache")


def compared(work: Path) -> Any:
    """A comparison's table, plot and runs."""
    with (work / "results.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    files = [(work / name).read_bytes() for name in ("table.md", "comparison.png", "compare.json")]
    runs = [path.parent for path in sorted(work.glob("*/config.json"))]
    return rows, files, {path.name: state(path) for path in runs}


class Case(NamedTuple):
    """A command whose files go to the folder `work`.

    again: with which it goes on once `work/run` has begun. result: what must be as of an unbroken
    command. part: images in a file of features. processes: of it. share: of the kills.
    """

    script: str
    flags: str
    again: str | None = None
    result: Callable[[Path], Any] = contents
    part: int = 100
    processes: int = 1
    share: float = 1


def training(flags: str, **others: Any) -> Case:
    words = f"{flags} --output_dir {WORK}/run"
    return Case("main_CoNeS", words, f"--resume {WORK}/run", trained, **others)


CASES = {
    "paper": training(f"{DIGITS} --recipe paper"),
    "posterior": training(f"{DIGITS} --recipe posterior"),
    "frozen": training(f"{DIGITS} --recipe posterior --targets neighbours --freeze"),
    "verified": training(f"{DIGITS} --recipe posterior --targets neighbours --verified 50"),
    "loader process": training(f"{DIGITS} --recipe posterior --workers 1"),
    "two processes": training(f"{DIGITS} --recipe posterior", processes=2),
    "features": training(f"{PHOTOS} --recipe posterior --freeze", part=4),
    "image cache": training(f"{PHOTOS} --recipe posterior --cache {WORK}/cache"),
    "predictions": Case(
        "predict",
        f"photos --load_from trained --output_dir {WORK}/p --cam {WORK}/maps --workers 0",
        share=1 / 3,
    ),
    "evaluation": Case("val", f"--load_from trained --output_dir {WORK} --workers 0", share=1 / 3),
    "review": Case(
        "review", f"--load_from trained --output_dir {WORK}/review --workers 0", share=1 / 3
    ),
    "comparison": Case(
        "compare",
        f"--dataset files --methods bce posterior --rates 0.3 --seeds 3 --output_dir {WORK} -- "
        f"--labels photos/labels.csv {FEW}",
        result=compared,
        share=1 / 3,
    ),
}
# What a comparison starts, in place of each script.
HOOKED = """import sys
sys.path.insert(0, {root!r})
from tests.torture import Kill
import {script}
sys.exit(Kill.of_parent().launch({script}.main))
"""


class Kill:
    """Counts the moments of a command's processes, and at one of them kills it, or one of them.

    Args:
        at: number of the moment; 0 is none.
        log: a file of a letter a moment, the first of its kind.
        victim: "process", which the moment is in; "command", which has started it, without it; or
            "both".
    """

    def __init__(self, at: int, log: Path, victim: str = "process", command: int = 0) -> None:
        self.at, self.log, self.victim, self.command = at, log.absolute(), victim, command

    @classmethod
    def of_parent(cls) -> "Kill":
        """The kill that the command which has started this process is to make."""
        at, log, victim, command = json.loads(os.environ["KILL"])
        return cls(at, Path(log), victim, command)

    def pass_by(self, kind: str, what: str, written: str | None = None) -> None:
        """Count a moment; `written`, a file, is cut where this process is killed."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, kind[:1].encode())
        number = os.lseek(log, 0, os.SEEK_CUR)
        os.close(log)
        if number != self.at:
            return
        own = os.getpid()
        killed = {"process": [own], "command": [self.command], "both": [self.command, own]}
        if written is not None and own in killed[self.victim]:
            os.truncate(written, os.path.getsize(written) // 2)
        names = [kind, what, "process" if own == self.command else self.victim, str(own)]
        self.log.with_suffix(".killed").write_text("\n".join(names))
        for process in killed[self.victim]:
            os.kill(process, signal.SIGKILL)

    def watch(self) -> None:
        """Let every batch and every file that this process and its forks write count."""
        update, fsync, replace = tqdm.update, os.fsync, os.replace

        def watched_update(bar: tqdm, *arguments: Any) -> Any:
            self.pass_by("batch", sys._getframe(1).f_code.co_name)
            return update(bar, *arguments)

        def watched_fsync(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            name = re.sub(r"^\.\d+\.part\.", "", os.path.basename(path))
            self.pass_by("half written", name, path)
            self.pass_by("written", name)
            fsync(descriptor)
            self.pass_by("on the disk", name)

        def watched_replace(temporary: Any, path: Any) -> None:
            replace(temporary, path)
            self.pass_by("named", os.path.basename(path))

        tqdm.update, os.fsync, os.replace = watched_update, watched_fsync, watched_replace

    def launch(self, main: Callable[[], int], case: Case | None = None) -> Any:
        """Call a script's main with its moments watched."""
        self.command = self.command or os.getpid()
        self.watch()
        if case is None:
            return main()
        os.environ["KILL"] = json.dumps([self.at, str(self.log), self.victim, self.command])
        grid.SCRIPTS = Path("scripts").absolute()
        digits.SCENES = {"train": 500, "test": 100}
        feature_store.PART_IMAGES = case.part
        features.IMAGES_A_PASS = min(case.part, features.IMAGES_A_PASS)
        return in_processes(case.processes)(main) if case.processes > 1 else main()


class Attempt(NamedTuple):
    """A command that has ended, or was killed.

    moments: the first letter of each one's kind. killed: what is known of that. seconds: it took to
    end, after that.
    """

    status: int
    printed: str
    moments: str
    killed: list[str]
    seconds: float


def attempt(case: Case, at: int = 0, victim: str = "process") -> Attempt:
    """Give the command, or go on with its run."""
    log = Path(f"moments-{next(ATTEMPTS)}")
    begun = case.again is not None and (WORK / "run" / "config.json").exists()
    words = (case.again if begun and case.again else case.flags).split()
    kill = Kill(at, log, victim)
    script = ForkedScript(case.script, *words, launch=lambda main: kill.launch(main, case))
    status, printed = script.wait()
    moments, note = log.read_text() if log.exists() else "", log.with_suffix(".killed")
    if not note.exists():
        return Attempt(status, printed, moments, [], 0)
    seconds = time.time() - note.stat().st_mtime
    return Attempt(status, printed, moments, note.read_text().split("\n"), seconds)


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def wait_for(process: str) -> None:
    """Wait until a process has ended that is no child of this one."""
    line = Path("/proc", process, "cmdline")
    with contextlib.suppress(OSError):
        while line.read_bytes():
            time.sleep(0.1)


def leftovers() -> list[Path]:
    return [path for path in WORK.rglob(LEFTOVERS) if path.is_file()]


def torture(name: str, kills: int, seed: int) -> Iterator[list]:
    """Kill a case's command so many times, in this folder; yield what is known of each kill.

    Raises:
        AssertionError: it failed otherwise, or leaves something else than an unbroken one.
    """
    case, chance, count = CASES[name], random.Random(f"{seed} {name}"), 0
    victims = ("process", "command", "both") if case.script == "compare" else ("process",)
    shutil.rmtree(WORK, ignore_errors=True)
    whole = attempt(case)
    assert whole.status == 0, whole.printed
    expected = case.result(WORK)
    batches = [at for at, kind in enumerate(whole.moments, 1) if kind == "b"]
    saves = [at for at, kind in enumerate(whole.moments, 1) if kind != "b"]
    for number in itertools.count(1):
        shutil.rmtree(WORK)
        orphan, ended = "", False
        while not ended:
            moments = chance.choice([batches, saves])  # there are more batches
            at = chance.choice(moments) if count < kills else 0
            status, printed, _, killed, seconds = attempt(case, at, chance.choice(victims))
            where = f"{name}, command {number}, {count} kills\n{printed}"
            assert "\nTraceback" not in f"\n{printed}", where  # torchrun's own are indented
            assert seconds < SECONDS_TO_END, where
            ended = not killed and status == 0
            if killed:
                count += 1
                kind, what, victim, process = killed
                orphan = process if victim == "command" else orphan
                yield [name, number, at, kind, what, victim, f"{seconds:.1f}"]
            elif not ended:
                # What a killed comparison had started goes on, and keeps others from its folder.
                assert status == 1, where
                assert orphan, where
                assert last_line(printed).startswith("error: "), where
                wait_for(orphan)
                orphan = ""
            for path in leftovers():  # such as others may still write to count after an hour
                os.utime(path, (time.time() - 7200,) * 2)
        wait_for(orphan or "none")
        assert not leftovers(), f"{where}{leftovers()}"
        assert equal(case.result(WORK), expected), f"{where} left something else"
        if count >= kills:
            return


def prepare() -> None:
    """Make what the cases need: photos, candidates, a trained run, scripts for a comparison."""
    make_photos(Path("photos"))
    for script, flags in (
        ("make_candidates", f"{DATA} --partial_rate 0.3 --output candidates.npy"),
        ("main_CoNeS", f"{TRAIN} trained"),
    ):
        status, printed = ForkedScript(script, *flags.split()).wait()
        assert status == 0, printed
    Path("scripts").mkdir()
    for script in ("main_BCE", "main_CoNeS", "make_candidates", "val"):
        text = HOOKED.format(root=str(Path(__file__).resolve().parents[1]), script=script)
        Path("scripts", f"{script}.py").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of each training; of others a third")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--output", default=os.devnull, help="a CSV of every kill")
    options = parser.parse_args()
    torch.set_num_threads(1)
    place = Path.cwd()
    with open(options.output, "w", newline="") as file, tempfile.TemporaryDirectory() as folder:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", "command", "moment", "kind", "what", "victim", "seconds"])
        os.chdir(folder)
        prepare()
        for name in options.cases:
            kills, found = max(1, round(options.kills * CASES[name].share)), []
            for line in torture(name, kills, options.seed):
                found.append(line)
                table.writerow(line)
                file.flush()
                print(f"{', '.join(map(str, line))}: {len(found)} of {kills}", file=sys.stderr)
            kinds = [line[3] for line in found]
            counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS)
            print(f"{name}: {kills} kills of {found[-1][1]} commands: {counts}", flush=True)
        os.chdir(place)


if __name__ == "__main__":
    main()
