"""Baselines: methods that need nothing but a batch's logits and candidates."""

from typing import Any

import torch
import torch.nn.functional as F

from pipeline.model.classifier import Output


class BCE:
    """Binary cross-entropy that takes every candidate for true."""

    def begin_epoch(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def loss(
        self, output: Output, candidates: torch.Tensor, index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Mean over the batch's (B, C) entries, in nats."""
        return {"loss": F.binary_cross_entropy_with_logits(output.logits, candidates)}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is no state."""
