"""PML-CD: candidates weighted by a curve that a small network reads off the scores' histogram.

The classifier is `pipeline.model.decoder`, which scores each class twice: by a logit, and by its
similarity to a prototype. Each scorer has a curve and weights of its own.

Two things differ from the paper. Its second half scores all images once more before each epoch, on
weak views; here a candidate's score is that of its latest pass in training, on the view trained
on. And its network was trained on other data; ours, in pml_cd_network.json, on runs of this loss on
the embedded digits, by `python -m benchmarks.pml_cd_network`.
"""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from utils.tensor_files import copy_stored, stored_count

Tensor = torch.Tensor
BINS = 20
SCORERS = ("classifier", "prototype")
NETWORK = Path(__file__).with_name("pml_cd_network.json")


class CurveNetwork(nn.Module):
    """A network from a histogram of scores to how likely a candidate in each bin is true."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(BINS, BINS), nn.ReLU(), nn.Linear(BINS, BINS))

    def forward(self, counts: Tensor) -> Tensor:
        """Curves (..., 20) that rise to 1, of the numbers (..., 20) of scores in each bin."""
        shares = counts / counts.sum(dim=-1, keepdim=True).clamp(min=1)
        return self.layers(shares).softmax(dim=-1).cumsum(dim=-1)


def read_network(path: Path = NETWORK) -> CurveNetwork:
    """The network that was trained beforehand, from nested lists of numbers."""
    network = CurveNetwork()
    content = json.loads(path.read_text("utf-8"))
    network.load_state_dict({name: torch.tensor(values) for name, values in content.items()})
    return network.requires_grad_(False)


def bin_of(scores: Tensor) -> Tensor:
    """The bin of scores in [0, 1], int64 in 0..19.

    >>> bin_of(torch.tensor([0.0, 0.049, 0.05, 0.999, 1.0])).tolist()
    [0, 0, 1, 19, 19]
    """
    return (scores * BINS).long().clamp(max=BINS - 1)


def count_bins(scores: Tensor, rows: CandidateRows) -> Tensor:
    """Count each class's candidates by the bin of their score, (C, 20) float32.

    Args:
        scores: (entries,) float in [0, 1].
        rows: the candidates.
    """
    counts = torch.zeros(rows.classes * BINS, device=rows.device)
    for entries, part in rows.chunks():
        places = part.columns.long() * BINS + bin_of(scores[entries])
        counts += torch.bincount(places, minlength=len(counts))
    return counts.unflatten(0, (rows.classes, BINS))


def stretch(probability: Tensor) -> Tensor:
    """Weights from probabilities in [0, 1]: below 1/12 none, above 11/12 in full.

    >>> stretch(torch.tensor([0.0, 0.5, 0.95]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return (1.2 * probability - 0.1).clamp(0, 1)


class PMLCD:
    """BCE of both scorers; after the warm-up with weighted candidates.

    Args:
        rows: the candidates, on the device of training; row i belongs to image i.
        network: makes curves of histograms.
        warm_up: epochs of plain BCE, at least 1.

    Attributes:
        scores: tables of `rows`, float32 in [0, 1], by scorer: of each candidate's latest pass.
        curves: (2, C, 20) float32 in [0, 1], by scorer, of the running epoch; 1 in the warm-up.

    Source: PML-CD, AAAI 2025.
    """

    def __init__(self, rows: CandidateRows, network: CurveNetwork, warm_up: int) -> None:
        self.rows, self.network, self.warm_up = rows, network.to(rows.device), warm_up
        even = torch.full_like(rows.columns, 0.5, dtype=torch.float32)
        self.scores = [rows.table(even) for _ in SCORERS]
        self.curves = torch.ones(len(SCORERS), rows.classes, BINS, device=rows.device)

    def begin_epoch(self, epoch: int) -> None:
        """Read the curves off the scores after the warm-up (epochs count from 1)."""
        if epoch > self.warm_up:
            counts = [count_bins(table[:-1], self.rows) for table in self.scores]
            self.curves = self.network(torch.stack(counts))

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Losses of a batch; remembers its scores on the way.

        Args:
            output: logits and similarities (B, C).
            candidates: (B, C) float in {0, 1}.
            index: (B,) int64, rows of the training set.

        Returns:
            Scalars; "loss", the one to minimise, is the sum of the scorers' means over entries,
            "confidence" the mean weight of a candidate for the classifier.
        """
        assert output.similarities is not None
        logits = output.logits.float()
        # Kept from 0 and 1, where the gradient of BCE has no bound.
        similarities = output.similarities.float().clamp(1e-4, 1 - 1e-4)
        batch = self.rows.batch(index)
        weights = []
        for table, curves, score in zip(self.scores, self.curves, (logits.sigmoid(), similarities)):
            before = table[batch.positions]
            table[batch.positions] = batch.take(score.detach())
            weight = stretch(curves[batch.columns, bin_of(before)])
            weights.append(batch.spread(weight * batch.inside) + 1 - candidates)
        losses = (
            F.binary_cross_entropy_with_logits(logits, candidates, weights[0]),
            F.binary_cross_entropy(similarities, candidates, weights[1]),
        )
        confidence = (weights[0] * candidates).sum() / candidates.sum().clamp(min=1)
        parts = {f"{name}_loss": loss.detach() for name, loss in zip(SCORERS, losses)}
        return {"loss": losses[0] + losses[1], "confidence": confidence} | parts

    def state_dict(self) -> dict[str, Any]:
        # A run that is given more epochs keeps the warm-up that it began with.
        return {"scores": self.scores, "curves": self.curves, "warm_up": self.warm_up}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for table, stored in zip(self.scores, state["scores"], strict=True):
            copy_stored(table, stored)
        copy_stored(self.curves, state["curves"])
        self.warm_up = stored_count(state["warm_up"])
