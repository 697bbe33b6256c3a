"""The processes of one run, as torchrun starts them; a single one is the ordinary case.

Each trains on its share of every batch. What they must agree on goes through here. Nothing here
imports torch before a process group is started, so that --help answers at once.
"""

import contextlib
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_joined = 1  # processes
LONGEST_WAIT = timedelta(hours=1)  # of processes for one that, say, decodes all images
# torchrun kills what is left 30 seconds after it has asked processes to end.
SECONDS_TO_STORE = 25
SECONDS_FOR_FIRST = 10  # of a busy machine, where the first may come later


def launched() -> int:
    """Processes that torchrun has started, whether or not they have joined."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """This process's number among all of the run's, from 0; 0 before they have joined."""
    return int(os.environ["RANK"]) if _joined > 1 else 0


def world_size() -> int:
    """Processes of the run, on all machines; 1 before they have joined."""
    return _joined


def local_rank() -> int:
    """This process's number on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0))


def local_size() -> int:
    """Processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def launcher() -> str:
    """The beginning of a command line of this run."""
    return "python" if world_size() == 1 else f"torchrun --nproc_per_node={local_size()}"


@contextlib.contextmanager
def process_group(device: "torch.device") -> Iterator[None]:
    """Join the processes that torchrun has started into one run.

    Each takes its share of the machine's cores, where OMP_NUM_THREADS asks for no more than the
    single thread that torchrun gives it.

    Args:
        device: of this process.
    """
    global _joined
    count = launched()
    if count == 1:
        yield
        return
    import torch

    if os.environ.get("OMP_NUM_THREADS", "1") == "1":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_size()))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    _joined = count
    yield
    torch.distributed.destroy_process_group()  # not after a failure: others may wait for this one
    _joined = 1


def data_parallel(module: "torch.nn.Module", device: "torch.device") -> "torch.nn.Module":
    """`module` with its gradients averaged over all processes, and the first one's weights."""
    import torch

    # Of the head's weights, whose first dimension has size 1: any stride of it is right.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    # The name that replaces it is not known to the oldest torch that will do.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
    devices = [device] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(module, devices, broadcast_buffers=False)


@contextlib.contextmanager
def local_rank0_first() -> Iterator[None]:
    """The first process of each machine does what is within; the others repeat it after that.

    For files that the first makes and the others find.
    """
    if world_size() == 1:
        yield
        return
    import torch

    if local_rank() > 0:
        torch.distributed.barrier()
    yield
    if local_rank() == 0:
        torch.distributed.barrier()


def broadcast(value: Any) -> Any:
    """The first process's `value`."""
    if world_size() == 1:
        return value
    import torch

    values = [value]
    torch.distributed.broadcast_object_list(values)
    return values[0]


def any_rank(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Tell whether `condition` holds in any process; all must ask. Waits for them, not a GPU."""
    if world_size() == 1:
        return condition
    import torch

    def asked() -> bool:
        flag = torch.tensor(int(condition()))
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)

    return asked


def shard(count: int, of: int | None = None) -> range:
    """The part of `count` things in order that process `of`, or this one, takes.

    Parts differ by one at most; the first are the larger.
    """
    process = rank() if of is None else of
    size, rest = divmod(count, world_size())
    begin = process * size + min(process, rest)
    return range(begin, begin + size + (process < rest))


def all_gather(part: "torch.Tensor", count: int) -> "torch.Tensor":
    """The `count` rows of which each process has its `shard`, in order; through `part` flow
    gradients, through the others' rows none.
    """
    import torch

    sizes = [len(shard(count, process)) for process in range(world_size())]
    padded = torch.zeros(sizes[0], *part.shape[1:], dtype=part.dtype, device=part.device)
    padded[: len(part)] = part.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    torch.distributed.all_gather(parts, padded)
    parts = [other[:size] for other, size in zip(parts, sizes)]
    parts[rank()] = part
    return torch.cat(parts)


def all_reduce_sum(tensor: "torch.Tensor") -> "torch.Tensor":
    """The sum over processes, in place."""
    if world_size() > 1:
        import torch

        torch.distributed.all_reduce(tensor)
    return tensor


def broadcast_buffers(module: "torch.nn.Module") -> None:
    """Give all processes the first one's buffers: without --sync_bn each has statistics of its
    own part of the batches.
    """
    if world_size() > 1:
        import torch

        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)


def is_lost_process(error: Exception) -> bool:
    """Tell whether `error` is that of waiting for a process that has ended."""
    if world_size() == 1 or not isinstance(error, RuntimeError):
        return False
    import torch

    names = ("DistBackendError", "DistNetworkError", "DistStoreError")
    lost = tuple(getattr(torch.distributed, name) for name in names)
    return isinstance(error, lost) or "gloo" in str(error)


def exit_soon() -> None:
    """Let this process end in a while even where it waits for one that is gone."""
    if world_size() > 1:
        signal.alarm(SECONDS_TO_STORE)


def silence_other_ranks() -> None:
    """Let only the first of several processes write to the terminal."""
    if int(os.environ.get("RANK", 0)) > 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the whole process


def defer_to_rank0(at_once: bool = False) -> None:
    """Wait, in all but the first process, before an error is reported: the first may have the same,
    and ends this process by ending itself.

    Args:
        at_once: it is that another process is gone, the first perhaps, which the second says.
    """
    number = int(os.environ.get("RANK", 0))
    if number > 0:
        sys.stderr = sys.__stderr__
        if not (at_once and number == 1):
            time.sleep(SECONDS_FOR_FIRST)
