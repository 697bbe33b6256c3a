"""Make the kept runs anew, by the code as it is: `python -m tests.kept_runs.make`.

The runs beside this file were made by an earlier version, and tests/test_kept_runs.py resumes,
evaluates and reviews them with today's. Make them anew only where their format is given up.
"""

import contextlib
import csv
import importlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.kept_runs import trunk

HERE = Path(__file__).parent
CLASSES = ("blue", "green", "grey", "red", "white")
COLOURS = dict(zip(CLASSES, ((0, 0, 250), (0, 200, 0), (128,) * 3, (250, 0, 0), (255,) * 3)))
DATA = "--dataset files --labels photos/labels.csv"
SHORT = (
    f"--model {trunk.NAME} --weights none --img_size 16 --batch_size 6 --lr 0.05 --warmup_epoch 1 "
    "--amp off --device cpu --workers 0 --seed 3"
)
RUNS = {
    "paper": ("main_CoNeS", f"{DATA} --partial_rate 0.3 --recipe paper --clusters 2 {SHORT}"),
    "released": ("main_CoNeS", f"{DATA} --partial_rate 0.3 --recipe released --clusters 2 {SHORT}"),
    "posterior": ("main_CoNeS", f"{DATA} --partial_rate 0.3 --recipe posterior {SHORT}"),
    "without": (
        "main_CoNeS",
        f"{DATA} --partial_rate 0.3 --recipe posterior --ablate company gain {SHORT}",
    ),
    "found": ("main_real", f"{DATA} --recipe posterior {SHORT}"),
    "bce": ("main_BCE", f"{DATA} --partial_rate 0.3 {SHORT}"),
    "forward": ("main_BCE", f"{DATA} --partial_rate 0.3 --loss bce-forward --head gap {SHORT}"),
}
EPOCHS = 2  # that a kept run has trained; resumed, it trains as many again


def make_photos(folder: Path) -> None:
    """Thirty-six photos of 16 x 16 px, each quarter a colour, and a list with false labels."""
    generator = np.random.default_rng(5)
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "labels", "split", "true_labels"])
        for number in range(36):
            quarters = generator.choice(CLASSES, 4)
            colours = np.array([COLOURS[name] for name in quarters])
            # No two photos alike, whose scores would be ordered by their last digits.
            colours = colours + generator.integers(-30, 31, colours.shape)
            pixels = colours.clip(0, 255).astype(np.uint8).reshape(2, 2, 3)
            name = f"{number:02}.png"
            Image.fromarray(pixels.repeat(8, 0).repeat(8, 1)).save(folder / name)
            true = sorted(set(quarters.tolist()))
            found = sorted({*true, *generator.choice(CLASSES, number % 3).tolist()})
            test = number >= 24
            row = [name, "|".join(true if test else found), "test" if test else "train"]
            table.writerow([*row, "|".join(true)])


def call(script: str, flags: str) -> None:
    """Run a script in this process, silently.

    Raises:
        RuntimeError: it failed; what it printed is the message.
    """
    printed = io.StringIO()
    sys.argv = [f"{script}.py", *flags.split()]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        status = importlib.import_module(script).main()
    if status:
        raise RuntimeError(f"{script} {flags}: {printed.getvalue()}")


def read_json(path: str) -> Any:
    return json.loads(Path(path).read_text("utf-8"))


def outcome(name: str) -> dict[str, Any]:
    """The outcome of the kept run `name` in this folder: evaluated, reviewed, resumed.

    The order matters: resuming changes the run.
    """
    script, _ = RUNS[name]
    call("val", f"--load_from {name} --split train --candidates --device cpu --output_dir val")
    evaluation = read_json("val/evaluation.json")
    call("review", f"--load_from {name} --split train --device cpu --workers 0")
    with open(f"{name}/review/labels.csv", newline="") as file:
        probability = [float(row["probability"]) for row in csv.DictReader(file)]
    summary = read_json(f"{name}/review/summary.json")
    call(script, f"--resume {name} --total_epoch {2 * EPOCHS}")
    lines = Path(f"{name}/metrics.jsonl").read_text("utf-8").splitlines()
    shutil.rmtree("val")
    return {
        "evaluated": {key: evaluation[key] for key in ("mAP", "CF1", "OF1", "candidate_AP")},
        "reviewed": {
            "probability": probability,
            "dropped": summary["dropped"],
            "flip_rates": [entry["flip_rate"] for entry in summary["by_class"].values()],
        },
        "resumed": [
            {key: value for key, value in json.loads(line).items() if key not in TIMES}
            for line in lines[EPOCHS:]
        ],
    }


TIMES = ("seconds", "images_per_second")


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    outcomes = {}
    with tempfile.TemporaryDirectory() as place, inside(Path(place)):
        make_photos(Path("photos"))
        for name, (script, flags) in RUNS.items():
            call(script, f"{flags} --total_epoch {EPOCHS} --output_dir {name}")
            for path in (*Path(name).glob("events*"), Path(name, "curves.png")):
                path.unlink()
        for name in ("photos", *RUNS):
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(name, HERE / name)
        outcomes = {name: outcome(name) for name in RUNS}
    (HERE / "expected.json").write_text(json.dumps(outcomes, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
