"""CoNeS from options: what its training scripts share."""

import argparse

from pipeline.cones import released
from pipeline.cones.method import CoNeS, Steps
from pipeline.data.rows import CandidateRows
from pipeline.engine import Method
from pipeline.model.classifier import Classifier
from pipeline.posterior.method import Posterior

RECIPES = {"paper": Steps(), "released": released.STEPS}


def make_method(rows: CandidateRows, classifier: Classifier, options: argparse.Namespace) -> Method:
    """The method with its flags, for candidates on the device of training."""
    parts = options.ablate or []
    if options.recipe == "posterior":
        method = Posterior(rows, options.noise_rate, without=parts)
        low, high = method.rates.min().item(), method.rates.max().item()
        source = "estimated from the candidates" if options.noise_rate is None else "given"
        print(f"noise rate, {source}: {low:.3f} to {high:.3f} by class", flush=True)
        return method
    return CoNeS(
        rows,
        classifier.trunk.feature_dim,
        tau=options.tau,
        clusters=options.clusters,
        beta=options.beta,
        r=options.r_ws,
        mu=options.mu,
        gamma=options.gamma,
        steps=RECIPES[options.recipe]._replace(**{n: getattr(released.STEPS, n) for n in parts}),
    )
