"""The options of the training scripts, as a table."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

from utils.options.choices import (
    ABLATIONS,
    CLEAN_DATASETS,
    DATASETS,
    FORMER_ABLATIONS,
    FOUND_DATASETS,
    LOSSES,
    RECIPES,
    TARGETS,
)
from utils.options.groups import AMP, HEAD, NORMALIZE, DataOptions, data_flag
from utils.options.kinds import (
    COUNT,
    NATURAL,
    NOT_NEGATIVE,
    ON_OFF,
    POSITIVE,
    RATE,
    SHARE,
    SIDE,
    SWITCH,
    Choice,
    CountOrShare,
    Names,
    Number,
)
from utils.options.table import default_of, flags_of, option

# Cases that have defaults of their own beside those of data sets and recipes.
FROZEN = "--freeze"
OWN_PHOTOS = "main_real.py --dataset files"
NO_GPU = f"{OWN_PHOTOS} without a GPU"
# Traits of scripts. One has the recipes of CoNeS or the losses of the baselines.
RECIPE, LOSS, ADDS_NOISE = "recipe", "loss", "adds noise"


class Script(NamedTuple):
    """A training script.

    description: first line of --help. datasets: values of --dataset. traits: which groups of
    options it has.
    """

    description: str
    datasets: tuple[str, ...]
    traits: frozenset[str]


SCRIPTS = {
    "main_CoNeS": Script(
        "Train CoNeS on clean labels to which noise is added.",
        CLEAN_DATASETS,
        frozenset({RECIPE, ADDS_NOISE}),
    ),
    "main_real": Script(
        "Train CoNeS on labels whose noise is as found; none is added.",
        FOUND_DATASETS,
        frozenset({RECIPE}),
    ),
    "main_BCE": Script(
        "Train a baseline: BCE, or another --loss (--partial_rate 0: on clean labels).",
        DATASETS,
        frozenset({LOSS, ADDS_NOISE}),
    ),
}


model_flag = functools.partial(option, group="model")
cones_flag = functools.partial(option, group="CoNeS", trait=RECIPE)
steps_flag = functools.partial(cones_flag, methods=("paper", "released"))
optimiser_flag = functools.partial(option, group="optimisation")
run_flag = functools.partial(option, group="run")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(DataOptions):
    """Every option of a training, resolved.

    Options that its script lacks have their general default and mean nothing. General defaults are
    the published settings (Zhong et al. 2025) that hold for every data set unless it says
    otherwise; those of digits were chosen by trial on two CPU cores.
    """

    script: str = dataclasses.field(default="main_CoNeS")

    dataset: str = data_flag(
        None, "files: your own images", Choice(DATASETS), shown="needed, but for --resume"
    )
    partial_rate: float | None = data_flag(
        0.1,
        "share of false labels made candidates, 0..0.99; main_CoNeS.py --dataset files needs it "
        "or a --noise_file",
        RATE,
        by_case={"coco": 0.05, "nuswide": 0.0, "files": 0.0, "digits": 0.2},
        trait=ADDS_NOISE,
    )
    noise_file: str | None = data_flag(
        None,
        "candidate labels, .npy; a missing file is made from --seed. main_real.py takes one of "
        "review.py, and trains on it instead of the labels found",
        metavar="FILE",
        shown="default: pre-processed-data/<dataset>_<partial_rate>.npy; main_real.py, digits and "
        "files: none",
        on_resume="move",
    )
    verified: int | float | None = data_flag(
        None,
        "so many training images, or this share of them, are verified: their true labels are "
        "shown to the training, which needs noise that was added or known true labels",
        CountOrShare(),
        metavar="N",
        shown="default: those that --labels calls verified",
        since_value=None,
    )
    img_size: int = data_flag(
        448, "side of the input in pixels", SIDE, by_case={"digits": 64, NO_GPU: 224}
    )
    normalize: str = data_flag(
        "none",
        "channel statistics: none scales to 0..1, trunk takes those of the model's own weights",
        NORMALIZE,
        by_case={"nuswide": "imagenet", "files": "trunk"},
    )
    randaugment: bool = data_flag(
        False,
        "change colours and shape of training images too, two operations an image",
        SWITCH,
        since_value=False,
    )

    model: str = model_flag(
        "resnet101",
        "any timm model as trunk",
        metavar="NAME",
        by_case={"digits": "resnet10t", NO_GPU: "tf_efficientnet_lite0"},
    )
    weights: str = model_flag(
        "imagenet",
        "trunk's starting weights: imagenet (downloaded), none, or a .pth or .safetensors FILE",
        metavar="{imagenet,none,FILE}",
        by_case={"digits": "none"},
        reads="imagenet, none, or a .pth or .safetensors file",
    )
    cutmix: str | None = model_flag(
        None, "the same as --weights FILE", metavar="FILE", shown="", stored=False
    )
    load_from: str | None = model_flag(
        None,
        "start trunk and head from a run's folder or a weight file of a run, CoNeS or CSRA",
        metavar="RUN",
        reads="a run's folder or a weight file",
    )
    freeze: bool = model_flag(
        False,
        "leave the trunk as it is and train the head on its features, which are computed once and "
        "kept in --cache, for later runs too",
        ON_OFF,
        by_case={OWN_PHOTOS: True},
        since_value=False,
        shown=f"default: off; {OWN_PHOTOS}: on",
    )
    head: str = model_flag(
        "csra",
        "residual attention, global average pooling, or a decoder with a query a class",
        HEAD,
        by_case={"released": "gap", FROZEN: "gap", "pml-cd": "decoder"},
    )
    num_heads: int = model_flag(
        1, "attention heads of csra", Choice((1, 2, 4, 6, 8)), by_case={"coco": 4}
    )
    lam: float = model_flag(
        0.1, "weight of csra's attention term", NOT_NEGATIVE, by_case={"coco": 0.5}
    )

    recipe: str = cones_flag(
        "paper",
        "as published, as released, or trained on how likely each candidate is true, which takes "
        "only --targets, --noise_rate and --ablate of the flags below",
        Choice(RECIPES),
        by_case={OWN_PHOTOS: "posterior"},
    )
    tau: float = steps_flag(0.1, "activation threshold of the screening, 0..1", SHARE)
    clusters: int = steps_flag(5, "k-means centroids a class", COUNT)
    beta: float = steps_flag(0.1, "weight of the negative suppression loss", NOT_NEGATIVE)
    r_ws: float = steps_flag(
        3.0,
        "exponent of the suppression weights, above 1",
        Number(float, 1, 1e9, open_low=True),
        by_case={"coco": 2.0},
    )
    mu: float = steps_flag(0.99, "share of the old confidence in an update, 0..1", SHARE)
    gamma: float = steps_flag(0.99, "share of the old correlation in a refresh, 0..1", SHARE)
    ablate: list[str] | None = cones_flag(
        None,
        "for experiments: steps of paper to compute as released "
        f"({', '.join(ABLATIONS['paper'])}), or parts of posterior to leave out "
        f"({', '.join(ABLATIONS['posterior'])}); see docs/method.md",
        Names(FORMER_ABLATIONS),
        metavar="PART",
        shown="default: none",
        many="+",
    )
    targets: str | None = cones_flag(
        "classifier",
        "of --recipe posterior: what says how likely a candidate is true, the classifier as it "
        "trains, or before that the photos most alike in the features of the trunk that it starts "
        "from",
        Choice(TARGETS),
        methods=("posterior",),
        since_value="classifier",
        shown="default: neighbours of a trunk with weights that is frozen, or with verified images "
        "or --prior; else classifier",
    )
    prior: str | None = cones_flag(
        None,
        "of --recipe posterior: probabilities of each label from another source, .npy of training "
        "images x classes in 0..1, in the order of the list and of the run's class names; verified "
        "images say how far to believe it",
        metavar="FILE",
        methods=("posterior",),
        since_value=None,
        on_resume="move",
        reads="the .npy file of probabilities",
    )
    loss: str = option(
        "bce",
        "loss to train with; main_BCE.py --help describes each",
        Choice(tuple(LOSSES)),
        group="baseline",
        trait=LOSS,
    )
    noise_rate: float | None = option(
        None,
        "of --recipe posterior and --loss bce-forward: share of the false labels that are "
        "candidates, 0..0.99",
        RATE,
        group="noise rate",
        shown="default: estimated",
        methods=("posterior", "bce-forward"),
    )

    optimizer: str = optimiser_flag(
        "sgd",
        "which steps are taken",
        Choice(("sgd", "adam")),
        by_case={"pml-cd": "adam"},
        since_value="sgd",
    )
    batch_size: int = optimiser_flag(
        16, "images a step, in all processes together", COUNT, by_case={FROZEN: 64, "pml-cd": 32}
    )
    lr: float = optimiser_flag(
        0.01, "learning rate of the trunk", POSITIVE, by_case={"digits": 0.05, "pml-cd": 1e-4}
    )
    lr_head: float = optimiser_flag(
        None,
        "learning rate of the head",
        POSITIVE,
        by_case={FROZEN: 0.1, "pml-cd": None},
        shown=f"default 10 x --lr; recipe released, pml-cd and digits: --lr; {FROZEN} 0.1",
    )
    momentum: float = optimiser_flag(0.9, "of SGD, 0..1", SHARE)
    w_d: float = optimiser_flag(
        1e-4, "weight decay", NOT_NEGATIVE, by_case={FROZEN: 0.005, "pml-cd": 5e-5}
    )
    warmup_epoch: int = optimiser_flag(
        2, "epochs of linear warm-up", NATURAL, by_case={"digits": 1, FROZEN: 0, "pml-cd": 0}
    )
    step_epoch: int = optimiser_flag(
        5,
        "epochs, the warm-up's among them, to each lr x 0.1",
        COUNT,
        by_case={"voc07": 4, "digits": 6, FROZEN: 8, "pml-cd": 1000},
    )
    total_epoch: int = optimiser_flag(
        30, "epochs", COUNT, by_case={"digits": 8, FROZEN: 20, "pml-cd": 40}, on_resume="change"
    )
    sync_bn: bool = optimiser_flag(
        False, "under torchrun, batch norm over all processes' images, on cuda", SWITCH
    )

    device: str = run_flag(
        "auto", "auto, cpu, cuda, cuda:1, ...; auto takes cuda if there is one", on_resume="change"
    )
    amp: str = run_flag(
        "auto",
        "mixed precision; auto tries a few steps: full precision or bf16 on a cpu, bf16 or fp16 on "
        "cuda",
        AMP,
    )
    cache: str | None = run_flag(
        None,
        "keep decoded images, shrunk to what --img_size needs, in this folder; and features, of "
        "--freeze and --targets neighbours",
        metavar="DIR",
        shown="default: none; of features, the folder features beside the run's",
        on_resume="move",
    )
    workers: int = run_flag(
        None,
        "loader processes",
        NATURAL,
        shown="default: one a core, 8 at most; digits 0",
        on_resume="change",
    )
    seed: int = run_flag(0, "fixes noise, order, augmentation and initialisation", NATURAL)
    print_freq: int = run_flag(
        100, "steps between two reports of the loss", COUNT, on_resume="change"
    )
    output_dir: str | None = run_flag(
        None, "the run's folder", metavar="DIR", shown="default: runs/<script>-<dataset>-<time>"
    )
    resume: str | None = run_flag(
        None,
        "go on with the run in this folder, with its options; --total_epoch, --device, --workers "
        "and --print_freq may be given anew, and where its data have moved to",
        metavar="DIR",
        shown="",
        stored=False,
    )

    @property
    def method(self) -> str:
        """The recipe or the loss, by its name in `pipeline.methods`."""
        return self.recipe if RECIPE in SCRIPTS[self.script].traits else self.loss

    @property
    def default_targets(self) -> str | None:
        """The default of --targets; None: neighbours if images are verified, else classifier."""
        untrained = self.weights == "none" and self.load_from is None
        if self.method != "posterior" or self.ablate or untrained:
            return "classifier"
        return "neighbours" if self.freeze or self.prior is not None else None

    @property
    def needs_features(self) -> bool:
        """Tell whether the method looks at the images' features before training."""
        return self.method == "posterior" and self.targets == "neighbours"

    @property
    def adds_noise(self) -> bool:
        """Tell whether noise is added to its labels; otherwise they are taken as found."""
        return ADDS_NOISE in SCRIPTS[self.script].traits


def published(dataset: str | None) -> dict[str, Any]:
    """The published settings of a data set, by option; empty where nothing is published."""
    if dataset in (None, "files", "digits"):
        return {}
    return defaults(str(dataset))


def defaults(*cases: str) -> dict[str, Any]:
    """Every option's default in these cases, data set, recipe and loss; the later win."""
    found = {}
    for name, (field, flag) in flags_of(TrainingOptions).items():
        own = [flag.by_case[case] for case in cases if case in flag.by_case]
        found[name] = own[-1] if own else default_of(field)
    return found
