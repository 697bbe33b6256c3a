"""Checks of images and labels before training on them."""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.data.decoding import SUFFIXES
from pipeline.data.images import ImageFiles, list_files, read_image
from pipeline.data.labelled import LabelledImages
from pipeline.data.verified import Verified, of_list, uncovered
from utils.errors import UserError
from utils.progress import progress_bar

FEW = 10  # test images
EMPTY = {"nan", "none", "null", "na", "n/a", "<na>", "#n/a"}  # what programs write for no value


class Finding(NamedTuple):
    """Something found: its kind, what it was found in, and whether training would be wrong."""

    kind: str
    items: list[str]
    wrong: bool


def check_missing(
    train: LabelledImages, test: LabelledImages, allowed: bool = False
) -> list[Finding]:
    """Name the listed images without a file."""
    missing = [*train.missing, *test.missing]
    return [Finding("listed images without a file", missing, not allowed)] if missing else []


def check_labels(train: LabelledImages, test: LabelledImages) -> list[Finding]:
    """Check the labels of the two splits, without reading any image."""
    findings = []
    for name, data in (("training", train), ("test", test)):
        empty = np.flatnonzero(~(data.targets == 1).any(axis=1))
        findings.append(Finding(f"{name} images without a label", pick(data.ids, empty), False))
        unseen = np.flatnonzero(~(data.targets == 1).any(axis=0))
        findings.append(
            Finding(f"classes without a {name} image", pick(data.classes, unseen), False)
        )
    if len(train) and ((train.targets == 1).sum(axis=1) == 1).all():
        kind = "training images of one label each: review.py never drops an image's only label"
        findings.append(Finding(kind, list(train.ids), False))
    if train.true_targets is not None:
        seen = [(data.targets == 1).any(axis=0) for data in (train, test)]
        alone = np.flatnonzero((train.true_targets == 1).any(axis=0) & ~seen[0] & ~seen[1])
        kind = "classes that true_labels of training images alone have, no labels"
        findings.append(Finding(kind, pick(train.classes, alone), False))
        rows = pick(train.ids, np.flatnonzero(uncovered(train)))
        findings.append(Finding("training images whose labels miss a true one", rows, True))
    if test.verified is not None:
        rows = pick(test.ids, np.flatnonzero(test.verified))
        findings.append(Finding("verified images in test, which training cannot know", rows, False))
    shared = sorted(set(train.ids) & set(test.ids))
    findings.append(Finding("images listed in training and in test", shared, True))
    return [finding for finding in findings if finding.items]


def check_list(train: LabelledImages, test: LabelledImages) -> list[Finding]:
    """Check what makes a small or careless list misleading: its classes, and how it is divided."""
    classes = train.classes
    by_key: dict[str, list[str]] = {}
    for name in classes:
        by_key.setdefault(plain(name), []).append(name)
    alike = [" = ".join(names) for names in by_key.values() if len(names) > 1]
    findings = [
        Finding("classes whose names differ in case or spaces alone", alike, False),
        Finding(
            "classes named like an empty cell", [n for n in classes if plain(n) in EMPTY], False
        ),
        Finding(
            "classes with a comma or semicolon in their name",
            [name for name in classes if set(name) & set(",;")],
            False,
        ),
    ]
    trained, tested = ((data.targets == 1).sum(axis=0) for data in (train, test))
    for kind, where in (
        ("classes all of whose images are in test", (trained == 0) & (tested > 0)),
        ("classes that every training image has", trained == len(train)),
        ("classes that every test image has", (tested == len(test)) & (len(test) > 0)),
    ):
        findings.append(Finding(kind, pick(classes, np.flatnonzero(where)), False))
    if (known := of_list(train)) is not None:
        bare = ~train.targets[known.rows].any(axis=1) & known.truth.any(axis=1)
        kind = "verified images without a label as found: all their true labels count as missing"
        findings.append(Finding(kind, pick(train.ids, known.rows[bare]), False))
    few = list(test.ids) if len(test) < FEW else []
    findings.append(Finding("test images, too few for their mAP to tell much", few, False))
    return [finding for finding in findings if finding.items]


def check_truth(train: LabelledImages, verified: Verified | None) -> list[Finding]:
    """Compare the truth of verified images of a candidate file with what a list says of them."""
    if verified is None or train.true_targets is None:
        return []
    told = train.true_targets[verified.rows]
    differ = ((told >= 0) & (told != verified.truth)).any(axis=1)
    kind = "images whose true labels in the candidate file, which count, are not those of the list"
    found = Finding(kind, pick(train.ids, verified.rows[differ]), False)
    return [found] if found.items else []


def plain(name: str) -> str:
    """A name without case, spaces, _ and -, and without characters that nobody sees."""
    name = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in name if c not in " _-" and unicodedata.category(c) != "Cf")


def check_files(
    train: LabelledImages, test: LabelledImages, workers: int, known: Verified | None = None
) -> list[Finding]:
    """Decode every file, and compare the contents of all.

    Args:
        train, test: the splits; images that are no files are left out.
        workers: threads that read and decode.
        known: verified images of `train`, whose truth is compared too.
    """
    paths = {
        name: [data.images.path(row) for row in range(len(data))]
        for name, data in (("training", train), ("test", test))
        if isinstance(data.images, ImageFiles)
    }
    digests: dict[str, dict[bytes, list[str]]] = {}
    unreadable = []
    with ThreadPoolExecutor(workers) as pool:
        for name, files in paths.items():
            digests[name] = {}
            with progress_bar(f"read {name} images", len(files)) as bar:
                for path, (digest, problem) in zip(files, pool.map(examine, files)):
                    digests[name].setdefault(digest, []).append(path)
                    unreadable += [problem] if problem else []
                    bar.update()
    findings = [Finding("unreadable or truncated images", unreadable, True)]
    in_test = digests.get("test", {})
    shared = [
        f"{files[0]} = {in_test[digest][0]}"
        for digest, files in digests.get("training", {}).items()
        if digest in in_test
    ]
    findings.append(Finding("images with the same bytes in training and in test", shared, True))
    for name, contents in digests.items():
        repeated = [" = ".join(files[:2]) for files in contents.values() if len(files) > 1]
        findings.append(Finding(f"{name} images with the same bytes", repeated, False))
    if known is not None and "training" in paths:
        chosen = pick(paths["training"], known.rows)
        truth = dict(zip(chosen, map(bytes, known.truth)))
        # One file of each truth that files of the same bytes have.
        opposed = [
            {truth[path]: path for path in files if path in truth}.values()
            for files in digests["training"].values()
        ]
        kind = "training images with the same bytes that are verified to be different"
        items = [" = ".join(files) for files in opposed if len(files) > 1]
        findings.append(Finding(kind, items, False))
    # A path may be written in many ways, such as ./a.jpg.
    listed = {os.path.normpath(path) for files in paths.values() for path in files}
    folders = sorted({os.path.dirname(path) for path in listed})
    unlisted = [
        path
        for folder in folders
        for path in (os.path.join(folder, name) for name in sorted(list_files(folder or ".")))
        if path not in listed and Path(path).suffix.lower() in SUFFIXES
    ]
    findings.append(Finding("images that no list names", unlisted, False))
    return [finding for finding in findings if finding.items]


def examine(path: str) -> tuple[bytes, str | None]:
    """SHA-256 of a file, empty where it cannot be read, and what is wrong with it, if anything."""
    try:
        read_image(path)
        return hashlib.sha256(Path(path).read_bytes()).digest(), None
    except UserError as error:
        return path.encode("utf-8", "surrogateescape"), str(error)  # its own content alone


def pick(texts: Sequence[str], rows: np.ndarray) -> list[str]:
    return [texts[row] for row in rows.tolist()]
