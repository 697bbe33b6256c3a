"""MS-COCO 2014: 80 classes, 82,081 training (train2014) and 40,137 test (val2014) images.

    COCO2014                         <- root
        annotations                  instances_train2014.json, instances_val2014.json
        images
            train2014                COCO_train2014_000000000009.jpg ...
            val2014                  COCO_val2014_000000000042.jpg ...

Those are the images with an annotation; 702 and 367 others have none and are left out.
Source: https://cocodataset.org/#download
"""

import contextlib
import io
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO

from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split, check_classes
from utils.errors import UserError

# By category id, the order of the columns, for those who have no annotation file at hand.
CLASSES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,"
    "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
).split(",")
FOLDERS = {"train": "train2014", "test": "val2014"}
# What parsing and indexing JSON of another shape raises; running out of memory is not among it.
MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
)


def load(root: str | Path, split: Split, allow_missing: bool = False) -> LabelledImages:
    """One split of COCO, in ascending order of image id.

    Targets are 1 where an image has any annotation of the class, crowds included, else 0.
    Classes are ordered by category id.

    Args:
        root: the folder COCO2014.
        split: train, or test, which is COCO's validation split.
        allow_missing: leave out images without a file.

    Raises:
        UserError: the annotations or an image are missing, or the file is no COCO instances.
    """
    folder = FOLDERS[split]
    root = Path(root)
    content = read_instances(root / "annotations" / f"instances_{folder}.json")
    return open_images(
        root / "images" / folder,
        content.file_names,
        content.classes,
        content.targets,
        ids=[identity(image["id"]) for image in content.images],
        allow_missing=allow_missing,
    )


class Instances(NamedTuple):
    """The content of a COCO annotation file: N images, ascending by id, and C classes.

    images: its entries of them. classes: names, by category id. targets: (N, C) int8 in {0, 1}.
    category_ids: of the classes, as `identity` has them.
    """

    images: list[dict[str, Any]]
    file_names: list[str]
    classes: list[str]
    targets: np.ndarray
    category_ids: list[str]


def read_instances(path: Path, every_image: bool = False) -> Instances:
    """Read an annotation file.

    Args:
        path: of the .json.
        every_image: keep images without annotation, whose targets are 0, as in a user's own file.

    Raises:
        UserError: the file is missing or no COCO instances.
    """
    try:
        return index_instances(path, every_image)
    except OSError as error:
        place = "--path_images must be the folder COCO2014, with annotations and images in it"
        raise UserError(
            f"expected the annotations {path}, but found: {error.strerror}; "
            f"{'check --labels' if every_image else place}"
        ) from error
    except MALFORMED as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        remedy = "correct it" if every_image else "download it again"
        if every_image and isinstance(error, AssertionError):  # the file is a list
            reason, remedy = "no JSON object", "write a list as .jsonl, with an object on each line"
        raise UserError(
            f"{path} must be COCO instances, with images, annotations and categories, but found: "
            f"{reason}; {remedy}"
        ) from error


def index_instances(path: Path, every_image: bool) -> Instances:
    """`read_instances` with the errors of reading and indexing as they come."""
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by printing
        content = COCO(str(path))
    annotations = content.dataset["annotations"]
    images, categories = (by_id(content.dataset[key], key) for key in ("images", "categories"))
    pairs = []
    for key, listed in (("image_id", images), ("category_id", categories)):
        pairs.append([identity(item[key]) for item in annotations])
        unlisted = set(pairs[-1]) - set(listed)
        if unlisted:
            raise ValueError(
                f"an annotation of {key} {shown_id(min(unlisted))}, which is not listed"
            )
    if not annotations:
        raise ValueError("no annotation")
    image_ids = list(images) if every_image else sorted(set(pairs[0]), key=order_of)
    rows, columns = (
        {name: place for place, name in enumerate(ids)} for ids in (image_ids, categories)
    )
    classes = [str(category["name"]) for category in categories.values()]
    check_classes(path, len(rows), classes, len(annotations))
    targets = np.zeros((len(rows), len(columns)), np.int8)
    targets[[rows[name] for name in pairs[0]], [columns[name] for name in pairs[1]]] = 1
    found = [images[name] for name in image_ids]
    file_names = [str(image["file_name"]) for image in found]
    return Instances(found, file_names, classes, targets, list(categories))


def by_id(items: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Images or categories by `identity`, in ascending order of it.

    Raises:
        ValueError: two of them have one id, of which either could be meant.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        name = identity(item["id"])
        if name in found:
            raise ValueError(f"two {kind} of id {shown_id(name)}")
        found[name] = item
    return {name: found[name] for name in sorted(found, key=order_of)}


def identity(value: Any) -> str:
    """An id as text, alike for 1, 1.0 and "1", which programs write for each other.

    Raises:
        ValueError: it is no whole number and no text.

    >>> identity(1), identity(1.0), identity("a1")
    ('1', '1', 'a1')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"the id {reprlib.repr(value)}, which is no whole number and no text")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("an id that is too large")
    return str(value)


def shown_id(identity: str) -> str:
    """An id in a message: texts quoted, since they may hold anything."""
    is_text, *_ = order_of(identity)
    return reprlib.repr(identity) if is_text else identity


def order_of(identity: str) -> tuple[bool, int, str]:
    """Sort key of ids: numbers by value, then texts."""
    is_number = identity.lstrip("-").isdecimal() and identity.isascii() and len(identity) < 20
    return not is_number, int(identity) if is_number else 0, identity
