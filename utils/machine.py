"""Where and in which precision to run."""

import os

import torch

from utils.errors import UserError

PRECISIONS = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is cuda where there is one.

    Raises:
        UserError: it is neither cpu nor cuda, or not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name} cannot be used here ({reason}): try cpu") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name} cannot be used here: expected cpu or cuda")
    return device


def default_workers() -> int:
    """Loader processes where none are asked for: one a core, 8 at most."""
    return min(os.cpu_count() or 1, 8)
