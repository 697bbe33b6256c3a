"""Train CoNeS on clean labels to which noise is added."""

import sys

from utils.errors import exit_status
from utils.options import build_parser, parse_options


@exit_status
def main() -> None:
    parser = build_parser(
        "Train CoNeS on clean labels to which noise is added.", ["voc07", "coco", "digits"], True
    )
    options = parse_options(parser, "main_CoNeS")

    from pipeline.cones import released
    from pipeline.cones.method import CoNeS, Steps
    from pipeline.experiment import train

    steps = {"paper": Steps(), "released": released.STEPS}[options.recipe]
    train(
        options,
        lambda candidates, classifier, options: CoNeS(
            candidates,
            classifier.trunk.feature_dim,
            tau=options.tau,
            clusters=options.clusters,
            beta=options.beta,
            r=options.r_ws,
            mu=options.mu,
            gamma=options.gamma,
            steps=steps,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
