"""NUS-WIDE: 81 concepts, with the labels as they were found.

    nuswide                          <- root
        images                       0_2124494179_b039ddccac_m.jpg ...
        nus_wid_data.csv             filepath, label, split_name; one row an image

The list is that of ASL (Ridnik et al., ICCV 2021); it may lie in data/nuswide instead. A row
reads images/0_2124494179_b039ddccac_m.jpg,"['clouds', 'sky']",train: the split is train or val.
Many of the listed photos are no longer on Flickr.
"""

import ast
import contextlib
import csv
from pathlib import Path

import numpy as np

from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError

# In the order of the released code, which that of its checkpoints' outputs follows.
CLASSES = (
    "clouds sky person street window tattoo wedding animal cat buildings tree airport plane water "
    "grass cars road snow sunset railroad train flowers plants house military horses nighttime "
    "lake rocks waterfall sun vehicle sports reflection temple statue ocean town beach tower toy "
    "book bridge fire mountain rainbow garden police coral fox sign dog cityscape sand dancing "
    "leaf tiger moon birds food cow valley fish harbor bear castle boats running glacier swimmers "
    "elk frost protest soccer flags zebra surf whales computer earthquake map"
).split()
COLUMNS = {name: column for column, name in enumerate(CLASSES)}
LIST_NAME = "nus_wid_data.csv"
SPLITS = {"train": "train", "val": "test"}
# What Python's parser raises.
UNREADABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError)
REMEDY = "download the list again"


def load(root: str | Path, split: Split, allow_missing: bool = False) -> LabelledImages:
    """One split of NUS-WIDE, in the order of the list.

    Args:
        root: the folder nuswide.
        split: train, or test, which is the list's val.
        allow_missing: leave out listed images without a file.

    Raises:
        UserError: the list or an image is missing, or the list is malformed.
    """
    root = Path(root)
    places = [root / LIST_NAME, Path("data") / "nuswide" / LIST_NAME]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"expected the image list {places[0]}, or {places[1]}, but there is none; download it "
            "from the address in docs/data.md, or check --path_images"
        )
    names, targets = read_list(path, split)
    if (root / "images").is_dir():
        root = root / "images"
    return open_images(root, names, CLASSES, targets, allow_missing=allow_missing)


def read_list(path: Path, split: Split) -> tuple[list[str], np.ndarray]:
    """File names, without the folder images/, and targets (N, 81) int8 of one split.

    Raises:
        UserError: the list cannot be read, or a row is malformed; it is named.
    """
    names: dict[str, None] = {}
    labels: list[list[int]] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            next(rows, None)  # the header's names differ between copies
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if len(row) != 3 or row[2] not in SPLITS:
                    raise UserError(
                        f"{where}: expected a file path, a list of labels and train or val, but "
                        f"found {str(row)[:100]}; {REMEDY}"
                    )
                if SPLITS[row[2]] != split:
                    continue
                name = row[0].replace("\\", "/").removeprefix("images/")
                if name in names or not name or not name.isprintable():
                    raise UserError(
                        f"{where}: expected an image that no earlier line names, but found "
                        f"{name[:80]!r}; {REMEDY}"
                    )
                names[name] = None
                labels.append([column_of(label, where) for label in parse_labels(row[1], where)])
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: {error}; {REMEDY}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a CSV file: {error}; {REMEDY}") from error
    if not names:
        raise UserError(f"{path} must name {split} images, but names none; {REMEDY}")
    targets = np.zeros((len(names), len(CLASSES)), np.int8)
    for row_number, columns in enumerate(labels):
        targets[row_number, columns] = 1
    return list(names), targets


def parse_labels(text: str, where: str) -> list[str]:
    """The texts of a Python-style list of texts, without running what it may contain."""
    labels = None
    if sum(map(text.count, "([{")) <= 1:  # a nested list is none of labels: not parsed
        with contextlib.suppress(*UNREADABLE):
            labels = ast.literal_eval(text.strip())
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UserError(
            f"{where}: expected a list of labels such as ['clouds', 'sky'], but found "
            f"{text[:80]!r}; {REMEDY}"
        )
    return labels


def column_of(label: str, where: str) -> int:
    if label not in COLUMNS:
        raise UserError(
            f"{where}: expected one of the 81 concepts of NUS-WIDE, but found {label[:80]!r}; "
            f"{REMEDY}"
        )
    return COLUMNS[label]
