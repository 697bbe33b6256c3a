"""What can be asked for, and the published and chosen values of every flag."""

from typing import Any

# Published settings (Zhong et al. 2025) that hold for every data set unless it says otherwise.
DEFAULTS: dict[str, Any] = {
    "model": "resnet101",
    "weights": "imagenet",
    "head": "csra",
    "num_heads": 1,
    "lam": 0.1,
    "normalize": "none",
    "img_size": 448,
    "batch_size": 16,
    "partial_rate": 0.1,
    "lr": 0.01,
    "momentum": 0.9,
    "w_d": 1e-4,
    "warmup_epoch": 2,
    "step_epoch": 5,
    "total_epoch": 30,
    "loss": "bce",
    "noise_rate": None,
    "recipe": "paper",
    "tau": 0.1,
    "clusters": 5,
    "beta": 0.1,
    "r_ws": 3.0,
    "mu": 0.99,
    "gamma": 0.99,
    "ablate": None,
    "path_images": None,
    "allow_missing": False,
    "noise_file": None,
    "load_from": None,
    "cache": None,
    "randaugment": False,
    "sync_bn": False,
    "device": "auto",
    "amp": "auto",
    "workers": None,
    "seed": 0,
    "print_freq": 100,
    "output_dir": None,
}

# What main_BCE.py trains with; pipeline/losses.py has the formulas and papers.
LOSSES = {
    "bce": "binary cross-entropy: every candidate is taken for true",
    "bce-forward": "bce of a candidate's probability, p + (1 - p) x noise rate (Patrini et al. "
    "2017, forward correction)",
    "focal": "easy labels weigh little (Lin et al. 2017)",
    "asl": "easy negatives weigh little, the easiest nothing (Ridnik et al. 2021)",
    "hill": "negatives with a very high score are let be, as missing labels (Zhang et al. 2021)",
    "splc": "from epoch 2 on negatives with p > 0.6 are taken for true (Zhang et al. 2021)",
    "ll-r": "from epoch 2 on the candidates of largest loss are left out, each epoch 0.2% of all "
    "labels more (Kim et al. 2022)",
    "ll-ct": "as ll-r, but they are taken for false",
    "smoothing": "bce against labels of 0.95 and 0.05 (Szegedy et al. 2016)",
}

# What --ablate takes: steps of the recipe paper that the released code computes otherwise, and
# parts that the recipe posterior can do without.
ABLATIONS = {
    "paper": (
        "screen_pixels",
        "batch_prototypes",
        "class_order",
        "scale",
        "update_correlation",
        "select_pseudo_labels",
        "weights",
    ),
    "posterior": ("context_prior", "offset", "variance_weight", "nonempty"),
}

CHOICES = {
    "loss": tuple(LOSSES),
    "recipe": ("paper", "released", "posterior"),
    "normalize": ("none", "imagenet", "trunk"),
    "head": ("csra", "gap"),
    "amp": ("auto", "off", "bf16", "fp16"),
}

DATASETS = ["voc07", "coco", "nuswide", "vg256", "cub200", "digits", "files"]
# NUS-WIDE's labels are as found: no noise is added to them.
CLEAN_DATASETS = [name for name in DATASETS if name != "nuswide"]

# What a data set's protocol changes. The digits settings were chosen by trial on 2 CPU cores.
DATASET_DEFAULTS: dict[str, dict[str, Any]] = {
    "voc07": {"step_epoch": 4},
    "coco": {"num_heads": 4, "lam": 0.5, "r_ws": 2.0, "partial_rate": 0.05},
    "nuswide": {"normalize": "imagenet", "partial_rate": 0.0},
    "files": {"normalize": "trunk", "partial_rate": 0.0},
    "digits": {
        "model": "resnet10t",
        "weights": "none",
        "img_size": 64,
        "partial_rate": 0.2,
        "lr": 0.05,
        "warmup_epoch": 1,
        "step_epoch": 6,
        "total_epoch": 8,
    },
}

# What the released code fixes, whatever the data set.
RECIPE_DEFAULTS: dict[str, dict[str, Any]] = {"released": {"head": "gap"}}


def published(dataset: str | None) -> dict[str, Any]:
    """The published settings of a data set, by flag; empty where nothing is published."""
    if dataset in (None, "files", "digits"):
        return {}
    return DEFAULTS | DATASET_DEFAULTS.get(dataset, {})
