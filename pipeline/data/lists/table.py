"""The rows of a list, and the table that they fill."""

import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.data.labelled import check_classes
from pipeline.data.lists.names import is_line
from utils.errors import UserError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "trainval", "training"), 0),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation"), 1),
    "": -1,
}
YES_OR_NO = {
    **dict.fromkeys(("yes", "true", "1"), True),
    **dict.fromkeys(("no", "false", "0", ""), False),
}


class Row(NamedTuple):
    """One image: where it is listed, its path, labels, split, true labels if given, verified."""

    where: str
    path: str
    labels: list[str]
    split: str = ""
    true_labels: list[str] | None = None
    verified: str = ""


class Table(NamedTuple):
    """All N rows of a list in arrays.

    paths: N file names. classes: C names. targets: (N, C) int8 in {0, 1}. splits: (N,) int8, 0
    train, 1 test, -1 not given. true_targets: (N, C) int8, -1 throughout
    a row that does not give its truth; None where no row does. verified: (N,) bool.
    """

    paths: list[str]
    classes: list[str]
    targets: np.ndarray
    splits: np.ndarray
    true_targets: np.ndarray | None
    verified: np.ndarray


def fill_table(path: Path, rows: Iterable[Row], classes: list[str] | None) -> Table:
    """Gather `rows`, in arrays from the start: a million of them fit beside a model."""
    columns = {} if classes is None else {name: column for column, name in enumerate(classes)}
    paths: dict[str, None] = {}
    splits, judged, verified = array("b"), array("i"), array("b")
    pairs = {"labels": (array("i"), array("i")), "true_labels": (array("i"), array("i"))}

    def add(kind: str, row: int, names: Sequence[str], where: str) -> None:
        for name in names:
            if name not in columns:
                if classes is not None:
                    raise UserError(
                        f"{where}: expected one of the {len(classes)} classes, but found "
                        f"{name[:80]!r}; correct it, or add it to --classes"
                    )
                if not is_line(name):
                    raise UserError(f"{where}: expected a label, but found {name[:80]!r}")
                columns[name] = len(columns)
            pairs[kind][0].append(row)
            pairs[kind][1].append(columns[name])

    for number, row in enumerate(rows):
        name, split = normalised(row.path), row.split.strip()
        if not is_line(name, "surrogateescape"):
            raise UserError(
                f"{row.where}: expected a path of readable characters, but found {name[:80]!r}"
            )
        if name in paths:
            raise UserError(
                f"{row.where}: expected a path that no earlier line names, but found "
                f"{name[:80]!r}; give a photo one line, with its labels joined by |"
            )
        paths[name] = None
        if split.lower() not in SPLIT_NAMES:
            raise UserError(f"{row.where}: expected split train or test, but found {split[:80]!r}")
        splits.append(SPLIT_NAMES[split.lower()])
        if row.verified.strip().lower() not in YES_OR_NO:
            raise UserError(
                f"{row.where}: expected verified to be yes or no, but found {row.verified[:80]!r}"
            )
        verified.append(YES_OR_NO[row.verified.strip().lower()])
        if verified[-1] and row.true_labels is None:
            raise UserError(
                f"{row.where}: expected the true_labels of a verified image (| if none is true), "
                "but found none"
            )
        add("labels", number, row.labels, row.where)
        if row.true_labels is not None:
            judged.append(number)
            add("true_labels", number, row.true_labels, row.where)
    if not paths or not any(rows_of for rows_of, _ in pairs.values()):
        missing = "label" if paths else "image"
        raise UserError(f"{path} must name images and their labels, but names no {missing}")
    if classes is None:
        check_classes(path, len(paths), columns, len(pairs["labels"][0]))
    names = list(columns) if classes is not None else sorted(columns)
    places = {name: place for place, name in enumerate(names)}
    order = np.array([places[name] for name in columns])
    targets = np.zeros((len(paths), len(names)), np.int8)
    true_targets = np.full(targets.shape, -1, np.int8) if judged else None
    if true_targets is not None:
        true_targets[np.asarray(judged)] = 0
    for matrix, kind in ((targets, "labels"), (true_targets, "true_labels")):
        if matrix is not None:
            row_numbers, column_numbers = map(np.asarray, pairs[kind])
            matrix[row_numbers, order[column_numbers]] = 1
    known = np.array(verified, bool)
    return Table(list(paths), names, targets, np.array(splits, np.int8), true_targets, known)


def normalised(path: str) -> str:
    """Normalise a path, so that a.jpg and ./a.jpg are one image."""
    path = path.strip()
    return os.path.normpath(path) if path else path
