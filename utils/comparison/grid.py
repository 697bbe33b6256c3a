"""The runs of a comparison: their folders, command lines and results.

Nothing here imports torch: training and evaluation are scripts of their own.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.comparison.child_processes import ChildProcesses
from utils.comparison.compare_settings import by_flag
from utils.comparison.statistics import Run
from utils.errors import UserError
from utils.options import training
from utils.options.command_line import parse_options
from utils.options.training import TrainingOptions

SCRIPTS = Path(__file__).resolve().parents[2]
# What reading a file of a run raises that is damaged, or of another form.
UNUSABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
)


@dataclass
class Grid:
    """Runs on one data set, each in a folder of its own.

    Attributes:
        folder: that holds them.
        dataset: as the training scripts name it.
        flags: for every training.
        definitions: script and flags of each method; {rate} in these is a run's noise rate.
        jobs: runs at a time, which share the cores; above 1 their output goes to <run>.log.
        noise: uniform, which the training scripts add, or another of make_candidates.py.
        scorer: run or weight file that draws the noise "instance".
        missing: share of true labels that are no candidates.
    """

    folder: Path
    dataset: str
    flags: list[str]
    definitions: dict[str, list[str]]
    jobs: int = 1
    noise: str = "uniform"
    scorer: str | None = None
    missing: float = 0.0

    def runs(self, methods: list[str], rates: list[float], seeds: list[int]) -> list[Run]:
        """All runs once, seed by seed and rate by rate: what is cut short has whole columns."""
        cells = ((method, rate, seed) for seed in seeds for rate in rates for method in methods)
        runs = (Run(m, rate if self.has_rate(m) else None, seed) for m, rate, seed in cells)
        return list(dict.fromkeys(runs))

    def has_rate(self, method: str) -> bool:
        """Tell whether noise is added to its labels: not to clean ones, nor to those as found."""
        script, *flags = self.definitions[method]
        traits = training.SCRIPTS[script.removesuffix(".py")].traits
        return training.ADDS_NOISE in traits and "--partial_rate" not in flags

    @property
    def own_noise(self) -> bool:
        """Tell whether make_candidates.py draws the noise, and not the training scripts."""
        return self.noise != "uniform" or self.missing > 0

    def shared(self) -> dict[str, Any]:
        """Settings that all runs have in common, for `compare_settings.keep`."""
        shared: dict[str, Any] = {"dataset": self.dataset, "flags": self.flags, "noise": self.noise}
        if self.missing:
            shared["missing"] = self.missing
        inputs = {"labels": [*by_flag(self.flags).get("--labels", []), ""][0]}
        if self.scorer is not None:
            shared["load_from"] = self.scorer
            place = Path(self.scorer)
            weights = (place, place / "model.safetensors", place / "last.pt")
            inputs["load_from"] = str(next((path for path in weights if path.is_file()), ""))
        for name, path in inputs.items():
            if Path(path).is_file():
                shared[f"{name}_sha256"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return shared

    def make_candidates(self, runs: list[Run], children: ChildProcesses) -> None:
        """Make the candidates that `runs` lack, all before the first of them is trained.

        Raises:
            UserError: a file could not be made, unless `children` are stopped.
        """
        for run in runs:
            command = self.making_command(run)
            if not command or children.stopped:
                continue
            print(f"making {self.noise_file(run).name}", flush=True)
            if not children.call(command, {}, None, quiet=True) and not children.stopped:
                raise UserError(
                    f"no {self.noise_file(run)} could be made, see above; when that is mended, the "
                    "same command goes on there"
                )

    def finish_all(
        self, runs: list[Run], children: ChildProcesses
    ) -> Iterator[tuple[Run, dict[str, Any], float]]:
        """Finish runs, `jobs` at a time, and yield each with its `result` and its seconds.

        Nothing is begun after a failure, or once `children` are stopped.

        Raises:
            UserError: the first failure, when those that ran beside it have ended.
        """
        waiting, failure = [] if children.stopped else list(runs), None
        running: dict[Future, tuple[Run, float]] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            while True:
                # The first run chooses the precision, for those beside it too.
                settled = self.precision() or not any(self.chooses(run.method) for run in runs)
                free = self.jobs if settled else 1
                while waiting and len(running) < free:
                    run = waiting.pop(0)
                    print(f"{run} starts", flush=True)
                    running[pool.submit(self.finish, run, children)] = run, time.monotonic()
                if not running:
                    break
                seconds = None if settled else 1.0
                for work in wait(running, seconds, return_when=FIRST_COMPLETED).done:
                    run, began = running.pop(work)
                    if error := work.exception():
                        failure = failure or error
                    else:
                        yield run, work.result(), time.monotonic() - began
                if failure or children.stopped:
                    waiting = []
        if failure and not children.stopped:
            raise failure

    def chooses(self, method: str) -> bool:
        """Tell whether no flag gives the method's --amp."""
        return "--amp" not in by_flag([*self.flags, *self.definitions[method]])

    def precision(self) -> str | None:
        """--amp that the first run to choose it chose; None before it has."""
        methods = [method for method in self.definitions if self.chooses(method)]
        names = [f"{name}-{end}" for name in methods for end in ("rate*-seed*", "seed*")]
        for config in (path for name in names for path in self.folder.glob(f"{name}/config.json")):
            try:
                return str(json.loads(config.read_text("utf-8"))["options"]["amp"])
            except UNUSABLE:
                continue
        return None

    def finish(self, run: Run, children: ChildProcesses) -> dict[str, Any]:
        """Begin or resume a run, judge its candidates, and return its `result`.

        Raises:
            UserError: a script failed, or was stopped.
        """
        path = self.folder / str(run)
        log = self.folder / f"{run}.log" if self.jobs > 1 else None
        environment = {}
        if self.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        trained = read_training(path) is not None or children.call(
            self.training_command(run), environment, log
        )
        if trained and self.result(run) is None:
            shutil.rmtree(path / "train", ignore_errors=True)  # left by a judging that broke off
            children.call(self.judging_command(run), environment, log, quiet=True)
        result = self.result(run)
        if result is None:
            raise UserError(
                f"stopped at {path}{reason(log)}; when that is mended, the same command goes on "
                "there, or, if you delete that folder, begins it anew"
            )
        return result

    def begun(self, run: Run) -> bool:
        """Tell whether it has begun, so that `training_command` resumes it."""
        return (self.folder / str(run) / "config.json").exists()

    def options(self, run: Run) -> TrainingOptions:
        """Options to which a run's script resolves its flags, as it begins.

        Raises:
            SystemExit: the script does not take them; it has said why.
        """
        script, *_ = self.definitions[run.method]
        return parse_options(script.removesuffix(".py"), self.training_flags(run))

    def training_flags(self, run: Run) -> list[str]:
        """A run's flags, but for its folder and a precision that another run chose."""
        _, *own = self.definitions[run.method]
        flags = ["--dataset", self.dataset, "--seed", str(run.seed), *self.flags]
        if run.rate is not None:
            own = [flag.replace("{rate}", f"{run.rate:g}") for flag in own]
            flags += ["--partial_rate", f"{run.rate:g}"]
            # Uniform noise of digits is made anew by every run.
            if self.dataset != "digits" or self.own_noise:
                flags += ["--noise_file", str(self.noise_file(run))]
        return [*flags, *own]

    def training_command(self, run: Run) -> list[str]:
        """The command line that begins a run, or resumes it."""
        script, *_ = self.definitions[run.method]
        command = [sys.executable, str(SCRIPTS / script), *self.training_flags(run)]
        begun = self.begun(run)
        if not begun and self.chooses(run.method) and (chosen := self.precision()):
            command += ["--amp", chosen]
        return [*command, "--resume" if begun else "--output_dir", str(self.folder / str(run))]

    def noise_file(self, run: Run) -> Path:
        return self.folder / f"candidates-rate{run.rate:g}-seed{run.seed}.npy"

    def making_command(self, run: Run) -> list[str]:
        """The command line that makes a run's candidates; empty where its training does."""
        if not self.own_noise or run.rate is None or self.noise_file(run).exists():
            return []
        command = [sys.executable, str(SCRIPTS / "make_candidates.py"), "--dataset", self.dataset]
        command += ["--noise", self.noise, "--partial_rate", f"{run.rate:g}"]
        command += ["--seed", str(run.seed), "--output", str(self.noise_file(run))]
        if self.missing:
            command += ["--missing", f"{self.missing:g}"]
        named = {"--path_images", "--labels", "--classes", "--num_cls", "--allow_missing"}
        named |= {"--columns", "--separator", "--rename"}
        if self.scorer is not None:
            command += ["--load_from", self.scorer]
            named.add("--device")
        shared = {name: words for name, words in by_flag(self.flags).items() if name in named}
        return [*command, *(word for name in shared for word in (name, *shared[name]))]

    def judging_command(self, run: Run) -> list[str]:
        """The command line that tells how well a finished run knows its candidates."""
        path = self.folder / str(run)
        options = json.loads((path / "config.json").read_text("utf-8"))["options"]
        command = [sys.executable, str(SCRIPTS / "val.py"), "--load_from", str(path)]
        command += ["--split", "train", "--candidates", "--device", options["device"]]
        # Several runs at a time must not start as many loader processes as each alone would.
        command += ["--workers", str(options["workers"])]
        return [*command, "--output_dir", str(path / "train")]

    def result(self, run: Run) -> dict[str, Any] | None:
        """`read_training` and candidate_AP, where that is defined; None until both are there."""
        result = self.unjudged(run)
        if result is None or "--partial_rate" in self.definitions[run.method]:
            return result  # of clean labels no candidate is false
        try:
            place = self.folder / str(run) / "train" / "evaluation.json"
            judged = json.loads(place.read_text("utf-8"))
            return result | {"candidate_AP": judged["candidate_AP"]}
        except UNUSABLE:
            return None

    def unjudged(self, run: Run) -> dict[str, Any] | None:
        """`read_training`, before candidates are judged."""
        result = read_training(self.folder / str(run))
        return None if result is None else result | {"candidate_AP": None}


def reason(log: Path | None) -> str:
    """Say why a script failed, and where all that it printed is."""
    if log is None:
        return ", see above"
    lines = log.read_text("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last}), see {log}"


def read_training(path: Path) -> dict[str, Any] | None:
    """The last epoch's metrics of the run in `path`, and its seconds in all; None until its end."""
    try:
        options = json.loads((path / "config.json").read_text("utf-8"))["options"]
        result = json.loads((path / "result.json").read_text("utf-8"))
        lines = (path / "metrics.jsonl").read_text("utf-8").splitlines()
        result["seconds"] = sum(json.loads(line)["seconds"] for line in lines)
        if result["epoch"] < options["total_epoch"]:
            return None
    except UNUSABLE:
        return None
    return {name: value for name, value in result.items() if not isinstance(value, dict)}
