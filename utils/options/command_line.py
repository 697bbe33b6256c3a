"""The command line of the training scripts, and how it is resolved.

Nothing here imports torch, so that --help answers at once.
"""

import argparse
import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.files import check_writable
from utils.options.choices import ABLATIONS, LOSSES, RECIPES
from utils.options.groups import check_data_options
from utils.options.kinds import Choice
from utils.options.stored import read_config, resumed_options
from utils.options.table import OptionsParser, check_inputs, flags_of
from utils.options.training import (
    ADDS_NOISE,
    FROZEN,
    NO_GPU,
    OWN_PHOTOS,
    RECIPE,
    SCRIPTS,
    TrainingOptions,
    defaults,
)

# The script that takes labels as they are found has defaults for a user's own photos.
OWN = {
    name: () if ADDS_NOISE in script.traits else (OWN_PHOTOS, NO_GPU)
    for name, script in SCRIPTS.items()
}


def make_parser(script: str) -> OptionsParser:
    """The parser of one of `SCRIPTS`."""
    description, datasets, traits = SCRIPTS[script]
    parser = OptionsParser(
        prog=f"{script}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # the losses stand in lines
    )
    parser.add_options(
        TrainingOptions,
        traits,
        (*datasets, *(RECIPES if RECIPE in traits else LOSSES), FROZEN, *OWN[script]),
        kinds={"dataset": Choice(datasets)},
        notes={"baseline": describe_losses()},
    )
    return parser


def describe_losses() -> str:
    """A line or two for each value of --loss."""
    indent = " " * (2 + max(map(len, LOSSES)))
    lines = [f"{name:{len(indent)}}{what}" for name, what in LOSSES.items()]
    return "\n".join(textwrap.fill(line, 78, subsequent_indent=indent) for line in lines)


def parse_options(script: str, argv: Sequence[str] | None = None) -> TrainingOptions:
    """Parse and resolve: every option has its value, from the flag, the run or the defaults.

    Args:
        script: one of `SCRIPTS`.
        argv: arguments; those of the process when None.

    Raises:
        UserError: --resume names no run, one of another script, or options that differ from it;
            or, of a new run, an input that a flag names does not exist.
        SystemExit: 2, bad usage.
    """
    parser = make_parser(script)
    given = parser.given(argv)
    cutmix = given.pop("cutmix", None)
    if cutmix is not None and given.setdefault("weights", cutmix) != cutmix:
        parser.error("--cutmix FILE means --weights FILE: give one of them")
    if "load_from" in given and "weights" in given:
        parser.error("--load_from brings the trunk's weights too: leave --weights out")
    if "resume" in given:
        options = resumed_options(script, given)
    else:
        options = resolve(script, given)
        check_data_options(parser, options)
        check_noise(parser, options, given)
        check_method(parser, options, given)
        # The other scripts make a noise file that is missing.
        check_inputs(options, noise_file=None if options.adds_noise else "one that review.py wrote")
        options = fit_to_machine(options, given)
    if options.cache is not None and not Path(options.cache).is_dir():  # one that is there is read
        check_writable(Path(options.cache), "--cache")
    return options


def resolve(script: str, given: dict[str, Any]) -> TrainingOptions:
    """Fill what was not given with the defaults of recipe, loss, data set and paper.

    --targets may stay None until the data say whether images are verified.
    """
    cases, loss = cases_of(script, given), given.get("loss", "bce")
    filled = defaults(*cases, loss) | of_loaded_run(cases, given) | given
    if filled["freeze"]:
        filled = defaults(*cases, FROZEN, loss) | of_loaded_run(cases, given) | given
    noise_file = given.get("noise_file")
    found_noise = ADDS_NOISE not in SCRIPTS[script].traits
    if found_noise:
        filled["partial_rate"] = 0.0
    if noise_file is not None and (found_noise or Path(noise_file).exists()):
        filled["partial_rate"] = given.get("partial_rate")  # the file has its own rate
    if filled["lr_head"] is None:
        # The released code's group of ten times the rate matches no parameter; from scratch the
        # trunk is as new as the head; and PML-CD has one rate.
        same = filled["dataset"] == "digits" or filled["recipe"] == "released" or loss == "pml-cd"
        filled["lr_head"] = filled["lr"] if same else 10 * filled["lr"]
    if filled["freeze"] and "lr" in given and "lr_head" not in given:
        filled["lr_head"] = given["lr"]  # the trunk has none
    options = TrainingOptions(script=script, **filled)
    if "targets" in given:
        return options
    return dataclasses.replace(options, targets=options.default_targets)


def cases_of(script: str, given: dict[str, Any]) -> list[str]:
    """The cases that choose the defaults, of which the later win."""
    cases = [given["dataset"]] if "dataset" in given else []
    if OWN[script] and cases == ["files"]:
        cases.append(OWN_PHOTOS)
    return [*cases, given["recipe"]] if "recipe" in given else cases


def of_loaded_run(cases: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Trunk, head and input of the run at --load_from, for a user's own photos."""
    place = Path(given.get("load_from", ""))
    if OWN_PHOTOS not in cases or not (place / "config.json").is_file():
        return {}
    stored = read_config(str(place))["options"]
    names = ("model", "head", "num_heads", "lam", "img_size", "normalize")
    return {name: stored[name] for name in names if name in stored}


def fit_to_machine(options: TrainingOptions, given: dict[str, Any]) -> TrainingOptions:
    """The options of a new run on a user's own photos, with a small trunk where there is no GPU.

    Prints what it takes where nothing of it was asked for.
    """
    if OWN_PHOTOS not in cases_of(options.script, given):
        return options
    if not {"model", "load_from"} & given.keys():
        import torch  # slow to import

        if options.device == "cpu" or not torch.cuda.is_available():
            small = defaults(NO_GPU)
            chosen = {name: small[name] for name in ("model", "img_size") if name not in given}
            options = dataclasses.replace(options, **chosen)
    if options.freeze and not {"recipe", "freeze"} & given.keys():
        print(
            f"recipe {options.recipe} on a frozen {options.model} at {options.img_size} px, unless "
            "--recipe, --no-freeze, --model or --img_size say otherwise",
            flush=True,
        )
    return options


def check_noise(parser: OptionsParser, options: TrainingOptions, given: dict[str, Any]) -> None:
    """Refuse to let CoNeS add noise to a user's own labels where nothing says how much."""
    traits = SCRIPTS[options.script].traits
    if (
        {RECIPE, ADDS_NOISE} <= traits
        and options.dataset == "files"
        and "partial_rate" not in given
        and options.partial_rate is not None
    ):
        lacks = "" if options.noise_file is None else f"; {options.noise_file} does not exist"
        parser.error(
            "--partial_rate is needed: the noise to add to your labels, unless there is a "
            f"--noise_file{lacks}; main_real.py takes them as they are"
        )


def check_method(parser: OptionsParser, options: TrainingOptions, given: dict[str, Any]) -> None:
    """Refuse a flag that would do nothing in the recipe or loss, with exit status 2."""
    traits = SCRIPTS[options.script].traits
    kind, names = ("recipe", RECIPES) if RECIPE in traits else ("loss", tuple(LOSSES))
    for name, (_, flag) in flags_of(TrainingOptions).items():
        if name in given and flag.methods and options.method not in flag.methods:
            users = [method for method in flag.methods if method in names]
            parser.error(f"--{name} is for --{kind} {' and '.join(users)}")
    if options.loss == "pml-cd" and options.head != "decoder":
        parser.error("--loss pml-cd is for --head decoder, which has prototypes")
    if options.optimizer == "adam" and "momentum" in given:
        parser.error("--momentum is for --optimizer sgd")
    if options.freeze and options.randaugment:
        parser.error("--randaugment is for a trunk that is trained: give --no-freeze too")
    if options.targets == "classifier" and options.prior is not None:
        parser.error("--prior is for --targets neighbours, which needs a trunk with weights")
    if options.targets == "neighbours" and options.ablate:
        parser.error("--ablate of --recipe posterior is for --targets classifier")
    parts = ABLATIONS.get(options.method, ())
    for part in options.ablate or ():
        if part not in parts:
            can = f"can ablate {', '.join(parts)}" if parts else "has nothing to ablate"
            parser.error(f"--ablate {part}: --recipe {options.method} {can}")
