"""Votes of photos that look alike on each other's labels.

Photos near each other in the features of a good trunk vote with their candidates. A vote does not
contain the photo's own candidates, and so neither its own noise. docs/method.md derives the rest.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from pipeline.posterior.label_sets import posterior
from utils.errors import UserError

Tensor = torch.Tensor
NEIGHBOURS, FEWEST, SHARE = 40, 5, 25  # of few images, one in SHARE and at least FEWEST
SEARCHED = 100_000  # images, above which an index finds the neighbours and not all pairs
BLOCK = 1024  # images whose neighbours are found, or vote, in one go
EXPECTED = 10  # votes, of the neighbours' and these, that go to a class by its frequency


class Neighbours(NamedTuple):
    """The most alike images of N.

    rows: (N, k) int64. weight: (N, k) float32, their shares of a vote, which sum to 1.
    """

    rows: Tensor
    weight: Tensor


def number_of_neighbours(images: int) -> int:
    """The number of images, of so many, that vote on one: of few, the fortieth is no longer alike.

    >>> [number_of_neighbours(images) for images in (50, 200, 5000)]
    [5, 8, 40]
    """
    return min(NEIGHBOURS, max(FEWEST, images // SHARE))


def nearest(features: Tensor, count: int | None = None) -> Neighbours:
    """The images with the highest cosine to each, of features less their mean.

    Each votes in proportion to what its cosine is above that of the next one after the last, or,
    where there is none, above that of the last.

    Args:
        features: (N, D) float32, N >= 2.
        count: k, neighbours of an image, fewer where there are no more; None:
            `number_of_neighbours`.

    >>> nearest(torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]]), 1).rows.T
    tensor([[1, 0, 3, 2]])
    """
    unit = F.normalize(features - features.mean(dim=0))
    count = count or number_of_neighbours(len(unit))
    found = min(count + 1, len(unit) - 1)
    search = search_all if len(unit) <= SEARCHED else search_index
    cosine, index = search(unit, found)
    count = min(count, found)
    above = (cosine[:, :count] - cosine[:, -1:]).clamp(min=1e-6)
    return Neighbours(index[:, :count], above / above.sum(dim=1, keepdim=True))


def search_all(unit: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosines and rows (N, count) of the nearest of unit vectors (N, D), from all pairs."""
    parts = []
    for first in range(0, len(unit), BLOCK):
        cosine = unit[first : first + BLOCK] @ unit.T
        own = torch.arange(len(cosine), device=unit.device)
        cosine[own, first + own] = -2  # no image votes on itself
        parts.append(cosine.topk(count))
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def search_index(unit: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Search as `search_all` does, nearly, by an inverted file of faiss (Johnson et al. 2017).

    Raises:
        UserError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            f"neighbours among more than {SEARCHED:,} images need faiss: pip install faiss-cpu, or "
            "give --targets classifier"
        ) from error
    vectors = unit.cpu().numpy()
    lists = int(len(vectors) ** 0.5)
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors[:: max(1, len(vectors) // (40 * lists))])
    index.add(vectors)
    index.nprobe = max(8, lists // 16)
    cosine, rows = map(torch.from_numpy, index.search(vectors, count + 1))
    # The image itself is moved to the end, and left out.
    own = rows == torch.arange(len(rows))[:, None]
    own[~own.any(dim=1), -1] = True
    order = own.int().argsort(dim=1, stable=True)[:, :count]
    cosine, rows = cosine.clamp(min=-1).gather(1, order), rows.gather(1, order).clamp(min=0)
    return cosine.to(unit.device), rows.to(unit.device)


def vote(neighbours: Neighbours, labels: Tensor) -> Tensor:
    """Share of the neighbours' votes for each label, (N, C) float16, from their labels (N, C)."""
    result = torch.empty(labels.shape, dtype=torch.float16, device=labels.device)
    for first in range(0, len(labels), BLOCK):
        index, weight = (each[first : first + BLOCK] for each in neighbours)
        votes = torch.einsum("bk,bkc->bc", weight, labels[index].float())
        result[first : first + BLOCK] = votes.half()
    return result


def vote_rates(votes: Tensor) -> Tensor:
    """Rates (C,) at which false labels become candidates, from votes (N, C) of candidates.

    Most labels are false for most images: the median vote of a class is the share of candidates
    among images that lack it. It is not, for a class that most images have, whose median is cut to
    three times that of all classes. Halfway to the mean of the classes.
    """
    medians = votes.float().median(dim=0).values
    medians = medians.clamp(max=3 * medians.median() + 0.01)
    return ((medians + medians.mean()) / 2).clamp(max=0.99)


def vote_probability(votes: Tensor, rates: Tensor) -> Tensor:
    """Probability that a label is true before it is known to be a candidate, from votes (N, C).

    A vote v of which the rate rho is noise leaves (v - rho) / (1 - rho). `EXPECTED` more votes
    go to each class by its mean over `votes`: no true label of an unusual photo is ruled out.
    """
    p = ((votes.float() - rates) / (1 - rates)).clamp(0, 1)
    voters = number_of_neighbours(len(votes))
    return (voters * p + EXPECTED * p.mean(dim=0)) / (voters + EXPECTED)


def candidate_targets(
    probability: Tensor, rates: Tensor, candidates: Tensor, nonempty: bool = True
) -> Tensor:
    """Probability (N, C) that each candidate is true: `label_sets.posterior` of float16.

    Args:
        probability: (N, C) float in [0, 1].
        rates: (C,) float.
        candidates: (N, C) in {0, 1}.
        nonempty: use that at least one of an image is true.
    """
    result = torch.empty(probability.shape, dtype=torch.float16, device=probability.device)
    for first in range(0, len(result), BLOCK):
        part = slice(first, first + BLOCK)
        p = probability[part].clamp(1e-4, 1 - 1e-4)
        result[part] = posterior(p, rates, candidates[part], nonempty).half()
    return result
