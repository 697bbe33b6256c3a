"""Train a baseline in the engine of CoNeS: BCE or another loss from the literature."""

import sys

from utils.errors import training_exit_status
from utils.options.command_line import parse_options


@training_exit_status
def main() -> None:
    options = parse_options("main_BCE")

    from pipeline.experiment import train  # after the flags, whose help needs no torch

    train(options)


if __name__ == "__main__":
    sys.exit(main())
