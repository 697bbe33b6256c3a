"""Step 4: how likely each candidate is the true one, kept for every training image."""

import torch

from pipeline.data.rows import Batch, CandidateRows
from utils.tensor_files import copy_stored


def disambiguate(
    probabilities: torch.Tensor, correlation: torch.Tensor, candidates: torch.Tensor
) -> torch.Tensor:
    """Spread one unit of confidence over an image's candidates, by its predictions and R.

    Args:
        probabilities: (B, C) float in [0, 1], the classifier's sigmoid outputs.
        correlation: (C, C) float >= 0, diagonal 1.
        candidates: (B, C) in {0, 1}.

    Returns:
        (B, C) float >= 0: (p R) restricted to the candidates and scaled to sum 1. Uniform
        where all of an image's candidates have probability 0; 0 for an image without
        candidates. No gradient.

    >>> p = torch.tensor([[0.6, 0.2, 0.9]])
    >>> disambiguate(p, torch.eye(3), torch.tensor([[1, 1, 0]]))
    tensor([[0.7500, 0.2500, 0.0000]])
    """
    support = candidates.to(probabilities.dtype)
    # The tiny constant decides only where every candidate's probability underflows to 0.
    evidence = (probabilities.detach() @ correlation + 1e-30) * support
    return evidence / evidence.sum(dim=1, keepdim=True).clamp(min=1e-30)


class ConfidenceTable:
    """Moving average of `disambiguate` for every training image, on the device.

    Attributes:
        rows: where the candidates lie.
        values: table of `rows`, float32: of each candidate, whatever order the loader uses. They
            sum to 1 over an image's candidates and start uniform.
    """

    def __init__(self, rows: CandidateRows, mu: float) -> None:
        self.rows, self.mu = rows, mu
        self.values = rows.table((1 / rows.count).repeat_interleave(rows.count))

    def update(self, batch: Batch, disambiguated: torch.Tensor) -> torch.Tensor:
        """Mix `disambiguated` (B, C) into a batch of `rows`; returns its new values (B, L)."""
        values = self.mu * self.values[batch.positions] + (1 - self.mu) * batch.take(disambiguated)
        self.values[batch.positions] = values
        return values

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"values": self.values[:-1]}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        copy_stored(self.values[:-1], state["values"])
