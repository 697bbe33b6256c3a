"""Your own images, listed with their labels in one file or folder.

CSV with a header, its columns in any order; split, true_labels and verified may be left out:

    path,labels,split,true_labels,verified
    beach/001.jpg,sea|sand|dog,train,sea|sand,yes
    beach/002.jpg,sky,test,sky,

JSON lines, an object a line: {"path": "beach/001.jpg", "labels": ["sea", "sand"]}, with "split",
"true_labels" and "verified" likewise. Or a COCO annotation file, whose images may have a "split".
docs/data.md has the other forms; `pipeline.data.lists` reads them all.

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
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split
from pipeline.data.lists import binary
from pipeline.data.lists.coco_list import coco_list
from pipeline.data.lists.delimited import delimited, json_lines
from pipeline.data.lists.folders import folder_list, tables_in
from pipeline.data.lists.names import Rename, read_classes, read_rename
from pipeline.data.lists.places import locate
from pipeline.data.lists.reading import Listing, Reading, Understood, short, understand
from pipeline.data.lists.separators import WORDS
from pipeline.data.lists.table import Row, Table, fill_table, normalised
from utils.errors import UserError
from utils.options.groups import DataOptions
from utils.terminal import one_line, warn

__all__ = ["Reading", "Row", "Table", "normalised", "read_classes"]
TEST_SHARE = 0.2
NO_READING = Reading()


def load(
    labels: str | Path,
    root: str | Path | None = None,
    classes: str | Path | None = None,
    *,
    seed: int = 0,
    allow_missing: bool = False,
    wanted: Sequence[Split] = ("train", "test"),
    reading: Reading = NO_READING,
    say: Callable[[str], None] | None = None,
) -> dict[Split, LabelledImages]:
    """The splits of a label file, rows as listed (in a COCO file by image id).

    Args:
        labels: the file: .csv, .jsonl or .json.
        root: what its paths start from, where it is not `image_folder`.
        classes: a text file with a class name a line; where not given, classes are those the
            file names, in alphabetical order (in a COCO file by category id).
        seed: of the division of rows without split.
        allow_missing: leave out listed images without a file.
        wanted: the splits to open; the images of another need not be there.
        reading: what the user says of the list.
        say: takes a line on what was understood.

    Raises:
        UserError: a file is missing or malformed, no image is to train on, or none to test where
            only these are wanted.
    """
    labels, known = Path(labels), None if classes is None else read_classes(classes)
    listing = read_list(labels, reading, known or ())
    with readable(labels):
        table = fill_table(labels, listing.rows(), known or listing.classes)
    test = divide(table, seed)
    parts = {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}
    check_parts(labels, table, parts, wanted)
    folder = image_folder(labels, root)
    names = [table.paths[row] for name in wanted for row in parts[name].tolist()]
    files = locate(folder, names)
    if say is not None:
        say(one_line(f"list  {short(str(labels))}: {describe(listing.understood, names, files)}"))
    warn_of_unused(reading.rename)
    splits: dict[Split, LabelledImages] = {}
    first = 0
    for name in wanted:
        rows, true_targets = parts[name], None
        targets = table.targets[rows]
        if table.true_targets is not None:
            true_targets = table.true_targets[rows]
            known_rows = (true_targets >= 0).all(axis=1)
            if name == "test":
                targets[known_rows] = true_targets[known_rows]
            if not known_rows.any():
                true_targets = None
        splits[name] = open_images(
            folder,
            files[first : first + len(rows)],
            table.classes,
            targets,
            ids=names[first : first + len(rows)],
            true_targets=true_targets,
            verified=table.verified[rows] if table.verified.any() else None,
            allow_missing=allow_missing,
        )
        first += len(rows)
    return splits


def image_folder(labels: Path, root: str | Path | None) -> str | Path:
    """The folder that a list's paths start from: `root` or, without one, the list's own.

    Images that are in Parquet files are unpacked there, or to folders beside them.
    """
    with readable(labels):
        if not labels.is_dir():
            if (beside := binary.images_folder(labels)) is None:
                return labels.parent if root is None else root
            binary.unpack(labels, folder := Path(root or beside))
            return folder
        for file in tables_in(labels):
            if beside := binary.images_folder(file):
                binary.unpack(file, Path(root or labels, beside.relative_to(labels)))
    return labels if root is None else root


def reading_of(options: DataOptions) -> Reading:
    """The user's word on the list."""
    columns = dict(text.split("=", 1) for text in options.columns or ())
    if options.separator == "":
        raise UserError("--separator: expected a sign or a word for one, but found nothing")
    separator = WORDS.get(str(options.separator).lower(), options.separator)
    rename = Rename({}) if options.rename is None else read_rename(options.rename)
    return Reading({what: name.strip() for what, name in columns.items()}, separator, rename)


def check_parts(
    labels: Path, table: Table, parts: dict[str, np.ndarray], wanted: Sequence[Split]
) -> None:
    """Refuse a list that leaves nothing to train on, or nothing to test though it is divided."""
    empty = [name for name, rows in parts.items() if not len(rows)]
    divided = int((table.splits < 0).sum())
    # It may be marked as wholly for training: then there is nothing to judge it by.
    if not empty or (empty == ["test"] and "train" in wanted and not divided):
        return
    if divided:
        remedy = f"add images, or mark some as {empty[0]}: {divided} without a split are too few"
    else:
        remedy = "mark some, or leave out the split to have it made"
    raise UserError(
        f"{labels} must name images to {empty[0].replace('train', 'train on')}, but none is in "
        f"{empty[0]}: {remedy}"
    )


def describe(understood: Understood, names: Sequence[str], files: Sequence[str]) -> str:
    """Say what was understood of a list, and that it calls `files` otherwise, by `names`."""
    moved = [(listed, file) for listed, file in zip(names, files) if listed != file]
    if moved:
        first = f"{short(moved[0][0])} is {short(moved[0][1])}"
        note = f"{len(moved)} of {len(files)} paths found in another form ({first})"
        understood = understood._replace(notes=(*understood.notes, note))
    return understood.describe()


def warn_of_unused(rename: Rename) -> None:
    """Say which names of --rename may be misspelt."""
    if unused := rename.unused():
        warn(f"--rename has {len(unused)} names that no label has, first {short(unused[0])}")


def divide(table: Table, seed: int) -> np.ndarray:
    """(N,) bool: which rows are to test, by their split or, without one, by the seed."""
    test = table.splits == 1
    undivided = np.flatnonzero(table.splits < 0)
    test[undivided] = stratified_split(table.targets[undivided], TEST_SHARE, seed)
    return test


def read_table(
    path: Path, classes: list[str] | None = None, reading: Reading = NO_READING
) -> Table:
    """Read a list of any form.

    Raises:
        UserError: the file is missing or malformed, or names another class than `classes`.
    """
    listing = read_list(path, reading, classes or ())
    with readable(path):
        return fill_table(path, listing.rows(), classes or listing.classes)


def read_rows(
    path: Path, reading: Reading = NO_READING, classes: Sequence[str] | None = None
) -> Iterator[Row]:
    """The rows of a list, as `read_table` reads them."""
    yield from read_list(path, reading, classes or ()).rows()


def read_list(path: Path, reading: Reading, known: Collection[str]) -> Listing:
    """Understand a list of any form.

    Raises:
        UserError: the file is missing or malformed, or what its columns hold is not certain.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        with readable(path):
            return folder_list(path, reading, lambda file: read_list(file, reading, known))
    if not path.is_file():
        raise UserError(f"no label file {path}: give a .csv, .jsonl or COCO .json file")
    with readable(path):
        if suffix == ".json":
            return coco_list(path, reading)
        if suffix in (".jsonl", ".ndjson"):
            return understand(path, json_lines(path, reading.columns), reading, known)
        if suffix in (".csv", ".tsv"):
            return understand(path, delimited(path, reading.columns), reading, known)
        if suffix in (".xlsx", ".xlsm"):
            return understand(path, binary.workbook(path, reading.columns), reading, known)
        if suffix == ".parquet":
            records, image = binary.parquet(path)
            if image is not None:
                reading = reading._replace(columns={"path": image, **reading.columns})
            return understand(path, records, reading, known)
    raise UserError(
        f"{path} is of an unknown form: expected .csv, .tsv, .jsonl, .xlsx, .parquet or COCO .json"
    )


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in one line that a file cannot be read."""
    try:
        yield
    except OSError as error:
        raise UserError(f"label file {path} cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        raise UserError(f"{path} cannot be read: {error}; save it as UTF-8 text") from error


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
