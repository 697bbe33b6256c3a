"""The word of a few verified photos on all the others.

Of a verified photo it is known of every label whether it is true. A logistic regression that all
classes share learns from their candidates how likely a candidate is true, and another from their
other labels how likely one is missing. docs/method.md derives it; the idea is that of Veit et al.
(CVPR 2017), with a model small enough for a hundred photos.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from pipeline.data.verified import Verified
from pipeline.posterior.neighbours import BLOCK, Neighbours, vote
from utils.machine import one_thread

Tensor = torch.Tensor
FOLDS = 5  # of verified photos, each judged by what the others say
CLASSIFIERS = 3  # each of a third of the images, trained on the others
UNVERIFIED = 10  # verified photos as which the targets of the others count: safe where few are
SAMPLE = 500  # images that speak for the others
SHARPNESS = 20  # of the verified photos' votes: exp(20 cosine)


class Inputs:
    """The inputs of the regressions for a label of an image, from all that is known of the images.

    Args:
        candidates: (N, C) uint8.
        votes: (N, C) float16, of the neighbours' candidates.
        neighbours: of the images.
        features: (N, D) float32, standardised.
        verified: the verified ones.
        prior: (N, C) float in [0, 1], probabilities of another source; None where there is none.
        seed: of the classifiers.
    """

    def __init__(
        self,
        candidates: Tensor,
        votes: Tensor,
        neighbours: Neighbours,
        features: Tensor,
        verified: Verified,
        prior: Tensor | None,
        seed: int,
    ) -> None:
        self.candidates, self.neighbours = candidates, neighbours
        self.features, self.seed = features, seed
        truth = torch.from_numpy(verified.truth).to(features.device)
        number = candidates.sum(dim=1, keepdim=True)
        frequency = candidates.float().mean(dim=0)
        true_frequency = (truth.float().sum(dim=0) + 2 * truth.float().mean()) / (len(truth) + 2)
        self.votes = logit(votes)
        self.fixed = [
            logit(verified_votes(features, torch.from_numpy(verified.rows), truth)),
            logit(frequency).expand_as(votes),
            logit(true_frequency).expand_as(votes),
            torch.log1p(number.float()).half().expand_as(votes),
        ]
        if prior is not None:
            self.fixed.append(logit(prior))
        self.tables: list[Tensor] = []

    def learn(self, targets: Tensor) -> None:
        """Take what follows from the targets (N, C) float16 of now."""
        scores = out_of_fold_logits(self.features, targets, self.seed)
        highest = scores.masked_fill(self.candidates == 0, -torch.inf).amax(dim=1, keepdim=True)
        self.tables = [
            logit(vote(self.neighbours, targets)),
            self.votes,
            scores.half(),
            (scores - highest.nan_to_num(neginf=0)).half(),
            *self.fixed,
        ]

    def of(self, rows: Tensor, columns: Tensor) -> np.ndarray:
        """(n, inputs) float32 of these labels (n,) of these images (n,)."""
        return torch.stack([t[rows, columns] for t in self.tables], dim=1).float().cpu().numpy()


def logit(probability: Tensor) -> Tensor:
    """float16 log-odds of probabilities, which are kept from 0 and 1."""
    return probability.float().clamp(1e-3, 1 - 1e-3).logit().half()


def verified_targets(
    candidates: Tensor,
    start: Tensor,
    *,
    votes: Tensor,
    neighbours: Neighbours,
    features: Tensor,
    verified: Verified,
    prior: Tensor | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """Estimate how likely each label of each image is true; verified ones are as they are.

    Labels that are no candidates have 0, unless one is missing from a verified photo.

    Args:
        start: (N, C) float16, how likely it is without verified photos.
        Others as those of `Inputs`.

    Returns:
        (N, C) float16, and (V, C) float16, what the candidates of verified photos would have if
        they were not: their own regression is fitted without them, and the targets that the second
        round learns from do not know them either. None where fewer than FOLDS are verified.
    """
    truth = torch.from_numpy(verified.truth).to(start.device).half()
    rows = torch.from_numpy(verified.rows).to(start.device)
    missing = bool(((truth == 1) & (candidates[rows] == 0)).any())
    inputs = Inputs(candidates, votes, neighbours, features, verified, prior, seed)

    def answers() -> Tensor:
        targets = torch.zeros_like(start)
        for value in (1, 0) if missing else (1,):
            predict = fit(inputs, candidates == value, start, rows, truth)
            for first in range(0, len(targets), SAMPLE):
                place, column = (candidates[first : first + SAMPLE] == value).nonzero(as_tuple=True)
                targets[first + place, column] = predict(first + place, column)
        targets[rows] = truth
        return targets

    def held_out_answers() -> Tensor:
        targets = torch.zeros_like(truth)
        fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(rows)) % FOLDS)
        fold = fold.to(rows.device)
        for number in range(FOLDS):
            others, own = fold != number, (fold == number).nonzero().squeeze(1)
            predict = fit(inputs, candidates == 1, start, rows[others], truth[others])
            place, column = (candidates[rows[own]] == 1).nonzero(as_tuple=True)
            targets[own[place], column] = predict(rows[own[place]], column)
        return targets

    inputs.learn(candidates.half())
    targets = answers()
    unknown = None
    if len(rows) >= FOLDS:
        unknown = targets.clone()
        unknown[rows] = held_out_answers()
    inputs.learn(targets)
    targets = answers()
    if unknown is None:
        return targets, None
    inputs.learn(unknown)
    return targets, held_out_answers()


def fit(
    inputs: Inputs, chosen: Tensor, start: Tensor, rows: Tensor, truth: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Learn how likely labels are from what the labels `chosen` are in verified images.

    Where few are verified, a sample of all other images with the targets `start` holds the answers
    close to these.

    Args:
        chosen: (N, C) bool.
        start: (N, C) float16.
        rows: (V,) int64, of verified images. truth: (V, C) float16.

    Returns:
        a function of images (n,) and classes (n,) to probabilities (n,) float16.
    """
    place, column = chosen[rows].nonzero(as_tuple=True)
    known = inputs.of(rows[place], column), truth[place, column].cpu().numpy()
    rest = torch.ones(len(start), dtype=torch.bool, device=start.device)
    rest[rows] = False
    sample = rest.nonzero().squeeze(1)
    sample = sample[:: -(-len(sample) // SAMPLE) or 1]
    place, column = chosen[sample].nonzero(as_tuple=True)
    if not len(place):  # all that is left is verified, or has none of these labels
        return lambda images, classes: start[images, classes]
    others = inputs.of(sample[place], column)
    expected = start[sample[place], column].float().cpu().numpy()
    share = UNVERIFIED / len(sample)
    mean, deviation = others.mean(axis=0), others.std(axis=0) + 1e-6
    seen = (np.concatenate([known[0], others, others]) - mean) / deviation
    label = np.concatenate([known[1], np.ones(len(others)), np.zeros(len(others))])
    weight = np.concatenate([np.ones(len(known[0])), share * expected, share * (1 - expected)])
    model = LogisticRegression(max_iter=1000).fit(seen, label, sample_weight=weight)

    def predict(images: Tensor, classes: Tensor) -> Tensor:
        if not len(images):
            return start.new_zeros(0)
        each = (inputs.of(images, classes) - mean) / deviation
        return torch.from_numpy(model.predict_proba(each)[:, 1]).to(start)

    return predict


def verified_votes(features: Tensor, rows: Tensor, truth: Tensor) -> Tensor:
    """Share (N, C) of the verified images' votes for each label, by their likeness.

    No image votes on itself, and five votes go to the classes by their frequency.
    """
    unit, labels = F.normalize(features), truth.float()
    result = torch.empty(len(features), truth.shape[1], device=features.device)
    own = torch.full((len(features),), -1, device=features.device)
    own[rows] = torch.arange(len(rows), device=features.device)
    for first in range(0, len(result), BLOCK):
        part = slice(first, first + BLOCK)
        cosine = unit[part] @ unit[rows].T
        there = (own[part] >= 0).nonzero().squeeze(1)
        cosine[there, own[part][there]] = -torch.inf
        # A single verified image has no other that votes on it.
        result[part] = (SHARPNESS * cosine).softmax(dim=1).nan_to_num() @ labels
    return (len(rows) * result + 5 * labels.mean(dim=0)) / (len(rows) + 5)


@one_thread()
def out_of_fold_logits(
    features: Tensor, targets: Tensor, seed: int, epochs: int = 20, batch: int = 64
) -> Tensor:
    """Logits (N, C) of linear classifiers, each of images that it was not trained on.

    Args:
        features: (N, D) float32, standardised, with a variance of 1024 / D.
        targets: (N, C) float in [0, 1].
        seed: of folds and order.
    """
    random = np.random.default_rng(seed)
    fold = torch.from_numpy(random.permutation(len(features)) % CLASSIFIERS)
    logits = torch.zeros(targets.shape, device=features.device)
    for number in range(CLASSIFIERS):
        training = (fold != number).nonzero().squeeze(1)
        linear = torch.nn.Linear(features.shape[1], targets.shape[1]).to(features.device)
        torch.nn.init.zeros_(linear.weight), torch.nn.init.zeros_(linear.bias)
        optimizer = torch.optim.SGD(linear.parameters(), 0.1, momentum=0.9, weight_decay=0.005)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for part in training[torch.from_numpy(random.permutation(len(training)))].split(batch):
                loss = F.binary_cross_entropy_with_logits(
                    linear(features[part]), targets[part].float()
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
        with torch.no_grad():
            left_out = (fold == number).nonzero().squeeze(1)
            logits[left_out] = linear(features[left_out])
    return logits
