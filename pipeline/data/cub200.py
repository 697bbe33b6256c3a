"""CUB-200-2011: 312 attributes of birds, in 5,994 training and 5,794 test images.

    attributes.txt                   where the archive unpacks it; in the folders below will do too
    CUB_200_2011                     <- root; the folder that holds it will do too
        images.txt                   image id, file name
        train_test_split.txt         image id, 1 for training or 0 for test
        attributes
            image_attribute_labels.txt   image id, attribute id, 1 or 0, and what is not used
        images
            001.Black_footed_Albatross   Black_Footed_Albatross_0046_18.jpg ...

Source: https://www.vision.caltech.edu/datasets/cub_200_2011/
"""

import re
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError

SPLIT_MARKS = {"train": "1", "test": "0"}
IMAGE_LINE = re.compile(r"(\d{1,9})\s+([\w./-]+)", re.ASCII)
SPLIT_LINE = re.compile(r"(\d{1,9})\s+([01])", re.ASCII)
ATTRIBUTE_LINE = re.compile(r"(\d{1,9})\s+(\S+)", re.ASCII)
LABEL_FORM = "an image id of images.txt, an attribute id of attributes.txt, and 0 or 1"
PRESENT = {b"0": 0, b"1": 1}
UNSEEN = 2
REMEDY = "unpack CUB_200_2011.tgz again, or check --path_images"


def load(root: str | Path, split: Split, allow_missing: bool = False) -> LabelledImages:
    """One split of CUB-200-2011, in ascending order of image id; ids are the file names.

    Targets are 1 where the annotator saw the attribute, however certain, else 0. Classes are the
    attributes, such as "has_bill_shape::dagger", in ascending order of attribute id.

    Args:
        root: the folder CUB_200_2011, or the one that holds it.
        split: train or test, as published.
        allow_missing: leave out images without a file.

    Raises:
        UserError: a list or an image is missing, or a list is malformed.
    """
    root = Path(root)
    for folder in (root / "CUB_200_2011", root):
        if (folder / "images.txt").is_file():
            break
    else:
        raise UserError(
            f"expected {root / 'CUB_200_2011' / 'images.txt'}, but there is no such file; "
            "--path_images must be the folder CUB_200_2011"
        )
    images = _read_list(folder / "images.txt", IMAGE_LINE, "an image id and a file name")
    attributes = _read_list(_find_attributes(folder), ATTRIBUTE_LINE, "an attribute id and a name")
    rows = _read_split(folder / "train_test_split.txt", images, split)
    targets = read_targets(folder / "attributes" / "image_attribute_labels.txt", images, attributes)
    names = list(images.values())
    return open_images(
        folder / "images",
        [names[row] for row in rows],
        list(attributes.values()),
        targets[rows],
        allow_missing=allow_missing,
    )


def read_targets(path: Path, images: Iterable[int], attributes: Iterable[int]) -> np.ndarray:
    """Targets (N, C) int8 in {0, 1}, rows and columns as listed; 0 where the file has no line.

    Args:
        path: of image_attribute_labels.txt. After the first three fields of a line anything may
            follow: some genuine lines have more fields than the format says.
        images: N ids.
        attributes: C ids.

    Raises:
        UserError: the file is missing or empty, or a line is malformed, has an id that is not
            listed, or repeats another.
    """
    columns = {b"%d" % attribute: column for column, attribute in enumerate(attributes)}
    starts = {b"%d" % image: row * len(columns) for row, image in enumerate(images)}
    # A plain loop takes 1.5 s for the 3.7 million lines, needs no memory but this, and knows
    # the number of a bad line.
    marks = bytearray([UNSEEN]) * (len(starts) * len(columns))
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    image, attribute, present, *_ = line.split(None, 3)
                    cell = starts[image] + columns[attribute]
                    mark = PRESENT[present]
                except (ValueError, KeyError):
                    if line.strip():
                        raise _bad_line(path, number, line, LABEL_FORM) from None
                    continue
                if marks[cell] != UNSEEN:
                    raise _bad_line(path, number, line, LABEL_FORM, ", labelled by an earlier line")
                marks[cell] = mark
    except OSError as error:
        raise _cannot_read(path, error) from error
    targets = np.frombuffer(marks, np.int8).reshape(len(starts), len(columns))
    if (targets == UNSEEN).all():
        raise UserError(f"{path} must label images, but is empty; {REMEDY}")
    targets[targets == UNSEEN] = 0
    return targets


def _find_attributes(folder: Path) -> Path:
    """Find attributes.txt: the archive puts it beside the folder, not into it."""
    places = (folder / "attributes", folder, folder.absolute().parent)
    for place in places:
        if (place / "attributes.txt").is_file():
            return place / "attributes.txt"
    raise UserError(
        f"expected attributes.txt in {places[0]}, {places[1]} or {places[2]}, but there is no such "
        f"file; {REMEDY}"
    )


def _read_split(path: Path, images: Iterable[int], split: Split) -> list[int]:
    """Rows of the images of a split."""
    images = list(images)
    marks = _read_list(path, SPLIT_LINE, "an image id of images.txt, and 1 or 0", set(images))
    unmarked = [image for image in images if image not in marks]
    if unmarked:
        raise UserError(
            f"{path} must mark all {len(images)} images of images.txt, but lacks {len(unmarked)}, "
            f"first {unmarked[0]}; {REMEDY}"
        )
    rows = [row for row, image in enumerate(images) if marks[image] == SPLIT_MARKS[split]]
    if not rows:
        raise UserError(
            f"{path} must mark {split} images by {SPLIT_MARKS[split]}, but has none; {REMEDY}"
        )
    return rows


def _read_list(
    path: Path, form: re.Pattern[str], expected: str, ids: Container[int] | None = None
) -> dict[int, str]:
    """Read the text behind each line's id, in ascending order of id.

    Args:
        ids: that the list may speak of; None for a list of names, which differ.
    """
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise _cannot_read(path, error) from error
    entries: dict[int, str] = {}
    names = set()
    for number, line in enumerate(lines, 1):
        fields = form.fullmatch(line.strip())
        if fields is None or (ids is not None and int(fields[1]) not in ids):
            if line.strip():
                raise _bad_line(path, number, line, expected)
        elif int(fields[1]) in entries or fields[2] in names:
            raise _bad_line(path, number, line, expected, ", which repeats an earlier line")
        else:
            entries[int(fields[1])] = fields[2]
            if ids is None:
                names.add(fields[2])
    if not entries:
        raise UserError(f"{path} must hold lines of {expected}, but is empty; {REMEDY}")
    return dict(sorted(entries.items()))


def _cannot_read(path: Path, error: OSError) -> UserError:
    return UserError(f"expected the list {path}, but found: {error.strerror}; {REMEDY}")


def _bad_line(
    path: Path, number: int, line: str | bytes, expected: str, repeated: str = ""
) -> UserError:
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    return UserError(
        f"{path}, line {number}: expected {expected}, but found '{' '.join(text.split())[:80]}'"
        f"{repeated}; {REMEDY}"
    )
