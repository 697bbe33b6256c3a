"""The data sets by name: from options to the images and labels they ask for."""

from collections.abc import Callable, Sequence

from pipeline.data import coco, cub200, digits, label_file, nuswide, vg256, voc
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError
from utils.options.groups import DataOptions

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
    options: DataOptions,
    wanted: Sequence[Split],
    seed: int,
    say: Callable[[str], None] | None = None,
) -> dict[Split, LabelledImages]:
    """Splits of --dataset; the images of one that is not wanted need not be there.

    Args:
        options: what to load.
        wanted: which splits.
        seed: divides files without a split.
        say: takes a line on what was understood of a user's own list.

    Raises:
        UserError: anything that is missing or malformed, or a wrong --num_cls.
    """
    splits: dict[Split, LabelledImages]
    place, missing = options.path_images, options.allow_missing
    if options.dataset == "digits":
        splits = {split: digits.load(split) for split in wanted}
    elif options.dataset == "files":
        splits = label_file.load(
            named(options.labels, "labels"),
            place,
            options.classes,
            seed=seed,
            allow_missing=missing,
            wanted=wanted,
            reading=label_file.reading_of(options),
            say=say,
        )
    else:
        load = LOADERS[options.dataset]
        splits = {split: load(named(place, "path_images"), split, missing) for split in wanted}
    for data in splits.values():
        if options.num_cls not in (None, len(data.classes)):
            raise UserError(
                f"--num_cls {options.num_cls}, but {options.dataset} has {len(data.classes)} "
                "classes: leave the flag out"
            )
    return splits


def named(place: str | None, flag: str) -> str:
    """The place that a flag, or a run's config.json, names."""
    if place is None:
        raise UserError(f"no place of the data is known: give --{flag}")
    return place


def load_data(
    options: DataOptions, seed: int, say: Callable[[str], None] | None = None
) -> tuple[LabelledImages, LabelledImages]:
    """Training and test split of --dataset, as `load_splits` gives them.

    Raises:
        UserError: as there, or the splits differ in their classes.
    """
    splits = load_splits(options, ("train", "test"), seed, say)
    train, test = splits["train"], splits["test"]
    if train.classes != test.classes:
        raise UserError(
            f"expected the same classes in training and test of {options.dataset}, but found "
            f"{len(train.classes)} and {len(test.classes)}, or another order: check the files"
        )
    return train, test
