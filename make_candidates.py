"""Write a candidate-label file for a data set."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError, exit_status
from utils.files import check_new_file
from utils.options import groups
from utils.options.choices import CLEAN_DATASETS
from utils.options.kinds import NATURAL, RATE, Choice
from utils.options.table import OptionsParser, check_inputs, option, parse

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.labelled import LabelledImages


@dataclass(frozen=True, kw_only=True)
class Options(groups.NoiseOptions, groups.DataOptions):
    """The options of make_candidates.py."""

    dataset: str = groups.data_flag(
        None, "files: your own images", Choice(CLEAN_DATASETS), shown="needed"
    )
    partial_rate: float | None = groups.noise_flag(
        None,
        "share of false labels made candidates, 0..0.99; of --noise class, whose rates then lie "
        "evenly between 0 and twice it and are dealt out by the seed, at most 0.5",
        RATE,
        shown="",
    )
    class_rates: str | None = groups.noise_flag(
        None,
        "of --noise class, instead of --partial_rate: JSON, {class name: rate}",
        metavar="FILE",
        shown="",
        reads="JSON, {class name: rate}",
    )
    device: str | None = groups.noise_flag(
        None, "of --noise instance: auto, cpu, cuda, ...", shown="default auto: cuda if there"
    )
    seed: int = groups.noise_flag(0, "fixes the draw", NATURAL)
    output: str | None = option(
        None,
        "the .npy",
        metavar="FILE",
        shown="default pre-processed-data/<dataset>_<partial_rate>.npy; for other noise "
        "than uniform its name is added",
    )


@exit_status
def main() -> None:
    parser = OptionsParser(
        description="Write a candidate-label file: every true label of the training images, and "
        "false ones by a noise model."
    )
    options = parse(Options, parser)
    check_options(parser, options)
    path = Path(options.output or f"pre-processed-data/{file_name(options)}")
    if path.suffix != ".npy":
        raise UserError(f"--output {path}: expected a name that ends with .npy")
    check_new_file(path, "--output")
    check_inputs(options)

    from pipeline.data import candidates as candidate_files
    from pipeline.data.noise import draw, leave_out
    from pipeline.data.registry import load_data

    candidate_files.check_metadata_path(path)
    data, _ = load_data(options, options.seed)
    candidates = draw(data.targets, probability(options, data), options.seed)
    candidates = leave_out(candidates, data.targets, options.missing, options.seed)
    origin = candidate_files.Origin(
        options.dataset, options.partial_rate, options.seed, options.noise, options.missing
    )
    candidate_files.write_candidates(path, candidates, data, origin)
    print_rates(candidates, data)
    print(f"{path} and {candidate_files.metadata_path(path)}")


def check_options(parser: OptionsParser, options: Options) -> None:
    """Refuse flags that do not go together, with exit status 2."""
    groups.check_data_options(parser, options)
    if options.class_rates is not None and options.noise != "class":
        parser.error("--class_rates belongs to --noise class")
    if options.device is not None and options.noise != "instance":
        parser.error("--device belongs to --noise instance")
    groups.check_noise_options(parser, options, options.partial_rate or 0)
    if (options.partial_rate is None) == (options.class_rates is None):
        parser.error("give --partial_rate, or instead of it, for --noise class, --class_rates")


def file_name(options: Options) -> str:
    """Name the file, e.g. voc07_0.2.npy, voc07_cooccurrence_0.2.npy, voc07_class.npy."""
    parts = [options.dataset]
    if options.noise != "uniform":
        parts.append(options.noise)
    if options.partial_rate is not None:
        parts.append(f"{options.partial_rate:g}")
    if options.missing:
        parts.append(f"missing_{options.missing:g}")
    return "_".join(parts) + ".npy"


def probability(options: Options, data: "LabelledImages") -> "float | np.ndarray":
    """Compute each false label's probability to become a candidate, as `noise.draw` takes it."""
    from pipeline.data import noise

    if options.class_rates is not None:
        return read_class_rates(options.class_rates, data.classes)
    rate = options.partial_rate or 0.0
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


def scores_by_classifier(options: Options, data: "LabelledImages") -> "np.ndarray":
    """Logits (N, C) of the images of `data` by the classifier stored at --load_from."""
    from pipeline.evaluation import check_classes, load_trained, score

    checkpoint = groups.CheckpointOptions(
        load_from=str(options.load_from), device=options.device or "auto"
    )
    trained = load_trained(checkpoint, options.dataset)
    check_classes(trained, data.classes, options.dataset)
    return score(trained, data)


def read_class_rates(path: str, classes: list[str]) -> "np.ndarray":
    """Rates (C,) of `classes`, in their order, from a JSON object.

    Raises:
        UserError: the file cannot be read, lacks a class, names another, or holds no rates.
    """
    import numpy as np

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
    return np.array([float(rates[name]) for name in classes])


def print_rates(candidates: "np.ndarray", data: "LabelledImages") -> None:
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
