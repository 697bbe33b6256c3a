"""Check images and labels before training."""

import sys
from typing import Any

from utils.errors import UserError, exit_status
from utils.options.defaults import DATASETS
from utils.options.flags import (
    COUNT,
    NATURAL,
    ScriptParser,
    add_data_flags,
    check_data_flags,
    check_inputs,
)

SHOWN = 5


@exit_status
def main() -> None:
    parser = ScriptParser(
        description="Check images and labels before training: read every file, count labels by "
        "class and split, compare the splits, and say what would make training wrong (exit "
        "status 1) and what deserves a look.",
    )
    data_flags = add_data_flags(parser, DATASETS)
    data_flags.add_argument(
        "--noise_file", metavar="FILE", help="candidate labels, to check too (default none)"
    )
    data_flags.add_argument(
        "--seed", type=NATURAL, default=0, help="divides files without a split (default 0)"
    )
    parser.add_argument("--workers", type=COUNT, default=4, help="threads that read (default 4)")
    parser.add_argument(
        "--all", action="store_true", help=f"name everything found, not the first {SHOWN} of a kind"
    )
    options = parser.parse_args()
    check_data_flags(parser, options)
    check_inputs(options, noise_file="candidate labels, .npy")

    from pipeline.data.candidates import check_candidates, read_candidates
    from pipeline.data.checks import Finding, check_files, check_labels
    from pipeline.data.registry import load_data

    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be UTF-8
    may_lack = bool(options.allow_missing)
    options.allow_missing = True
    noise = read_candidates(options.noise_file) if options.noise_file is not None else None
    train, test = load_data(options)
    print_counts(train, test)
    missing = [*train.missing, *test.missing]
    findings = [Finding("listed images without a file", missing, not may_lack)] if missing else []
    findings += check_labels(train, test) + check_files(train, test, options.workers)
    for kind, items, wrong in findings:
        print(f"{'WRONG' if wrong else 'note '}  {len(items)} {kind}")
        for item in items if options.all else items[:SHOWN]:
            print(f"         {item}")
        if len(items) > SHOWN and not options.all:
            print("         ... (--all names them)")
    # Candidates of all images do not fit a part of them.
    if noise is not None and (may_lack or not train.missing):
        check_candidates(*noise, train, options.noise_file, None)
        print(f"{options.noise_file} fits the training images and their labels")
    wrong = [finding.kind for finding in findings if finding.wrong]
    if wrong:
        raise UserError(f"training would be wrong: {'; '.join(wrong)}, see above")
    print("nothing found that would make training wrong")


def print_counts(train: Any, test: Any) -> None:
    """Images of every class by split, and what the splits come to."""
    width = max(len(name) for name in [*train.classes, "labels an image"])
    print(f"{'class':<{width}}  training    test")
    counts = [(data.targets == 1).sum(axis=0) for data in (train, test)]
    for column, name in enumerate(train.classes):
        print(f"{name:<{width}}  {counts[0][column]:>8}  {counts[1][column]:>6}")
    labels = [count.sum() / max(len(data), 1) for count, data in zip(counts, (train, test))]
    print(f"{'images':<{width}}  {len(train):>8}  {len(test):>6}")
    print(f"{'labels an image':<{width}}  {labels[0]:>8.2f}  {labels[1]:>6.2f}")


if __name__ == "__main__":
    sys.exit(main())
