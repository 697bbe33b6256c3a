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
SHRINK = 8  # images that have the mean beside the verified ones
SHARPNESS = 20  # of the verified photos' votes: exp(20 cosine)


class Inputs:
    """The inputs of the regressions for a label of an image, from all that is known of the images.

    Args:
        candidates: (N, C) uint8.
        votes: (N, C) float16, of the neighbours' candidates.
        neighbours: of the images.
        features: (N, D) float32, standardised.
        prior: (N, C) float in [0, 1], probabilities of another source; None where there is none.
    """

    def __init__(
        self,
        candidates: Tensor,
        votes: Tensor,
        neighbours: Neighbours,
        features: Tensor,
        prior: Tensor | None,
    ) -> None:
        self.candidates, self.neighbours, self.features = candidates, neighbours, features
        number = candidates.sum(dim=1, keepdim=True)
        self.fixed = [
            logit(votes),
            logit(candidates.float().mean(dim=0)).expand_as(votes),
            torch.log1p(number.float()).half().expand_as(votes),
        ]
        if prior is not None:
            self.fixed.append(logit(prior))
        self.targets: Tensor | None = None
        self.of_targets: list[Tensor] = []
        self.of_truth: list[Tensor] = []

    def learn(self, targets: Tensor, scores: Tensor, rows: Tensor, truth: Tensor) -> None:
        """Take what follows from the targets of now, and from the verified images.

        Args:
            targets: (N, C) float16. scores: (N, C) float32, their `out_of_fold_logits`.
            rows: (V,) int64, of verified images, of which there is one at least.
            truth: (V, C) float16 in {0, 1}.
        """
        if targets is not self.targets:  # the first round's are the same of all folds
            highest = scores.masked_fill(self.candidates == 0, -torch.inf).amax(dim=1, keepdim=True)
            self.of_targets = [
                logit(vote(self.neighbours, targets)),
                scores.half(),
                (scores - highest.nan_to_num(neginf=0)).half(),
            ]
            self.targets = targets
        truth = truth.float()
        frequency = (truth.sum(dim=0) + 2 * truth.mean()) / (len(truth) + 2)
        found = self.candidates[rows].float()
        share, context = true_shares(found, truth * found)
        self.of_truth = [
            logit(verified_votes(self.features, rows, truth)),
            logit(frequency).expand_as(self.candidates),
            logit(share).expand_as(self.candidates),
            (self.candidates.float() @ context).half(),
        ]

    def of(self, rows: Tensor, columns: Tensor) -> np.ndarray:
        """(n, inputs) float32 of these labels (n,) of these images (n,)."""
        tables = [*self.fixed, *self.of_targets, *self.of_truth]
        return torch.stack([t[rows, columns] for t in tables], dim=1).float().cpu().numpy()


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

    Inputs that know the truth of an image would be trusted too much if the regression learned from
    that image. So it learns from each fold of the verified images by the inputs that there would
    be if the fold were not verified.

    Args:
        start: (N, C) float16, how likely it is without verified photos.
        Others as those of `Inputs`.

    Returns:
        (N, C) float16, and (V, C) float16, what the candidates of verified photos would have if
        they were not. None where fewer than FOLDS are verified.
    """
    truth = torch.from_numpy(verified.truth).to(start.device).half()
    rows = torch.from_numpy(verified.rows).to(start.device)
    fold = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    known = [torch.from_numpy(fold != number).to(rows.device) for number in range(max(fold) + 1)]
    known.append(torch.ones(len(rows), dtype=torch.bool, device=rows.device))
    inputs = Inputs(candidates, votes, neighbours, features, prior)
    regressions = [Regression(candidates == 1, start, rows, truth)]
    if ((truth == 1) & (candidates[rows] == 0)).any():
        regressions.append(Regression(candidates == 0, start, rows, truth))

    def learn(targets: list[Tensor], scores: list[Tensor]) -> None:
        for part, logits, own in zip(targets, scores, known):
            inputs.learn(part, logits, rows[own], truth[own])
            for regression in regressions:
                regression.read(inputs, ~own)

    def answers(part: Tensor, logits: Tensor, own: Tensor) -> Tensor:
        inputs.learn(part, logits, rows[own], truth[own])
        targets = torch.zeros_like(start)
        for regression in regressions:
            regression.answer(inputs, own, targets)
        targets[rows[own]] = truth[own]
        return targets

    first = [candidates.half()] * len(known)
    scores = out_of_fold_logits(features, first[:1], seed) * len(known)
    learn(first, scores)
    second = list(map(answers, first, scores, known))
    scores = out_of_fold_logits(features, second, seed)
    learn(second, scores)
    targets = answers(second[-1], scores[-1], known[-1])
    if len(rows) < FOLDS:
        return targets, None
    held_out = torch.zeros_like(truth)
    for own in known[:-1]:
        regressions[0].answer_others(own, held_out)
    return targets, held_out


class Regression:
    """A logistic regression on whether the labels of one kind are true in verified images.

    Where few are verified, a sample of all other images with the targets `start` holds the answers
    close to these.

    Args:
        chosen: (N, C) bool, the labels of this kind.
        start: (N, C) float16.
        rows: (V,) int64, of verified images.
        truth: (V, C) float16.
    """

    def __init__(self, chosen: Tensor, start: Tensor, rows: Tensor, truth: Tensor) -> None:
        self.chosen, self.start, self.rows = chosen, start, rows
        self.place, self.column = chosen[rows].nonzero(as_tuple=True)
        self.true = truth[self.place, self.column].cpu().numpy()
        rest = torch.ones(len(start), dtype=torch.bool, device=start.device)
        rest[rows] = False
        sample = rest.nonzero().squeeze(1)
        sample = sample[:: -(-len(sample) // SAMPLE) or 1]
        self.weight = UNVERIFIED / max(len(sample), 1)
        place, column = chosen[sample].nonzero(as_tuple=True)
        self.sample = sample[place], column
        self.of_known = self.of_sample = np.zeros((0, 0), np.float32)

    def read(self, inputs: Inputs, held_out: Tensor) -> None:
        """Take the inputs of these verified images (V,) bool, and of the sample."""
        chosen = held_out[self.place]
        known = inputs.of(self.rows[self.place[chosen]], self.column[chosen])
        self.of_sample = inputs.of(*self.sample)
        if not len(self.of_known):
            self.of_known = np.zeros((len(self.place), known.shape[1]), np.float32)
        self.of_known[chosen.cpu().numpy()] = known

    def fit(self, own: Tensor) -> Callable[[np.ndarray, Tensor], Tensor]:
        """Learn from these verified images (V,) bool.

        Returns:
            a function of inputs (n, inputs) and of `start` there (n,) to probabilities (n,)
            float16.
        """
        if not len(self.of_sample):  # no image but verified ones has such labels
            return lambda each, start: start
        chosen = own[self.place].cpu().numpy()
        expected = self.start[self.sample].float().cpu().numpy()
        mean, deviation = self.of_sample.mean(axis=0), self.of_sample.std(axis=0) + 1e-6
        seen = np.concatenate([self.of_known[chosen], self.of_sample, self.of_sample])
        label = np.concatenate([self.true[chosen], np.ones(len(expected)), np.zeros(len(expected))])
        weight = self.weight * np.concatenate([expected, 1 - expected])
        weight = np.concatenate([np.ones(chosen.sum()), weight])
        model = LogisticRegression(max_iter=1000)
        model.fit((seen - mean) / deviation, label, sample_weight=weight)

        def predict(each: np.ndarray, start: Tensor) -> Tensor:
            if not len(each):
                return start
            return torch.from_numpy(model.predict_proba((each - mean) / deviation)[:, 1]).to(start)

        return predict

    def answer(self, inputs: Inputs, own: Tensor, targets: Tensor) -> None:
        """Write into targets (N, C) what is learned from these verified images of all labels."""
        predict = self.fit(own)
        for first in range(0, len(targets), SAMPLE):
            place, column = self.chosen[first : first + SAMPLE].nonzero(as_tuple=True)
            place += first
            targets[place, column] = predict(inputs.of(place, column), self.start[place, column])

    def answer_others(self, own: Tensor, targets: Tensor) -> None:
        """Write into targets (V, C) what is learned from these verified images of the others."""
        predict = self.fit(own)
        chosen = ~own[self.place]
        place, column = self.place[chosen], self.column[chosen]
        each = self.of_known[chosen.cpu().numpy()]
        targets[place, column] = predict(each, self.start[self.rows[place], column])


def true_shares(candidates: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """The share of a class's candidates that is true, and how other candidates move it.

    Few images have two given candidates: SHRINK more have the share of all candidates, or of all
    the class's.

    Args:
        candidates: (V, C) float in {0, 1}. true: (V, C) float in {0, 1}, which of them are true.

    Returns:
        (C,), and (C, C): what the log-odds of the column's class gain where the row's is a
        candidate.
    """
    share = true.sum(dim=0) + SHRINK * true.sum() / candidates.sum().clamp(min=1)
    share = share / (candidates.sum(dim=0) + SHRINK)
    together = (candidates.T @ true + SHRINK * share) / (candidates.T @ candidates + SHRINK)
    gain = logit(together).float() - logit(share).float()
    return share, gain.fill_diagonal_(0)


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
    features: Tensor, targets: list[Tensor], seed: int, epochs: int = 20, batch: int = 64
) -> list[Tensor]:
    """Logits (N, C) of linear classifiers, each of images that it was not trained on.

    Args:
        features: (N, D) float32, standardised, with a variance of 1024 / D.
        targets: each (N, C) float in [0, 1]. All are learned at once, by classifiers of their own.
        seed: of folds and order.
    """
    random = np.random.default_rng(seed)
    fold = torch.from_numpy(random.permutation(len(features)) % CLASSIFIERS)
    wanted, classes = torch.cat(targets, dim=1), targets[0].shape[1]
    logits = torch.zeros(wanted.shape, device=features.device)
    for number in range(CLASSIFIERS):
        training = (fold != number).nonzero().squeeze(1)
        linear = torch.nn.Linear(features.shape[1], wanted.shape[1]).to(features.device)
        torch.nn.init.zeros_(linear.weight), torch.nn.init.zeros_(linear.bias)
        optimizer = torch.optim.SGD(linear.parameters(), 0.1, momentum=0.9, weight_decay=0.005)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            for part in training[torch.from_numpy(random.permutation(len(training)))].split(batch):
                loss = F.binary_cross_entropy_with_logits(
                    linear(features[part]), wanted[part].float(), reduction="sum"
                )
                optimizer.zero_grad()
                (loss / (len(part) * classes)).backward()  # the mean of each classifier's own
                optimizer.step()
            schedule.step()
        with torch.no_grad():
            left_out = (fold == number).nonzero().squeeze(1)
            logits[left_out] = linear(features[left_out])
    return list(logits.split(classes, dim=1))
