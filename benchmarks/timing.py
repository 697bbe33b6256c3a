"""Medians of alternating runs, so that a machine whose speed drifts favours neither side."""

import statistics
import time
from collections.abc import Callable


def alternate(*functions: Callable[[], object], repeats: int, warmup: int = 1) -> list[float]:
    """Median seconds of each function, called in turn `repeats` times after `warmup` rounds."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(warmup + repeats):
        for function, times in zip(functions, seconds):
            started = time.perf_counter()
            function()
            if turn >= warmup:
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in seconds]
