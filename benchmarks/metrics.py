"""All metrics, and average precision against a loop over ranks, on a test set of COCO's size.

Run: python -m benchmarks.metrics
"""

import numpy as np

from benchmarks.timing import alternate, ratio
from utils.metrics import average_precision, multilabel_metrics

IMAGES, CLASSES, LABELS_AN_IMAGE = 40_137, 80, 3


def average_precision_by_rank(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The textbook's way: walk down each class's ranking and note precision at every positive.

    Equal scores are ranked as argsort leaves them, where `average_precision` shares ties.
    """
    result = np.full(scores.shape[1], np.nan)
    for c in range(scores.shape[1]):
        labels = targets[:, c]
        hits = rank = 0
        precisions = 0.0
        for image in np.argsort(-scores[:, c]):
            label = labels[image]
            if label == -1:
                continue
            rank += 1
            if label == 1:
                hits += 1
                precisions += hits / rank
        if hits:
            result[c] = 100 * precisions / hits
    return result


def main() -> None:
    generator = np.random.default_rng(0)
    targets = (generator.random((IMAGES, CLASSES)) < LABELS_AN_IMAGE / CLASSES).astype(np.int8)
    scores = (generator.normal(size=targets.shape) + 2 * targets).astype(np.float32)
    results, repeats = {}, 5

    def sorted_counts() -> None:
        results["counts"] = average_precision(scores, targets)

    def by_rank() -> None:
        results["rank"] = average_precision_by_rank(scores, targets)

    def all_metrics() -> None:
        multilabel_metrics(scores, targets)

    seconds, seconds_by_rank, seconds_all = alternate(
        sorted_counts, by_rank, all_metrics, repeats=repeats
    )
    difference = np.abs(results["counts"] - results["rank"]).max()
    print(f"{IMAGES} x {CLASSES} scores, {targets.sum() / IMAGES:.1f} labels an image, ", end="")
    print(f"shortest of {repeats}")
    print(f"loop over ranks    {seconds_by_rank:7.3f} s")
    print(f"average_precision  {seconds:7.3f} s, {seconds_by_rank / seconds:.1f} times faster")
    print(f"all metrics        {seconds_all:7.3f} s")
    print(f"largest difference of the APs {difference:.1e} points, from ties")
    ratio("average precision", "a loop over ranks", seconds_by_rank / seconds)


if __name__ == "__main__":
    main()
