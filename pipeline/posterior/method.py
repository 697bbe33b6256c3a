"""The recipe `posterior`: targets that say how likely each candidate is true.

docs/method.md derives it.
"""

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F

from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from pipeline.posterior.label_sets import fit_label_sets, posterior, posterior_of_rows
from utils.tensor_files import copy_stored, stored_count

Tensor = torch.Tensor
OFFSET_EPOCHS = 3  # in which the classes' offsets fade
# Tensors that resuming needs, by their keys in the checkpoint, which are older than the names.
STATE = {
    "rates": "rates",
    "offset": "offset",
    "company": "context_prior",
    "logits": "logits",
    "gain": "variance_weight",
}


class Posterior:
    """BCE against the posterior probability of every candidate.

    The probability of a label before it is known to be a candidate comes from the image, the
    classifier's logit, and from the context, the other candidates of its image (`label_sets`).
    The context prior counts 1/epoch: the classifier learns which labels go together too.

    A class's offset, its frequency's logit, is added to the classifier's logits, so that these
    start as what they are before anything is learned, nothing for or against a class. It fades
    to 0 over the first epochs, and the logits in the end are log-odds.

    Args:
        rows: the candidates, on the device of training; row i belongs to image i.
        rate: the noise rate where it is known; None estimates it from the candidates.
        without: parts to leave out: "context_prior", "offset", "variance_weight", or "nonempty",
            which says that at least one of an image's candidates is true.

    Attributes:
        rates: (C,) float32 noise rates.
        offset: (C,) float32, logits of the classes' frequencies.
        context_prior: table of `rows`, float32: logits of each candidate given the other
            candidates of its image, less the offset.
        logits: table of `rows`, float32: each candidate's newest, with the offset; before the
            first, the offset alone.
        variance_weight: (C,) float32, factor on each class's loss, see `variance_weights`.
        epoch: the running one, from 1.
        seen: images trained on.
    """

    def __init__(
        self, rows: CandidateRows, rate: float | None = None, without: Collection[str] = ()
    ) -> None:
        probability, self.rates = fit_label_sets(rows, rate)
        self.rows, self.without = rows, frozenset(without)
        self.nonempty = "nonempty" not in without
        frequency = (rows.class_count / rows.images - self.rates) / (1 - self.rates)
        self.offset = frequency.clamp(0.001, 0.999).logit()
        self.logits = rows.table(self.offset[rows.columns])
        self.context_prior = rows.table(probability.logit() - self.logits[:-1])
        if "context_prior" in without:
            self.context_prior.zero_()
        if "offset" in without:
            self.logits.zero_()
        self.epoch, self.seen = 1, 0
        self.variance_weight = torch.ones_like(self.offset)

    def begin_epoch(self, epoch: int) -> None:
        """Measure the variance weights anew (epochs count from 1)."""
        self.epoch = epoch
        if "variance_weight" not in self.without:
            self.variance_weight = variance_weights(self.candidate_posterior(), self.rows)

    def candidate_posterior(self) -> Tensor:
        """Targets of all candidates of the training images, (entries,)."""
        targets = torch.empty_like(self.logits[:-1])
        for entries, part in self.rows.chunks():
            p = self.prior(self.logits[entries], entries)
            targets[entries] = posterior_of_rows(p, self.rates, part, self.nonempty)
        return targets

    def prior(self, logits: Tensor, entries: slice | Tensor) -> Tensor:
        """Probability by image and context: formula (3) of docs/method.md.

        Args:
            logits: of these candidates, with the offset.
            entries: their positions among all.
        """
        return (logits + self.context_prior[entries] / self.epoch).sigmoid()

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Losses of a batch; remembers its logits on the way.

        Args:
            output: logits (B, C).
            candidates: (B, C) float in {0, 1}.
            index: (B,) int64, rows of the training set.

        Returns:
            Scalars; "loss" is the one to minimise, "confidence" the mean target of a candidate.
        """
        epochs = self.seen / self.rows.images
        self.seen += len(index)
        logits = output.logits.float()
        if "offset" not in self.without:
            logits = logits + max(0.0, 1 - epochs / OFFSET_EPOCHS) * self.offset
        with torch.no_grad():
            batch = self.rows.batch(index)
            own = batch.take(logits)
            self.logits[batch.positions] = own
            p = self.prior(own, batch.positions)
            rates = self.rates[batch.columns]
            targets = batch.spread(posterior(p, rates, batch.inside, self.nonempty))
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return {
            "loss": (self.variance_weight * losses).mean(),
            "posterior_loss": losses.detach().mean(),
            "confidence": targets.sum() / candidates.sum().clamp(min=1),
        }

    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs, and the confidence of every candidate for those who read it."""
        state = {key: getattr(self, name) for key, name in STATE.items()}
        position = {"epoch": self.epoch, "seen": self.seen}
        return {"confidence": {"values": self.candidate_posterior()}} | state | position

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, name in STATE.items():
            copy_stored(getattr(self, name), state[key])
        self.epoch, self.seen = stored_count(state["epoch"]), stored_count(state["seen"])


def variance_weights(targets: Tensor, rows: CandidateRows, highest: float = 5.0) -> Tensor:
    """Variance of labels over that of their soft targets, by class; 1 where these are hard.

    Uncertain targets lie close to their class's mean, so that gradients, and with them the
    progress of a step, shrink with their variance. Labels of the same frequency m have m (1 - m).

    Args:
        targets: (entries,) float in [0, 1] of the candidates; those of other labels are 0.
        rows: the candidates, of N images.
        highest: bound on the result: noise grows by it too.

    Returns:
        (C,) float32 in [1, highest].

    >>> rows = CandidateRows.from_dense(torch.tensor([[1, 1], [0, 1], [0, 1]]))
    >>> variance_weights(torch.tensor([1.0, 0.75, 0.25, 0.5]), rows)
    tensor([1., 5.])
    """
    first, second = torch.zeros(2, rows.classes, dtype=torch.float64, device=rows.device)
    for entries, part in rows.chunks():
        values = targets[entries].double()
        first += torch.bincount(part.columns, values, rows.classes)
        second += torch.bincount(part.columns, values**2, rows.classes)
    mean = first / rows.images
    spread = second / rows.images - mean**2
    return (mean * (1 - mean) / spread.clamp(min=1e-12)).clamp(1, highest).float()
