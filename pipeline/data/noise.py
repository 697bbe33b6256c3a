"""Noise models: which labels that are not true become candidates.

Each gives the probability of every label; `draw` turns it into candidates, which hold every true
label. A seed fixes the draw on any machine.
"""

import numpy as np


def draw(targets: np.ndarray, probability: float | np.ndarray, seed: int) -> np.ndarray:
    """Candidates: every true label, and each other label with its probability.

    Args:
        targets: (N, C) int8: 1 true, 0 false, -1 difficult, which counts as false.
        probability: in [0, 1], for all labels, (C,) for classes or (N, C) for each label.
        seed: fixes the draw.

    Returns:
        (N, C) uint8 in {0, 1}.
    """
    flipped = np.random.Generator(np.random.PCG64(seed)).random(targets.shape) < probability
    return ((targets == 1) | flipped).astype(np.uint8)


def uniform_noise(targets: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """`draw` with the same probability `rate`, in [0, 1), for every label, the paper's noise.

    Raises:
        ValueError: the rate is outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"Expected a noise rate in [0, 1) but got {rate}")
    return draw(targets, rate, seed)


def leave_out(candidates: np.ndarray, targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Candidates without a `share` of the true labels, drawn at random.

    Each true label is drawn with the same probability; an image that would lose all of them keeps
    the one that was drawn last.

    Args:
        candidates: (N, C) in {0, 1}.
        targets: (N, C) int8, as in `draw`.
        share: in [0, 1).
        seed: fixes the draw, apart from what it fixes in `draw`.

    Returns:
        (N, C) uint8 in {0, 1}.
    """
    true = targets == 1
    chance = np.random.Generator(np.random.PCG64([seed, 3])).random(targets.shape)
    gone = true & (chance < share)
    last = np.where(true, chance, -1).argmax(axis=1)
    gone[np.arange(len(gone)), last] = False
    return np.where(gone, 0, candidates).astype(np.uint8)


def class_rates(mean: float, classes: int, seed: int) -> np.ndarray:
    """A rate for each class: evenly spaced between 0 and twice the `mean`, dealt out by the seed.

    Args:
        mean: in [0, 0.5].
        classes: C >= 1.
        seed: fixes which class has which rate, apart from what it fixes in `draw`.

    Returns:
        (C,) float64 in [0, 1).

    Raises:
        ValueError: the mean is outside [0, 0.5].

    >>> sorted(class_rates(0.2, 4, seed=0).round(2).tolist())
    [0.05, 0.15, 0.25, 0.35]
    """
    if not 0 <= mean <= 0.5:
        raise ValueError(f"Expected a mean rate in [0, 0.5] but got {mean}")
    order = np.random.Generator(np.random.PCG64([seed, 1])).random(classes).argsort()
    return (2 * order + 1) * mean / classes


def cooccurrence_weights(targets: np.ndarray) -> np.ndarray:
    """Mean frequency with which each class appears with an image's true labels.

    Args:
        targets: (N, C) int8, as in `draw`.

    Returns:
        (N, C) float64 in [0, 1]: the mean of P(c | t) over the image's true labels t, or P(c)
        for an image without any.
    """
    true = (targets == 1).astype(np.float64)
    counts = true.sum(axis=0)
    given = true.T @ true / np.maximum(counts, 1)[:, None]
    number = true.sum(axis=1, keepdims=True)
    return np.where(number > 0, true @ given / np.maximum(number, 1), counts / len(true))


def score_weights(scores: np.ndarray) -> np.ndarray:
    """Probabilities by which a classifier takes each label for true, from its logits (N, C).

    They are rounded to 1/1000, so that the same classifier gives the same noise on machines
    whose last digits differ.
    """
    return np.round(0.5 * (1 + np.tanh(0.5 * scores.astype(np.float64))), 3)


def scale_to_rate(weights: np.ndarray, targets: np.ndarray, rate: float) -> np.ndarray:
    """Probabilities in proportion to `weights`, cut at 1, whose mean is `rate`.

    The mean is over the labels that are not true.

    Args:
        weights: (N, C) >= 0.
        targets: (N, C) int8, as in `draw`.
        rate: in [0, 1).

    Returns:
        (N, C) float64 in [0, 1].

    Raises:
        ValueError: too few weights are above 0 to reach the rate.

    >>> scale_to_rate(np.array([[3.0, 1.0, 9.0]]), np.int8([[0, 0, 1]]), 0.5)[:, :2]
    array([[0.75, 0.25]])
    """
    others = weights[targets != 1]
    reachable = (others > 0).mean() if len(others) else 0.0
    if rate > reachable:
        raise ValueError(f"Expected a rate of at most {reachable:.4f} here, but got {rate}")
    if rate == 0:  # also where every label is true
        return np.zeros(weights.shape)
    low, high = 0.0, 1.0
    while np.minimum(others * high, 1).mean() < rate and high < 1e300:
        high *= 2
    for _ in range(100):  # bisection, to the last bit
        middle = (low + high) / 2
        below = np.minimum(others * middle, 1).mean() < rate
        low, high = (middle, high) if below else (low, middle)
    return np.minimum(weights * high, 1)
