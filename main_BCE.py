"""Train a baseline in the engine of CoNeS: every candidate is taken for true."""

import sys

from utils.errors import exit_status
from utils.options import build_parser, parse_options


@exit_status
def main() -> None:
    parser = build_parser(
        "Train a baseline that takes every candidate for true (--partial_rate 0: clean labels).",
        ["voc07", "coco", "nuswide", "vg256", "cub200", "digits", "files"],
        method=False,
    )
    options = parse_options(parser, "main_BCE")

    from pipeline.experiment import train
    from pipeline.losses import BCE

    train(options, lambda candidates, classifier, options: BCE())


if __name__ == "__main__":
    sys.exit(main())
