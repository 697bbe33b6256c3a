"""Options that several scripts have."""

import functools
from dataclasses import dataclass

from utils.options.choices import DATASETS
from utils.options.kinds import COLUMN, COUNT, NATURAL, NOT_NEGATIVE, RATE, SIDE, SWITCH, Choice
from utils.options.table import OptionsParser, option

NORMALIZE = Choice(("none", "imagenet", "trunk"))
HEAD = Choice(("csra", "gap", "decoder"))
AMP = Choice(("auto", "off", "bf16", "fp16"))

data_flag = functools.partial(option, group="data")
machine_flag = functools.partial(option, group="machine")
weight_flag = functools.partial(option, group="checkpoint")
noise_flag = functools.partial(option, group="noise")
output_flag = functools.partial(option, group="output")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Images and labels. `dataset` is None only before a run's own has been filled in."""

    dataset: str = data_flag(None, "files: your own images", Choice(DATASETS), shown="needed")
    num_cls: int | None = data_flag(
        None, "classes the data set must have", COUNT, shown="default: any"
    )
    path_images: str | None = data_flag(
        None,
        "folder of the data set, e.g. Dataset/VOCdevkit",
        metavar="DIR",
        shown="",
        on_resume="move",
        reads="the data set's folder",
    )
    labels: str | None = data_flag(
        None,
        "of --dataset files: a list (.csv, .tsv, .jsonl, COCO's .json, .xlsx, .parquet), or a "
        "folder that has one a class; paths start from --path_images",
        metavar="FILE",
        shown="default: the folder of this file",
        on_resume="move",
        reads="the file that lists your images",
    )
    classes: str | None = data_flag(
        None,
        "of --dataset files: class names, one a line",
        metavar="FILE",
        shown="default: those in --labels",
        on_resume="move",
        reads="the file of class names",
    )
    columns: list[str] | None = data_flag(
        None,
        "of --dataset files: what holds what in --labels, such as path=photo labels=keywords (or "
        "labels=sea,sand, of one column a class), and split, true_labels, verified",
        COLUMN,
        metavar="WHAT=NAME",
        shown="default: by their usual names",
        many="+",
        since_value=None,
    )
    separator: str | None = data_flag(
        None,
        "of --dataset files: what joins labels in --labels: pipe, comma, semicolon, space, tab, "
        "list, or any text",
        metavar="SIGN",
        shown="default: | or what is certain",
        since_value=None,
    )
    rename: str | None = data_flag(
        None,
        "of --dataset files: other names of classes, old,new a line; old, drops a label",
        metavar="FILE",
        shown="default: none",
        since_value=None,
        on_resume="move",
        reads="the file of new names",
    )
    allow_missing: bool = data_flag(
        False,
        "go on without the listed images that have no file",
        SWITCH,
        shown="default: an error",
    )


def check_data_options(parser: OptionsParser, options: DataOptions) -> None:
    """Refuse a missing flag or one that would do nothing, with exit status 2."""
    parser.need(
        options.dataset, "--dataset", "the name of a data set, or files for your own images"
    )
    for name in ("labels", "classes", "columns", "separator", "rename"):
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

    device: str = machine_flag(
        "auto", "auto, cpu, cuda, ...; auto takes cuda if there is one", shown=""
    )
    amp: str | None = machine_flag(
        None,
        "mixed precision",
        Choice(AMP.values[1:]),
        shown="default: the run's, on the kind of device it ran on; else off",
    )
    workers: int | None = machine_flag(
        None, "loader processes", NATURAL, shown="default: one a core, 8 at most; digits 0"
    )
    batch_size: int = machine_flag(16, "images loaded at a time; it changes no score", COUNT)


@dataclass(frozen=True, kw_only=True)
class WeightOptions:
    """A trained classifier's weights, and what they do not say themselves."""

    load_from: str = weight_flag(
        None,
        "a run's folder, or a .pth, .pt or .safetensors file: a run's, one of the method's authors "
        "or one of CSRA",
        metavar="FILE",
        shown="needed",
        reads="a run's folder or a weight file",
    )
    img_size: int | None = weight_flag(
        None, "side of the input in pixels", SIDE, shown="default: the run's"
    )
    normalize: str | None = weight_flag(
        None,
        "channel statistics",
        NORMALIZE,
        shown="default: the run's; --img_size, --normalize and --lam of a file without a run: "
        "those published for --dataset",
    )
    lam: float | None = weight_flag(
        None, "weight of csra's attention term", NOT_NEGATIVE, shown="default: the run's"
    )
    model: str | None = weight_flag(
        None, "trunk, by its timm name", metavar="NAME", shown="default: as the keys tell"
    )
    head: str | None = weight_flag(
        None, "must be the weights' own", HEAD, shown="default: as they tell"
    )
    num_heads: int | None = weight_flag(
        None, "must be the weights' own", COUNT, shown="default: as they tell"
    )


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(MachineOptions, WeightOptions):
    """A trained classifier, and how to run it."""


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """The noise: which false labels are drawn."""

    noise: str = noise_flag(
        "uniform",
        "how false labels are drawn: all alike; by a rate a class; by how often they appear with "
        "the image's true ones; by a trained run's scores",
        Choice(("uniform", "class", "cooccurrence", "instance")),
    )
    missing: float = noise_flag(
        0.0,
        "share of true labels that are no candidates, drawn at random, but never an image's last",
        RATE,
    )
    load_from: str | None = noise_flag(
        None,
        "of --noise instance: a run or weight file on these classes",
        metavar="RUN",
        shown="",
        reads="a run's folder or a weight file",
    )


def check_noise_options(parser: OptionsParser, options: NoiseOptions, highest_rate: float) -> None:
    """Refuse these where they do not go together, or not with rates up to `highest_rate`."""
    if options.noise == "class" and highest_rate > 0.5:
        parser.error("--noise class needs rates of at most 0.5: those of classes go up to twice it")
    if (options.noise == "instance") != (options.load_from is not None):
        parser.error("--noise instance and --load_from belong together")
