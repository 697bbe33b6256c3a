"""Baselines that know verified images: these weighted, these alone, and gold loss correction."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.baselines.losses import WithoutState
from pipeline.data.verified import Verified
from pipeline.model.classifier import Output

Tensor = torch.Tensor
PRIOR_COUNT = 2  # labels as many as which the rate of all classes counts beside a class's own


def weighted_loss(losses: Tensor, verified: Tensor) -> Tensor:
    """Mean of the verified images' mean and the others': each half counts the same.

    Args:
        losses: (B, C) float.
        verified: (B,) bool.

    Returns:
        Scalar; where a batch has images of one kind alone, half their mean.

    >>> weighted_loss(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([True, False, False]))
    tensor(2.5000)
    """
    return (verified_loss(losses, verified) + verified_loss(losses, ~verified)) / 2


def verified_loss(losses: Tensor, verified: Tensor) -> Tensor:
    """Mean of the losses (B, C) of verified images (B,) alone; 0 where a batch has none."""
    return (losses.mean(dim=1) * verified).sum() / verified.sum().clamp(min=1)


class VerifiedBCE(WithoutState):
    """BCE whose images count by whether they are verified.

    Args:
        verified: (N,) bool, on the device of training.
        combine: `weighted_loss` or `verified_loss`.
    """

    def __init__(self, verified: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.verified, self.combine = verified, combine

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Combine the batch's (B, C) entries."""
        losses = F.binary_cross_entropy_with_logits(
            output.logits.float(), candidates, reduction="none"
        )
        return {"loss": self.combine(losses, self.verified[index])}


def candidate_rates(candidates: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of true and of false labels that are candidates, by class, in verified images.

    A class's rate is drawn to that of all classes, which counts as two labels beside its own.

    Args:
        candidates, truth: (V, C) in {0, 1}.

    Returns:
        (C,) float64 in [0, 1] each.

    >>> of_true, of_false = candidate_rates(np.array([[1, 1], [1, 0]]), np.array([[1, 0], [1, 0]]))
    >>> of_true.tolist(), of_false.tolist()
    ([1.0, 1.0], [0.5, 0.5])
    """
    found, true = candidates == 1, truth == 1

    def rate(among: np.ndarray) -> np.ndarray:
        overall = (found & among).sum() / max(among.sum(), 1)
        return ((found & among).sum(axis=0) + PRIOR_COUNT * overall) / (
            among.sum(axis=0) + PRIOR_COUNT
        )

    return rate(true), rate(~true)


class GoldCorrection(WithoutState):
    """Gold loss correction: BCE of verified images, forward-corrected BCE of the others.

    The probability that a label is a candidate is q = p a + (1 - p) b, where a and b are the rates
    among the true and the false labels of the class in verified images; the loss is BCE(q, S).
    The paper reads the rates off a classifier's scores of these images, here they are counted.

    Args:
        verified: their rows and truth.
        candidates: (N, C) in {0, 1}, as found.
        device: of training.

    Source: Hendrycks et al., NeurIPS 2018 (arXiv:1802.05300), with a 2 x 2 matrix a label.
    """

    def __init__(self, verified: Verified, candidates: np.ndarray, device: torch.device) -> None:
        rates = candidate_rates(candidates[verified.rows], verified.truth)
        # In (0, 1): a candidate that could not be would have an infinite loss.
        of_true, of_false = (np.clip(rate, 1e-3, 1 - 1e-3) for rate in rates)
        self.of_true = torch.tensor(of_true, dtype=torch.float32, device=device)
        self.of_false = torch.tensor(of_false, dtype=torch.float32, device=device)
        self.verified = mark(verified, len(candidates), device)

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Mean over the batch's (B, C) entries, whose candidates are the truth where verified."""
        logits = output.logits.float()
        known = F.binary_cross_entropy_with_logits(logits, candidates, reduction="none")
        seen = torch.lerp(self.of_false, self.of_true, logits.sigmoid())
        found = F.binary_cross_entropy(seen, candidates, reduction="none")
        return {"loss": torch.where(self.verified[index, None], known, found).mean()}


def mark(verified: Verified, images: int, device: torch.device) -> Tensor:
    """Mark which of N images are verified, (N,) bool."""
    result = torch.zeros(images, dtype=torch.bool, device=device)
    result[torch.from_numpy(verified.rows).to(device)] = True
    return result
