"""Timing for benchmarks: alternating runs, and ratios that are gathered in one table."""

import json
import os
import time
from collections.abc import Callable

RATIOS = "BENCHMARK_RATIOS"  # names the file to which a benchmark adds its ratios


def alternate(*functions: Callable[[], object], repeats: int, warmup: int = 1) -> list[float]:
    """Shortest seconds of each function, called in turn `repeats` times after `warmup` rounds.

    What else the machine does only lengthens a call, so that the shortest says most. Every other
    round goes backwards: neither a machine whose speed drifts nor what one function leaves behind
    for the next favours any of them.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(warmup + repeats):
        pairs = list(zip(functions, seconds))
        for function, times in pairs if turn % 2 else reversed(pairs):
            started = time.perf_counter()
            function()
            if turn >= warmup:
                times.append(time.perf_counter() - started)
    return [min(times) for times in seconds]


def ratio(what: str, baseline: str, times: float, better: str = "fast") -> None:
    """Print how many times as fast, or as small, `what` is as `baseline`, and keep it."""
    print(f"= {what}: {times:.3g} times as {better} as {baseline}", flush=True)
    if RATIOS in os.environ:
        line = {"what": what, "baseline": baseline, "times": times, "better": better}
        with open(os.environ[RATIOS], "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
