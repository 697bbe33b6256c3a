"""How likely each candidate is true, and which candidates to drop."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pipeline.data.rows import CandidateRows
from pipeline.posterior.label_sets import fit_label_sets, posterior
from utils import tensor_files
from utils.options.choices import PREDICT_TRUTH
from utils.options.training import TrainingOptions
from utils.run_folder import CHECKPOINT

Tensor = torch.Tensor
STEPS = 40  # of a bisection: 30 logits are halved to less than 1e-10


def candidate_posterior(
    logits: Tensor, candidates: Tensor, rates: Tensor, of_candidates: bool
) -> Tensor:
    """Probability that each candidate is true, from a classifier's scores and the noise rates.

    Bayes' rule and the one true label that every image has (`label_sets.posterior`) turn the
    probability before a label is known to be a candidate into the one after. The logits are
    shifted so that the expected number of true candidates is what the rate leaves,
    N (mean S - rho) / (1 - rho). The shift is the mean of two, that of all classes together and
    the class's own: the rate of a single class is a rough estimate.

    A classifier that learned from pseudo-labels (CoNeS, splc, ll-r, ll-ct) predicts something
    between true labels and candidates, and is taken to predict candidates.

    Args:
        logits: (N, C) float, of images that were not augmented.
        candidates: (N, C) in {0, 1}.
        rates: (C,) float in [0, 1), rho: how often a false label becomes a candidate.
        of_candidates: the classifier was trained to predict candidates, q = p + (1 - p) rho, and
            not true labels, p.

    Returns:
        (N, C) float32 in [0, 1], 0 outside the candidates.
    """
    # In float64: a strong shift leaves float32 no digits to tell candidates apart.
    logits, candidates, rates = logits.double(), candidates.double(), rates.double()
    if of_candidates:
        p = ((logits.sigmoid() - rates) / (1 - rates)).clamp(1e-4, 1 - 1e-4)
        # Below the least p the classifier's own order is kept.
        logits = p.logit() + 1e-3 * logits
    wanted = (candidates.mean(dim=0) - rates) / (1 - rates) * len(candidates)

    def shift(excess: Callable[[Tensor], Tensor]) -> Tensor:
        low, high = torch.full_like(wanted, -15), torch.full_like(wanted, 15)
        for _ in range(STEPS):
            middle = (low + high) / 2
            probability = posterior((logits + middle).sigmoid(), rates, candidates)
            too_many = excess(probability.sum(dim=0) - wanted) > 0
            low, high = torch.where(too_many, low, middle), torch.where(too_many, middle, high)
        return middle

    both = shift(lambda each: each) + shift(lambda each: each.sum().expand(len(each)))
    return posterior((logits + both / 2).sigmoid(), rates, candidates).float()


def run_posterior(
    logits: np.ndarray,
    candidates: np.ndarray,
    run: TrainingOptions,
    parts: Sequence[np.ndarray] | None = None,
    targets: np.ndarray | None = None,
) -> np.ndarray:
    """How likely each candidate of a run is true.

    It is `candidate_posterior` with the run's noise rates, as given or estimated from its
    candidates. Of a run whose targets were made before training, these tell how many candidates
    are how likely true, and the classifier, which ranks better than they do, which ones.

    Args:
        logits: (N, C) float32.
        candidates: (N, C) uint8 in {0, 1}, what the run was trained on.
        run: its options.
        parts: rows that one classifier scored each, judged by themselves; None: all.
        targets: (N, C) float32 in [0, 1], of a run that made them before training; -1 for images
            that are left out, whose result is 0.

    Returns:
        (N, C) float32 in [0, 1].
    """
    parts = [np.arange(len(candidates))] if parts is None else parts
    probability = np.zeros(candidates.shape, np.float32)
    if targets is not None:
        for part in parts:
            inside = (candidates[part] == 1) & (targets[part] >= 0)
            order = np.argsort(logits[part][inside], kind="stable")
            ranked = np.empty(len(order), np.float32)
            ranked[order] = np.sort(targets[part][inside])
            probability[part] = spread(inside, ranked)
        return probability
    given = torch.from_numpy(candidates)
    rows = CandidateRows.from_dense(candidates)
    rates = fit_label_sets(rows, run.noise_rate).rates
    for part in parts:
        scores = torch.from_numpy(logits[part])
        probability[part] = candidate_posterior(
            scores, given[part], rates, run.method not in PREDICT_TRUTH
        ).numpy()
    return probability


def spread(inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` where `inside`, (B, C) bool, and 0 elsewhere."""
    result = np.zeros(inside.shape, np.float32)
    result[inside] = values
    return result


class StoredTargets(NamedTuple):
    """What a run made before training.

    values: (N, C) float32, how likely each label is true. held_out: (V, C) float32, of verified
    images in the order of their rows, from the others; None where there is none.
    """

    values: np.ndarray
    held_out: np.ndarray | None


def stored_targets(run: Path, candidates: np.ndarray) -> StoredTargets | None:
    """The targets of a run; None where it has none any more.

    Args:
        run: its folder.
        candidates: (N, C) uint8, with the truth of verified images in place of theirs.
    """
    try:
        method = tensor_files.load(run / CHECKPOINT, mmap=True)["method"]
        values = spread(candidates == 1, method["confidence"]["values"].numpy())
        held_out = method.get("held_out")
        return StoredTargets(values, None if held_out is None else held_out.float().numpy())
    except Exception:  # no last.pt, a damaged one, or one of other candidates
        return None


class Decision(NamedTuple):
    """The choice among M candidates: which to keep.

    kept: (M,) bool. threshold: probability at which dropping ends; no dropped candidate has more.
    precision: share of the dropped candidates that are false, as the probabilities have it; None
    if none is dropped.
    """

    kept: np.ndarray
    threshold: float
    precision: float | None


def decide(
    probability: np.ndarray,
    rows: np.ndarray,
    *,
    threshold: float = 0.5,
    precision: float | None = None,
    budget: int | None = None,
) -> Decision:
    """Drop the candidates that are probably false, but never an image's most probable one.

    Args:
        probability: (M,) float in [0, 1], of being true.
        rows: (M,) int, ascending: the image of each.
        threshold: drop what is less probable.
        precision: instead, drop as many as leave the expected share of false ones among the
            dropped at this at least, in [0, 1].
        budget: instead, drop this many, the least probable first.

    >>> decide(np.array([0.1, 0.2, 0.9, 0.4]), np.array([0, 0, 1, 1]), budget=1).kept
    array([False,  True,  True,  True])
    """
    probability = probability.astype(np.float64)  # sums of millions follow
    # The most probable of each image, at equal probability the first.
    order = np.lexsort((-np.arange(len(rows)), probability, rows))
    last = np.append(rows[order][1:] != rows[order][:-1], True)[: len(rows)]
    can_go = np.ones(len(rows), bool)
    can_go[order[last]] = False
    ascending = np.argsort(probability, kind="stable")
    ascending = ascending[can_go[ascending]]
    count = int((probability[ascending] < threshold).sum())
    if budget is not None:
        count = min(budget, len(ascending))
    if precision is not None:
        expected = (1 - probability[ascending]).cumsum() / np.arange(1, len(ascending) + 1)
        count = int((expected >= precision).sum())
    kept = np.ones(len(rows), bool)
    kept[ascending[:count]] = False
    if precision is not None or budget is not None:
        threshold = float(probability[ascending[count]]) if count < len(ascending) else 1.0
    mean = float((1 - probability[~kept]).mean()) if count else None
    return Decision(kept, threshold, mean)
