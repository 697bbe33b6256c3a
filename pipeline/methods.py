"""The method that each name makes: the recipes of CoNeS and the losses of the baselines."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import torch

from pipeline.baselines.forward_correction import ForwardBCE
from pipeline.baselines.losses import (
    Scheduled,
    Stateless,
    asl_loss,
    bce_loss,
    focal_loss,
    hill_loss,
    large_loss,
    smoothing_loss,
    splc_loss,
)
from pipeline.baselines.pml_cd import PMLCD, read_network
from pipeline.baselines.verified import (
    GoldCorrection,
    VerifiedBCE,
    mark,
    verified_loss,
    weighted_loss,
)
from pipeline.cones import released
from pipeline.cones.method import CoNeS, Steps
from pipeline.data.rows import CandidateRows
from pipeline.data.verified import Verified
from pipeline.model.classifier import Output
from pipeline.posterior.method import Posterior
from pipeline.posterior.soft_targets import Evidence, SoftTargets, make_targets
from utils.errors import UserError
from utils.options.choices import NEED_VERIFIED
from utils.options.training import TrainingOptions

Tensor = torch.Tensor
Maker = Callable[[CandidateRows, int, TrainingOptions, Evidence], "Method"]


class Method(Protocol):
    """A way to learn from candidates: all that the engine asks of it."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch; they count from 1."""

    def loss(self, output: Output, candidates: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Compute the scalars to report for a batch; "loss" is the one to minimise."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a stored state."""


def make_method(
    rows: CandidateRows, feature_dim: int, options: TrainingOptions, evidence: Evidence
) -> Method:
    """The method that `options.method` names.

    Args:
        rows: the candidates, on the device of training.
        feature_dim: D, channels of the trunk's feature map.
        options: of the training, which `check_verified` has passed.
        evidence: of the images; with features where the options need them, unless a checkpoint
            will bring what is made of them.
    """
    return METHODS[options.method](rows, feature_dim, options, evidence)


def check_verified(options: TrainingOptions, verified: Verified | None) -> None:
    """Refuse a loss that needs verified images where there are none.

    Raises:
        UserError: the loss needs them.
    """
    if options.method in NEED_VERIFIED and verified is None:
        raise UserError(
            f"--loss {options.loss} needs verified images: give --verified N, where noise is "
            "added or true labels are known, or a list with some"
        )


def needs_prototypes(options: TrainingOptions) -> bool:
    """Tell whether the loss is of the similarities to a decoder's prototypes too."""
    return METHODS[options.method] is make_pml_cd


def make_cones(
    rows: CandidateRows, feature_dim: int, options: TrainingOptions, evidence: Evidence
) -> Method:
    """CoNeS as published or as released, with single steps as released where asked for."""
    steps = {part: getattr(released.STEPS, part) for part in options.ablate or ()}
    return CoNeS(
        rows, feature_dim, **cones_settings(options), steps=STEPS[options.recipe]._replace(**steps)
    )


def cones_settings(options: TrainingOptions) -> dict[str, Any]:
    """The numbers of the options that `CoNeS` takes."""
    names = ("tau", "clusters", "beta", "mu", "gamma")
    return {"r": options.r_ws} | {name: getattr(options, name) for name in names}


def make_posterior(
    rows: CandidateRows, feature_dim: int, options: TrainingOptions, evidence: Evidence
) -> Method:
    """The recipe posterior; prints the noise rate."""
    parts = options.ablate or ()
    if not options.needs_features:
        method = Posterior(rows, options.noise_rate, without=parts)
        print_rates(method.rates, "the candidates", options)
        return method
    weighted = not options.freeze  # a frozen trunk's classifier gains nothing by it
    if evidence.features is None:
        return SoftTargets(rows, weighted=weighted)
    nonempty = "nonempty" not in parts
    targets = make_targets(evidence, options.noise_rate, nonempty, options.seed)
    print_rates(targets.rates, "the neighbours", options)
    if evidence.verified is not None:
        print(f"verified    {len(evidence.verified.rows)} images say how likely the others' are")
    return SoftTargets(rows, targets, weighted)


def print_rates(rates: Tensor, source: str, options: TrainingOptions) -> None:
    low, high = rates.min().item(), rates.max().item()
    how = f"estimated from {source}" if options.noise_rate is None else "given"
    print(f"noise rate, {how}: {low:.3f} to {high:.3f} by class", flush=True)


def stateless(function: Callable[[Tensor, Tensor], Tensor]) -> Maker:
    """A loss of logits and candidates."""
    return lambda rows, feature_dim, options, evidence: Stateless(function)


def scheduled(function: Callable[[Tensor, Tensor, int], Tensor]) -> Maker:
    """A loss of logits, candidates and the epoch."""
    return lambda rows, feature_dim, options, evidence: Scheduled(function)


def make_forward(
    rows: CandidateRows, feature_dim: int, options: TrainingOptions, evidence: Evidence
) -> Method:
    """Forward-corrected BCE."""
    return ForwardBCE(rows, options.noise_rate)


def make_pml_cd(
    rows: CandidateRows, feature_dim: int, options: TrainingOptions, evidence: Evidence
) -> Method:
    """PML-CD, half of whose epochs are warm-up."""
    return PMLCD(rows, read_network(), warm_up=-(-options.total_epoch // 2))


def on_verified(combine: Callable[[Tensor, Tensor], Tensor]) -> Maker:
    """BCE whose images count by whether they are verified."""

    def make(
        rows: CandidateRows, feature_dim: int, options: TrainingOptions, evidence: Evidence
    ) -> Method:
        assert evidence.verified is not None
        return VerifiedBCE(mark(evidence.verified, rows.images, rows.device), combine)

    return make


def make_gold(
    rows: CandidateRows, feature_dim: int, options: TrainingOptions, evidence: Evidence
) -> Method:
    """Gold loss correction."""
    assert evidence.verified is not None
    return GoldCorrection(evidence.verified, evidence.candidates, rows.device)


STEPS = {"paper": Steps(), "released": released.STEPS}
METHODS: dict[str, Maker] = {
    "paper": make_cones,
    "released": make_cones,
    "posterior": make_posterior,
    "bce": stateless(bce_loss),
    "bce-forward": make_forward,
    "focal": stateless(focal_loss),
    "asl": stateless(asl_loss),
    "hill": stateless(hill_loss),
    "splc": scheduled(splc_loss),
    "ll-r": scheduled(functools.partial(large_loss, correct=False)),
    "ll-ct": scheduled(functools.partial(large_loss, correct=True)),
    "smoothing": stateless(smoothing_loss),
    "pml-cd": make_pml_cd,
    "verified-half": on_verified(weighted_loss),
    "verified-only": on_verified(verified_loss),
    "gold": make_gold,
}
