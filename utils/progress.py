"""Long work as people see it: a bar on a terminal, lines in a file, and Ctrl-C that keeps it."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from utils import distributed, errors


class Interrupted(Exception):
    """Ctrl-C, or a scheduler's SIGTERM, between two steps."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C or SIGTERM came; a second Ctrl-C ends at once."""
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        errors.signals.append(number)
        if distributed.world_size() > 1:  # torchrun sends its processes a second one soon after
            distributed.exit_soon()
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not by print: the signal may have come within one, which must not be entered twice.
        os.write(2, b"\nstopping after this step; another Ctrl-C ends at once\n")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress_bar(description: str, images: int, done: int = 0) -> tqdm:
    """A bar of images with speed and time left, on a terminal only."""
    return tqdm(
        total=images, initial=done, desc=description, unit=" images", leave=False, disable=None
    )


def report(bar: tqdm, where: str, loss: float) -> None:
    """Show the loss in the bar, or as a line where output goes to a file."""
    if bar.disable:
        print(f"{where}  loss {loss:.4f}", flush=True)
    else:
        bar.set_postfix(loss=f"{loss:.4f}")
