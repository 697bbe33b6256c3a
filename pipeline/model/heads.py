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


class Standardization(nn.Module):
    """Features of a frozen trunk as its head sees them: in half precision, standardised.

    Half precision is what they are stored in; rounding here too gives a photo the same scores
    whether they come from the store or from the trunk. Scaled channels have a variance of
    1024 / D, so that one learning rate suits trunks of any width.

    Args:
        feature_dim: D.

    Attributes:
        mean, scale: (D,) float32 of the training images, see `fit`.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("scale", torch.ones(feature_dim))

    def fit(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Take the statistics (D,) of features; channels that hardly vary are left small."""
        self.mean.copy_(mean)
        floor = 0.01 * deviation.mean().clamp(min=1e-6)
        self.scale.copy_((1024 / len(mean)) ** 0.5 / (deviation + floor))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D, H, W) of the same shape."""
        limit = torch.finfo(torch.float16).max
        features = features.clamp(-limit, limit)
        rounded = features.half().float()
        rounded = features + (rounded - features).detach()  # rounding has no gradient
        return (rounded - self.mean[:, None, None]) * self.scale[:, None, None]


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
        standardized: standardise features first, see `Standardization`.

    Attributes:
        weight: (num_heads, C, D), W before normalisation.

    Source: Zhu and Wu, Residual Attention, ICCV 2021, arXiv:2108.02456.
    """

    def __init__(
        self, feature_dim: int, classes: int, num_heads: int, lam: float, standardized: bool = False
    ) -> None:
        super().__init__()
        self.temperatures = CSRA_TEMPERATURES[num_heads]
        self.lam = lam
        bound = feature_dim**-0.5
        weight = torch.empty(num_heads, classes, feature_dim).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.standardization = Standardization(feature_dim) if standardized else None

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and detached maps (B, C, H, W) of features (B, D, H, W)."""
        if self.standardization is not None:
            features = self.standardization(features)
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
        standardized: standardise the pooled features, see `Standardization`.
    """

    def __init__(self, feature_dim: int, classes: int, standardized: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_dim, classes)
        self.standardization = Standardization(feature_dim) if standardized else None

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, C) and detached maps (B, C, H, W) of features (B, D, H, W)."""
        pooled = features.mean(dim=(2, 3), keepdim=True)
        if self.standardization is not None:
            pooled, features = self.standardization(pooled), self.standardization(features)
        weight = self.linear.weight.detach()
        maps = torch.einsum("cd,bdhw->bchw", weight, features.detach())
        return self.linear(pooled.flatten(1)), maps
