"""The device and the precision to run in."""

import contextlib
from collections.abc import Iterator

import torch

from utils import distributed
from utils.errors import UserError

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def own_device(name: str) -> torch.device:
    """The device of this process, one of several perhaps, of the kind called `name`.

    Raises:
        UserError: as `choose_device`; or there are more processes than GPUs.
    """
    processes, gpus = distributed.local_size(), torch.cuda.device_count()
    if processes == 1 or not gpus or name not in ("auto", "cuda"):
        device = choose_device(name)
        if processes > 1 and device.type == "cuda":
            raise UserError(f"--device {name} is one GPU for {processes} processes: give cuda")
        return device
    if processes > gpus:
        raise UserError(
            f"{processes} processes but {gpus} GPUs: start torchrun with --nproc_per_node={gpus}, "
            "or give --device cpu"
        )
    return torch.device("cuda", distributed.local_rank())


def autocast(device: torch.device, amp_dtype: torch.dtype | None) -> torch.autocast:
    """Mixed precision of `amp_dtype` on `device`; full precision where it is None."""
    return torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: for steps so small that threads wait for each other longer.

    The more so where other work runs; and the result is the same whatever the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
