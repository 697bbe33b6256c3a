"""Your own images, listed with their labels in one file.

CSV with a header, its columns in any order; split, true_labels and verified may be left out:

    path,labels,split,true_labels,verified
    beach/001.jpg,sea|sand|dog,train,sea|sand,yes
    beach/002.jpg,sky,test,sky,

JSON lines, an object a line: {"path": "beach/001.jpg", "labels": ["sea", "sand"]}, with "split",
"true_labels" and "verified" likewise. Or a COCO annotation file, whose images may have a "split".

labels are as found, with whatever noise they have. true_labels are the truth where somebody
knows it: a test image is judged by them. verified is yes where training may take them for known:
of a training image that somebody has checked label by label. In a COCO file such an image has
"verified": true, its annotations are the truth, and "candidates" lists the ids of the categories
that it had as found. split is train or test, which val and valid mean too;
images without one are divided, label by label in proportion, by the seed.

An empty cell of split or true_labels is as good as none; a lone | says that no label is true, as
[] does in JSON. Spaces round a path or a label do not count, nor do empty labels.
"""

import contextlib
import csv
import json
import os
import reprlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data import coco
from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError

SPLIT_NAMES = {"train": 0, "trainval": 0, "test": 1, "val": 1, "valid": 1, "": -1}
TEST_SHARE = 0.2
EXPECTED = {
    "path": "a text",
    "labels": "a list of texts",
    "split": "train or test, or left out",
    "true_labels": "a list of texts, or left out",
    "verified": "yes or no, or left out",
}
YES_OR_NO = {
    "yes": True,
    "true": True,
    "1": True,
    "no": False,
    "false": False,
    "0": False,
    "": False,
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
    """All N rows of a label file in arrays.

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


def load(
    labels: str | Path,
    root: str | Path | None = None,
    classes: str | Path | None = None,
    seed: int = 0,
    allow_missing: bool = False,
    wanted: Sequence[Split] = ("train", "test"),
) -> dict[Split, LabelledImages]:
    """The splits of a label file, rows as listed (in a COCO file by image id).

    Args:
        labels: the file: .csv, .jsonl or .json.
        root: what its paths start from; the file's own folder where not given.
        classes: a text file with a class name a line; where not given, classes are those the
            file names, in alphabetical order (in a COCO file by category id).
        seed: of the division of rows without split.
        allow_missing: leave out listed images without a file.
        wanted: the splits to open; the images of another need not be there.

    Raises:
        UserError: a file is missing or malformed, no image is to train on, or none to test where
            only these are wanted.
    """
    labels = Path(labels)
    table = read_table(labels, None if classes is None else read_classes(classes))
    test = divide(table, seed)
    splits: dict[Split, LabelledImages] = {}
    for name, rows in (("train", np.flatnonzero(~test)), ("test", np.flatnonzero(test))):
        # A list may be wholly for training: then there is nothing to judge it by.
        if not len(rows) and (name == "train" or "train" not in wanted):
            raise UserError(
                f"{labels} must name images to {name if name == 'test' else 'train on'}, but none "
                f"is in {name}: mark some, or leave out the split to have it made"
            )
        if name not in wanted:
            continue
        targets, true_targets = table.targets[rows], None
        if table.true_targets is not None:
            true_targets = table.true_targets[rows]
            known = (true_targets >= 0).all(axis=1)
            if name == "test":
                targets[known] = true_targets[known]
            if not known.any():
                true_targets = None
        splits[name] = open_images(  # type: ignore[index]
            labels.parent if root is None else root,
            [table.paths[row] for row in rows.tolist()],
            table.classes,
            targets,
            true_targets=true_targets,
            verified=table.verified[rows] if name == "train" and table.verified.any() else None,
            allow_missing=allow_missing,
        )
    return splits


def divide(table: Table, seed: int) -> np.ndarray:
    """(N,) bool: which rows are to test, by their split or, without one, by the seed."""
    test = table.splits == 1
    undivided = np.flatnonzero(table.splits < 0)
    test[undivided] = stratified_split(table.targets[undivided], TEST_SHARE, seed)
    return test


def read_table(path: Path, classes: list[str] | None = None) -> Table:
    """Read a label file of any of the three forms.

    Raises:
        UserError: the file is missing or malformed, or names another class than `classes`.
    """
    if not path.is_file():
        raise UserError(f"no label file {path}: give a .csv, .jsonl or COCO .json file")
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            return read_coco(path, classes)
        if suffix in (".jsonl", ".ndjson"):
            return fill_table(path, read_json_lines(path), classes)
        if suffix == ".csv":
            return fill_table(path, read_csv(path), classes)
    except OSError as error:
        raise UserError(f"label file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read: {error}; save it as UTF-8 text") from error
    raise UserError(f"{path} is of an unknown form: expected .csv, .jsonl or COCO's .json")


def read_classes(path: str | Path) -> list[str]:
    """Class names, one a line; empty lines are skipped.

    Raises:
        UserError: the file cannot be read, is empty, or repeats a name.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"class list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"class list {path} cannot be read: {error}; save it as UTF-8") from error
    classes = [line.strip() for line in lines if line.strip()]
    repeated = [name for name in classes if classes.count(name) > 1]
    if repeated or not classes:
        found = f"'{repeated[0]}' twice" if repeated else "none"
        raise UserError(f"class list {path} must name every class once, but names {found}")
    return classes


def read_csv(path: Path) -> Iterator[Row]:
    """Rows of a CSV file; labels are joined by |."""
    lines = read_cells(path)
    header = [name.strip() for name in next(lines, ("", []))[1]]
    unknown, optional = set(header) - set(EXPECTED), list(EXPECTED)[2:]
    if not {"path", "labels"} <= set(header) or unknown or len(set(header)) < len(header):
        raise UserError(
            f"{path} must begin with the columns path,labels and may have {','.join(optional)}, "
            f"but begins with {','.join(header)[:100]!r}"
        )
    for where, cells in lines:
        if not cells:
            continue
        if len(cells) != len(header):
            raise UserError(
                f"{where}: expected {len(header)} columns, but found {len(cells)}: join "
                "labels by | and quote what holds a comma"
            )
        row = dict(zip(header, cells))
        true_labels = row.get("true_labels", "")
        yield Row(
            where,
            row["path"],
            row["labels"].split("|"),
            row.get("split", ""),
            true_labels.split("|") if true_labels.strip() else None,
            row.get("verified", ""),
        )


def read_cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Read the cells of a CSV file's rows, each with the line that it ends on."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        first = 1  # line of the row: a quote that is not closed takes in those that follow
        try:
            for cells in lines:
                yield f"{path}, line {lines.line_num}", cells
                first = lines.line_num + 1
        except csv.Error as error:
            remedy = "close every quote, and double those inside a cell"
            if "NUL" in str(error):  # what Python 3.10 says; later ones read it
                remedy = "write the file anew as UTF-8 text"
            raise UserError(
                f"{path}, line {first}: expected comma-separated values, but found: {error}; "
                f"{remedy}"
            ) from error


def read_json_lines(path: Path) -> Iterator[Row]:
    """Rows of a JSON-lines file; empty lines are skipped."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                found: Any = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: expected a JSON object, but found {error}") from error
            if not isinstance(found, dict) or not {"path", "labels"} <= set(found):
                raise UserError(
                    f"{where}: expected an object with path and labels, but found "
                    f"{line.strip()[:80]!r}"
                )
            for name, value in found.items():
                if name not in EXPECTED:
                    raise UserError(
                        f"{where}: expected {', '.join(EXPECTED)}, but found {name[:80]!r}"
                    )
                if name == "verified" and isinstance(value, bool):
                    found[name] = value = "yes" if value else "no"
                is_text = isinstance(value, str)
                if name.endswith("labels"):
                    is_text = isinstance(value, list) and all(isinstance(v, str) for v in value)
                if not is_text:
                    raise UserError(
                        f"{where}: expected {name} to be {EXPECTED[name]}, but found "
                        f"{reprlib.repr(value)}"
                    )
            yield Row(where, **found)


def fill_table(path: Path, rows: Iterator[Row], classes: list[str] | None) -> Table:
    """Gather `rows`, in arrays from the start: a million of them fit beside a model."""
    columns = {} if classes is None else {name: column for column, name in enumerate(classes)}
    paths: dict[str, None] = {}
    splits, judged, verified = array("b"), array("i"), array("b")
    pairs = {"labels": (array("i"), array("i")), "true_labels": (array("i"), array("i"))}

    def add(kind: str, row: int, names: Sequence[str], where: str) -> None:
        for name in filter(None, map(str.strip, names)):
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
                f"{row.where}: expected a path that no earlier line names, but found {name[:80]!r}"
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
    if not paths or not columns:
        missing = "label" if paths else "image"
        raise UserError(f"{path} must name images and their labels, but names no {missing}")
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


def is_line(text: str, errors: str = "strict") -> bool:
    """Tell whether `text` can stand on a line of a UTF-8 file, with `errors` as in str.encode.

    >>> is_line("sea"), is_line(""), is_line("sea\\nsand"), is_line("\\ud800")
    (True, False, False, False)
    """
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
    return text.splitlines() == [text] and "\0" not in text


def read_coco(path: Path, classes: list[str] | None) -> Table:
    """A COCO annotation file; images without annotation have no label."""
    content = coco.read_instances(path, every_image=True)
    names = [name.strip() for name in content.classes]
    wrong = [name for name in names if names.count(name) > 1 or not is_line(name)]
    if wrong:
        raise UserError(
            f"{path} must give every category a name of its own, but has {wrong[0][:80]!r}"
        )
    columns = {identity: column for column, identity in enumerate(content.category_ids)}

    def rows() -> Iterator[Row]:
        for image, file_name, targets in zip(content.images, content.file_names, content.targets):
            where = f"{path}, image {coco.identity(image['id'])}"
            annotated = [names[column] for column in np.flatnonzero(targets).tolist()]
            row = Row(where, file_name, annotated, str(image.get("split", "")))
            if "candidates" in image:
                found = image["candidates"]
                ids = list(map(id_text, found)) if isinstance(found, list) else [""]
                if not columns.keys() >= set(ids):
                    raise UserError(
                        f"{where}: expected candidates to be a list of ids of categories, but "
                        f"found {reprlib.repr(found)}"
                    )
                row = row._replace(labels=[names[columns[each]] for each in ids])
            if "candidates" in image or image.get("verified") is True:
                row = row._replace(true_labels=annotated)
            yield row._replace(verified=str(image.get("verified", "")))

    return fill_table(path, rows(), names if classes is None else classes)


def id_text(value: Any) -> str:
    """`coco.identity`, or the empty text, which no category has."""
    with contextlib.suppress(ValueError):
        return coco.identity(value)
    return ""


def stratified_split(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """(N,) bool: which rows go to the part of `share`, so that every label divides in proportion.

    Labels are divided one after another, the rarest first, each time among the rows that none
    before has placed; rows without a label come last.

    Args:
        targets: (N, C) in {0, 1}.
        share: of the rows, in (0, 1).
        seed: fixes the division.

    Source: after Sechidis et al., On the stratification of multi-label data, ECML PKDD 2011.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    order = generator.permutation(len(targets))
    chosen = np.zeros(len(targets), bool)
    open_rows = np.ones(len(targets), bool)
    counts = targets.sum(axis=0, dtype=np.int64)
    for column in [*np.argsort(counts, kind="stable").tolist(), None]:
        has = np.ones(len(targets), bool) if column is None else targets[:, column] == 1
        here = order[(has & open_rows)[order]]
        # What the part still lacks of this label; the fraction is rounded by chance.
        wanted = share * has.sum() - (has & chosen).sum() + generator.random()
        chosen[here[: max(0, int(wanted))]] = True
        open_rows[here] = False
    return chosen
