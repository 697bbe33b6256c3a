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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO

from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split
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
    """One split of COCO, in ascending order of image id; ids are those numbers as text.

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
        ids=[str(image["id"]) for image in content.images],
        allow_missing=allow_missing,
    )


class Instances(NamedTuple):
    """The content of a COCO annotation file: N images, ascending by id, and C classes.

    images: its entries of them. classes: names, by category id. targets: (N, C) int8 in {0, 1}.
    category_ids: of the classes.
    """

    images: list[dict[str, Any]]
    file_names: list[str]
    classes: list[str]
    targets: np.ndarray
    category_ids: list[int]


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
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} must be COCO instances, with images, annotations and categories, but found: "
            f"{reason}; {'correct it' if every_image else 'download it again'}"
        ) from error


def index_instances(path: Path, every_image: bool) -> Instances:
    """`read_instances` with the errors of reading and indexing as they come."""
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by printing
        content = COCO(str(path))
    annotations = content.dataset["annotations"]
    columns = {}
    for key, listed in (("image_id", content.imgs), ("category_id", content.cats)):
        columns[key] = np.fromiter((item[key] for item in annotations), np.int64, len(annotations))
        unlisted = set(columns[key].tolist()) - set(listed)
        if unlisted:
            raise ValueError(f"an annotation of {key} {min(unlisted)}, which is not listed")
    if not annotations:
        raise ValueError("no annotation")
    image_ids = np.array(sorted(content.imgs)) if every_image else np.unique(columns["image_id"])
    category_ids = np.array(sorted(content.cats))
    targets = np.zeros((len(image_ids), len(category_ids)), np.int8)
    rows = np.searchsorted(image_ids, columns["image_id"])
    targets[rows, np.searchsorted(category_ids, columns["category_id"])] = 1
    images = [content.imgs[image] for image in image_ids.tolist()]
    file_names = [str(image["file_name"]) for image in images]
    classes = [str(content.cats[category]["name"]) for category in category_ids.tolist()]
    return Instances(images, file_names, classes, targets, category_ids.tolist())
