"""PASCAL VOC2007: 20 classes, 5,011 training (trainval) and 4,952 test images.

    VOCdevkit                        <- root; VOC2007 itself will do too
        VOC2007
            Annotations              000001.xml ...: read only where a class list is missing
            ImageSets
                Main                 trainval.txt, test.txt: the images of a split
                                     aeroplane_trainval.txt ... tvmonitor_test.txt: the labels
            JPEGImages               000001.jpg ...

Unpack VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar in one place.
Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2007/
"""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()
LIST_NAMES = {"train": "trainval", "test": "test"}
IMAGE_LINE = re.compile(r"(\w+)")
LABEL_LINE = re.compile(r"(\w+)\s+(1|0|-1)")
ENCODING = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")
# The lists write 0 for difficult and -1 for absent; targets write -1 and 0.
TARGETS = {"1": 1, "0": -1, "-1": 0}
REMEDY = "unpack the VOC2007 archives again, or check --path_images"


def load(root: str | Path, split: Split, allow_missing: bool = False) -> LabelledImages:
    """One split of VOC2007, in ascending order of ids such as "000005".

    A class of which an image shows only difficult objects has target -1, in training too; what
    to make of it is left to training and evaluation.

    Args:
        root: the folder VOCdevkit, or VOC2007 in it.
        split: train, which is VOC's trainval, or test.
        allow_missing: leave out images without a file.

    Raises:
        UserError: a folder, list, annotation or image is missing, or a file is malformed.
    """
    root = Path(root)
    for folder in (root / "VOC2007", root):
        if (folder / "ImageSets" / "Main").is_dir():
            break
    else:
        raise UserError(
            f"expected {root / 'VOC2007' / 'ImageSets' / 'Main'}, but there is no such folder; "
            "--path_images must be the folder VOCdevkit"
        )
    ids, targets = read_labels(folder / "ImageSets" / "Main", folder / "Annotations", split)
    names = [f"{image}.jpg" for image in ids]
    return open_images(
        folder / "JPEGImages", names, CLASSES, targets, ids=ids, allow_missing=allow_missing
    )


def read_labels(lists: Path, annotations: Path, split: Split) -> tuple[list[str], np.ndarray]:
    """Ids, ascending, and targets (N, 20) int8 in {1, 0, -1} of one split.

    Args:
        lists: the folder ImageSets/Main.
        annotations: the folder Annotations, read where a class has no list.

    Raises:
        UserError: a file is missing or malformed.
    """
    name = LIST_NAMES[split]
    ids = sorted(_read_list(lists / f"{name}.txt", IMAGE_LINE, "one image id"))
    targets = np.empty((len(ids), len(CLASSES)), np.int8)
    without_list = []
    for column, class_name in enumerate(CLASSES):
        path = lists / f"{class_name}_{name}.txt"
        if path.exists():
            targets[:, column] = _read_class(path, ids)
        else:
            without_list.append(column)
    if without_list:
        rows = [_read_annotation(annotations / f"{image}.xml") for image in ids]
        targets[:, without_list] = np.array(rows)[:, without_list]
    return ids, targets


def _read_list(path: Path, form: re.Pattern[str], expected: str) -> dict[str, str]:
    """The last group that `form` finds in each line, by the first, the image id."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(
            f"expected the image list {path}, but found: {error.strerror}; {REMEDY}"
        ) from error
    entries: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        fields = form.fullmatch(line.strip())
        if fields is not None and fields[1] not in entries:
            entries[fields[1]] = fields[form.groups]
        elif line.strip():
            repeated = "" if fields is None else ", which an earlier line names"
            raise UserError(
                f"{path}, line {number}: expected {expected}, but found "
                f"'{line.strip()[:80]}'{repeated}; {REMEDY}"
            )
    if not entries:
        raise UserError(f"{path} must name images, but is empty; {REMEDY}")
    return entries


def _read_class(path: Path, ids: list[str]) -> list[int]:
    """Targets of one class for `ids`; the list may hold more images."""
    marks = _read_list(path, LABEL_LINE, "an image id and 1, 0 or -1")
    missing = [image for image in ids if image not in marks]
    if missing:
        raise UserError(
            f"{path} must label all {len(ids)} images of the split, but lacks {len(missing)}, "
            f"first {missing[0]}; {REMEDY}"
        )
    return [TARGETS[marks[image]] for image in ids]


def _read_annotation(path: Path) -> list[int]:
    """Targets (20) of one image: 1 where any object is not difficult, -1 where all are."""
    try:
        objects = parse_xml(path.read_bytes()).iterfind("object")
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"expected the annotation {path} in place of missing class lists, but found: "
            f"{reason}; {REMEDY}"
        ) from error
    targets = [0] * len(CLASSES)
    for item in objects:
        name = item.findtext("name", "").strip()
        if name not in CLASSES:
            raise UserError(
                f"{path}: expected objects of the 20 classes of VOC, but found '{name}'; {REMEDY}"
            )
        column = CLASSES.index(name)
        if item.findtext("difficult", "0").strip() != "1":
            targets[column] = 1
        elif targets[column] == 0:
            targets[column] = -1
    return targets


def parse_xml(content: bytes) -> ElementTree.Element:
    """The root of an XML file, in any encoding that Python knows.

    Bytes that do not fit the encoding are replaced: no name of a class has other than ASCII's.

    Raises:
        ElementTree.ParseError: it is damaged.
        LookupError, ValueError: no such encoding exists.
    """
    declared = ENCODING.match(content)
    if declared is None:
        return ElementTree.fromstring(content)  # UTF-8, or UTF-16, which expat tells by itself
    return ElementTree.fromstring(content.decode(declared[1].decode(), "replace"))
