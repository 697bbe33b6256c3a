"""Photos that a person is asked to verify."""

from pathlib import Path

import numpy as np

from pipeline.data import label_file
from pipeline.data.verified import Verified
from pipeline.review.label_files import (
    TEXT,
    classes_beside,
    flags_of_list,
    has_list,
    labels_of,
    read_list,
    relabelled,
    splits_of,
    write_classes,
    write_csv,
    write_json_lines,
    written_suffix,
)
from pipeline.review.reviewed_run import ReviewedRun
from utils.errors import UserError
from utils.files import atomic_path


def rows_to_verify(
    number: int | None, run: ReviewedRun, known: np.ndarray, folder: Path
) -> np.ndarray:
    """Rows of `number` training photos to ask a person for, in the order to verify them.

    They are drawn at random: any choice by what the program believes would tell the noise of the
    chosen alone.

    Args:
        number: of photos; None: none.
        run: the run.
        known: (P,) bool, photos that people have verified already, training ones first.
        folder: of the review.

    Raises:
        UserError: there are fewer, or a list to verify is there already.
    """
    if number is None:
        return np.arange(0)
    path = list_to_verify(run, folder)
    if path is not None and path.exists():
        raise UserError(f"{path} exists: move it away, to keep what you have verified there")
    done = known[: len(run.train)].copy()
    if run.verified is not None:
        done[run.verified.rows] = True
    left = np.flatnonzero(~done)
    if number > len(left):
        raise UserError(
            f"--verify {number}: {len(left)} training images are not verified yet; give so many at "
            "most"
        )
    return np.random.default_rng([run.options.seed, 2]).permutation(left)[:number]


def list_to_verify(run: ReviewedRun, folder: Path) -> Path | None:
    """The list to verify photos in; None of a COCO file, or where the list lacks added noise."""
    if not has_list(run.options):
        return None
    suffix = written_suffix(Path(str(run.options.labels)), run.train.classes)
    return None if suffix == ".json" else folder / f"verify{suffix}"


def write_list_to_verify(
    run: ReviewedRun, folder: Path, asked: np.ndarray, known: Verified | None
) -> None:
    """Write one's own list with the photos `asked` first, and say what to do with it.

    Args:
        asked: rows of training photos.
        known: photos of the run that are verified already.
    """
    path = list_to_verify(run, folder)
    if not len(asked) or path is None:
        return
    write_classes(classes_beside(path), run.train.classes)
    write_to_verify(path, run, {run.train.ids[row] for row in asked.tolist()}, known)
    print(
        f"to verify           on the page, or in {path}: of its first {len(asked)} photos correct "
        "true_labels and set verified to yes; then train with "
        f"{flags_of_list(run.options, path, classes_beside(path))}"
    )


def write_to_verify(path: Path, run: ReviewedRun, asked: set[str], known: Verified | None) -> None:
    """A run's label file with the images `asked` first, for a person to verify.

    Their true_labels begin as their labels, and verified as no. Labels are the run's candidates.

    Args:
        path: to write to, CSV or JSON lines as the label file.
        run: the run.
        asked: names of images.
        known: photos of the run that are verified already.
    """
    rows, table = read_list(run.options)
    found, true = labels_of(run.train.ids, run.train.classes, run.candidates), {}
    if known is not None:
        ids = run.photos(None).data.ids
        names = [ids[row] for row in known.rows.tolist()]
        true = labels_of(names, run.train.classes, known.truth)
    first, rest = [], []
    for row in relabelled(rows, splits_of(table, run.options.seed), found, true):
        if label_file.normalised(row.path) in asked:
            begun = row.labels if row.true_labels is None else row.true_labels
            first.append(row._replace(true_labels=begun, verified="no"))
        else:
            rest.append(row)
    with atomic_path(path) as temporary, temporary.open("w", **TEXT) as file:
        (write_csv if path.suffix == ".csv" else write_json_lines)(file, [*first, *rest])
