"""Weights from files or from timm, matched strictly by name and shape."""

import logging
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from pipeline.model.backbone import Backbone, create_headless
from utils import tensor_files
from utils.errors import UserError

StateDict = dict[str, torch.Tensor]
# Whose torchvision weights the field, and the method's authors, start from. Those that timm
# prefers for the bare name come of another, later training.
TORCHVISION = {f"resnet{depth}" for depth in (18, 34, 50, 101, 152)}
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
INTEGERS = {torch.int64, torch.int32, torch.uint8, torch.bool}  # of counters and indices
# Where training scripts keep a state dict in what they store; of several the first is taken.
WRAPPED_IN = (
    "state_dict",
    "model",
    "classifier",
    "model_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)
# What modules around a model put before its names: averages of weights, data-parallel training,
# Lightning.
PREFIXES = ("ema_model.", "ema.", "module.", "model.")
COUNTERS = {"n_averaged", "num_updates", "initted", "step", "decay"}  # of averages of weights


def load_trunk(trunk: Backbone, weights: str, img_size: int) -> None:
    """Give `trunk` its starting weights.

    Args:
        trunk: the model to fill.
        weights: "none" leaves the random initialisation, "imagenet" takes published weights, see
            `download_weights`, anything else is a .pth or .safetensors file with the names timm
            gives this model (torchvision's are the same for ResNets), or with other names in the
            same order, see `rename_in_order`.
        img_size: side of the input in pixels, to which timm fits position embeddings.

    Raises:
        UserError: no network and no cached file, no such file, not a weight file, or keys or
            shapes that do not match; they are listed.
    """
    if weights == "none":
        return
    state = (
        download_weights(trunk.name, img_size) if weights == "imagenet" else read_weights(weights)
    )
    if any(key.startswith("trunk.") for key in state):
        raise UserError(f"{weights} holds a run's trunk and head: give it as --load_from")
    skipped = tuple(f"{name}." for name in trunk.dropped)
    kept = {key: value for key, value in state.items() if not key.startswith(skipped)}
    renamed = rename_in_order(state, trunk.model.state_dict())
    if renamed is not None:
        print(
            f"{weights} has names of its own: {len(renamed)} tensors of {trunk.name} taken by "
            "order, kind and shape"
        )
        kept = renamed
    kept = resample_positions(trunk, kept)
    load_strictly(trunk.model, kept, f"{weights} weights for {trunk.name}")


def resample_positions(trunk: Backbone, state: StateDict, prefix: str = "") -> StateDict:
    """`state` with what depends on the input's size, such as position embeddings, brought to the
    trunk's by timm, as it does for published weights; where all shapes fit, as it is.

    Args:
        trunk: to be filled.
        state: names and tensors.
        prefix: before the names of `trunk.model`.
    """
    own = trunk.model.state_dict()
    inside = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    if all(inside[key].shape == own[key].shape for key in own.keys() & inside.keys()):
        return state
    family = sys.modules[timm.models.model_entrypoint(trunk.name.split(".")[0]).__module__]
    fit = getattr(family, "checkpoint_filter_fn", None)
    if fit is None:
        return state
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's own code draws some of torch
            fitted = fit(dict(inside), trunk.model)
    except Exception:  # of weights that are others: loading them says which
        return state
    kept = {key: value for key, value in state.items() if not key.startswith(prefix)}
    return kept | {prefix + key: value for key, value in fitted.items()}


def rename_in_order(state: StateDict, own: StateDict) -> StateDict | None:
    """`state` under the names of `own`, if it is the same model written down elsewhere.

    It is where no name is known, and in order every tensor has the last part of its name
    (weight, bias, running_mean, ...) and its shape in common with `own`. A classifier, a weight
    and a bias, may follow.

    Returns:
        As many tensors as `own` has; None where it is not the same.
    """
    pairs = list(zip(own.items(), state.items()))
    same = all(
        mine.shape == other.shape and name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]
        for (name, mine), (key, other) in pairs
    )
    rest = [value.dim() for value in list(state.values())[len(own) :]]
    if not same or len(pairs) < len(own) or rest not in ([], [2, 1]) or set(own) & set(state):
        return None
    return {name: other for (name, _), (_, other) in pairs}


def download_weights(name: str, img_size: int) -> StateDict:
    """Published weights for `name`, from timm's cache where they are in it."""
    if name in TORCHVISION:
        name = f"{name}.tv_in1k"
    print(f"getting ImageNet weights for {name}", flush=True)
    # The hub logs what is raised too; the user gets it in one line.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        model, _ = create_headless(name, img_size, pretrained=True)
    except Exception as error:  # each download library raises exceptions of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"cannot get ImageNet weights for {name} ({reason}): without a network, give "
            "--weights FILE with a downloaded .pth or .safetensors file, or --weights none to "
            "train from scratch"
        ) from error
    return model.state_dict()


def read_weights(path: str | Path) -> StateDict:
    """Read a state dict from .safetensors, or from .pth without running any code of it.

    A dict of tensors under one of `WRAPPED_IN` ("classifier" is a run's last.pt) is unwrapped, and
    `PREFIXES` are removed, see `bare_names`.

    Raises:
        UserError: the file is missing, damaged, or holds anything but tensors.
    """
    path = Path(path)
    content: Any
    if not path.is_file():
        raise UserError(f"no weight file {path}: give a .pth or .safetensors file")
    path.open("rb").close()  # safetensors calls missing what may not be read
    try:
        content = tensor_files.load(path)
    except Exception as error:  # parsers of damaged or hostile files raise of any kind
        reason = (str(error).strip().splitlines() or [""])[0].split(". ")[0][:150]
        if isinstance(error, pickle.UnpicklingError):
            reason = "it holds something else"  # torch's text advises to run what is in it
        raise UserError(
            f"cannot read weights from {path} ({reason}): expected a .safetensors file, or a "
            ".pth or .pt file with tensors only"
        ) from error
    for wrapper in WRAPPED_IN:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise UserError(f"{path} holds no state dict: expected names with tensors")
    length = path.stat().st_size
    for key, value in content.items():
        check_tensor(key, value, path, length)
    return bare_names(content, path)


def bare_names(state: StateDict, path: Path) -> StateDict:
    """`state` without the prefixes that all of its names share, and without counters of averages.

    Of an average that is stored beside the model it was made of, `ema_model.` beside
    `online_model.`, the average is taken.

    Raises:
        UserError: a tensor is there with and without a prefix.
    """
    averages = {key for key in state if key.startswith("ema_model.")}
    names = averages or state.keys() - COUNTERS
    bare = {
        key: key.replace("_orig_mod.", "").removeprefix("module.") for key in state if key in names
    }
    for prefix in PREFIXES * 2:  # some come in both orders
        if all(name.startswith(prefix) for name in bare.values()):
            bare = {key: name.removeprefix(prefix) for key, name in bare.items()}
    if len(set(bare.values())) < len(bare):
        raise UserError(f"{path} names a tensor twice, with and without 'module.' before it")
    return {name: state[key] for key, name in bare.items()}


def check_tensor(key: str, value: torch.Tensor, path: Path, length: int) -> None:
    """Refuse what is no weight, from the file at `path`, of `length` bytes.

    Raises:
        UserError: the tensor is of another layout or type than weights and counters have, not
            finite, or claims a shape for which the file is too small: a tensor of a few bytes
            can, and a model would be built for it. Or its name would garble messages.
    """
    if len(key) > 200 or not key.isprintable():
        raise UserError(f"{path} is no weight file: a name in it is too long or unprintable")
    known = value.dtype in FLOATS | INTEGERS
    if value.is_nested or value.layout != torch.strided or not known:
        kind = f"{value.dtype} {value.layout}".replace("torch.", "")
        raise UserError(f"{path}: expected {key} as a dense tensor of numbers, but found {kind}")
    if value.device.type != "cpu" or value.numel() * value.element_size() > length:
        raise UserError(
            f"{path} is damaged: {key} claims {tuple(value.shape)}, more than the {length} bytes "
            "of the file hold"
        )
    if not torch.isfinite(value).all():
        raise UserError(f"{path} is of no use: {key} is not finite; take an earlier checkpoint")


def load_strictly(module: nn.Module, state: StateDict, what: str) -> None:
    """Load `state` into `module`, or say which keys are missing, unexpected or of another shape.

    Args:
        module: the model to fill; unchanged when the keys do not match.
        state: names and tensors.
        what: names the source in the error.
    """
    own = module.state_dict()
    # torch leaves this counter out of files older than version 0.4.1; nothing depends on it.
    optional = {key for key in own if key.endswith("num_batches_tracked")}
    problems = {
        "missing": [key for key in own if key not in state and key not in optional],
        # Indices, such as those of relative positions, are made with the model.
        "unexpected": [key for key in state if key not in own and state[key].dtype in FLOATS],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(
            f"{len(keys)} {kind} ({', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''})"
            for kind, keys in problems.items()
            if keys
        )
        raise UserError(f"{what} do not fit the model: {listed}; check --model and the file")
    module.load_state_dict(state, strict=False)
