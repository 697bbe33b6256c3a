"""From options to the images and labels they name."""

import argparse
from collections.abc import Sequence

from pipeline.data import coco, cub200, digits, label_file, nuswide, vg256, voc
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


def load_splits(
    options: argparse.Namespace, wanted: Sequence[Split]
) -> dict[Split, LabelledImages]:
    """Splits of --dataset; the images of one that is not wanted need not be there.

    Args:
        options: dataset, num_cls, path_images, labels, classes, seed and allow_missing, from
            `utils.options.flags.add_data_flags`.
        wanted: which.

    Raises:
        UserError: anything that is missing or malformed, or a wrong --num_cls.
    """
    splits: dict[Split, LabelledImages]
    if options.dataset == "digits":
        splits = {split: digits.load(split) for split in wanted}
    elif options.dataset == "files":
        splits = label_file.load(
            options.labels,
            options.path_images,
            options.classes,
            options.seed,
            options.allow_missing,
            wanted,
        )
    else:
        load = LOADERS[options.dataset]
        splits = {
            split: load(options.path_images, split, options.allow_missing) for split in wanted
        }
    for data in splits.values():
        if options.num_cls not in (None, len(data.classes)):
            raise UserError(
                f"--num_cls {options.num_cls}, but {options.dataset} has {len(data.classes)} "
                "classes: leave the flag out"
            )
    return splits


def load_data(options: argparse.Namespace) -> tuple[LabelledImages, LabelledImages]:
    """Training and test split of --dataset, as `load_splits` gives them.

    Raises:
        UserError: as there, or the splits differ in their classes.
    """
    splits = load_splits(options, ("train", "test"))
    train, test = splits["train"], splits["test"]
    if train.classes != test.classes:
        raise UserError(
            f"expected the same classes in training and test of {options.dataset}, but found "
            f"{len(train.classes)} and {len(test.classes)}, or another order: check the files"
        )
    return train, test
