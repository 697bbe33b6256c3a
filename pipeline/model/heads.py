"""Heads: from a feature map to logits and class activation maps, in one pass."""

import math

import torch
import torch.nn.functional as F
from torch import nn

# Zhu and Wu, ICCV 2021: attention temperatures of each head; infinity is max pooling.
CSRA_TEMPERATURES: dict[int, list[float]] = {
    1: [1],
    2: [1, math.inf],
    4: [1, 2, 4, math.inf],
    6: [1, 2, 3, 4, 5, math.inf],
    8: [1, 2, 3, 4, 5, 6, 7, math.inf],
}


class CSRA(nn.Module):
    """Class-specific residual attention.

    Head h maps features by W_h / ||W_h||, one direction a class; its logit is the mean of the
    map plus lam times its attention-weighted mean, with weights softmax(T_h map). Logits and
    maps are summed over heads. There is no bias.

    Args:
        feature_dim: D.
        classes: C.
        num_heads: 1, 2, 4, 6 or 8.
        lam: weight of the attention term, >= 0.

    Attributes:
        weight: (num_heads, C, D), W before normalisation.

    Source: Zhu and Wu, Residual Attention, ICCV 2021, arXiv:2108.02456.
    """

    def __init__(self, feature_dim: int, classes: int, num_heads: int = 1, lam: float = 0.1):
        super().__init__()
        self.temperatures = CSRA_TEMPERATURES[num_heads]
        self.lam = lam
        bound = feature_dim**-0.5
        weight = torch.empty(num_heads, classes, feature_dim).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and detached maps (B, C, H, W) of features (B, D, H, W)."""
        directions = F.normalize(self.weight, dim=2)
        maps = torch.einsum("kcd,bdhw->kbchw", directions, features)
        logits = [
            residual_attention(head_maps.flatten(2), temperature, self.lam)
            for head_maps, temperature in zip(maps, self.temperatures)
        ]
        return torch.stack(logits).sum(dim=0), maps.sum(dim=0).detach()


def residual_attention(maps: torch.Tensor, temperature: float, lam: float) -> torch.Tensor:
    """mean(map) + lam * sum(softmax(T map) map) over the pixels of (B, C, HW); gives (B, C).

    >>> residual_attention(torch.tensor([[[1.0, 3.0]]]), math.inf, lam=0.5)
    tensor([[3.5000]])
    """
    if math.isinf(temperature):
        attended = maps.amax(dim=2)
    else:
        attended = ((temperature * maps).softmax(dim=2) * maps).sum(dim=2)
    return maps.mean(dim=2) + lam * attended


class GlobalAveragePooling(nn.Module):
    """Average pooling and a linear layer, whose class maps are W . F.

    Args:
        feature_dim: D.
        classes: C.
    """

    def __init__(self, feature_dim: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, classes)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and detached maps (B, C, H, W) of features (B, D, H, W)."""
        logits = self.linear(features.mean(dim=(2, 3)))
        weight = self.linear.weight.detach()
        return logits, torch.einsum("cd,bdhw->bchw", weight, features.detach())
