"""How well a trained classifier tells which candidates of its training images are true."""

import argparse
from typing import Any

import numpy as np

from pipeline.data.candidates import REVIEWED, read_candidates
from pipeline.data.labelled import LabelledImages
from pipeline.experiment import check_candidate_file, describe_data, load_candidates
from pipeline.model.checkpoint import Checkpoint
from utils.errors import UserError
from utils.metrics import average_precision


def judge_candidates(
    scores: np.ndarray, truth: np.ndarray | None, candidates: np.ndarray
) -> dict[str, Any]:
    """How scores rank the candidates, true before false, those of all images and classes pooled.

    Args:
        scores: (N, C) float32 logits of the training images, not augmented.
        truth: (N, C) int8 in {1, 0, -1}; -1, which nobody knows or VOC calls difficult, is left
            out. None where nobody knows any, see `truth_of`.
        candidates: (N, C) in {0, 1}.

    Returns:
        candidate_AP in percent, None where no candidate is false or none is true; `candidates`,
        how many were judged; `true_candidates`, how many of these are true, None where there is no
        truth. Their share is the AP of a ranking by chance.

    >>> judge_candidates(np.float32([[1, 2, 9]]), np.int8([[1, 0, 0]]), np.array([[1, 1, 0]]))
    {'candidate_AP': 50.0, 'candidates': 2, 'true_candidates': 1}
    """
    if truth is None:
        return {"candidate_AP": None, "candidates": 0, "true_candidates": None}
    chosen = (candidates == 1) & (truth >= 0)
    labels = truth[chosen]
    true = int((labels == 1).sum())
    ap = None
    if 0 < true < len(labels):
        ap = float(average_precision(scores[chosen][:, None], labels[:, None])[0])
    return {"candidate_AP": ap, "candidates": len(labels), "true_candidates": true}


def candidates_of_run(
    checkpoint: Checkpoint, train: LabelledImages, test: LabelledImages
) -> np.ndarray:
    """The candidates (N, C) uint8 that a run was trained on, from its file or made again.

    Args:
        checkpoint: of the run.
        train, test: its data, of which it keeps a fingerprint.

    Raises:
        UserError: the candidate file is gone, or data or candidates are no longer the run's.
    """
    options = argparse.Namespace(**checkpoint.options)
    check_candidate_file(options, checkpoint.path)
    candidates = load_candidates(options, train)
    if describe_data(train, test, candidates)["fingerprint"] != checkpoint.data.get("fingerprint"):
        raise UserError(
            f"data or candidates are not those that {checkpoint.path} was trained on: bring back "
            "the images, labels and candidates it was started with"
        )
    return candidates


def truth_of(run: argparse.Namespace, data: LabelledImages) -> np.ndarray | None:
    """(N, C) true labels where they are known: of noise that was added, or as the files say."""
    if data.true_targets is not None:
        return data.true_targets
    return data.targets if noise_was_added(run) else None


def noise_was_added(run: argparse.Namespace) -> bool:
    """Whether the run's candidates are its data set's labels and noise, and not labels as found."""
    if run.script == "main_real":
        return False
    if run.dataset in ("files", "nuswide") and run.noise_file is not None:
        _, metadata = read_candidates(run.noise_file)
        # Labels that were cleaned are not true as found.
        return (metadata or {}).get("model") != REVIEWED
    return bool(run.partial_rate or run.noise_file)
