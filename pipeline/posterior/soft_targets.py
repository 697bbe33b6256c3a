"""The recipe `posterior` with targets that are made once, before training.

They come from the features of the trunk that the training starts from, and from verified photos.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.data.rows import CandidateRows
from pipeline.data.verified import Verified, shown
from pipeline.model.classifier import Output
from pipeline.posterior.method import variance_weights
from pipeline.posterior.neighbours import (
    candidate_targets,
    nearest,
    vote,
    vote_probability,
    vote_rates,
)
from pipeline.posterior.verified import verified_targets
from utils.tensor_files import copy_stored

Tensor = torch.Tensor
PRIOR_WEIGHT = 0.5  # of another source's log-odds beside the votes', where nothing is verified


class Evidence(NamedTuple):
    """All that is known of N training images before training.

    candidates: (N, C) uint8 in {0, 1}, as found. features: (N, D) float32, of the starting trunk,
    means over its maps; None where nobody looked. verified: the verified images; None where there
    are none. prior: (N, C) float32 in [0, 1], probabilities of another source.
    """

    candidates: np.ndarray
    features: Tensor | None = None
    verified: Verified | None = None
    prior: np.ndarray | None = None


class Targets(NamedTuple):
    """The probability of each label of each image, and the noise rates.

    values: (N, C) float16 in [0, 1]. rates: (C,) float32. held_out: (V, C) float16 in [0, 1], what
    the values of the verified images' candidates would be if they were not; None of a few.
    """

    values: Tensor
    rates: Tensor
    held_out: Tensor | None = None


def make_targets(
    evidence: Evidence, rate: float | None = None, nonempty: bool = True, seed: int = 0
) -> Targets:
    """Estimate how likely each label of each image is true.

    Args:
        evidence: of the images, with features.
        rate: the noise rate of every class, where it is known; None estimates it.
        nonempty: use that at least one candidate of an image is true.
        seed: of the classifiers that verified photos are compared by.
    """
    assert evidence.features is not None
    features = standardized(evidence.features)
    candidates = torch.from_numpy(evidence.candidates).to(features.device)
    if len(features) < 2:
        known = torch.from_numpy(shown(evidence.candidates, evidence.verified))
        return Targets(known.to(features.device).half(), features.new_zeros(known.shape[1]))
    neighbours = nearest(evidence.features)
    votes = vote(neighbours, candidates)
    rates = vote_rates(votes) if rate is None else torch.full_like(votes[0].float(), rate)
    probability = vote_probability(votes, rates)
    verified, prior = evidence.verified, None
    teaches = verified is not None and len(verified.rows) > 1  # one has no other to be judged by
    if evidence.prior is not None:
        prior = torch.from_numpy(evidence.prior).to(features.device)
        if not teaches:  # verified images say how far to believe it
            mixed = torch.lerp(logit(probability), logit(prior), PRIOR_WEIGHT)
            probability = mixed.sigmoid()
    targets = candidate_targets(probability, rates, candidates, nonempty)
    if verified is None:
        return Targets(targets, rates)
    if not teaches:
        targets[torch.from_numpy(verified.rows)] = torch.from_numpy(verified.truth).to(targets)
        return Targets(targets, rates)
    targets, held_out = verified_targets(
        candidates,
        targets,
        votes=votes,
        neighbours=neighbours,
        features=features,
        verified=verified,
        prior=prior,
        seed=seed,
    )
    return Targets(targets, rates, held_out)


def logit(probability: Tensor) -> Tensor:
    """Log-odds of probabilities, which are kept from 0 and 1."""
    return probability.clamp(1e-4, 1 - 1e-4).logit()


def standardized(features: Tensor) -> Tensor:
    """Features (N, D) with mean 0 and variance 1024 / D in each channel."""
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    scale = (1024 / features.shape[1]) ** 0.5 / (deviation + 0.01 * deviation.mean() + 1e-6)
    return (features - mean) * scale


class SoftTargets:
    """BCE against targets in [0, 1] that do not change.

    Args:
        rows: the candidates, on the device of training.
        targets: (N, C) of the images; None where a checkpoint will bring them.
        weighted: multiply each class's loss by its variance weight, see `variance_weights`.

    Attributes:
        of_candidates: table of `rows`, float16: the candidates' targets.
        of_others: (N, C) float16, the other labels' targets; None where all are 0.
        variance_weight: (C,) float32, factor on each class's loss; None without.
    """

    def __init__(
        self, rows: CandidateRows, targets: Targets | None = None, weighted: bool = False
    ) -> None:
        self.rows, self.weighted = rows, weighted
        self.variance_weight: Tensor | None = None
        self.held_out = None if targets is None else targets.held_out
        self.of_candidates = rows.table(torch.zeros(len(rows.columns), dtype=torch.float16))
        self.of_candidates = self.of_candidates.to(rows.device)
        self.of_others: Tensor | None = None
        if targets is None:
            return
        image = torch.arange(rows.images, device=rows.device).repeat_interleave(rows.count)
        self.of_candidates[:-1] = targets.values[image, rows.columns]
        others = targets.values.clone()
        others[image, rows.columns] = 0
        self.of_others = others if others.any() else None
        self.weigh()

    def weigh(self) -> None:
        """Measure the variance weights, which follow from the targets."""
        if self.weighted:
            self.variance_weight = variance_weights(self.of_candidates[:-1], self.rows)

    def begin_epoch(self, epoch: int) -> None:
        """Change nothing."""

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            output: logits (B, C).
            candidates: (B, C) float in {0, 1}.
            index: (B,) int64, rows of the training set.

        Returns:
            Scalars; "loss" is the one to minimise, "confidence" the mean target of a candidate.
        """
        targets = self.rows.read(self.of_candidates, index).float()
        confidence = targets.sum() / candidates.sum().clamp(min=1)
        if self.of_others is not None:
            targets = targets + self.of_others[index]
        loss = F.binary_cross_entropy_with_logits(
            output.logits.float(), targets, weight=self.variance_weight
        )
        return {"loss": loss, "confidence": confidence}

    def state_dict(self) -> dict[str, Any]:
        """The targets, and the confidence of every candidate for those who read it."""
        confidence = {"values": self.of_candidates[:-1].float()}
        return {"confidence": confidence, "of_others": self.of_others, "held_out": self.held_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        copy_stored(self.of_candidates[:-1], state["confidence"]["values"])
        self.held_out = state.get("held_out")  # since there are such
        others = state["of_others"]
        self.of_others = None if others is None else others.to(self.rows.device)
        self.weigh()
