"""Forward correction: BCE that expects a false label to be a candidate now and then.

The rate at which that happens, rho, is given or estimated while training.
"""

from typing import Any

import torch
import torch.nn.functional as F

from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from utils.tensor_files import copy_stored

Tensor = torch.Tensor
MAX_NOISE_RATE = 0.99  # at 1 a candidate would tell nothing, and -log(1 - rate) be infinite


def forward_bce_loss(logits: Tensor, candidates: Tensor, noise_rate: Tensor) -> Tensor:
    """Forward-corrected BCE: the likelihood of the candidates, not of the true labels.

    A true label is always a candidate, a false one with probability rho: a label is one with
    q = p + (1 - p) rho, and the loss is BCE(q, S). Its gradient at a candidate is p - t, BCE's
    against the posterior t = p / (p + (1 - p) rho).

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        noise_rate: rho, scalar tensor in [0, 1); at 0 the loss is BCE, to the last bit.

    Returns:
        Scalar >= 0, the mean over entries.

    Source: Patrini et al., CVPR 2017 (arXiv:1609.03683), theorem 2, with a transition matrix
    for each binary label in which only false labels flip.

    >>> rate = torch.tensor(0.5)  # q = 0.75
    >>> forward_bce_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), rate)
    tensor(0.8370)
    """
    losses = F.binary_cross_entropy_with_logits(logits, candidates, reduction="none")
    # log(q / p) and log((1 - q) / (1 - p)), neither of which divides.
    log_gain = torch.where(
        candidates > 0, F.softplus(noise_rate.log() - logits), torch.log1p(-noise_rate)
    )
    return (losses - log_gain).mean()


def noise_counts(logits: Tensor, candidates: Tensor, noise_rate: Tensor) -> Tensor:
    """Expected numbers of false candidates and of false labels, sum S(1 - t) and sum (1 - t).

    Args:
        logits: (B, C) float.
        candidates: (B, C) float in {0, 1}.
        noise_rate: rho, scalar tensor in [0, 1).

    Returns:
        (2,) float64, without gradient. t is the posterior p / (p + (1 - p) rho) on candidates
        and 0 elsewhere; the numbers' ratio is the next estimate of rho.
    """
    doubt = (noise_rate.log() - logits.detach()).sigmoid()  # 1 - t
    false_candidates = (candidates * doubt).sum(dtype=torch.float64)
    return torch.stack([false_candidates, false_candidates + (1 - candidates).sum()])


class ForwardBCE:
    """Forward-corrected BCE whose noise rate is given or learned: one rate for all classes.

    The estimate starts from one true label an image, rho = (mean |S_i| - 1) / (C - 1), and at
    0.001 at least. From epoch 2 on it is sum S(1 - t) / sum (1 - t) over the epoch before, t being
    the posterior under the rate and the logits of that epoch's own passes: a step of EM. The
    loss is the paper's that `forward_bce_loss` names, the estimate of the rate this project's own.

    Args:
        rows: the candidates, on the device of training.
        noise_rate: in [0, 0.99], or None to estimate it.

    Attributes:
        rate: scalar float64, of the running epoch.
        counts: (2,) float64, `noise_counts` summed over its batches so far.
    """

    def __init__(self, rows: CandidateRows, noise_rate: float | None = None) -> None:
        self.estimates = noise_rate is None
        if noise_rate is None:
            size = len(rows.columns) / rows.images
            # From 0 the estimate could never rise.
            noise_rate = min(max((size - 1) / max(rows.classes - 1, 1), 1e-3), MAX_NOISE_RATE)
        self.rate = torch.tensor(noise_rate, dtype=torch.float64, device=rows.device)
        self.counts = self.rate.new_zeros(2)

    def begin_epoch(self, epoch: int) -> None:
        """Take up the rate that the epoch before gave."""
        if self.estimates and epoch > 1:
            false_candidates, false_labels = self.counts
            # Where no label is probably false, no candidate is, and the rate is 0.
            self.rate = (false_candidates / false_labels.clamp(min=1e-12)).clamp(0, MAX_NOISE_RATE)
        self.counts = torch.zeros_like(self.counts)

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Mean over the batch's (B, C) entries, and the rate; adds to the counts."""
        logits = output.logits.float()
        self.counts = self.counts + noise_counts(logits, candidates, self.rate)
        return {"loss": forward_bce_loss(logits, candidates, self.rate), "noise_rate": self.rate}

    def state_dict(self) -> dict[str, Any]:
        return {"rate": self.rate, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        copy_stored(self.rate, state["rate"])
        copy_stored(self.counts, state["counts"])
