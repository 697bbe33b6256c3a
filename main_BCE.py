"""Train a baseline in the engine of CoNeS: BCE or another loss from the literature."""

import sys

from utils.defaults import DATASETS
from utils.errors import exit_status
from utils.options import build_parser, parse_options


@exit_status
def main() -> None:
    parser = build_parser(
        "Train a baseline: BCE, or another --loss (--partial_rate 0: on clean labels).",
        DATASETS,
        method=False,
    )
    options = parse_options(parser, "main_BCE")

    from pipeline.experiment import train
    from pipeline.losses import make_method

    train(options, make_method)


if __name__ == "__main__":
    sys.exit(main())
