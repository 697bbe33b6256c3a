"""The command line of the training scripts, and how it is resolved.

Nothing here imports torch, so that --help answers at once.
"""

import argparse
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from utils.files import check_writable
from utils.options.defaults import (
    ABLATIONS,
    CHOICES,
    CLEAN_DATASETS,
    DATASET_DEFAULTS,
    DATASETS,
    DEFAULTS,
    LOSSES,
    RECIPE_DEFAULTS,
)
from utils.options.flags import (
    COUNT,
    NATURAL,
    NOT_NEGATIVE,
    POSITIVE,
    RATE,
    SHARE,
    ScriptParser,
    add_data_flags,
    check_data_flags,
    check_inputs,
    number,
)
from utils.options.stored import options_of_run


class Script(NamedTuple):
    """A training script.

    description: first line of --help.
    datasets: values of --dataset.
    method: whether it has the flags of CoNeS; otherwise those of the baselines.
    adds_noise: whether it has the flags of noise; without them labels are taken as found.
    """

    description: str
    datasets: list[str]
    method: bool
    adds_noise: bool = True


TRAINING_SCRIPTS = {
    "main_CoNeS": Script(
        "Train CoNeS on clean labels to which noise is added.", CLEAN_DATASETS, method=True
    ),
    "main_real": Script(
        "Train CoNeS on labels whose noise is as found; none is added.",
        ["nuswide", "files"],
        method=True,
        adds_noise=False,
    ),
    "main_BCE": Script(
        "Train a baseline: BCE, or another --loss (--partial_rate 0: on clean labels).",
        DATASETS,
        method=False,
    ),
}


class Parser(ScriptParser):
    """A parser whose flags default to None, 'not given', and are resolved by `resolve`."""

    cases: tuple[str, ...] = ()  # data sets and recipes that it takes

    def add(self, group: Any, flag: str, help: str, **kwargs: Any) -> None:
        """Add `flag` to `group`; its default is written behind the help text."""
        name = flag.removeprefix("--")
        default = describe_default(name, self.cases)
        group.add_argument(flag, help=f"{help} ({default})", **kwargs)


def describe_default(name: str, cases: Iterable[str]) -> str:
    """For example 'default 1; coco 4', naming those of `cases` that have one of their own."""
    general = DEFAULTS[name]
    parts = ["default: not given" if general is None else f"default {general}"]
    special = DATASET_DEFAULTS | RECIPE_DEFAULTS
    parts += [f"{case} {special[case][name]}" for case in cases if name in special.get(case, {})]
    return "; ".join(parts)


def describe_losses() -> str:
    """A line or two for each value of --loss."""
    indent = " " * (2 + max(map(len, LOSSES)))
    lines = [f"{name:{len(indent)}}{what}" for name, what in LOSSES.items()]
    return "\n".join(textwrap.fill(line, 78, subsequent_indent=indent) for line in lines)


def build_parser(script: str) -> Parser:
    """The flags of one of `TRAINING_SCRIPTS`."""
    description, datasets, method, adds_noise = TRAINING_SCRIPTS[script]
    parser = Parser(
        prog=f"{script}.py",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,  # the losses stand in lines
    )
    parser.cases = (*datasets, *RECIPE_DEFAULTS) if method else tuple(datasets)
    add = parser.add

    data = add_data_flags(parser, datasets, "needed, but for --resume")
    if adds_noise:
        if method:  # main_CoNeS.py: the noise added to your own labels is yours to say
            data.add_argument(
                "--partial_rate",
                type=RATE,
                help="share of false labels made candidates, 0..0.99 (default 0.1; coco 0.05; "
                "digits 0.2; files: needed)",
            )
        else:
            add(data, "--partial_rate", "share of false labels made candidates, 0..0.99", type=RATE)
        data.add_argument(
            "--noise_file",
            metavar="FILE",
            help="candidate labels, .npy; made from --seed where missing (default "
            "pre-processed-data/<dataset>_<partial_rate>.npy; digits and files: made in memory)",
        )
    else:
        parser.set_defaults(partial_rate=None)
        data.add_argument(
            "--noise_file",
            metavar="FILE",
            help="labels to train on instead, .npy of review.py (default: as found)",
        )
    add(data, "--img_size", "side of the input in pixels", type=number(int, 16))
    add(
        data,
        "--normalize",
        "channel statistics: none scales to 0..1, trunk takes those of the model's own weights",
        choices=CHOICES["normalize"],
    )
    data.add_argument(
        "--randaugment",
        action="store_true",
        default=None,
        help="change colours and shape of training images too, two operations an image",
    )

    model = parser.add_argument_group("model")
    add(model, "--model", "any timm model as trunk", metavar="NAME")
    add(
        model,
        "--weights",
        "trunk's starting weights: imagenet (downloaded), none, or a .pth or .safetensors FILE",
        metavar="{imagenet,none,FILE}",
    )
    model.add_argument("--cutmix", metavar="FILE", help="the same as --weights FILE")
    add(
        model,
        "--load_from",
        "start trunk and head from a run's folder or a weight file of a run, CoNeS or CSRA",
        metavar="RUN",
    )
    add(model, "--head", "residual attention or global average pooling", choices=CHOICES["head"])
    add(model, "--num_heads", "attention heads of csra", type=int, choices=[1, 2, 4, 6, 8])
    add(model, "--lam", "weight of csra's attention term", type=NOT_NEGATIVE)

    if method:
        cones = parser.add_argument_group("CoNeS")
        add(
            cones,
            "--recipe",
            "as published, as released, or trained on how likely each candidate is true, which "
            "takes only --noise_rate and --ablate of the flags below",
            choices=CHOICES["recipe"],
        )
        add(cones, "--tau", "activation threshold of the screening, 0..1", type=SHARE)
        add(cones, "--clusters", "k-means centroids a class", type=COUNT)
        add(cones, "--beta", "weight of the negative suppression loss", type=NOT_NEGATIVE)
        add(
            cones,
            "--r_ws",
            "exponent of the suppression weights, above 1",
            type=number(float, 1, open_low=True),
        )
        add(cones, "--mu", "share of the old confidence in an update, 0..1", type=SHARE)
        add(cones, "--gamma", "share of the old correlation in a refresh, 0..1", type=SHARE)
        cones.add_argument(
            "--ablate",
            nargs="+",
            metavar="PART",
            help="for experiments: steps of paper to compute as released "
            f"({', '.join(ABLATIONS['paper'])}), or parts of posterior to leave out "
            f"({', '.join(ABLATIONS['posterior'])}); see docs/method.md (default: none)",
        )
    else:
        baseline = parser.add_argument_group("baseline", describe_losses())
        add(baseline, "--loss", "what to train with, see above", choices=CHOICES["loss"])
    (cones if method else baseline).add_argument(
        "--noise_rate",
        type=RATE,
        help=f"of {'--recipe posterior' if method else '--loss bce-forward'}: share of the false "
        "labels that are candidates, 0..0.99 (default: estimated)",
    )

    training = parser.add_argument_group("optimisation")
    add(training, "--batch_size", "images a step, in all processes together", type=COUNT)
    add(training, "--lr", "learning rate of the trunk", type=POSITIVE)
    training.add_argument(
        "--lr_head",
        type=POSITIVE,
        help="learning rate of the head (default 10 x --lr; recipe released and digits: --lr)",
    )
    add(training, "--momentum", "of SGD, 0..1", type=SHARE)
    add(training, "--w_d", "weight decay", type=NOT_NEGATIVE)
    add(training, "--warmup_epoch", "epochs of linear warm-up", type=NATURAL)
    add(
        training,
        "--step_epoch",
        "epochs, the warm-up's among them, to each lr x 0.1",
        type=COUNT,
    )
    add(training, "--total_epoch", "epochs", type=COUNT)
    training.add_argument(
        "--sync_bn",
        action="store_true",
        default=None,
        help="under torchrun, batch norm over all processes' images (cuda; default: each its own)",
    )

    run = parser.add_argument_group("run")
    add(run, "--device", "auto, cpu, cuda, cuda:1, ...; auto takes cuda if there is one")
    add(
        run,
        "--amp",
        "mixed precision; auto tries a few steps: full precision or bf16 on a cpu, bf16 or fp16 "
        "on cuda",
        choices=CHOICES["amp"],
    )
    add(
        run,
        "--cache",
        "keep decoded images, shrunk to what --img_size needs, in this folder",
        metavar="DIR",
    )
    run.add_argument(
        "--workers",
        type=NATURAL,
        help="loader processes (default: one a core, 8 at most; digits 0)",
    )
    add(run, "--seed", "fixes noise, order, augmentation and initialisation", type=NATURAL)
    add(run, "--print_freq", "steps between two reports of the loss", type=COUNT)
    run.add_argument(
        "--output_dir",
        metavar="DIR",
        help="the run's folder (default runs/<script>-<dataset>-<time>)",
    )
    run.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with the run in this folder, with its options; "
        "--total_epoch, --device, --workers and --print_freq may be given anew, and where its data "
        "have moved to",
    )
    return parser


def parse_options(script: str, argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and resolve: every option has its value, from the flag, the run or the defaults.

    Args:
        script: one of `TRAINING_SCRIPTS`, kept in the options and checked on resume.
        argv: arguments; those of the process when None.

    Raises:
        UserError: --resume names no run, one of another script, or options that differ from it;
            or, of a new run, an input that a flag names does not exist.
        SystemExit: 2, bad usage.
    """
    parser = build_parser(script)
    options = parser.parse_args(argv)
    if options.cutmix is not None:
        if options.weights not in (None, options.cutmix):
            parser.error("--cutmix FILE means --weights FILE: give one of them")
        options.weights = options.cutmix
    del options.cutmix
    if options.load_from is not None and options.weights is not None:
        parser.error("--load_from brings the trunk's weights too: leave --weights out")
    options.script = script
    if options.resume is not None:
        options = options_of_run(options)
        check_cache(options)
        return options
    check_data_flags(parser, options)
    if script == "main_real" and options.noise_file is None:
        options.partial_rate = 0.0
    if (
        script == "main_CoNeS"
        and options.dataset == "files"
        and options.partial_rate is None
        and not has_noise(options)
    ):
        parser.error(
            "--partial_rate is needed: the noise to add to your labels, unless there is a "
            "--noise_file; main_real.py takes them as they are"
        )
    is_cones = hasattr(options, "recipe")
    flag, user = ("recipe", "posterior") if is_cones else ("loss", "bce-forward")
    if options.noise_rate is not None and getattr(options, flag) != user:
        parser.error(f"--noise_rate is for --{flag} {user}")
    if is_cones:
        check_recipe_flags(parser, options)
    # The other scripts make a noise file that is missing.
    more = {"noise_file": "one that review.py wrote"} if script == "main_real" else {}
    check_inputs(options, **more)
    check_cache(options)
    return resolve(options)


def check_cache(options: argparse.Namespace) -> None:
    """Refuse a --cache that cannot be made; one that is there may be whole, and only read."""
    if options.cache is not None and not Path(options.cache).is_dir():
        check_writable(Path(options.cache), "--cache")


def check_recipe_flags(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Bad usage (exit status 2) where a flag would do nothing in the recipe."""
    recipe = options.recipe or DEFAULTS["recipe"]
    if recipe == "posterior":
        for name in ("tau", "clusters", "beta", "r_ws", "mu", "gamma"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} is for --recipe paper and released")
    parts = ABLATIONS.get(recipe, ())
    for part in options.ablate or ():
        if part not in parts:
            can = f"can ablate {', '.join(parts)}" if parts else "has nothing to ablate"
            parser.error(f"--ablate {part}: --recipe {recipe} {can}")


def has_noise(options: argparse.Namespace) -> bool:
    """Whether there is a candidate file to train on."""
    return options.noise_file is not None and Path(options.noise_file).exists()


def resolve(options: argparse.Namespace) -> argparse.Namespace:
    """Fill what was not given with the defaults of the recipe, the data set and the paper."""
    recipe = RECIPE_DEFAULTS.get(getattr(options, "recipe", None) or "", {})
    defaults = DEFAULTS | DATASET_DEFAULTS.get(options.dataset, {}) | recipe
    if has_noise(options):
        del defaults["partial_rate"]  # the file has its own rate, checked only if one is given
    for name, value in vars(options).items():
        if value is None and name in defaults:
            setattr(options, name, defaults[name])
    if options.lr_head is None:
        # The released code's group of ten times the rate matches no parameter; and from scratch
        # the trunk is as new as the head.
        same = options.dataset == "digits" or getattr(options, "recipe", None) == "released"
        options.lr_head = options.lr if same else 10 * options.lr
    return options
