"""Rounds of review by a person, simulated in Chromium: verify photos, train anew, verify more.

Run: python -m benchmarks.round --labels LIST [--path_images DIR] [--seeds 0 1 2] -- TRAINING_FLAGS

LIST is a CSV of true labels, a split in each line. Training photos get false labels that go with
the true ones. The person, who knows the truth, verifies a hundred photos by keyboard alone, and
after a round twenty more by pointer. Every step is a command that a user would type.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Download, Locator, sync_playwright
from playwright.sync_api import Page as Tab

from pipeline.data import label_file, noise
from pipeline.data.labelled import LabelledImages, Split
from utils.comparison.definitions import verified_name
from utils.comparison.statistics import CLEAN
from utils.options.table import OptionsParser

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
RATE = 0.2
FIRST, MORE = 100, 20  # photos verified in the first round and in the second
NAME = "Ann"
STEPS = 60  # presses of Tab after which what is sought is out of a keyboard's reach

Truth = dict[str, set[str]]


class Person:
    """Someone who verifies photos by what the page shows, and counts presses and clicks."""

    def __init__(self, tab: Tab, truth: Truth) -> None:
        self.tab, self.truth, self.count = tab, truth, Counter[str]()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)
        self.count["keys"] += len(keys)

    def click(self, target: Locator) -> None:
        target.click()
        self.count["clicks"] += 1

    def verify_these(self, number: int) -> None:
        """Start the task, go through its photos to the end, and export."""
        self.choose(self.tab.locator("#task-button"))
        for done in range(number):
            text = self.tab.locator("#task-text").inner_text()
            assert f"{done} done, {number - done} to go" in text, text
            self.correct()
            self.go_on()
        assert self.tab.locator("#task-text").inner_text().startswith(f"All {number} photos")
        self.tab.wait_for_function("() => document.activeElement.id === 'task-export'")

    def correct(self) -> None:
        """Decide each label of the photo in the large view that is wrong, add those it lacks."""
        card = self.tab.locator("#large .card")
        true = self.truth[card.get_attribute("aria-label")]
        chips = card.locator(".chip").all()
        names = [chip.locator(".label").inner_text() for chip in chips]
        for chip, name in zip(chips, names):
            if (chip.get_attribute("aria-pressed") == "true") != (name in true):
                self.decide(chip)
        for name in sorted(true - set(names)):
            self.add(name)

    def export(self, path: Path) -> None:
        """Export by the button at the task's end, and keep review.json."""
        arrived: list[Download] = []
        self.tab.on("download", lambda download: arrived.append(download))
        self.choose(self.tab.locator("#task-export"))
        self.tab.locator("#name-dialog").wait_for()
        self.press(*NAME, "Enter")
        while len(arrived) < 2:  # review.csv is the other
            self.tab.wait_for_timeout(50)
        next(d for d in arrived if d.suggested_filename == "review.json").save_as(path)

    def add(self, name: str) -> None:
        """Add a label by typing: there are more classes than offers."""
        self.open_add()
        self.press(*name, "Enter")
        assert not self.tab.locator("#add-dialog").is_visible(), name


class KeyboardPerson(Person):
    """One who has no pointer."""

    def choose(self, target: Locator) -> None:
        for _ in range(STEPS):
            if target.evaluate("element => element === document.activeElement"):
                return self.press("Enter")
            self.press("Tab")
        raise RuntimeError(f"{STEPS} presses of Tab do not reach {target}")

    def decide(self, chip: Locator) -> None:
        key = chip.get_attribute("data-key")  # as it stands on the chip
        if not key:
            self.count["labels without a key"] += 1
            return self.choose(chip)
        self.press(f"Shift+Digit{key[1:]}" if key.startswith("⇧") else key)

    def go_on(self) -> None:
        self.press("d")

    def open_add(self) -> None:
        self.press("a")


class PointerPerson(Person):
    """One who types a name and classes, and else clicks."""

    def choose(self, target: Locator) -> None:
        self.click(target)

    decide = choose

    def go_on(self) -> None:
        self.click(self.tab.locator("#large-verify"))

    def open_add(self) -> None:
        self.click(self.tab.locator("#large .add"))


def call(script: str, *flags: object) -> None:
    print(f"\n{script} {' '.join(map(str, flags))}", flush=True)
    subprocess.run([sys.executable, ROOT / script, *map(str, flags)], check=True)


def names(data: LabelledImages, targets: np.ndarray) -> Iterable[tuple[str, list[str]]]:
    """Each image's path and the names of its labels."""
    for path, row in zip(data.ids, targets):
        yield str(path), [name for name, value in zip(data.classes, row) if value == 1]


def write_noisy(path: Path, splits: dict[Split, LabelledImages], seed: int, missing: float) -> None:
    """Write the list with labels that are noisy in training, and true in test."""
    train, test = splits["train"], splits["test"]
    weights = noise.cooccurrence_weights(train.targets)
    chance = noise.scale_to_rate(weights, train.targets, RATE)
    found = noise.draw(train.targets, chance, seed)
    found = noise.leave_out(found, train.targets, missing, seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "split"])
        for split, data, targets in (("train", train, found), ("test", test, test.targets)):
            writer.writerows([p, "|".join(some), split] for p, some in names(data, targets))


def verify_photos(
    browser: Browser, kind: type[Person], folder: Path, truth: Truth, number: int, known: list[dict]
) -> dict:
    """Verify `number` photos on the page of a run's review, and keep <run>/review.json.

    Args:
        known: what was carried over: these photos must be verified when the page opens, and in
            the file as they were.

    Returns:
        what was exported.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto((folder / "review" / "review.html").as_uri())
    text = tab.locator("#progress-text").inner_text().replace(",", "")
    assert text.startswith(f"{len(known)} of {len(truth)} photos verified"), text
    person = kind(tab, truth)
    person.verify_these(number)
    path = folder / "review.json"
    person.export(path)
    context.close()
    review = json.loads(path.read_text("utf-8"))
    for record in review["verified"]:
        assert set(record["true_labels"]) == truth[record["path"]], record
    assert len(review["verified"]) == len(known) + number
    assert all(record in review["verified"] for record in known)
    print(f"{kind.__name__}: {number} photos, {dict(person.count)}", flush=True)
    return review


def rounds(options: argparse.Namespace, browser: Browser, seed: int) -> dict[str, Path]:
    """Train, verify and train anew, twice; the run of each row."""
    folder = options.output_dir / f"seed{seed}"
    folder.mkdir()
    splits = label_file.load(options.labels, options.path_images)
    truth = {p: set(some) for data in splits.values() for p, some in names(data, data.targets)}
    noisy = folder / "noisy.csv"
    write_noisy(noisy, splits, seed, options.missing)
    first, second = (verified_name("posterior", count) for count in (FIRST, FIRST + MORE))
    runs = {name: folder / name for name in ("clean", "bce", "posterior", first, second)}
    shared = ["--dataset", "files", "--path_images", options.path_images, "--seed", seed]

    def train(script: str, row: str, labels: Path, *flags: object) -> None:
        flags = (*flags, *options.flags, "--output_dir", runs[row])
        call(script, *shared, "--labels", labels, *flags)

    train("main_BCE.py", "clean", options.labels, "--partial_rate", 0)
    train("main_BCE.py", "bce", noisy, "--partial_rate", 0)
    train("main_real.py", "posterior", noisy, "--recipe", "posterior")

    place = runs["posterior"]
    call("review.py", "--load_from", place, "--verify", FIRST)
    review = verify_photos(browser, KeyboardPerson, place, truth, FIRST, [])
    again = ("--again", place / "review.json", "--output_dir", runs[first])
    call("review.py", "--load_from", place, *again, "--verify", MORE)

    place = runs[first]
    verify_photos(browser, PointerPerson, place, truth, MORE, review["verified"])
    call("review.py", "--load_from", place, "--apply", place / "review.json")
    classes = place / "review" / "reviewed-classes.txt"
    reviewed = place / "review" / "reviewed.csv"
    train("main_real.py", second, reviewed, "--classes", classes, "--recipe", "posterior")
    return runs


def main() -> None:
    parser = OptionsParser(prog="python -m benchmarks.round", description=__doc__)
    parser.add_argument("--labels", type=Path, required=True, help="CSV of true labels")
    parser.add_argument("--path_images", type=Path, help="folder of its photos (default: its own)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--missing", type=float, default=0, help="share of true labels left out")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/rounds"))
    parser.add_argument("flags", nargs="*", help="after --, for every training")
    options = parser.parse_args()
    options.path_images = options.path_images or options.labels.parent
    options.output_dir = options.output_dir.resolve()  # as addresses of files are
    options.output_dir.mkdir(parents=True)
    lines = ["method,rate,seed,mAP"]
    with sync_playwright() as engine:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=arguments)
        for seed in options.seeds:
            for row, folder in rounds(options, browser, seed).items():
                score = json.loads((folder / "result.json").read_text("utf-8"))["mAP"]
                lines.append(f"{row},{'' if row == CLEAN else RATE},{seed},{score:.2f}")
        browser.close()
    table = "\n".join([*lines, ""])
    (options.output_dir / "results.csv").write_text(table, "utf-8")
    print(f"\n{table}")


if __name__ == "__main__":
    main()
