"""The recipe `posterior`: targets that say how likely each candidate is true.

docs/method.md derives it.
"""

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F

from pipeline.cones.labelsets import fit_label_sets, posterior, posterior_of_rows
from pipeline.cones.rows import CandidateRows
from pipeline.model.classifier import Output

Tensor = torch.Tensor
OFFSET_EPOCHS = 3  # in which the classes' offsets fade
STATE = ("rates", "offset", "company", "logits", "gain")  # tensors that resuming needs


class Posterior:
    """BCE against the posterior probability of every candidate.

    What is believed of a label before it is known to be a candidate comes from the image, the
    classifier's logit, and from its company, the other candidates of its image (`labelsets`).
    The company counts 1/epoch: the classifier learns what goes together too.

    A class's offset, its frequency's logit, is added to the classifier's logits, so that these
    start as what they are before anything is learned, nothing for or against a class. It fades
    to 0 over the first epochs, and the logits in the end are log-odds.

    Args:
        rows: the candidates, on the device of training; row i belongs to image i.
        rate: the noise rate where it is known; None estimates it from the candidates.
        without: parts to leave out: "company", "offset", "gain", or "nonempty", that of an
            image's candidates at least one is true.

    Attributes:
        rates: (C,) float32 noise rates.
        offset: (C,) float32, logits of the classes' frequencies.
        company: table of `rows`, float32: logits of each candidate given the other candidates of
            its image, less the offset.
        logits: table of `rows`, float32: each candidate's newest, with the offset; before the
            first, the offset alone.
        gain: (C,) float32, factor on each class's loss.
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
        self.company = rows.table(probability.logit() - self.logits[:-1])
        if "company" in without:
            self.company.zero_()
        if "offset" in without:
            self.logits.zero_()
        self.epoch, self.seen = 1, 0
        self.gain = torch.ones_like(self.offset)

    def begin_epoch(self, epoch: int) -> None:
        """Measure the gain anew (epochs count from 1)."""
        self.epoch = epoch
        if "gain" not in self.without:
            self.gain = gain_of(self.beliefs(), self.rows)

    def beliefs(self) -> Tensor:
        """Targets of all candidates of the training images, (entries,)."""
        targets = torch.empty_like(self.logits[:-1])
        for entries, part in self.rows.chunks():
            p = self.prior(self.logits[entries], entries)
            targets[entries] = posterior_of_rows(p, self.rates, part, self.nonempty)
        return targets

    def prior(self, logits: Tensor, entries: slice | Tensor) -> Tensor:
        """What image and company say of candidates: formula (3) of docs/method.md.

        Args:
            logits: of these candidates, with the offset.
            entries: their positions among all.
        """
        return (logits + self.company[entries] / self.epoch).sigmoid()

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
            "loss": (self.gain * losses).mean(),
            "posterior_loss": losses.detach().mean(),
            "confidence": targets.sum() / candidates.sum().clamp(min=1),
        }

    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs, and the confidence of every candidate for those who read it."""
        names = (*STATE, "epoch", "seen")
        return {"confidence": {"values": self.beliefs()}} | {n: getattr(self, n) for n in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in STATE:
            getattr(self, name).copy_(state[name])
        self.epoch, self.seen = state["epoch"], state["seen"]


def gain_of(targets: Tensor, rows: CandidateRows, highest: float = 5.0) -> Tensor:
    """How much smaller the spread of soft targets is than that of labels; 1 where they are hard.

    Uncertain targets lie close to their class's mean, so that gradients, and with them the
    progress of a step, shrink with their variance. Labels of the same frequency m have m (1 - m).

    Args:
        targets: (entries,) float in [0, 1] of the candidates; those of other labels are 0.
        rows: the candidates, of N images.
        highest: bound on the result: noise grows by it too.

    Returns:
        (C,) float32 in [1, highest].

    >>> rows = CandidateRows.from_dense(torch.tensor([[1, 1], [0, 1], [0, 1]]))
    >>> gain_of(torch.tensor([1.0, 0.75, 0.25, 0.5]), rows)
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
