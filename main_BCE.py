"""Train a baseline in the engine of CoNeS: BCE or another loss from the literature."""

import sys

from utils.errors import exit_status
from utils.options.training import parse_options


@exit_status
def main() -> None:
    options = parse_options("main_BCE")

    from pipeline.experiment import train  # after the flags, whose help needs no torch

    train(options)


if __name__ == "__main__":
    sys.exit(main())
