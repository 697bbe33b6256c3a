"""Which name makes which method: the recipes of CoNeS and the losses of the baselines."""

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
from pipeline.cones import released
from pipeline.cones.method import CoNeS, Steps
from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from pipeline.posterior.method import Posterior
from utils.options.training import TrainingOptions

Tensor = torch.Tensor
Maker = Callable[[CandidateRows, int, TrainingOptions], "Method"]


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


def make_method(rows: CandidateRows, feature_dim: int, options: TrainingOptions) -> Method:
    """The method that `options.method` names.

    Args:
        rows: the candidates, on the device of training.
        feature_dim: D, channels of the trunk's feature map.
        options: of the training.
    """
    return METHODS[options.method](rows, feature_dim, options)


def make_cones(rows: CandidateRows, feature_dim: int, options: TrainingOptions) -> Method:
    """CoNeS as published or as released, with single steps as released where asked for."""
    steps = {part: getattr(released.STEPS, part) for part in options.ablate or ()}
    return CoNeS(
        rows,
        feature_dim,
        tau=options.tau,
        clusters=options.clusters,
        beta=options.beta,
        r=options.r_ws,
        mu=options.mu,
        gamma=options.gamma,
        steps=STEPS[options.recipe]._replace(**steps),
    )


def make_posterior(rows: CandidateRows, feature_dim: int, options: TrainingOptions) -> Method:
    """The recipe posterior; prints the noise rate."""
    method = Posterior(rows, options.noise_rate, without=options.ablate or ())
    low, high = method.rates.min().item(), method.rates.max().item()
    source = "estimated from the candidates" if options.noise_rate is None else "given"
    print(f"noise rate, {source}: {low:.3f} to {high:.3f} by class", flush=True)
    return method


def stateless(function: Callable[[Tensor, Tensor], Tensor]) -> Maker:
    """A loss of logits and candidates."""
    return lambda rows, feature_dim, options: Stateless(function)


def scheduled(function: Callable[[Tensor, Tensor, int], Tensor]) -> Maker:
    """A loss of logits, candidates and the epoch."""
    return lambda rows, feature_dim, options: Scheduled(function)


STEPS = {"paper": Steps(), "released": released.STEPS}
METHODS: dict[str, Maker] = {
    "paper": make_cones,
    "released": make_cones,
    "posterior": make_posterior,
    "bce": stateless(bce_loss),
    "bce-forward": lambda rows, feature_dim, options: ForwardBCE(rows, options.noise_rate),
    "focal": stateless(focal_loss),
    "asl": stateless(asl_loss),
    "hill": stateless(hill_loss),
    "splc": scheduled(splc_loss),
    "ll-r": scheduled(functools.partial(large_loss, correct=False)),
    "ll-ct": scheduled(functools.partial(large_loss, correct=True)),
    "smoothing": stateless(smoothing_loss),
}
