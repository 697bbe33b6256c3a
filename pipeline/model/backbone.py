"""Any timm model as a trunk: images in, one feature map out."""

import difflib
from typing import Any

import timm
import torch
from torch import nn

from utils.errors import UserError


class Backbone(nn.Module):
    """A timm model without its classifier, its output brought to (B, D, H, W).

    Args:
        name: a timm model name, for example resnet101.
        img_size: side of the square input in pixels; models with a fixed input (vision
            transformers) are built for it, the others take any size.

    Attributes:
        feature_dim: D.
        mean, std: per-channel statistics that timm's published weights of this model expect.
        dropped: prefixes of the layers behind the feature map, which weight files may hold.

    Raises:
        UserError: timm has no such model, or it cannot give a feature map.
    """

    name: str
    model: Any  # timm models share no type

    def __init__(self, name: str, img_size: int) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists all"
            raise UserError(f"unknown model {name!r}: {hint}")
        self.name = name
        self.dropped: list[str] = []
        try:
            self.model, probe_size = create_headless(name, img_size, pretrained=False)
            self.feature_dim = self._drop_idle_layers(probe_size)
        except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"model {name!r} gives no feature map at {img_size} px ({error}); "
                "take another model or --img_size"
            ) from error
        config: Any = self.model.pretrained_cfg
        classifier = config["classifier"]
        self.dropped += [classifier] if isinstance(classifier, str) else classifier or []
        self.mean: tuple[float, ...] = config["mean"]
        self.std: tuple[float, ...] = config["std"]

    def _drop_idle_layers(self, size: int) -> int:
        """Remove layers that no feature depends on; returns the feature map's channels.

        timm keeps layers between pooling and classifier in some models (MobileNetV3, VGG,
        ConvNeXt). Here they would never run, yet be stored and decayed, and data-parallel
        training would wait for their gradients. Only a backward pass tells which they are.
        """
        self.eval()
        features = self(torch.zeros(1, 3, size, size))
        features.sum().backward()
        for path, module in list(self.model.named_modules()):
            parameters = list(module.parameters())
            if path and parameters and all(p.grad is None for p in parameters):
                self.model.set_submodule(path, nn.Identity())
                self.dropped.append(path)
        self.zero_grad()
        self.train()
        return features.shape[1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Feature map (B, D, H, W) of normalised images (B, 3, S, S)."""
        features = self.model.forward_features(images)
        if features.dim() == 3:  # (B, tokens, D): drop class tokens, lay the rest on the grid
            tokens = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
            side = round(tokens.shape[1] ** 0.5)
            return tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features


def create_headless(name: str, img_size: int, pretrained: bool) -> tuple[Any, int]:
    """The timm model without pooling and classifier, and the smallest input worth probing it with.

    Models with a fixed input are built for `img_size`; the others do not know the argument.
    """
    arguments: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "global_pool": ""}
    try:
        return timm.create_model(name, img_size=img_size, **arguments), img_size
    except TypeError:
        return timm.create_model(name, **arguments), 96
