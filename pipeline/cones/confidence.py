"""Step 4: how likely each candidate is the true one, kept for every training image."""

import torch


def disambiguate(
    probabilities: torch.Tensor, correlation: torch.Tensor, candidates: torch.Tensor
) -> torch.Tensor:
    """Spread one unit of belief over an image's candidates, by its predictions and R.

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
        rows: (N, C) float32; row i belongs to image i whatever order the loader uses. Each
            sums to 1 over the image's candidates and starts uniform.
    """

    def __init__(self, candidates: torch.Tensor, mu: float = 0.99) -> None:
        support = candidates.float()
        self.rows = support / support.sum(dim=1, keepdim=True).clamp(min=1)
        self.mu = mu

    def update(self, index: torch.Tensor, belief: torch.Tensor) -> torch.Tensor:
        """Mix `belief` (B, C) into the rows at `index` (B,); returns these rows, (B, C)."""
        rows = self.mu * self.rows[index] + (1 - self.mu) * belief
        self.rows[index] = rows
        return rows

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.rows.copy_(state["rows"])
