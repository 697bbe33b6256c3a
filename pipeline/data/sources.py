"""From options to the images and labels they name."""

import argparse

from pipeline.data import coco, cub200, digits, listed, nuswide, vg256, voc
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError

LOADERS = {
    "voc07": voc.load,
    "coco": coco.load,
    "nuswide": nuswide.load,
    "vg256": vg256.load,
    "cub200": cub200.load,
}
# Where a data set's protocol differs from `train_transform`'s defaults: digits are no mirror
# images of each other, and the released code crops NUS-WIDE in a way of its own.
AUGMENTATION: dict[str, dict[str, bool]] = {
    "digits": {"flip": False},
    "nuswide": {"multi_scale": True},
}


def load_split(options: argparse.Namespace, split: Split) -> LabelledImages:
    """One split of --dataset; the images of the other need not be there.

    Args:
        options: dataset, num_cls, path_images, labels, classes, seed and allow_missing, from
            `utils.options`.
        split: which.

    Raises:
        UserError: anything that is missing or malformed, or a wrong --num_cls.
    """
    if options.dataset == "digits":
        data = digits.load(split)
    elif options.dataset == "files":
        data = listed.load(
            options.labels,
            options.path_images,
            options.classes,
            options.seed,
            options.allow_missing,
            only=split,
        )[split]
    else:
        data = LOADERS[options.dataset](options.path_images, split, options.allow_missing)
    if options.num_cls not in (None, len(data.classes)):
        raise UserError(
            f"--num_cls {options.num_cls}, but {options.dataset} has {len(data.classes)} "
            "classes: leave the flag out"
        )
    return data


def load_data(options: argparse.Namespace) -> tuple[LabelledImages, LabelledImages]:
    """Training and test split of --dataset, as `load_split` gives them.

    Raises:
        UserError: as there, or the splits differ in their classes.
    """
    train, test = load_split(options, "train"), load_split(options, "test")
    if train.classes != test.classes:
        raise UserError(
            f"expected the same classes in training and test of {options.dataset}, but found "
            f"{len(train.classes)} and {len(test.classes)}, or another order: check the files"
        )
    return train, test
