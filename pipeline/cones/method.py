"""CoNeS: the steps of this folder joined to what the engine trains with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from pipeline.cones import confidence, correlation, loss, prototypes, screening
from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from utils.tensor_files import copy_stored


class Steps(NamedTuple):
    """The steps in which recipes differ; the defaults are the paper's."""

    screen_pixels: Callable[..., torch.Tensor] = screening.screen_pixels
    batch_prototypes: Callable[..., Any] = prototypes.batch_prototypes
    class_order: Callable[..., Any] = prototypes.class_order
    scale: Callable[[torch.Tensor], torch.Tensor] = correlation.scale_rows
    update_correlation: Callable[..., torch.Tensor] = correlation.update_correlation
    select_pseudo_labels: Callable[..., torch.Tensor] = loss.select_pseudo_labels
    weights: Callable[..., torch.Tensor] = loss.suppression_weights


class CoNeS:
    """Correlation-induced negative suppression disambiguation.

    The loss is BCE on the candidates plus beta times the negative suppression loss on the
    candidates that the running confidence takes for true.

    Args:
        rows: the candidates, on the device of training; row i belongs to image i.
        feature_dim: D, channels of the feature map.
        tau: activation threshold of the screening, in [0, 1).
        clusters: K, k-means centroids a class.
        beta: weight of the negative suppression loss.
        r: exponent > 1 of the suppression weights (--r_ws).
        mu: share of the old confidence in an update, in [0, 1].
        gamma: share of the old correlation in a refresh, in [0, 1].
        memory: M, prototypes kept a class, or fewer where these are too large.
        steps: the recipe.

    Source: Zhong et al. 2025, doi:10.1109/TCSVT.2025.3629753.
    """

    def __init__(
        self,
        rows: CandidateRows,
        feature_dim: int,
        *,
        tau: float,
        clusters: int,
        beta: float,
        r: float,
        mu: float,
        gamma: float,
        memory: int = 256,
        steps: Steps = Steps(),  # noqa: B008 - immutable
    ) -> None:
        self.tau, self.clusters, self.beta, self.r, self.gamma = tau, clusters, beta, r, gamma
        self.steps = steps
        self.correlation = steps.scale(correlation.cooccurrence(rows))
        self.confidence = confidence.ConfidenceTable(rows, mu)
        self.memory = prototypes.PrototypeMemory(
            rows.classes, feature_dim, memory, rows.device, least=clusters
        )

    def begin_epoch(self, epoch: int) -> None:
        """Refresh the correlation from the prototypes, from epoch 2 on (epochs count from 1)."""
        if epoch < 2:
            return
        directions, ready = correlation.class_directions(
            self.memory.rows, self.memory.count, self.clusters
        )
        self.correlation = self.steps.update_correlation(
            self.correlation, directions, ready, self.gamma
        )

    def loss(
        self, output: Output, candidates: torch.Tensor, index: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Losses of a batch; remembers its prototypes and confidence on the way.

        Args:
            output: logits (B, C), features (B, D, H, W) and maps (B, C, H, W).
            candidates: (B, C) float in {0, 1}.
            index: (B,) int64, rows of the training set.

        Returns:
            Scalars; "loss" is the one to minimise, "confidence" the share of the candidates that
            are taken for true.
        """
        steps = self.steps
        logits = output.logits.float()
        with torch.no_grad():
            pixels = steps.screen_pixels(output.cams, candidates, self.tau)
            means, seen = steps.batch_prototypes(output.features, pixels)
            self.memory.add(*steps.class_order(means, seen))
            disambiguated = confidence.disambiguate(logits.sigmoid(), self.correlation, candidates)
            batch = self.confidence.rows.batch(index)
            updated = self.confidence.update(batch, disambiguated)
            pseudo_labels = batch.spread(steps.select_pseudo_labels(updated, batch.inside))
        candidate_loss = F.binary_cross_entropy_with_logits(logits, candidates)
        suppression_loss = loss.negative_suppression_loss(
            logits, candidates, pseudo_labels, self.r, steps.weights
        )
        return {
            "loss": candidate_loss + self.beta * suppression_loss,
            "candidate_loss": candidate_loss.detach(),
            "suppression_loss": suppression_loss.detach(),
            "confidence": pseudo_labels.sum() / candidates.sum().clamp(min=1),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "correlation": self.correlation,
            "confidence": self.confidence.state_dict(),
            "memory": self.memory.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        copy_stored(self.correlation, state["correlation"])
        self.confidence.load_state_dict(state["confidence"])
        self.memory.load_state_dict(state["memory"])
