"""Baselines: losses that need nothing but a batch's logits and candidates.

A candidate is a positive label that may be false; a label that is no candidate is surely
negative. Each baseline is a pure function of

    logits      (B, C) float32, scores before the sigmoid; p = sigmoid(logits)
    candidates  (B, C) float in {0, 1}, called S

that returns a scalar, the mean over the (B, C) entries; the authors of asl, hill and splc sum.
Function defaults are the papers'; with these, values and gradients are finite at any finite logit.
Small classes below make methods of them that the engine can train with; the one that learns a
noise rate is in forward_correction.py.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from pipeline.model.classifier import Output
from utils.tensor_files import stored_count

Tensor = torch.Tensor


def bce_loss(logits: Tensor, candidates: Tensor) -> Tensor:
    """Binary cross-entropy that takes every candidate (B, C) for true; scalar, the mean."""
    return F.binary_cross_entropy_with_logits(logits, candidates)


def smoothing_loss(logits: Tensor, candidates: Tensor, epsilon: float = 0.1) -> Tensor:
    """BCE against smoothed labels: 1 - epsilon/2 for candidates and epsilon/2 for the others.

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        epsilon: in [0, 1], spread evenly over the two values of each binary label.

    Returns:
        Scalar > 0 for epsilon > 0, the mean over entries; smallest where p is the smoothed label.

    Source: Szegedy et al., CVPR 2016 (arXiv:1512.00567), section 7, for K = 2.

    >>> smoothing_loss(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    tensor(0.6931)
    """
    smoothed = candidates * (1 - epsilon) + epsilon / 2
    return F.binary_cross_entropy_with_logits(logits, smoothed)


def focal_loss(
    logits: Tensor, candidates: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss, -alpha_t (1 - p_t)^gamma log p_t: easy labels weigh little.

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        alpha: in [0, 1], weight of candidates; the others weigh 1 - alpha.
        gamma: focusing exponent >= 0; at 0, BCE with these weights.

    Returns:
        Scalar >= 0, the mean over entries; the paper divides by the number of positives, which is
        a higher learning rate.

    Source: Lin et al., ICCV 2017 (arXiv:1708.02002), equation 5.
    """
    return sigmoid_focal_loss(logits, candidates, alpha, gamma, reduction="mean")


def focused_positive_loss(logits: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p of each entry as a positive; as a negative, of `-logits`."""
    return (-logits).sigmoid() ** gamma * F.softplus(-logits)


def asl_loss(
    logits: Tensor,
    candidates: Tensor,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
) -> Tensor:
    """Asymmetric loss: easy negatives weigh little, and the easiest nothing.

    Positives: -(1 - p)^gamma_pos log p. Negatives: -p_m^gamma_neg log(1 - p_m), in which
    p_m = max(p - clip, 0). The weights carry gradient, as in the formula; the authors' training
    script holds them constant.

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        gamma_pos, gamma_neg: focusing exponents >= 0.
        clip: probability margin in [0, 1).

    Returns:
        Scalar >= 0, the mean over entries; BCE where gammas and clip are 0.

    Source: Ridnik et al., Asymmetric Loss for Multi-Label Classification, ICCV 2021
    (arXiv:2009.14119).
    """
    shifted = (logits.sigmoid() - clip).clamp(min=0)
    # 1 - p_m = (1 - p) + clip, at most 1; added as logarithms it is finite however small 1 - p.
    log_clip = torch.full_like(logits, math.log(clip) if clip > 0 else -math.inf)
    log_rest = torch.logaddexp(-F.softplus(logits), log_clip).clamp(max=0)
    negative_loss = -(shifted**gamma_neg) * log_rest
    positive_loss = focused_positive_loss(logits, gamma_pos)
    return torch.where(candidates > 0, positive_loss, negative_loss).mean()


def hill_loss(
    logits: Tensor, candidates: Tensor, lamb: float = 1.5, margin: float = 1.0, gamma: float = 2.0
) -> Tensor:
    """Hill loss: a negative with a very high score is taken for a missing label and let be.

    Positives, the focal margin loss: -(1 - p_m)^gamma log p_m, p_m = sigmoid(logits - margin).
    Negatives: (lamb - p) p^2, whose gradient vanishes at both ends. Made for positives that are
    missing; here the negatives are certain and the positives are not.

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        lamb: lambda >= 1.
        margin: subtracted from the logits of positives.
        gamma: focusing exponent >= 0 of positives.

    Returns:
        Scalar >= 0, the mean over entries.

    Source: Zhang et al. 2021, Simple and Robust Loss Design for Multi-Label Learning with
    Missing Labels (arXiv:2112.07368): Hill loss, focal margin loss.
    """
    p = logits.sigmoid()
    positive_loss = focused_positive_loss(logits - margin, gamma)
    return torch.where(candidates > 0, positive_loss, (lamb - p) * p**2).mean()


def splc_loss(
    logits: Tensor,
    candidates: Tensor,
    epoch: int,
    tau: float = 0.6,
    change_epoch: int = 1,
    margin: float = 1.0,
    gamma: float = 2.0,
) -> Tensor:
    """Self-paced loss correction: negatives with a high score become positives.

    Positives: -(1 - p_m)^gamma log p_m, p_m = sigmoid(logits - margin). Negatives: -p^gamma
    log(1 - p). After `change_epoch` epochs, negatives with p > tau: -(1 - p)^gamma log p, without
    the margin, as in the authors' code; their formula leaves it open. Here a label that is no
    candidate is never true, so that each correction is a mistake: the baseline is what its
    authors wrote, for labels that are missing.

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        epoch: from 1.
        tau: probability in [0, 1] above which a negative is corrected.
        change_epoch: epochs without correction.
        margin: subtracted from the logits of positives.
        gamma: focusing exponent >= 0.

    Returns:
        Scalar >= 0, the mean over entries.

    Source: Zhang et al. 2021 (arXiv:2112.07368): SPLC with the focal margin loss.
    """
    is_positive = candidates > 0
    scores = torch.where(is_positive, logits - margin, logits)
    if epoch > change_epoch:
        is_positive = is_positive | (logits.sigmoid() > tau)
    return focused_positive_loss(torch.where(is_positive, scores, -scores), gamma).mean()


def large_loss(
    logits: Tensor, candidates: Tensor, epoch: int, correct: bool, delta_rel: float = 0.2
) -> Tensor:
    """BCE without the candidates of largest loss, which are rejected (LL-R) or corrected (LL-Ct).

    In epoch t a batch's k candidates of largest loss, and those with the same loss as the last of
    them, count 0 or, corrected, as negatives, in this batch only; k is (t - 1) delta_rel % of the
    B C entries, rounded up. In the paper the unreliable labels are the negatives that nobody
    confirmed; here they are the candidates. As in the authors' code, which offers 0.1 to 0.5 for
    delta_rel, the share is of all entries, and nothing spares the last positive of an image; there,
    once k exceeds the unreliable labels, all others are taken too, here never.

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        epoch: t, from 1; the first is BCE.
        correct: take large losses for negatives, LL-Ct; otherwise leave them out, LL-R.
        delta_rel: percent of the entries by which the share grows each epoch.

    Returns:
        Scalar >= 0, the mean over all entries, those rejected among them.

    Source: Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification,
    CVPR 2022 (arXiv:2206.03740): LL-R, LL-Ct.
    """
    losses = F.binary_cross_entropy_with_logits(logits, candidates, reduction="none")
    count = math.ceil(losses.numel() * (epoch - 1) * delta_rel / 100)
    if count == 0:
        return losses.mean()
    unreliable = losses.detach().masked_fill(candidates == 0, -torch.inf)
    smallest = unreliable.flatten().topk(min(count, losses.numel())).values[-1]
    large = (unreliable >= smallest) & (candidates > 0)
    instead = F.softplus(logits) if correct else torch.zeros_like(losses)
    return torch.where(large, instead, losses).mean()


class WithoutState:
    """The part of a method that is the same in every epoch."""

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""


class Stateless(WithoutState):
    """A method that is a function of logits and candidates, called in float32."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.function = function

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Mean over the batch's (B, C) entries."""
        return {"loss": self.function(output.logits.float(), candidates)}


class Scheduled:
    """A method that is a function of logits, candidates and the epoch, from 1."""

    def __init__(self, function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
        self.function = function
        self.epoch = 1

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Mean over the batch's (B, C) entries."""
        return {"loss": self.function(output.logits.float(), candidates, self.epoch)}

    def state_dict(self) -> dict[str, Any]:
        # A run that goes on within an epoch does not begin it anew.
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = stored_count(state["epoch"])
