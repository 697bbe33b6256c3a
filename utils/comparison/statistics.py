"""Statistics of runs of several methods, noise rates and seeds: pure functions of scores."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

CLEAN, BCE = "clean", "bce"  # the bounds between which a method recovers noise
MIN_LOSS = 0.1  # points that noise must cost before a share of them means anything


class Run(NamedTuple):
    """One training. Without added noise (rate None) it is one a seed, and serves every rate."""

    method: str
    rate: float | None
    seed: int

    def __str__(self) -> str:
        rate = "" if self.rate is None else f"-rate{self.rate:g}"
        return f"{self.method}{rate}-seed{self.seed}"


Scores = Mapping[Run, float]  # in percent


class Spread(NamedTuple):
    """Mean, sample standard deviation (None of a single one) and number of some values."""

    mean: float
    deviation: float | None
    n: int


class Difference(NamedTuple):
    """Mean of paired differences, two-sided p of the paired t test (None: undefined), pairs."""

    mean: float
    p: float | None
    n: int


def run_of(scores: Scores, method: str, rate: float, seed: int) -> Run | None:
    """The run of a cell that has a score; None where there is none yet."""
    runs = Run(method, rate, seed), Run(method, None, seed)
    return next((run for run in runs if run in scores), None)


def score_of(scores: Scores, method: str, rate: float, seed: int) -> float | None:
    """Score of a cell; None where there is none yet."""
    run = run_of(scores, method, rate, seed)
    return None if run is None else scores[run]


def spread(scores: Scores, method: str, rate: float, seeds: Sequence[int]) -> Spread | None:
    """Spread over the seeds that have a score; None where none has.

    >>> scores = {Run("bce", 0.1, 0): 80.0, Run("bce", 0.1, 1): 82.0}
    >>> spread(scores, "bce", 0.1, [0, 1, 2])
    Spread(mean=81.0, deviation=1.4142135623730951, n=2)
    """
    found = [score_of(scores, method, rate, seed) for seed in seeds]
    values = [value for value in found if value is not None]
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.mean(values), deviation, len(values))


def noise_recovered(
    scores: Scores, method: str, rate: float, seeds: Sequence[int]
) -> tuple[float, int] | None:
    """Share of the mAP lost to noise by BCE that a method wins back.

    mean(method - bce) / mean(clean - bce), over the seeds that have all three. A mean of the
    seeds' own ratios would be ruled by the seed with the smallest denominator.

    Returns:
        The share in percent, which may be negative or above 100, and the number of seeds; None
        where no seed has all three, or mean(clean - bce) is below 0.1 points.

    >>> scores = {Run("clean", None, 0): 90.0, Run("bce", 0.4, 0): 80.0}
    >>> noise_recovered(scores | {Run("paper", 0.4, 0): 82.5}, "paper", 0.4, [0])
    (25.0, 1)
    """
    won, lost = [], []
    for seed in seeds:
        score, clean, bce = (score_of(scores, m, rate, seed) for m in (method, CLEAN, BCE))
        if score is not None and clean is not None and bce is not None:
            won.append(score - bce)
            lost.append(clean - bce)
    if not lost or statistics.mean(lost) < MIN_LOSS:
        return None
    return 100 * statistics.mean(won) / statistics.mean(lost), len(lost)


def paired_difference(
    scores: Scores, method: str, reference: str, rates: Sequence[float], seeds: Sequence[int]
) -> Difference | None:
    """`method` less `reference`, paired by seed, with scipy's paired t test.

    A seed counts as one pair, with its mean over the rates: runs of one seed share their
    initialisation, and a method without a rate is one run.

    Returns:
        None with fewer than two seeds that have both methods at all rates. p is None where all
        differences are equal: a t test divides by their deviation.
    """
    from scipy.stats import ttest_1samp  # slow to import

    differences = []
    for seed in seeds:
        pairs = [
            (first, second)
            for rate in rates
            if (first := score_of(scores, method, rate, seed)) is not None
            and (second := score_of(scores, reference, rate, seed)) is not None
        ]
        if len(pairs) == len(rates):
            differences.append(statistics.mean(first - second for first, second in pairs))
    if len(differences) < 2:
        return None
    # Rounding alone makes equal differences differ in their last bits.
    equal = max(differences) - min(differences) < 1e-9
    p = None if equal else float(ttest_1samp(differences, 0).pvalue)
    return Difference(statistics.mean(differences), p, len(differences))


def expected_seconds(method: str, finished: Iterable[tuple[str, float]]) -> float | None:
    """Seconds that a run takes: the mean of its method's runs, else of all; None without any.

    >>> expected_seconds("bce", [("bce", 10.0), ("bce", 20.0), ("paper", 60.0)])
    15.0
    >>> expected_seconds("hill", [("bce", 10.0), ("paper", 60.0)])
    35.0
    """
    finished = list(finished)
    own = [seconds for name, seconds in finished if name == method]
    values = own or [seconds for _, seconds in finished]
    return statistics.mean(values) if values else None
