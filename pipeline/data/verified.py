"""Images whose labels somebody has checked, every one of them."""

from typing import Any, NamedTuple

import numpy as np

from pipeline.data.labelled import LabelledImages
from utils.terminal import one_line

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))
LONGEST_NAME = 40  # of a class, in a table on the terminal


class Verified(NamedTuple):
    """Training images whose labels are known.

    rows: (V,) int64, ascending. truth: (V, C) uint8 in {0, 1}.
    """

    rows: np.ndarray
    truth: np.ndarray


def of_list(data: LabelledImages) -> Verified | None:
    """The images that a list calls verified; None where there are none."""
    if data.verified is None or data.true_targets is None or not data.verified.any():
        return None
    rows = np.flatnonzero(data.verified)
    return Verified(rows, (data.true_targets[rows] == 1).astype(np.uint8))


def joined(first: Verified | None, second: Verified | None) -> Verified | None:
    """The images of both; where both have one, as the second has it."""
    if first is None or second is None:
        return second if first is None else first
    left = ~np.isin(first.rows, second.rows)
    rows = np.concatenate([first.rows[left], second.rows])
    order = np.argsort(rows)
    return Verified(rows[order], np.concatenate([first.truth[left], second.truth])[order])


def uncovered(data: LabelledImages) -> np.ndarray:
    """(N,) bool: which images' labels miss a true one; not of verified ones, which tell it."""
    if data.true_targets is None:
        return np.zeros(len(data), bool)
    missed = ((data.true_targets == 1) & (data.targets != 1)).any(axis=1)
    return missed if data.verified is None else missed & ~data.verified


def shown(candidates: np.ndarray, verified: Verified | None) -> np.ndarray:
    """Candidates (N, C) with those of verified images replaced by their truth."""
    if verified is None:
        return candidates
    result = candidates.copy()
    result[verified.rows] = verified.truth
    return result


def truth_of_others(truth: np.ndarray, verified: Verified | None) -> np.ndarray:
    """Truth (N, C) in {1, 0, -1} to judge a run by: -1 of verified images, whose truth it knew."""
    if verified is None:
        return truth
    result = truth.copy()
    result[verified.rows] = -1
    return result


def describe_noise(
    candidates: np.ndarray, verified: Verified, classes: list[str]
) -> dict[str, Any]:
    """The noise as verified images show it, in all and by class.

    Args:
        candidates: (N, C) in {0, 1}, as found.
        verified: of these images.
        classes: C names.

    Returns:
        JSON-ready: false_candidates, the share of candidates that are false, and missing_labels,
        that of true labels that are no candidates, each as [share, low, high, number] with its
        95% interval (Wilson 1927), or None without any; by_class the same.
    """
    found, true = candidates[verified.rows] == 1, verified.truth == 1
    pairs = {"false_candidates": (found & ~true, found), "missing_labels": (true & ~found, true)}

    def shares(columns: slice) -> dict[str, list[float] | None]:
        return {
            name: share_of(int(part[:, columns].sum()), int(whole[:, columns].sum()))
            for name, (part, whole) in pairs.items()
        }

    by_class = {name: shares(slice(k, k + 1)) for k, name in enumerate(classes)}
    return {"verified": len(verified.rows)} | shares(slice(None)) | {"by_class": by_class}


def check_thresholds(probability: np.ndarray, true: np.ndarray, own: float) -> list[dict[str, Any]]:
    """The effect of dropping on candidates of verified images, judged without knowing them.

    Args:
        probability: (M,) float in [0, 1], of being true, from the other verified images.
        true: (M,) bool.
        own: a threshold of interest, beside tenths.

    Returns:
        JSON-ready, of each threshold: dropped, how many are less probable; expected_precision, the
        share of false ones among them by the probabilities; precision, [share, low, high, number]
        with its 95% interval. The last two are None where nothing is dropped.
    """
    result = []
    for threshold in sorted({*THRESHOLDS, round(own, 4)}):
        below = probability < threshold
        expected = float((1 - probability[below]).mean(dtype=float)) if below.any() else None
        result.append(
            {
                "threshold": threshold,
                "dropped": int(below.sum()),
                "expected_precision": None if expected is None else round(expected, 4),
                "precision": share_of(int((~true[below]).sum()), int(below.sum())),
            }
        )
    return result


def format_check(check: list[dict[str, Any]]) -> list[str]:
    """Lines that say what `check_thresholds` found; of thresholds that would drop something."""
    rows = [
        f"{each['threshold']:<8g}{100 * each['expected_precision']:<22.0f}"
        f"{percent(each['precision'])}"
        for each in check
        if each["dropped"]
    ]
    head = [
        "dropped from verified images, each judged by the others, with 95% intervals:",
        f"{'below':<8}{'false by probability':<22}false",
    ]
    return [*head, *rows] if rows else []


def percent(found: list[float] | None) -> str:
    """The result of `share_of`, in percent."""
    if found is None:
        return "-"
    share, low, high, whole = found
    return f"{100 * share:.0f}% ({100 * low:.0f} to {100 * high:.0f}) of {whole}"


def share_of(part: int, whole: int) -> list[float] | None:
    """[share, low, high, whole], with its 95% interval; None of nothing.

    >>> share_of(5, 20)
    [0.25, 0.1119, 0.4687, 20]
    """
    if not whole:
        return None
    from scipy.stats import binomtest  # slow to import

    test = binomtest(part, whole)
    interval = test.proportion_ci(method="wilson")
    return [round(float(x), 4) for x in (test.statistic, interval.low, interval.high)] + [whole]


def format_noise(noise: dict[str, Any]) -> list[str]:
    """Lines that say what `describe_noise` found; of classes, those with candidates or labels."""

    named = [(one_line(name, LONGEST_NAME), row) for name, row in noise["by_class"].items()]
    rows = [("all classes", noise), *named]
    width = max(len(name) for name, _ in rows)
    lines = [f"{noise['verified']} verified images, with 95% intervals:"]
    lines.append(f"{'':<{width}}  {'false candidates':<24}missing labels")
    lines += [
        f"{name:<{width}}  {percent(row['false_candidates']):<24}{percent(row['missing_labels'])}"
        for name, row in rows
        if row["false_candidates"] or row["missing_labels"]
    ]
    return lines
