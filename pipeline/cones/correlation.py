"""Step 3: how strongly classes go together, first from labels, then from prototypes."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from sklearn.cluster import KMeans

from pipeline.data.rows import CandidateRows

DENSE_SPEED = 100  # products that a dense multiplication does while a sparse one counts a pair
DENSE_IMAGES = 4096  # multiplied in one go


def scale_rows(matrix: torch.Tensor) -> torch.Tensor:
    """Scale the off-diagonal entries of each row to sum 1 and set the diagonal to 1.

    Args:
        matrix: (C, C) float; negative entries count as 0. A row without a positive
            off-diagonal entry becomes 0 off the diagonal.

    >>> scale_rows(torch.tensor([[9., 1., 3.], [0., 9., 0.], [2., 0., 9.]]))
    tensor([[1.0000, 0.2500, 0.7500],
            [0.0000, 1.0000, 0.0000],
            [1.0000, 0.0000, 1.0000]])
    """
    identity = torch.eye(len(matrix), device=matrix.device)
    others = matrix.clamp(min=0) * (1 - identity)
    return others / others.sum(dim=1, keepdim=True).clamp(min=1e-12) + identity


def cooccurrence(rows: CandidateRows) -> torch.Tensor:
    """P(j is a candidate | i is a candidate), the correlation before anything is learned.

    Args:
        rows: candidates of N images; fewer than 2^24 have both of two classes.

    Returns:
        (C, C) float32, not yet scaled. The row of a class that never is a candidate is 0.
    """
    pairs = int((rows.count**2).sum())
    if DENSE_SPEED * pairs > rows.images * rows.classes**2:
        together = torch.zeros(rows.classes, rows.classes, device=rows.device)
        for index in torch.arange(rows.images, device=rows.device).split(DENSE_IMAGES):
            batch = rows.batch(index)
            dense = batch.spread(batch.inside.float())
            together.addmm_(dense.T, dense)
    else:
        columns, start = rows.columns.cpu().numpy(), rows.start.cpu().numpy()
        ones = np.ones(len(columns), np.float32)
        matrix = csr_array((ones, columns, start), (rows.images, rows.classes))
        together = torch.from_numpy((matrix.T @ matrix).toarray()).to(rows.device)
    return together.div_(together.diagonal().clamp(min=1)[:, None])


def class_directions(
    rows: torch.Tensor, count: torch.Tensor, clusters: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Aggregate each class's prototypes into the mean of its normalised k-means centroids.

    The mean pairwise cosine between the centroids of classes i and j is exactly u_i . u_j,
    so one fit a class serves all C^2 pairs.

    Args:
        rows: (C, M, D) prototype memory, in single or half precision.
        count: (C,) int, prototypes ever added; min(count, M) rows are in use.
        clusters: K >= 1, centroids a class.

    Returns:
        directions: (C, D) float32 on the device of `rows`, length at most 1; 0 where not ready.
        ready: (C,) bool, classes with at least K rows.
    """
    used = count.cpu().clamp(max=rows.shape[1]).numpy()
    ready = used >= clusters
    directions = np.zeros((rows.shape[0], rows.shape[2]), np.float32)
    for c in np.flatnonzero(ready):
        own = rows[c, : used[c]].float().cpu().numpy()  # a class at a time: the memory is large
        # One seeded k-means++ start: with a fixed seed the result belongs to the class alone.
        centroids = KMeans(clusters, n_init=1, random_state=0).fit(own)
        directions[c] = F.normalize(torch.from_numpy(centroids.cluster_centers_)).mean(dim=0)
    return torch.from_numpy(directions).to(rows.device), torch.from_numpy(ready).to(rows.device)


def update_correlation(
    correlation: torch.Tensor, directions: torch.Tensor, ready: torch.Tensor, gamma: float
) -> torch.Tensor:
    """Move the correlation of the ready classes towards the cosine of their directions.

    Args:
        correlation: (C, C) float, rows scaled by `scale_rows`.
        directions: (C, D) float, from `class_directions`.
        ready: (C,) bool; the other classes keep their old row and column exactly.
        gamma: share of the old correlation, in [0, 1].

    Returns:
        (C, C) float, diagonal 1. The off-diagonal row of a ready class sums to 1, unless no
        class is like it and none has been: it then stays as it was.
    """
    both = ready[:, None] & ready[None, :]
    mixed = gamma * correlation + (1 - gamma) * (directions @ directions.T)
    # Scaling a whole row would shift its entries of classes that are not ready: the ready
    # entries are scaled among themselves, to what those leave of 1.
    others = 1 - torch.eye(len(correlation), device=correlation.device)
    kept = (correlation * others * ~both).sum(dim=1, keepdim=True)
    scaled = scale_rows(mixed * both) * others
    replaced = both & (others > 0) & (scaled.sum(dim=1, keepdim=True) > 0)
    return torch.where(replaced, scaled * (1 - kept).clamp(min=0), correlation)
