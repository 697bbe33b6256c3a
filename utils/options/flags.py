"""Flags that several scripts have, and the kinds of their values.

Nothing here imports torch, so that --help answers at once.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from utils.errors import UserError
from utils.options.defaults import CHOICES


def number(
    kind: Callable[[str], Any],
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
) -> Callable[[str], Any]:
    """An argparse type: a finite number of `kind` in [low, high], or (low, high] if open_low.

    Alternatives as the authors' README writes them, '224/448', stand for the first of them.
    """

    noun = "a whole number" if kind is int else "a number"

    def parse(text: str) -> Any:
        first, *others = text.split("/")
        try:
            value = kind(first)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {noun}, but got {text!r}") from None
        if not (low < value if open_low else low <= value) or not value <= high:
            left = f"above {low:g}" if open_low else f"of at least {low:g}"
            right = "" if high > 1e9 else f" and at most {high:g}"
            raise argparse.ArgumentTypeError(f"expected {noun} {left}{right}, but got {text}")
        if others:
            print(f"{text} lists alternatives: taking the first, {first}", file=sys.stderr)
        return value

    return parse


COUNT = number(int, 1)
NATURAL = number(int, 0, 2**63 - 1)
POSITIVE = number(float, 0, open_low=True, high=1e9)
SHARE = number(float, 0, 1)
RATE = number(float, 0, 0.99)
NOT_NEGATIVE = number(float, 0, high=1e9)

# Of flags that name a file or folder to read: what to give.
INPUTS = {
    "path_images": "the data set's folder",
    "labels": "the file that lists your images",
    "classes": "the file of class names",
    "class_rates": "JSON, {class name: rate}",
    "load_from": "a run's folder or a weight file",
    "weights": "imagenet, none, or a .pth or .safetensors file",
}


class ScriptParser(argparse.ArgumentParser):
    """Flags in full only, and one line, not the usage, for what is wrong with them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        line = " ".join(message.split())
        self.exit(2, f"error: {line}; {self.prog} --help lists all flags\n")

    def need(self, options: argparse.Namespace, name: str, expected: str) -> None:
        """Bad usage where a flag is missing; `required` would say so before misspelt ones."""
        if getattr(options, name) is None:
            self.error(f"--{name} is needed: {expected}")


def add_data_flags(
    parser: argparse.ArgumentParser, datasets: list[str], without: str = "needed"
) -> Any:
    """The flags that name images and labels; returns their group.

    Args:
        parser: to add them to.
        datasets: values of --dataset.
        without: what holds where --dataset is not given.
    """
    data = parser.add_argument_group("data")
    add = data.add_argument
    add(
        "--dataset",
        choices=datasets,
        help=f"files: your own images ({without})",
    )
    add(
        "--num_cls",
        type=COUNT,
        help="classes the data set must have (default: any)",
    )
    add("--path_images", metavar="DIR", help="folder of the data set, e.g. Dataset/VOCdevkit")
    if "files" in datasets:
        add(
            "--labels",
            metavar="FILE",
            help="of --dataset files: .csv, .jsonl or COCO's .json; its paths start from "
            "--path_images (default: the folder of this file)",
        )
        add(
            "--classes",
            metavar="FILE",
            help="of --dataset files: class names, one a line (default: those in --labels)",
        )
    add(
        "--allow_missing",
        action="store_true",
        default=None,
        help="go on without the listed images that have no file (default: an error)",
    )
    return data


def check_data_flags(parser: ScriptParser, options: argparse.Namespace) -> None:
    """Bad usage (exit status 2) where a needed flag is missing or one would do nothing."""
    parser.need(options, "dataset", "the name of a data set, or files for your own images")
    for name in ("labels", "classes"):
        given = getattr(options, name, None) is not None
        if given and options.dataset != "files":
            parser.error(f"--{name} is for --dataset files")
    if options.dataset == "files":
        parser.need(options, "labels", "the file that lists your images and their labels")
    elif options.dataset != "digits":
        parser.need(options, "path_images", f"the folder that holds {options.dataset}")


def check_inputs(options: argparse.Namespace, **more: str) -> None:
    """Refuse what is to be read and is not there, before anything is loaded.

    Args:
        options: those among them that are in `INPUTS` or `more` are looked at.
        more: what to give of flags that `INPUTS` lacks, or has in other words.

    Raises:
        UserError: one names nothing that exists, or nothing that may be looked at.
    """
    for name, expected in (INPUTS | more).items():
        place = getattr(options, name, None)
        if place is None or (name == "weights" and place in ("imagenet", "none")):
            continue
        try:
            os.stat(place)
        except PermissionError:
            raise UserError(
                f"--{name} {place} lies in a folder that you may not read: give {expected}"
            ) from None
        except (OSError, ValueError):  # or a name that no file can have
            raise UserError(f"--{name} {place} does not exist: give {expected}") from None


def add_checkpoint_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name a trained classifier and say how to run it."""
    group = parser.add_argument_group("checkpoint")
    add = group.add_argument
    add(
        "--load_from",
        metavar="FILE",
        help="a run's folder, or a .pth, .pt or .safetensors file: a run's, one of the method's "
        "authors or one of CSRA (needed)",
    )
    add("--img_size", type=number(int, 16), help="side of the input in pixels (default: the run's)")
    add(
        "--normalize",
        choices=CHOICES["normalize"],
        help="channel statistics (default: the run's); both, and --lam, of a file without a run: "
        "those published for --dataset",
    )
    add("--lam", type=NOT_NEGATIVE, help="weight of csra's attention term (default: the run's)")
    add("--model", metavar="NAME", help="trunk, by its timm name (default: as the keys tell)")
    add("--head", choices=CHOICES["head"], help="must be the weights' own (default: as they tell)")
    add("--num_heads", type=COUNT, help="must be the weights' own (default: as they tell)")
    add_machine_flags(parser)


def add_machine_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say where and how a trained classifier runs."""
    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, ...; auto takes cuda if there is one")
    add(
        "--amp",
        choices=CHOICES["amp"][1:],
        help="mixed precision (default: the run's, on the kind of device it ran on; else off)",
    )
    add(
        "--workers",
        type=NATURAL,
        help="loader processes (default: one a core, 8 at most; digits 0)",
    )
    add(
        "--batch_size",
        type=COUNT,
        default=16,
        help="images loaded at a time; it changes no score (default 16)",
    )


def add_noise_flags(group: Any) -> None:
    """The flags that say how false labels are drawn."""
    group.add_argument(
        "--noise",
        choices=["uniform", "class", "cooccurrence", "instance"],
        default="uniform",
        help="how false labels are drawn: all alike; by a rate a class; by how often they appear "
        "with the image's true ones; by a trained run's scores (default uniform)",
    )
    group.add_argument(
        "--load_from",
        metavar="RUN",
        help="of --noise instance: a run or weight file on these classes",
    )


def check_noise_flags(
    parser: argparse.ArgumentParser, options: argparse.Namespace, rates: list[float]
) -> None:
    """Refuse what `add_noise_flags` takes and does not go together, or not with `rates`."""
    if options.noise == "class" and max(rates) > 0.5:
        parser.error("--noise class needs rates of at most 0.5: those of classes go up to twice it")
    if (options.noise == "instance") != (options.load_from is not None):
        parser.error("--noise instance and --load_from belong together")
