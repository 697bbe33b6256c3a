"""Write a candidate-label file for a data set."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from utils.errors import UserError, exit_status
from utils.files import check_new_file
from utils.options.defaults import CLEAN_DATASETS
from utils.options.flags import (
    NATURAL,
    RATE,
    ScriptParser,
    add_data_flags,
    add_noise_flags,
    check_data_flags,
    check_inputs,
    check_noise_flags,
)


@exit_status
def main() -> None:
    parser = ScriptParser(
        description="Write a candidate-label file: every true label of the training images, and "
        "false ones by a noise model.",
    )
    add_data_flags(parser, CLEAN_DATASETS)
    noise = parser.add_argument_group("noise")
    add_noise_flags(noise)
    noise.add_argument(
        "--partial_rate",
        type=RATE,
        help="share of false labels made candidates, 0..0.99; of --noise class, whose rates then "
        "lie evenly between 0 and twice it and are dealt out by the seed, at most 0.5",
    )
    noise.add_argument(
        "--class_rates",
        metavar="FILE",
        help="of --noise class, instead of --partial_rate: JSON, {class name: rate}",
    )
    noise.add_argument(
        "--device", help="of --noise instance: auto, cpu, cuda, ... (default auto: cuda if there)"
    )
    noise.add_argument("--seed", type=NATURAL, default=0, help="fixes the draw (default 0)")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="the .npy (default pre-processed-data/<dataset>_<partial_rate>.npy; for other noise "
        "than uniform its name is added)",
    )
    options = parser.parse_args()
    check_data_flags(parser, options)
    if options.class_rates is not None and options.noise != "class":
        parser.error("--class_rates belongs to --noise class")
    if options.device is not None and options.noise != "instance":
        parser.error("--device belongs to --noise instance")
    check_noise_flags(parser, options, [options.partial_rate or 0])
    if (options.partial_rate is None) == (options.class_rates is None):
        parser.error("give --partial_rate, or instead of it, for --noise class, --class_rates")
    path = Path(options.output or f"pre-processed-data/{file_name(options)}")
    if path.suffix != ".npy":
        raise UserError(f"--output {path}: expected a name that ends with .npy")
    check_new_file(path, "--output")
    check_inputs(options)

    from pipeline.data import candidates as candidate_files
    from pipeline.data.noise import draw
    from pipeline.data.registry import load_data

    candidate_files.check_metadata_path(path)
    data, _ = load_data(options)
    candidates = draw(data.targets, probability(options, data), options.seed)
    candidate_files.write_candidates(
        path,
        candidates,
        dataset=options.dataset,
        split="train",
        rate=options.partial_rate,
        seed=options.seed,
        model=options.noise,
        classes=data.classes,
        ids=data.ids,
        targets=data.targets,
    )
    print_rates(candidates, data)
    print(f"{path} and {candidate_files.metadata_path(path)}")


def file_name(options: argparse.Namespace) -> str:
    """For example voc07_0.2.npy, voc07_cooccurrence_0.2.npy, voc07_class.npy."""
    parts = [options.dataset]
    if options.noise != "uniform":
        parts.append(options.noise)
    if options.partial_rate is not None:
        parts.append(f"{options.partial_rate:g}")
    return "_".join(parts) + ".npy"


def probability(options: argparse.Namespace, data: Any) -> Any:
    """Of every label of `data` to become a candidate without being true; see `noise.draw`."""
    from pipeline.data import noise

    if options.class_rates is not None:
        return read_class_rates(options.class_rates, data.classes)
    rate = options.partial_rate
    try:
        if options.noise == "uniform":
            return rate
        if options.noise == "class":
            return noise.class_rates(rate, len(data.classes), options.seed)
        if options.noise == "cooccurrence":
            weights = noise.cooccurrence_weights(data.targets)
        else:
            weights = noise.score_weights(scores_by_classifier(options, data))
        return noise.scale_to_rate(weights, data.targets, rate)
    except ValueError as error:
        raise UserError(f"--partial_rate cannot be had by {options.noise} noise: {error}") from None


def scores_by_classifier(options: argparse.Namespace, data: Any) -> Any:
    """Logits (N, C) of the images of `data` by the classifier stored at --load_from."""
    from pipeline.evaluation import check_classes, load_trained, score

    flags = {"dataset": options.dataset, "device": options.device}
    trained = load_trained(options.load_from, flags)
    check_classes(trained, data.classes, options.dataset)
    return score(trained, data)


def read_class_rates(path: str, classes: list[str]) -> list[float]:
    """Rates of `classes`, in their order, from a JSON object.

    Raises:
        UserError: the file cannot be read, lacks a class, names another, or holds no rates.
    """
    try:
        rates = json.loads(Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--class_rates {path} cannot be read: {reason}") from error
    if not isinstance(rates, dict) or set(rates) != set(classes):
        names = set(rates) if isinstance(rates, dict) else set()
        other = [repr(name) for name in sorted(names ^ set(classes))[:3]]
        raise UserError(
            f"--class_rates {path} must give a rate for each of the {len(classes)} classes, but "
            f"differs in {', '.join(other)}"
        )
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise UserError(f"--class_rates {path}: expected a rate in [0, 1) for {name}: {rate!r}")
    return [float(rates[name]) for name in classes]


def print_rates(candidates: Any, data: Any) -> None:
    """A table by class, and what the whole comes to."""
    from pipeline.data.candidates import realised_rate

    true = data.targets == 1
    width = max(len(name) for name in [*data.classes, "class"])
    print(f"{'class':<{width}}    true  candidates  realised rate")
    for column, name in enumerate(data.classes):
        rate = realised_rate(candidates[:, column], data.targets[:, column])
        print(
            f"{name:<{width}}  {true[:, column].sum():>6}  {candidates[:, column].sum():>10}  "
            f"{rate:>13.4f}"
        )
    print(
        f"{len(data)} images, {candidates.sum(axis=1).mean():.2f} candidates an image, realised "
        f"rate {realised_rate(candidates, data.targets):.4f}, "
        f"{100 * candidates[true].mean() if true.any() else 100:.0f}% of true labels covered"
    )


if __name__ == "__main__":
    sys.exit(main())
