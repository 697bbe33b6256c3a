"""Options that several scripts have."""

from dataclasses import dataclass

from utils.options.choices import DATASETS
from utils.options.kinds import COUNT, NATURAL, NOT_NEGATIVE, SIDE, SWITCH, Choice
from utils.options.table import OptionsParser, option

NORMALIZE = Choice(("none", "imagenet", "trunk"))
HEAD = Choice(("csra", "gap"))
AMP = Choice(("auto", "off", "bf16", "fp16"))


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Images and labels. `dataset` is None only before a run's own has been filled in."""

    dataset: str = option(
        None,
        "files: your own images",
        Choice(DATASETS),
        group="data",
        shown_default="needed",
    )
    num_cls: int | None = option(
        None, "classes the data set must have", COUNT, group="data", shown_default="default: any"
    )
    path_images: str | None = option(
        None,
        "folder of the data set, e.g. Dataset/VOCdevkit",
        group="data",
        metavar="DIR",
        shown_default="",
        on_resume="move",
        reads="the data set's folder",
    )
    labels: str | None = option(
        None,
        "of --dataset files: .csv, .jsonl or COCO's .json; its paths start from --path_images",
        group="data",
        metavar="FILE",
        shown_default="default: the folder of this file",
        on_resume="move",
        reads="the file that lists your images",
    )
    classes: str | None = option(
        None,
        "of --dataset files: class names, one a line",
        group="data",
        metavar="FILE",
        shown_default="default: those in --labels",
        on_resume="move",
        reads="the file of class names",
    )
    allow_missing: bool = option(
        False,
        "go on without the listed images that have no file (default: an error)",
        SWITCH,
        group="data",
    )


def check_data_options(parser: OptionsParser, options: DataOptions) -> None:
    """Bad usage (exit status 2) where a needed flag is missing or one would do nothing."""
    parser.need(
        options.dataset, "--dataset", "the name of a data set, or files for your own images"
    )
    for name in ("labels", "classes"):
        if getattr(options, name) is not None and options.dataset != "files":
            parser.error(f"--{name} is for --dataset files")
    if options.dataset == "files":
        parser.need(options.labels, "--labels", "the file that lists your images and their labels")
    elif options.dataset != "digits":
        parser.need(
            options.path_images, "--path_images", f"the folder that holds {options.dataset}"
        )


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """The machine that a trained classifier runs on."""

    device: str = option(
        "auto",
        "auto, cpu, cuda, ...; auto takes cuda if there is one",
        group="machine",
        shown_default="",
    )
    amp: str | None = option(
        None,
        "mixed precision",
        Choice(AMP.values[1:]),
        group="machine",
        shown_default="default: the run's, on the kind of device it ran on; else off",
    )
    workers: int | None = option(
        None,
        "loader processes",
        NATURAL,
        group="machine",
        shown_default="default: one a core, 8 at most; digits 0",
    )
    batch_size: int = option(
        16, "images loaded at a time; it changes no score", COUNT, group="machine"
    )


@dataclass(frozen=True, kw_only=True)
class WeightOptions:
    """A trained classifier's weights, and what they do not say themselves."""

    load_from: str = option(
        None,
        "a run's folder, or a .pth, .pt or .safetensors file: a run's, one of the method's authors "
        "or one of CSRA",
        group="checkpoint",
        metavar="FILE",
        shown_default="needed",
        reads="a run's folder or a weight file",
    )
    img_size: int | None = option(
        None,
        "side of the input in pixels",
        SIDE,
        group="checkpoint",
        shown_default="default: the run's",
    )
    normalize: str | None = option(
        None,
        "channel statistics",
        NORMALIZE,
        group="checkpoint",
        shown_default="default: the run's; these three of a file without a run: those published "
        "for --dataset",
    )
    lam: float | None = option(
        None,
        "weight of csra's attention term",
        NOT_NEGATIVE,
        group="checkpoint",
        shown_default="default: the run's",
    )
    model: str | None = option(
        None,
        "trunk, by its timm name",
        group="checkpoint",
        metavar="NAME",
        shown_default="default: as the keys tell",
    )
    head: str | None = option(
        None,
        "must be the weights' own",
        HEAD,
        group="checkpoint",
        shown_default="default: as they tell",
    )
    num_heads: int | None = option(
        None,
        "must be the weights' own",
        COUNT,
        group="checkpoint",
        shown_default="default: as they tell",
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(MachineOptions, WeightOptions):
    """A trained classifier, and how to run it."""


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """The noise: which false labels are drawn."""

    noise: str = option(
        "uniform",
        "how false labels are drawn: all alike; by a rate a class; by how often they appear with "
        "the image's true ones; by a trained run's scores",
        Choice(("uniform", "class", "cooccurrence", "instance")),
        group="noise",
    )
    load_from: str | None = option(
        None,
        "of --noise instance: a run or weight file on these classes",
        group="noise",
        metavar="RUN",
        shown_default="",
        reads="a run's folder or a weight file",
    )


def check_noise_options(parser: OptionsParser, options: NoiseOptions, highest_rate: float) -> None:
    """Bad usage where these do not go together, or not with a rate of at most `highest_rate`."""
    if options.noise == "class" and highest_rate > 0.5:
        parser.error("--noise class needs rates of at most 0.5: those of classes go up to twice it")
    if (options.noise == "instance") != (options.load_from is not None):
        parser.error("--noise instance and --load_from belong together")
