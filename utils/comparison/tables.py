"""The tables of a comparison, as markdown and CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from utils.comparison.statistics import (
    BCE,
    CLEAN,
    MIN_LOSS,
    Difference,
    Scores,
    Spread,
    noise_recovered,
    paired_difference,
    spread,
)

T = TypeVar("T")


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """One line a record under the names of all, in the order they appear; None is empty."""
    names = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def markdown_report(
    dataset: str,
    scores: Scores,
    candidate_scores: Scores,
    methods: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    reference: str,
) -> str:
    """The tables of mAP, noise recovered, candidate AP and significance, each with its meaning.

    Args:
        dataset: its name.
        scores: mAP.
        candidate_scores: candidate AP, where it is defined.
        methods, rates, seeds: all that were asked for, also those without a score yet.
        reference: the method that the others are compared with.
    """
    asked = len(seeds)
    columns = {f"rate {rate:g}": rate for rate in rates}
    sections = [
        f"# {dataset}",
        "mAP (%) on the test images after the last epoch: mean ± sample standard deviation over "
        f"{'seed' if asked == 1 else 'seeds'} {', '.join(map(str, seeds))}. In all tables a cell "
        "that has fewer seeds so far says how many (1 of 3), and - stands for none.",
        table(
            methods, columns, lambda m, rate: format_spread(spread(scores, m, rate, seeds), asked)
        ),
    ]
    between = [method for method in methods if method not in (CLEAN, BCE)]
    if between and CLEAN in methods and BCE in methods:
        sections += [
            "## Noise recovered",
            f"Share (%) of the mAP lost to noise that a method wins back: mean(mAP - {BCE}) / "
            f"mean({CLEAN} - {BCE}), over the seeds that have all three; {BCE} is 0 and {CLEAN} "
            f"100. - also where mean({CLEAN} - {BCE}) is below {MIN_LOSS} points.",
            table(
                between,
                columns,
                lambda m, rate: format_share(noise_recovered(scores, m, rate, seeds), asked),
            ),
        ]
    sections += [
        "## Candidate AP",
        "Average precision (%) of the true labels among all candidates of the training images "
        "that are not verified, pooled and ranked by the final classifier's score. - also where no "
        "candidate is false.",
        table(
            methods,
            columns,
            lambda m, rate: format_spread(spread(candidate_scores, m, rate, seeds), asked),
        ),
    ]
    others = [method for method in methods if method != reference]
    if others:
        groups = {name: [rate] for name, rate in columns.items()}
        if len(rates) > 1:
            groups["all rates"] = list(rates)
        sections += [
            f"## Difference from {reference}",
            f"mAP less that of {reference} in points, paired by seed; p of the two-sided paired t "
            "test, - where all differences are equal; n pairs. Of all rates together a seed counts "
            "once, with its mean. A cell is - with fewer than two seeds. No p is corrected for the "
            "number of comparisons.",
            table(
                others,
                groups,
                lambda m, chosen: format_difference(
                    paired_difference(scores, m, reference, chosen, seeds)
                ),
            ),
        ]
    return "\n\n".join(sections) + "\n"


def table(methods: Sequence[str], columns: Mapping[str, T], cell: Callable[[str, T], str]) -> str:
    """A markdown table of `cell(method, column)`, a row a method.

    >>> print(table(["bce"], {"rate 0.1": 0.1}, lambda method, rate: f"{method} at {rate}"))
    | method | rate 0.1 |
    |---|---|
    | bce | bce at 0.1 |
    """
    lines = [["method", *columns]]
    lines += [
        [method, *(cell(method, column) for column in columns.values())] for method in methods
    ]
    first, *rest = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([first, "|---|" + "---|" * len(columns), *rest])


def format_spread(found: Spread | None, asked: int) -> str:
    """Format a mean, e.g. '81.0 ± 1.4 (2 of 3)'."""
    if found is None:
        return "-"
    deviation = "" if found.deviation is None else f" ± {found.deviation:.1f}"
    return f"{found.mean:.1f}{deviation}{fewer(found.n, asked)}"


def format_share(found: tuple[float, int] | None, asked: int) -> str:
    """Format a share, e.g. '25 (1 of 3)'."""
    return "-" if found is None else f"{found[0]:.0f}{fewer(found[1], asked)}"


def format_difference(found: Difference | None) -> str:
    """Format a difference, e.g. '-4.5, p 0.031, n 3'."""
    if found is None:
        return "-"
    p = "-" if found.p is None else "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    return f"{found.mean:+.1f}, p {p}, n {found.n}"


def fewer(n: int, asked: int) -> str:
    return "" if n == asked else f" ({n} of {asked})"
