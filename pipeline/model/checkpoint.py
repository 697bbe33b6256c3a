"""Trained classifiers from files: this project's, the method's authors' and CSRA's.

What a file's keys and shapes tell is taken from them, whoever wrote it:

    trunk                    head                                     whose
    trunk.model.*            head.weight (K, C, D)                    this project, csra
    trunk.model.*            head.linear.{weight,bias}                this project, gap
    trunk.model.*            head.queries (C, 512), head.*            this project, decoder
    conv1.*, layer1.* ...    fc_all.{weight,bias}                     CoNeS as released
    conv1.*, layer1.* ...    classifier.multi_head.{k}.head.weight    CSRA, (C, D, 1, 1) each

The trunks of the last two are torchvision's ResNets, whose names timm shares.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipeline.model.classifier import Classifier
from pipeline.model.heads import CSRA_TEMPERATURES
from pipeline.model.weights import StateDict, load_strictly, read_weights, resample_positions
from utils.errors import UserError
from utils.options.stored import read_config
from utils.run_folder import CHECKPOINT, WEIGHTS

TRUNK = "trunk.model."
HEADS = {"head.queries": "decoder", "head.linear.weight": "gap", "head.weight": "csra"}
CSRA_HEAD = re.compile(r"classifier\.multi_head\.(\d{1,2})\.head\.weight")
# The selectors of single classes that the released network builds.
SELECTOR = re.compile(r"contrastive_class_selector_\d+\.")
# Bottleneck blocks, and blocks in each of the four layers (He et al., CVPR 2016, table 1).
RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
RESNET_KEY = re.compile(
    r"(conv1\.weight|bn1\..*|layer[1-4]\.\d+\.((conv|bn)[1-3]|downsample\.[01])\..*)"
)


class Checkpoint(NamedTuple):
    """A classifier's weights, and what they say of it.

    path: of the weights. state: weights under this project's names. model: timm name of the
    trunk, None where the keys do not tell. head: "csra", "gap" or "decoder". num_heads: 1 of
    all but csra. classes: C. ignored: what was left out of `state`, as (group, tensors, reason).
    options, data: from the config.json of the run that the file belongs to; empty where it is
    alone.
    """

    path: Path
    state: StateDict
    model: str | None
    head: str
    num_heads: int
    classes: int
    ignored: list[tuple[str, int, str]]
    options: dict[str, Any]
    data: dict[str, Any]

    @property
    def standardized(self) -> bool:
        """Tell whether the head standardises its features, as that of a frozen trunk does."""
        return "head.standardization.mean" in self.state


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a run's folder or a weight file, and recognise what is in it.

    Raises:
        UserError: no such file, no weights in it, or of a form that is not known.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        path = next((path / n for n in (WEIGHTS, CHECKPOINT) if (path / n).exists()), path)
        if path == folder:
            raise UserError(f"{folder} holds neither {WEIGHTS} nor {CHECKPOINT}: give a run")
    config: dict[str, Any] = {"options": {}, "data": {}}
    if path.name in (WEIGHTS, CHECKPOINT) and (folder / "config.json").exists():
        config = read_config(str(folder))
    found = recognise(read_weights(path), path)
    classes = config["data"].get("classes")
    if classes is not None and len(classes) != found.classes:
        raise UserError(
            f"{path} scores {found.classes} classes, but the config.json beside it names "
            f"{len(classes)}: bring together the files of one run"
        )
    return found._replace(options=config["options"], data=config["data"])


def recognise(state: StateDict, path: Path) -> Checkpoint:
    """Tell trunk, head and classes by keys and shapes; nothing is left out without a reason.

    Raises:
        UserError: the keys are of no known form, or the head's shapes contradict each other.
    """
    ignored = []
    selectors = [key for key in state if SELECTOR.match(key)]
    if selectors:
        ignored.append(
            ("contrastive_class_selector_*", len(selectors), "the released network never runs them")
        )
        state = {key: value for key, value in state.items() if key not in set(selectors)}
    heads = {int(match[1]): key for key in state if (match := CSRA_HEAD.fullmatch(key))}
    if "fc_all.weight" in state:
        names = {"fc_all.weight": "head.linear.weight", "fc_all.bias": "head.linear.bias"}
        state = {names.get(key, TRUNK + key): value for key, value in state.items()}
    elif heads:
        kernels = [state[heads[k]] for k in sorted(heads)]
        shapes = {tuple(kernel.shape) for kernel in kernels}
        counted = sorted(heads) == list(range(len(heads))) and len(heads) in CSRA_TEMPERATURES
        if not counted or len(shapes) > 1 or kernels[0].shape[2:] != (1, 1):
            numbers = ", ".join(map(str, sorted(heads)))
            raise UserError(
                f"{path}: expected attention heads 0, 1, ..., 1 2 4 6 or 8 of them, of one shape "
                f"(classes, channels, 1, 1), but found heads {numbers} of "
                f"{' and '.join(map(str, shapes))}"
            )
        state = {TRUNK + k: value for k, value in state.items() if k not in heads.values()}
        state["head.weight"] = torch.stack(kernels)[..., 0, 0]
    # The decoder has a head.weight too.
    key = next((key for key in HEADS if key in state), None)
    if key is not None:
        weight, csra = state[key], HEADS[key] == "csra"
        num_heads = len(weight) if csra and weight.dim() else 1
        if weight.dim() != 2 + csra or not weight.numel() or num_heads not in CSRA_TEMPERATURES:
            raise UserError(
                f"{path}: the head's weight has shape {tuple(weight.shape)}, but expected "
                f"(classes, channels), or {' '.join(map(str, CSRA_TEMPERATURES))} of them"
            )
        model = resnet_name(
            {k.removeprefix(TRUNK): v for k, v in state.items() if k.startswith(TRUNK)}
        )
        classes = weight.shape[-2]
        return Checkpoint(path, state, model, HEADS[key], num_heads, classes, ignored, {}, {})
    shown = ", ".join(list(state)[:3])
    raise UserError(
        f"{path} is no classifier known here: expected the keys of a run, of CoNeS as released "
        f"(fc_all.weight) or of CSRA (classifier.multi_head.0.head.weight), but found "
        f"{shown or 'none'}{', ...' if len(state) > 3 else ''}"
    )


def load_classifier(classifier: Classifier, found: Checkpoint, what: str) -> None:
    """Load weights into a classifier, whose input may be of another size than theirs.

    Raises:
        UserError: they do not fit; `what` names their source.
    """
    state = resample_positions(classifier.trunk, found.state, TRUNK)
    load_strictly(classifier, state, what)


def resnet_name(trunk: StateDict) -> str | None:
    """Name of the ResNet with these keys, resnet18 to resnet152; None if it is none of them."""
    width = trunk.get("layer1.0.conv2.weight", torch.empty(0)).shape
    if (
        "bn1.running_mean" not in trunk
        or width != (64, 64, 3, 3)
        or not all(map(RESNET_KEY.fullmatch, trunk))
    ):
        return None  # another family, or one of wider or grouped blocks
    blocks = tuple(
        len({key.split(".")[1] for key in trunk if key.startswith(f"layer{layer}.")})
        for layer in range(1, 5)
    )
    return RESNETS.get(("layer1.0.conv3.weight" in trunk, blocks))


def check_flags(
    found: Checkpoint,
    *,
    model: str | None,
    head: str | None,
    num_heads: int | None,
    num_cls: int | None,
    lam: float | None = None,
) -> None:
    """Refuse flags that contradict the weights or their run; None is not given.

    Raises:
        UserError: one does; it is named, and what is found in its place.
    """
    asked = {
        "head": (head, found.head),
        "num_cls": (num_cls, found.classes),
        "num_heads": (num_heads if found.head == "csra" else None, found.num_heads),
    }
    for name, (flag, value) in asked.items():
        if flag not in (None, value):
            raise UserError(
                f"--{name} {flag}, but {found.path} has {name} {value}: give --{name} {value}"
            )
    # Without pretraining tags. Some other ResNets have the same keys as one of `RESNETS`: only
    # the run, or another of these, contradicts a flag.
    given = str(model).split(".")[0]
    own = str(found.options.get("model", found.model)).split(".")[0]
    sure = "model" in found.options or (found.model and given in RESNETS.values())
    if model is not None and given != own and sure:
        raise UserError(f"--model {given}, but {found.path} has model {own}: give --model {own}")
    if found.head != "csra" and lam is not None:
        raise UserError(f"--lam is csra's, but {found.path} has {found.head}: leave the flag out")


def thresholds_path(checkpoint: Checkpoint) -> Path:
    """Path of the tuned thresholds of `checkpoint`: in its run, or beside its file."""
    alone = "" if checkpoint.options else f"{checkpoint.path.name}."
    return checkpoint.path.with_name(f"{alone}thresholds.json")


def weights_sha256(checkpoint: Checkpoint) -> str:
    """Hash the weights by themselves, whatever kind of file they are in."""
    digest = hashlib.sha256()
    for key in sorted(checkpoint.state):
        digest.update(key.encode())
        digest.update(checkpoint.state[key].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_thresholds(checkpoint: Checkpoint, classes: list[str]) -> dict[str, Any] | None:
    """Read what `val.py --tune_thresholds` stored with `checkpoint`: thresholds and their split.

    Returns:
        {"thresholds": {class: logit}, "split": ..., "dataset": ..., "weights_sha256": ...}; None
        where there is no such file.

    Raises:
        UserError: the file is damaged, or of other classes or weights.
    """
    path = thresholds_path(checkpoint)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        values = [content["thresholds"][name] for name in classes]
        fits = len(content["thresholds"]) == len(classes) and all(v == float(v) for v in values)
        fits = fits and {"split", "dataset", "weights_sha256"} <= content.keys()
    except Exception:  # of a number beyond floats, of brackets too deep, of another form
        fits = False
    if not fits:
        raise UserError(
            f"{path} must give a threshold for each of the {len(classes)} classes: delete it, or "
            "make it again with val.py --tune_thresholds"
        )
    if content["weights_sha256"] != weights_sha256(checkpoint):
        raise UserError(
            f"{path} was tuned for other weights than {checkpoint.path} holds now: delete it, or "
            "make it again with val.py --tune_thresholds"
        )
    return content


def print_ignored(checkpoint: Checkpoint) -> None:
    """Say what was left out of the file, a line a group."""
    for group, tensors, reason in checkpoint.ignored:
        print(f"left out    {tensors} tensors {group}: {reason}")
