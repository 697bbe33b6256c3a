"""Names of what can be asked for."""

# What main_BCE.py trains with; pipeline/baselines has the formulas and papers.
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
    "pml-cd": "bce of a decoder head and of its prototypes, in the second half of the epochs with "
    "candidates weighted by how likely their scores say that they are true (PML-CD, AAAI 2025)",
    "verified-half": "bce in which verified images count half, all others the other half",
    "verified-only": "bce of verified images alone",
    "gold": "bce of verified images, and of a candidate's probability by the rates counted in them "
    "(Hendrycks et al. 2018, gold loss correction)",
}
NEED_VERIFIED = ("verified-half", "verified-only", "gold")
RECIPES = ("paper", "released", "posterior")
TARGETS = ("neighbours", "classifier")
# Recipes and losses that learn to predict true labels; the others predict candidates.
PREDICT_TRUTH = ("posterior", "bce-forward", "pml-cd", "verified-only", "gold")

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
FORMER_ABLATIONS = {"company": "context_prior", "gain": "variance_weight"}

DATASETS = ("voc07", "coco", "nuswide", "vg256", "cub200", "digits", "files")
# NUS-WIDE's labels are as found: no noise is added to them.
CLEAN_DATASETS = tuple(name for name in DATASETS if name != "nuswide")
FOUND_DATASETS = ("nuswide", "files")
