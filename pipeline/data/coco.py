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

import numpy as np
from pycocotools.coco import COCO

from pipeline.data.images import find_images
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError

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


def load(root: str | Path, split: Split) -> LabelledImages:
    """One split of COCO, in ascending order of image id; ids are those numbers as text.

    Targets are 1 where an image has any annotation of the class, crowds included, else 0.
    Classes are ordered by category id.

    Args:
        root: the folder COCO2014.
        split: train, or test, which is COCO's validation split.

    Raises:
        UserError: the annotations or an image are missing, or the file is no COCO instances.
    """
    folder = FOLDERS[split]
    path = Path(root) / "annotations" / f"instances_{folder}.json"
    try:
        image_ids, file_names, classes, targets = read_instances(path)
    except OSError as error:
        raise UserError(
            f"expected the annotations {path}, but found: {error.strerror}; --path_images must be "
            "the folder COCO2014, with annotations and images in it"
        ) from error
    except MALFORMED as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} must be COCO instances, with images, annotations and categories, but found: "
            f"{reason}; download it again"
        ) from error
    images = find_images(Path(root) / "images" / folder, file_names)
    return LabelledImages(images, classes, targets, image_ids.astype(str))


def read_instances(path: Path) -> tuple[np.ndarray, list[str], list[str], np.ndarray]:
    """Image ids (N,), file names, class names and targets (N, C) of one annotation file.

    Errors are those of reading and of indexing what was read: the caller translates them.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by printing
        coco = COCO(str(path))
    annotations = coco.dataset["annotations"]
    columns = {}
    for key, listed in (("image_id", coco.imgs), ("category_id", coco.cats)):
        columns[key] = np.fromiter((item[key] for item in annotations), np.int64, len(annotations))
        unlisted = set(columns[key].tolist()) - set(listed)
        if unlisted:
            raise ValueError(f"an annotation of {key} {min(unlisted)}, which is not listed")
    if not annotations:
        raise ValueError("no annotation")
    image_ids, rows = np.unique(columns["image_id"], return_inverse=True)
    category_ids = np.array(sorted(coco.cats))
    targets = np.zeros((len(image_ids), len(category_ids)), np.int8)
    targets[rows, np.searchsorted(category_ids, columns["category_id"])] = 1
    file_names = [str(coco.imgs[image]["file_name"]) for image in image_ids.tolist()]
    classes = [str(coco.cats[category]["name"]) for category in category_ids.tolist()]
    return image_ids, file_names, classes, targets
