"""The correlation refresh with one k-means fit a class against one fit for every pair of classes.

Run: python -m benchmarks.correlation
"""

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import cosine_similarity

from benchmarks.timing import alternate, ratio
from pipeline.cones.correlation import class_directions

CLASSES, ROWS, DIM, CLUSTERS = 20, 256, 2048, 5


def similarity_by_class(memory: torch.Tensor, count: torch.Tensor) -> np.ndarray:
    directions, _ = class_directions(memory, count, CLUSTERS)
    return (directions @ directions.T).numpy()


def similarity_by_pair(memory: torch.Tensor) -> np.ndarray:
    """Fit one of the two classes anew for each of the C^2 pairs, as the released code does."""
    similarity = np.zeros((CLASSES, CLASSES))
    for i in range(CLASSES):
        first = centroids(memory[i])
        for j in range(CLASSES):
            similarity[i, j] = cosine_similarity(first, centroids(memory[j])).mean()
    return similarity


def centroids(rows: torch.Tensor) -> np.ndarray:
    return KMeans(CLUSTERS, n_init=1, random_state=0).fit(rows.numpy()).cluster_centers_


def main() -> None:
    torch.manual_seed(0)
    memory = torch.rand(CLASSES, ROWS, DIM)
    count = torch.full((CLASSES,), ROWS)
    results = {}

    def fit_classes() -> None:
        results["class"] = similarity_by_class(memory, count)

    def fit_pairs() -> None:
        results["pair"] = similarity_by_pair(memory)

    (by_class,) = alternate(fit_classes, repeats=3)
    (by_pair,) = alternate(fit_pairs, repeats=1, warmup=0)
    difference = np.abs(results["class"] - results["pair"]).max()
    print(f"C = {CLASSES}, memory {ROWS} x {DIM}, K = {CLUSTERS}")
    print(f"a fit a pair   {by_pair:7.2f} s")
    print(f"a fit a class  {by_class:7.2f} s, {by_pair / by_class:.1f} times faster")
    print(f"largest difference of the similarities {difference:.1e}")
    ratio("correlation refresh, one fit a class", "a fit a pair of classes", by_pair / by_class)


if __name__ == "__main__":
    main()
