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


def load_data(options: argparse.Namespace) -> tuple[LabelledImages, LabelledImages]:
    """Training and test split of --dataset.

    Args:
        options: dataset, num_cls, path_images, labels, classes, seed and allow_missing, from
            `utils.options`.

    Raises:
        UserError: anything that is missing or malformed, or a wrong --num_cls.
    """
    splits: dict[Split, LabelledImages]
    if options.dataset == "digits":
        splits = {"train": digits.load("train"), "test": digits.load("test")}
    elif options.dataset == "files":
        splits = listed.load(
            options.labels,
            options.path_images,
            options.classes,
            options.seed,
            options.allow_missing,
        )
    else:
        load = LOADERS[options.dataset]
        splits = {
            "train": load(options.path_images, "train", options.allow_missing),
            "test": load(options.path_images, "test", options.allow_missing),
        }
    train, test = splits["train"], splits["test"]
    if train.classes != test.classes:
        raise UserError(
            f"expected the same classes in training and test of {options.dataset}, but found "
            f"{len(train.classes)} and {len(test.classes)}, or another order: check the files"
        )
    if options.num_cls not in (None, len(train.classes)):
        raise UserError(
            f"--num_cls {options.num_cls}, but {options.dataset} has {len(train.classes)} "
            "classes: leave the flag out"
        )
    return train, test
