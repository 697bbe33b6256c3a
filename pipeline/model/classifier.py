"""Trunk and head joined: uint8 images in; logits, features and class maps out."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from pipeline.model.backbone import Backbone
from pipeline.model.decoder import Decoder
from pipeline.model.heads import CSRA, GlobalAveragePooling

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNCHANGED = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Output(NamedTuple):
    """The output of one pass.

    logits: (B, C) float32, scores before the sigmoid.
    features: (B, D, H, W) feature map of the trunk, in the precision it ran in.
    cams: (B, C, H, W) float32 class activation maps, detached: no gradient flows through them.
    similarities: (B, C) float32 in [0, 1] to the classes' prototypes; None of heads without these.
    """

    logits: torch.Tensor
    features: torch.Tensor
    cams: torch.Tensor
    similarities: torch.Tensor | None = None


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
        head: CSRA | GlobalAveragePooling | Decoder,
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
        return classify(self.head, self.features(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature map (B, D, H, W) of images (B, 3, S, S), uint8 in 0..255."""
        return self.trunk((images / 255 - self.mean) / self.std)


class FrozenClassifier(nn.Module):
    """The head of a classifier, on features of its trunk that are stored.

    Args:
        classifier: whose head it is.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.head = classifier.head

    def forward(self, features: torch.Tensor) -> Output:
        """Classify features (B, D, H, W), half or single precision."""
        return classify(self.head, features)


def classify(head: nn.Module, features: torch.Tensor) -> Output:
    """Apply the head to features; in single precision, for scores of a lower one tie."""
    with torch.autocast(features.device.type, enabled=False):
        logits, cams, *similarities = head(features.float())
    return Output(logits, features, cams, *similarities)


def assemble(
    model: str,
    img_size: int,
    head: str,
    classes: int,
    num_heads: int,
    lam: float,
    normalize: str,
    standardized: bool = False,
) -> Classifier:
    """A classifier with random weights.

    Args:
        model: timm name of the trunk.
        img_size: side of the input in pixels.
        head: "csra", "gap" or "decoder".
        classes: C.
        num_heads, lam: of csra.
        normalize: "none" scales images to 0..1, "imagenet" applies ImageNet's statistics, and
            "trunk" those that timm's weights of the trunk expect.
        standardized: the head standardises its features, as that of a frozen trunk does.

    Raises:
        UserError: timm has no such model, or it cannot give a feature map.
    """
    trunk = Backbone(model, img_size)
    statistics = {"none": UNCHANGED, "imagenet": IMAGENET, "trunk": (trunk.mean, trunk.std)}
    make: dict[str, Callable[..., CSRA | GlobalAveragePooling | Decoder]] = {
        "csra": functools.partial(CSRA, num_heads=num_heads, lam=lam),
        "gap": GlobalAveragePooling,
        "decoder": Decoder,
    }
    return Classifier(
        trunk,
        make[head](trunk.feature_dim, classes, standardized=standardized),
        *statistics[normalize],
    )
