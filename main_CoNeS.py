"""Train CoNeS on clean labels to which noise is added."""

import sys

from utils.defaults import CLEAN_DATASETS
from utils.errors import exit_status
from utils.options import build_parser, parse_options


@exit_status
def main() -> None:
    parser = build_parser(
        "Train CoNeS on clean labels to which noise is added.",
        CLEAN_DATASETS,
        method=True,
    )
    options = parse_options(parser, "main_CoNeS")

    from pipeline.cones.build import make_method
    from pipeline.experiment import train

    train(options, make_method)


if __name__ == "__main__":
    sys.exit(main())
