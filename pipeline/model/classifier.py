"""Trunk and head joined: uint8 images in; logits, features and class maps out."""

from typing import NamedTuple

import torch
from torch import nn

from pipeline.model.backbone import Backbone
from pipeline.model.heads import CSRA, GlobalAveragePooling


class Output(NamedTuple):
    """What one pass gives.

    logits: (B, C) float32, scores before the sigmoid.
    features: (B, D, H, W) feature map of the trunk, in the precision it ran in.
    cams: (B, C, H, W) float32 class activation maps, detached: no gradient flows through them.
    """

    logits: torch.Tensor
    features: torch.Tensor
    cams: torch.Tensor


class Classifier(nn.Module):
    """A multi-label classifier that normalises its own input.

    Args:
        trunk: gives (B, D, H, W) from normalised images.
        head: gives logits and maps from the feature map.
        mean, std: per-channel statistics of images scaled to [0, 1].
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        trunk: Backbone,
        head: CSRA | GlobalAveragePooling,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head
        # Not in the state dict: the run's config holds them, and released files lack them.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> Output:
        """Classify images (B, 3, S, S), uint8 in 0..255."""
        features = self.trunk((images / 255 - self.mean) / self.std)
        # The head costs nothing beside the trunk, and scores of low precision tie.
        with torch.autocast(images.device.type, enabled=False):
            logits, cams = self.head(features.float())
        return Output(logits, features, cams)
