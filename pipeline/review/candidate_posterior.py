"""The probability that each candidate is true, and the choice of those to drop."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.data.rows import CandidateRows
from pipeline.posterior.label_sets import fit_label_sets, posterior
from pipeline.review.reviewed_run import Photos, ReviewedRun
from pipeline.review.scan import Entries
from utils.options.choices import PREDICT_TRUTH
from utils.options.training import TrainingOptions

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
    options: TrainingOptions,
    parts: Sequence[np.ndarray] | None = None,
    targets: np.ndarray | None = None,
) -> np.ndarray:
    """Estimate how likely each candidate of a run is true.

    It is `candidate_posterior` with the run's noise rates, as given or estimated from its
    candidates. Of a run whose targets were made before training, these tell how many candidates
    are how likely true, and the classifier, which ranks better than they do, which ones.

    Args:
        logits: (N, C) float32.
        candidates: (N, C) uint8 in {0, 1}, what the run was trained on.
        options: of the run.
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
    rates = fit_label_sets(rows, options.noise_rate).rates
    for part in parts:
        scores = torch.from_numpy(logits[part])
        probability[part] = candidate_posterior(
            scores, given[part], rates, options.method not in PREDICT_TRUTH
        ).numpy()
    return probability


def held_out_posterior(
    logits: np.ndarray,
    found: np.ndarray,
    options: TrainingOptions,
    candidates: np.ndarray,
    targets: np.ndarray | None = None,
) -> np.ndarray:
    """Estimate how likely each label as found is true, of images that a run was not trained on.

    Their noise is taken to be that of its training images. Where these have targets that were made
    before training, as large a share of the labels gets each probability as there, and the
    classifier ranks them.

    Args:
        logits: (M, C) float32, of these images.
        found: (M, C) uint8 in {0, 1}, their labels.
        options: of the run.
        candidates: (N, C) uint8 in {0, 1}, what it was trained on.
        targets: (N, C) float32, as in `run_posterior`.

    Returns:
        (M, C) float32 in [0, 1].
    """
    known = None if targets is None else targets[(candidates == 1) & (targets >= 0)]
    if known is not None and len(known):
        inside = found == 1
        order = np.argsort(logits[inside], kind="stable")
        ranked = np.empty(len(order), np.float32)
        ranked[order] = np.quantile(known, (np.arange(len(order)) + 0.5) / max(len(order), 1))
        return spread(inside, ranked)
    rates = fit_label_sets(CandidateRows.from_dense(candidates), options.noise_rate).rates
    parts = torch.from_numpy(logits), torch.from_numpy(found)
    return candidate_posterior(*parts, rates, options.method not in PREDICT_TRUTH).numpy()


def label_probability(
    logits: np.ndarray, candidates: np.ndarray, options: TrainingOptions
) -> np.ndarray:
    """The probability of each label before it is known to be a candidate, (P, C) float32.

    Args:
        logits: (P, C) float32, of any images.
        candidates: (N, C) uint8 in {0, 1}, what the run was trained on.
        options: of the run.
    """
    probability = torch.from_numpy(logits).sigmoid()
    if options.method not in PREDICT_TRUTH:
        rates = fit_label_sets(CandidateRows.from_dense(candidates), options.noise_rate).rates
        probability = ((probability - rates) / (1 - rates)).clamp(0, 1)
    return probability.numpy()


def likely_labels(
    probability: np.ndarray, found: np.ndarray, known: np.ndarray, number: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest labels of each image that are no candidates, the most likely first.

    Args:
        probability: (P, C) float in [0, 1], of being true.
        found: (P, C) in {0, 1}, candidates.
        known: (P,) bool, images of which all labels are known: none is missing.
        number: of an image, at most.

    Returns:
        columns (P, K) int64, -1 for none, and probabilities (P, K), 0 there.

    >>> p, found = np.array([[0.1, 0.9, 0.3]]), np.array([[0, 1, 0]])
    >>> likely_labels(p, found, np.array([False]))[0]
    array([[ 2,  0, -1]])
    """
    others = np.where((found == 1) | known[:, None], -1, probability)
    number = min(number, found.shape[1])
    columns = np.argpartition(-others, number - 1, axis=1)[:, :number]
    values = np.take_along_axis(others, columns, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    columns, values = (np.take_along_axis(each, order, axis=1) for each in (columns, values))
    return np.where(values < 0, -1, columns), np.maximum(values, 0)


def spread(inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`values` where `inside`, (B, C) bool, and 0 elsewhere."""
    result = np.zeros(inside.shape, np.float32)
    result[inside] = values
    return result


def judge(
    run: ReviewedRun, photos: Photos, logits: np.ndarray, parts: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Judge how likely each label of a run's photos is true: of its candidates, and of the others.

    Of verified images the run's truth stands.

    Args:
        run: the run.
        photos: P of its images.
        logits: (P, C) float32, of these.
        parts: rows that one classifier scored each, of training or of test images.

    Returns:
        two of (P, C) float32 in [0, 1], the first 0 outside the candidates, the second without
        regard to whether a label is one.
    """
    n, options, verified = photos.trained, run.options, run.verified
    stored, targets = run.targets, None
    if stored is not None:
        targets = stored.values.copy()
        if verified is not None:
            targets[verified.rows] = -1  # their certainty is not others'
    probability = np.zeros(photos.found.shape, np.float32)
    if n:
        own = [part for part in parts if part[0] < n]
        probability[:n] = run_posterior(logits[:n], photos.found[:n], options, own, targets)
    if n < len(logits):
        tested = logits[n:], photos.found[n:]
        probability[n:] = held_out_posterior(*tested, options, run.candidates, targets)
    of_others = label_probability(logits, run.candidates, options)
    if n and stored is not None and stored.of_others is not None:
        of_others[:n] = stored.of_others
    if n and verified is not None:
        probability[verified.rows] = verified.truth * photos.found[verified.rows]
    return probability, of_others


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


class Decisions(NamedTuple):
    """The choice among the candidates of training and of test images, M in all.

    kept: (M,) bool. of_training, of_test: of each part.
    """

    kept: np.ndarray
    of_training: Decision
    of_test: Decision


def decide_photos(
    probability: np.ndarray,
    entries: Entries,
    trained: int,
    verified: Sequence[int] | np.ndarray,
    **how: Any,
) -> Decisions:
    """Decide on the candidates of training images, and by the threshold that gives on test ones.

    Args:
        probability: (M,) float in [0, 1].
        entries: the candidates.
        trained: how many of the images, the first, are of training; of none, test images are
            decided on as these else are.
        verified: rows of training images whose labels are known: these stand.
        how: as in `decide`.
    """
    end = entries.starts[trained]
    of_training = decide(probability[:end], entries.rows[:end], **how)
    if trained:
        how = {"threshold": of_training.threshold}
        known = np.isin(entries.rows[:end], verified)  # also where none of an image's is true
        of_training.kept[known] = probability[:end][known] > 0
    of_test = decide(probability[end:], entries.rows[end:], **how)
    return Decisions(np.concatenate([of_training.kept, of_test.kept]), of_training, of_test)
