"""Weights from files or from timm, matched strictly by name and shape."""

import logging
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from pipeline.model.backbone import Backbone, create_headless
from utils.errors import UserError

StateDict = dict[str, torch.Tensor]


def load_trunk(trunk: Backbone, weights: str, img_size: int) -> None:
    """Give `trunk` its starting weights.

    Args:
        trunk: the model to fill.
        weights: "none" leaves the random initialisation, "imagenet" takes timm's published
            weights (from its cache, or downloaded), anything else is a .pth or .safetensors
            file with the names timm gives this model (torchvision's are the same for ResNets).
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
    load_strictly(trunk.model, kept, f"{weights} weights for {trunk.name}")


def download_weights(name: str, img_size: int) -> StateDict:
    """timm's published weights for `name`, from its cache where they are in it."""
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

    A dict of tensors under "state_dict", "model" or "classifier" (a run's last.pt) is unwrapped,
    and the prefix "module." of data-parallel training removed.

    Raises:
        UserError: the file is missing, damaged, or holds anything but tensors.
    """
    path = Path(path)
    content: Any
    if not path.is_file():
        raise UserError(f"no weight file {path}: give a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            refuse_inflation(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd pickles, which are refused in one line
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # parsers of damaged or hostile files raise of any kind
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            reason = "it holds something else"  # torch's text advises to run what is in it
        raise UserError(
            f"cannot read weights from {path} ({reason}): expected a .safetensors file, or a "
            ".pth or .pt file with tensors only"
        ) from error
    for wrapper in ("state_dict", "model", "classifier"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise UserError(f"{path} holds no state dict: expected names with tensors")
    # A tensor of a few bytes can claim any shape, and a model would be built for it.
    length = path.stat().st_size
    for key, value in content.items():
        if value.device.type != "cpu" or value.numel() * value.element_size() > length:
            raise UserError(
                f"{path} is damaged: {key} claims {tuple(value.shape)}, more than the {length} "
                "bytes of the file hold"
            )
    return {key.removeprefix("module."): value for key, value in content.items()}


def refuse_inflation(path: Path) -> None:
    """Raise ValueError for an archive whose entries grow when read: torch packs nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries unpack to more than the file holds")


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
        "unexpected": [key for key in state if key not in own],
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
