"""Check images and labels before training."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from utils.errors import UserError, exit_status
from utils.options.groups import DataOptions, check_data_options, data_flag
from utils.options.kinds import COUNT, NATURAL, SWITCH
from utils.options.table import OptionsParser, check_inputs, option, parse
from utils.terminal import escape

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.checks import Finding
    from pipeline.data.labelled import LabelledImages
    from pipeline.data.verified import Verified

SHOWN = 5
DESCRIPTION = (
    "Check images and labels before training: read every file, count labels by class and split, "
    "compare the splits, and say what would make training wrong (exit status 1) and what deserves "
    "a look."
)


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """The options of check_data.py."""

    noise_file: str | None = data_flag(
        None,
        "candidate labels, to check too",
        metavar="FILE",
        shown="default none",
        reads="candidate labels, .npy",
    )
    load_from: str | None = data_flag(
        None,
        "a run of recipe posterior on these labels, five or more of whose images are verified: say "
        "how many of the labels that it would drop are false",
        metavar="RUN",
        shown="default none",
        reads="a run's folder",
    )
    seed: int = data_flag(0, "divides files without a split", NATURAL)
    workers: int = option(4, "threads that read", COUNT)
    all: bool = option(False, f"name everything found, not the first {SHOWN} of a kind", SWITCH)


@exit_status
def main() -> None:
    parser = OptionsParser(description=DESCRIPTION)
    options = parse(Options, parser)
    check_data_options(parser, options)
    check_inputs(options)

    from pipeline.data.candidates import read_candidates, read_verified
    from pipeline.data.checks import check_files, check_labels, check_list, check_missing
    from pipeline.data.registry import load_data
    from pipeline.data.verified import describe_noise, format_noise, joined, of_list

    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # names of files
    noise = verified = None
    if options.noise_file is not None:
        noise = read_candidates(options.noise_file)
        verified = read_verified(options.noise_file, noise[0].shape)
    train, test = load_data(dataclasses.replace(options, allow_missing=True), options.seed, print)
    # Candidates of all images do not fit a part of them.
    if not options.allow_missing and train.missing:
        noise = verified = None
    known = of_list(train)
    if noise is not None and noise[0].shape == train.targets.shape:
        known = joined(known, verified)
    findings = check_missing(train, test, options.allow_missing)
    findings += check_labels(train, test) + check_list(train, test)
    findings += check_files(train, test, options.workers, known)
    print_findings(findings, options.all)
    print_counts(train, test)
    found = train.targets if noise is None else print_candidates(options, train, noise, verified)
    if known is not None:
        print("\n".join(format_noise(describe_noise(found, known, train.classes))))
    print_verdict(findings)
    if options.load_from is not None:
        from pipeline.review.summary import describe_thresholds
        from utils.options.stored import given_places

        print("\n".join(describe_thresholds(options.load_from, given_places(options), train)))


def print_candidates(
    options: Options,
    train: "LabelledImages",
    noise: "tuple[np.ndarray, dict[str, Any] | None]",
    verified: "Verified | None",
) -> "np.ndarray":
    """Say that candidates fit, and where they contradict the list; returns those of all images."""
    from pipeline.data.candidates import check_candidates, completed
    from pipeline.data.checks import check_truth

    path = str(options.noise_file)
    candidates = completed(*noise, train, path, options.dataset)
    check_candidates(candidates, noise[1], train, path, None)
    count = "" if verified is None else f"; it has {len(verified.rows)} verified images"
    print(f"{path} fits the training images and their labels{count}")
    print_findings(check_truth(train, verified), options.all)
    return candidates


def print_verdict(findings: "Sequence[Finding]") -> None:
    """Say that training can begin.

    Raises:
        UserError: it would be wrong.
    """
    wrong = [finding.kind for finding in findings if finding.wrong]
    if wrong:
        raise UserError(f"training would be wrong: {'; '.join(wrong)}, see above")
    print("nothing found that would make training wrong")


def print_findings(findings: "Sequence[Finding]", everything: bool) -> None:
    """Name what was found, the first of each kind or everything."""
    for kind, items, wrong in findings:
        print(f"{'WRONG' if wrong else 'note '}  {len(items)} {kind}")
        for item in items if everything else items[:SHOWN]:
            print(f"         {escape(item)}")
        if len(items) > SHOWN and not everything:
            print("         ... (--all names them)")


def print_counts(train: "LabelledImages", test: "LabelledImages") -> None:
    """Images of every class by split, and what the splits come to."""
    width = max(len(name) for name in [*train.classes, "labels an image"])
    print(f"{'class':<{width}}  training    test")
    counts: list[Any] = [(data.targets == 1).sum(axis=0) for data in (train, test)]
    for column, name in enumerate(train.classes):
        print(f"{name:<{width}}  {counts[0][column]:>8}  {counts[1][column]:>6}")
    labels = [count.sum() / max(len(data), 1) for count, data in zip(counts, (train, test))]
    print(f"{'images':<{width}}  {len(train):>8}  {len(test):>6}")
    print(f"{'labels an image':<{width}}  {labels[0]:>8.2f}  {labels[1]:>6.2f}")


if __name__ == "__main__":
    sys.exit(main())
