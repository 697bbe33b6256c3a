"""How well a trained classifier tells which candidates of its training images are true."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.labelled import LabelledImages
from pipeline.experiment import describe_data, load_candidates
from pipeline.model.checkpoint import Checkpoint
from utils.errors import UserError
from utils.metrics import average_precision


def judge_candidates(
    scores: np.ndarray, targets: np.ndarray, candidates: np.ndarray
) -> dict[str, Any]:
    """How scores rank the candidates, true before false, those of all images and classes pooled.

    Args:
        scores: (N, C) float32 logits of the training images, not augmented.
        targets: (N, C) int8 in {1, 0, -1}, the truth; -1, which nobody knows or VOC calls
            difficult, is left out.
        candidates: (N, C) in {0, 1}.

    Returns:
        candidate_AP in percent, None where no candidate is false or none is true; `candidates`,
        how many were judged; `true_candidates`, how many of these are true. Their share is the
        AP of a ranking by chance.

    >>> judge_candidates(np.float32([[1, 2, 9]]), np.int8([[1, 0, 0]]), np.array([[1, 1, 0]]))
    {'candidate_AP': 50.0, 'candidates': 2, 'true_candidates': 1}
    """
    chosen = (candidates == 1) & (targets >= 0)
    labels = targets[chosen]
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
    if options.noise_file is not None and not Path(options.noise_file).exists():
        raise UserError(
            f"{options.noise_file}, the candidates that {checkpoint.path} was trained on, is "
            "missing: bring it back"
        )
    candidates = load_candidates(options, train)
    if describe_data(train, test, candidates)["fingerprint"] != checkpoint.data.get("fingerprint"):
        raise UserError(
            f"data or candidates are not those that {checkpoint.path} was trained on: bring back "
            "the images, labels and candidates it was started with"
        )
    return candidates
