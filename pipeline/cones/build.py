"""CoNeS from options: what its training scripts share."""

import argparse

import torch

from pipeline.cones import released
from pipeline.cones.method import CoNeS, Steps
from pipeline.model.classifier import Classifier

RECIPES = {"paper": Steps(), "released": released.STEPS}


def make_method(
    candidates: torch.Tensor, classifier: Classifier, options: argparse.Namespace
) -> CoNeS:
    """The method with its flags, for candidates (N, C) on the device of training."""
    return CoNeS(
        candidates,
        classifier.trunk.feature_dim,
        tau=options.tau,
        clusters=options.clusters,
        beta=options.beta,
        r=options.r_ws,
        mu=options.mu,
        gamma=options.gamma,
        steps=RECIPES[options.recipe],
    )
