"""A review in numbers, and what its run has to show beside them."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.cones.correlation import cooccurrence, scale_rows
from pipeline.data.labelled import LabelledImages
from pipeline.data.rows import CandidateRows
from pipeline.data.training_data import truth_of
from pipeline.data.verified import (
    check_thresholds,
    describe_noise,
    format_check,
    format_noise,
    truth_of_others,
)
from pipeline.review.candidate_posterior import Decision, Decisions, decide
from pipeline.review.reviewed_run import Photos, ReviewedRun, load_run
from utils import tensor_files
from utils.errors import UserError
from utils.metrics import average_precision
from utils.run_folder import CHECKPOINT, is_number


def summarise(
    data: LabelledImages,
    truth: np.ndarray | None,
    candidates: np.ndarray,
    probability: np.ndarray,
    kept: np.ndarray,
    decision: Decision,
) -> dict[str, Any]:
    """Counts, in all and by class, and where the truth is known how right the decision is.

    Args:
        data: N training images of C classes.
        truth: (N, C) int8 in {1, 0, -1}, -1 for what nobody knows; None where nobody knows any.
        candidates: (N, C) in {0, 1}.
        probability: (N, C) float in [0, 1], of being true, 0 outside the candidates.
        kept: (N, C) in {0, 1}, after `decision`.

    Returns:
        JSON-ready. A class's flip_rate is the share of its false labels that are candidates, by
        these probabilities. precision, recall, average_precision: of finding false candidates, in
        [0, 1], None where they are not defined.
    """
    false = (candidates * (1 - probability)).sum(axis=0)
    flip_rates = false / np.maximum(len(data) - probability.sum(axis=0), 1e-12)
    by_class = {
        name: {
            "candidates": int(candidates[:, column].sum()),
            "dropped": int((candidates - kept)[:, column].sum()),
            "flip_rate": round(float(flip_rates[column]), 4),
        }
        for column, name in enumerate(data.classes)
    }
    found: dict[str, float | None] = dict.fromkeys(("precision", "recall", "average_precision"))
    if truth is not None:
        judged = (candidates == 1) & (truth >= 0)
        is_false, dropped = truth[judged] == 0, kept[judged] == 0
        if dropped.any():
            found["precision"] = float(is_false[dropped].mean())
        if is_false.any():
            found["recall"] = float(dropped[is_false].mean())
            labels = is_false[:, None].astype(np.int8)
            found["average_precision"] = (
                float(average_precision(-probability[judged][:, None], labels)[0]) / 100
            )
    return {
        "images": len(data),
        "candidates": int(candidates.sum()),
        "dropped": int((~decision.kept).sum()),
        "threshold": decision.threshold,
        "expected_precision": decision.precision,
        **found,
        "by_class": by_class,
    }


def summarise_photos(
    run: ReviewedRun,
    photos: Photos,
    probability: np.ndarray,
    kept: np.ndarray,
    decisions: Decisions,
) -> dict[str, Any]:
    """Summarise a run's training photos, and under "test" its test photos.

    Where there are only the latter, it is of these.

    Args:
        photos: P of the run's.
        probability, kept: (P, C), of these.
        decisions: on their candidates.
    """
    truth = truth_of(run.options, run.train)
    if truth is not None:
        truth = truth_of_others(truth, run.verified)
    parts = [
        (slice(0, photos.trained), run.train, truth, decisions.of_training),
        (slice(photos.trained, None), run.test, run.test.true_targets, decisions.of_test),
    ]
    found = [
        summarise(data, known, photos.found[rows], probability[rows], kept[rows], decision)
        for rows, data, known, decision in parts
        if len(kept[rows])
    ]
    return found[0] | ({"test": found[1]} if len(found) > 1 else {})


def headlines(summary: dict[str, Any]) -> dict[str, str]:
    """The summary in a few lines, by name."""
    lines = {
        "candidates": f"{summary['candidates']} in {summary['images']} images",
        "dropped": str(summary["dropped"]),
        "threshold": f"{summary['threshold']:.3f}",
    }
    if "test" in summary:
        of_test = summary["test"]
        lines["test photos"] = (
            f"{of_test['dropped']} of {of_test['candidates']} labels in {of_test['images']} are "
            "less probable too, and stay unless you decide"
        )
    for name, meaning in {
        "expected_precision": "of the dropped are false, by their probabilities",
        "precision": "of the dropped are false",
        "recall": "of the false are dropped",
        "average_precision": "of a list of all candidates, the least probable first",
    }.items():
        if summary[name] is not None:
            lines[name.replace("_", " ")] = f"{summary[name]:.3f} {meaning}"
    return lines


def describe_verified(run: ReviewedRun, threshold: float) -> tuple[dict[str, Any], list[str]]:
    """Tell what the images that the run knew say of its noise, and of its targets at `threshold`.

    Returns:
        parts of the summary, and lines that say them; nothing where it knew none.
    """
    if run.verified is None:
        return {}, []
    noise = describe_noise(run.candidates, run.verified, run.train.classes)
    check = check_held_out(run, threshold)
    if check is None:
        return {"noise": noise}, format_noise(noise)
    return {"noise": noise, "held_out": check}, [*format_noise(noise), *format_check(check)]


def check_held_out(run: ReviewedRun, threshold: float = 0.5) -> list[dict[str, Any]] | None:
    """`check_thresholds` of the run's targets; None where it held no verified image out.

    Without each image's most probable candidate, which is never dropped.
    """
    if run.verified is None or run.targets is None or run.targets.held_out is None:
        return None
    rows, columns = np.nonzero(run.candidates[run.verified.rows])
    probability = run.targets.held_out[rows, columns]
    can_go = ~decide(probability, rows, budget=len(rows)).kept
    true = run.verified.truth[rows, columns] == 1
    return check_thresholds(probability[can_go], true[can_go], threshold)


def describe_thresholds(
    load_from: str, moved: Mapping[str, str], data: LabelledImages
) -> list[str]:
    """Lines that say how many of the labels that a run would drop at each threshold are false.

    Args:
        load_from, moved: of the run, as `load_run` takes them.
        data: the training images that it must be of.

    Raises:
        UserError: it is of others, or held no verified image out.
    """
    run = load_run(load_from, moved)
    if list(run.train.ids) != list(data.ids) or run.train.classes != data.classes:
        raise UserError(
            f"--load_from {load_from}: expected a run on the images checked, found one of "
            f"--dataset {run.options.dataset} on others: give its data, and its --seed"
        )
    check = check_held_out(run)
    if check is None:
        number = 0 if run.verified is None else len(run.verified.rows)
        raise UserError(
            f"--load_from {load_from}: expected a run of recipe posterior that knew five verified "
            f"images or more, and its last.pt; found {run.options.method} with {number}"
        )
    return [f"{run.path}, of the candidates it was trained on:", *format_check(check)]


def read_history(folder: Path) -> list[dict[str, float]]:
    """Read mAP and confidence in the candidates of each epoch, where there are any."""
    try:
        lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
        records = [dict(json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    names = ("epoch", "confidence", "mAP")
    return [{n: r[n] for n in names if is_number(r.get(n))} for r in records]


def class_correlation(folder: Path, kept: np.ndarray) -> np.ndarray:
    """(C, C): what CoNeS learned in the run, else how often labels are kept together, by row."""
    with contextlib.suppress(Exception):  # no last.pt, a damaged one, or a method without it
        state = tensor_files.load(folder / CHECKPOINT, mmap=True)
        return state["method"]["correlation"].numpy().copy()
    return scale_rows(cooccurrence(CandidateRows.from_dense(kept))).numpy()
