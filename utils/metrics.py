"""Metrics of multi-label classification, all in percent.

C classes, N images; scores are logits, so that probability 0.5 is 0 and large scores do not
saturate into ties.
"""

from typing import Any

import numpy as np


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean precision at the ranks of each class's positives, not interpolated.

    Images with equal scores share the precision at the last of them (scikit-learn's
    definition), so that the order of images does not matter.

    Args:
        scores: (N, C) float32, finite.
        targets: (N, C) int8: 1 true, 0 false, -1 not judged, left out of its class.

    Returns:
        (C,) float64 in percent; NaN for a class without positives.

    Raises:
        ValueError: shapes differ, scores are not finite, or targets hold another value.

    >>> average_precision(np.float32([[3], [2], [1]]), np.int8([[1], [0], [1]]))
    array([83.33333333])
    """
    check(scores, targets)
    result = np.full(scores.shape[1], np.nan)
    # A loop over classes, none over ranks: sorting values column by column is faster than
    # ordering the whole matrix by argsort, and takes the memory of one class.
    for c in range(scores.shape[1]):
        falling, labels = -scores[:, c], targets[:, c]
        judged = np.sort(falling[labels >= 0])
        positives = np.sort(falling[labels == 1])
        if len(positives):
            # Counting up to the last equal score, "right", shares ties.
            hits = np.searchsorted(positives, positives, side="right")
            ranks = np.searchsorted(judged, positives, side="right")
            result[c] = 100 * np.mean(hits / ranks)
    return result


def multilabel_metrics(
    scores: np.ndarray, targets: np.ndarray, threshold: float = 0.0, top_k: int = 3
) -> dict[str, float]:
    """mAP, and precision, recall and F1 by class (C) and overall (O), plain and of the top 3.

    Args:
        scores: (N, C) float32 logits.
        targets: (N, C) int8 in {1, 0, -1}, as in `average_precision`.
        threshold: scores above it count as predicted.
        top_k: how many of an image's highest scores may count as predicted in the variants named
            "_top3", where they are above the threshold, as in ML-GCN's, CSRA's and the authors'
            evaluators; of equal scores the first class's. A label that is not judged may hold
            one of these places, but counts neither way.

    Returns:
        mAP, CP, CR, CF1, OP, OR, OF1 and CP_top3 ... in percent, over the classes with
        positives, and `classes_scored`, their number. CP is the mean over classes of the share
        of predictions that are true, 0 for a class never predicted, CR that of true labels that
        are predicted; OP and OR pool the judged labels of these classes. CF1 and OF1 are the
        harmonic means, 0 where both parts are. All are NaN where no class has positives.

    Raises:
        ValueError: as in `average_precision`, or top_k < 1.

    >>> metrics = multilabel_metrics(np.float32([[2, -1], [1, 3]]), np.int8([[1, 1], [0, 1]]))
    >>> metrics["CP"], metrics["CR"], metrics["classes_scored"]
    (75.0, 75.0, 2)
    """
    if top_k < 1:
        raise ValueError(f"Expected top_k of at least 1, but got {top_k}")
    ap = average_precision(scores, targets)
    scored = ~np.isnan(ap)
    if not scored.any():
        names = (name + kind for kind in ("", f"_top{top_k}") for name in PRECISION_RECALL)
        return {"mAP": float("nan")} | dict.fromkeys(names, float("nan")) | {"classes_scored": 0}
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    among_best = np.zeros(scores.shape, bool)
    np.put_along_axis(among_best, best, True, axis=1)
    predicted = scores > threshold
    return (
        {"mAP": float(ap[scored].mean())}
        | precision_recall(predicted[:, scored], targets[:, scored])
        | precision_recall((predicted & among_best)[:, scored], targets[:, scored], f"_top{top_k}")
        | {"classes_scored": int(scored.sum())}
    )


PRECISION_RECALL = ("CP", "CR", "CF1", "OP", "OR", "OF1")


def precision_recall(
    predicted: np.ndarray, targets: np.ndarray, suffix: str = ""
) -> dict[str, float]:
    """CP CR CF1 OP OR OF1 in percent of predictions (N, C) bool; `suffix` ends their names."""
    true = targets == 1
    hits = (predicted & true).sum(axis=0)
    claimed = (predicted & (targets >= 0)).sum(axis=0)
    by_class = (hits / np.maximum(claimed, 1)).mean(), (hits / true.sum(axis=0)).mean()
    overall = hits.sum() / max(claimed.sum(), 1), hits.sum() / true.sum()
    values = [100 * float(v) for p, r in (by_class, overall) for v in (p, r, harmonic_mean(p, r))]
    return {name + suffix: value for name, value in zip(PRECISION_RECALL, values)}


def best_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The threshold of each class above which predictions have the highest F1.

    It lies halfway between two scores; of equally good ones the highest is taken.

    Args:
        scores, targets: (N, C), as in `average_precision`.

    Returns:
        (C,) float64 logits; 0, which is probability 0.5, for a class without positives.

    >>> best_thresholds(np.float32([[3], [2], [1]]), np.int8([[1], [1], [0]]))
    array([1.5])
    """
    check(scores, targets)
    result = np.zeros(scores.shape[1])
    for c in range(scores.shape[1]):
        judged = targets[:, c] >= 0
        order = np.argsort(-scores[judged, c])
        falling = np.append(scores[judged, c][order].astype(np.float64), -np.inf)
        hits = np.cumsum(targets[judged, c][order] == 1)
        if len(hits) and hits[-1]:
            f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
            f1[falling[:-1] == falling[1:]] = -1  # no threshold parts equal scores
            best = int(f1.argmax())
            following = falling[best + 1] if best + 1 < len(hits) else falling[best] - 2
            result[c] = (falling[best] + following) / 2
    return result


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid, in float64."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits.astype(np.float64)))


def judge_candidates(
    scores: np.ndarray, truth: np.ndarray | None, candidates: np.ndarray
) -> dict[str, Any]:
    """Judge how scores rank candidates, true before false, all images and classes pooled.

    Args:
        scores: (N, C) float32 logits of the training images, not augmented.
        truth: (N, C) int8 in {1, 0, -1}; -1, which nobody knows or VOC calls difficult, is left
            out. None where nobody knows any, see `training_data.truth_of`.
        candidates: (N, C) in {0, 1}.

    Returns:
        candidate_AP in percent, None where no candidate is false or none is true; `candidates`,
        how many were judged; `true_candidates`, how many of these are true, None where there is no
        truth. Their share is the AP of a ranking by chance.

    >>> judge_candidates(np.float32([[1, 2, 9]]), np.int8([[1, 0, 0]]), np.array([[1, 1, 0]]))
    {'candidate_AP': 50.0, 'candidates': 2, 'true_candidates': 1}
    """
    if truth is None:
        return {"candidate_AP": None, "candidates": 0, "true_candidates": None}
    chosen = (candidates == 1) & (truth >= 0)
    labels = truth[chosen]
    true = int((labels == 1).sum())
    ap = None
    if 0 < true < len(labels):
        ap = float(average_precision(scores[chosen][:, None], labels[:, None])[0])
    return {"candidate_AP": ap, "candidates": len(labels), "true_candidates": true}


def harmonic_mean(precision: float, recall: float) -> float:
    """F1; 0 where both are 0."""
    return 2 * precision * recall / max(precision + recall, 1e-12)


def format_metric(value: float | None) -> str:
    """A metric in percent; "none" where it is not defined."""
    return "  none" if value is None else f"{value:6.2f}"


def check(scores: np.ndarray, targets: np.ndarray) -> None:
    """Refuse what the metrics are not defined for."""
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            f"Expected scores and targets of one shape (N, C), but got {scores.shape} and "
            f"{targets.shape}"
        )
    finite = np.isfinite(scores)
    if not finite.all():
        image, c = np.argwhere(~finite)[0]
        raise ValueError(
            f"Expected finite scores, but got {scores[image, c]} for image {image}, class {c}"
        )
    known = np.isin(targets, (-1, 0, 1))
    if not known.all():
        image, c = np.argwhere(~known)[0]
        raise ValueError(
            f"Expected targets in {{-1, 0, 1}}, but got {targets[image, c]} for image {image}, "
            f"class {c}"
        )
