"""Train CoNeS on labels whose noise is as found."""

import sys

from utils.errors import exit_status
from utils.options.training import parse_options


@exit_status
def main() -> None:
    options = parse_options("main_real")

    from pipeline.experiment import train  # after the flags, whose help needs no torch

    train(options)


if __name__ == "__main__":
    sys.exit(main())
