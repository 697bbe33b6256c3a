"""The labels a run was trained on: its candidates, their truth, and a fingerprint of both."""

import hashlib
from pathlib import Path

import numpy as np

from pipeline.data import candidates as candidate_files
from pipeline.data.arrays import read_array
from pipeline.data.checks import check_list
from pipeline.data.labelled import LabelledImages
from pipeline.data.noise import uniform_noise
from pipeline.data.verified import Verified, joined, of_list, uncovered
from utils.errors import UserError
from utils.options.choices import FOUND_DATASETS
from utils.options.training import TrainingOptions
from utils.terminal import warn


def candidate_path(options: TrainingOptions, data: LabelledImages) -> Path | None:
    """The file of a run's candidates; None where they are labels as found, or made in memory."""
    if options.noise_file is not None:
        return Path(options.noise_file)
    if options.partial_rate in (0, None) or options.dataset in ("digits", "files"):
        return None
    return candidate_files.default_path(options.dataset, options.partial_rate, data.ids)


def load_candidates(
    options: TrainingOptions, data: LabelledImages, path: Path | None
) -> np.ndarray:
    """Candidates (N, C) uint8 of the training images: as found, from a file, or made and stored.

    Args:
        options: dataset, partial_rate and seed of them count.
        data: the training split.
        path: from `candidate_path`.
    """
    rate, seed = options.partial_rate, options.seed
    if path is None:
        return uniform_noise(data.targets, rate or 0.0, seed)
    return candidate_files.load_or_make(path, data, dataset=options.dataset, rate=rate, seed=seed)


def find_verified(options: TrainingOptions, data: LabelledImages) -> Verified | None:
    """The training images whose labels the training may know; None where there are none.

    They are those of the list or, with --verified, drawn, and those of a reviewed candidate file.

    Args:
        options: verified, seed and noise_file of them count.
        data: the training split.

    Raises:
        UserError: the truth of so many is not known, or the candidate file's is damaged.
    """
    found = listed_or_drawn(options, data)
    if options.noise_file is None:
        return found
    return joined(found, candidate_files.read_verified(options.noise_file, data.targets.shape))


def listed_or_drawn(options: TrainingOptions, data: LabelledImages) -> Verified | None:
    """The verified images of the list or, with --verified, so many that are drawn."""
    if options.verified is None:
        return of_list(data)
    truth = truth_of(options, data)
    if truth is None and options.adds_noise:
        return None  # the labels are the truth, or a reviewed candidate file has all that is known
    known = np.arange(0) if truth is None else np.flatnonzero(knows(data, truth))
    share = isinstance(options.verified, float)
    count = round(options.verified * len(data)) if share else int(options.verified)
    if count > len(known):
        raise UserError(
            f"--verified {options.verified} asks for {count} training images whose true labels are "
            f"known, but there are {len(known)}: give fewer, or true_labels in --labels"
        )
    if not count:
        return None
    order = np.random.default_rng([options.seed, 2]).permutation(len(known))
    rows = np.sort(known[order[:count]])
    return Verified(rows, (truth[rows] == 1).astype(np.uint8)) if truth is not None else None


def read_prior(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities (N, C) float32 of the training images' labels, from a file.

    Raises:
        UserError: it cannot be read, is of another shape, or holds what is no probability.
    """
    expected = f"probabilities in 0..1 of {shape[0]} training images x {shape[1]} classes"
    try:
        found = read_array(path, "f", 2)
    except OSError as error:
        raise UserError(f"--prior {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # parsers of headers raise of any kind
        what = " ".join(str(error).split())[:100]
        raise UserError(
            f"--prior {path}: expected an .npy file of {expected}, but found {what}"
        ) from error
    if found.shape != shape or not ((found >= 0) & (found <= 1)).all():
        what = "values outside 0..1" if found.shape == shape else f"shape {found.shape}"
        raise UserError(f"--prior {path}: expected {expected}, but found {what}")
    return found.astype(np.float32)


def knows(data: LabelledImages, truth: np.ndarray) -> np.ndarray:
    """(N,) bool: which images' true labels are known; a difficult label of VOC counts as known."""
    if data.true_targets is None:
        return np.ones(len(truth), bool)
    return np.asarray((truth >= 0).all(axis=1))


def check_candidate_file(options: TrainingOptions, trained: str | Path) -> None:
    """Refuse to make again the candidates that a run was trained on: its file may hold others.

    Args:
        options: of the run.
        trained: what was trained on them, as the message names it.
    """
    if options.noise_file is not None and not Path(options.noise_file).exists():
        raise UserError(
            f"{options.noise_file}, the candidates that {trained} was trained on, is missing: "
            "bring it back, or say by --noise_file where it is"
        )


def candidates_of_run(
    options: TrainingOptions,
    fingerprint: str | None,
    trained: str | Path,
    train: LabelledImages,
    test: LabelledImages,
) -> np.ndarray:
    """The candidates (N, C) uint8 that a run was trained on, from its file or made again.

    Args:
        options: of the run.
        fingerprint: of its data, from its config.json.
        trained: the run or its weights, as messages name it.
        train, test: its images and labels.

    Raises:
        UserError: the candidate file is gone, or data or candidates are no longer the run's.
    """
    check_candidate_file(options, trained)
    candidates = load_candidates(options, train, candidate_path(options, train))
    verified = find_verified(options, train)
    if describe_data(train, test, candidates, verified)["fingerprint"] != fingerprint:
        raise UserError(
            f"data or candidates are not those that {trained} was trained on: bring back the "
            "images, labels and candidates it was started with"
        )
    return candidates


def describe_data(
    train: LabelledImages,
    test: LabelledImages,
    candidates: np.ndarray,
    verified: Verified | None = None,
) -> dict:
    """Counts and a fingerprint that changes with any image's id, label or candidate."""
    digest = hashlib.sha256("\n".join(train.classes).encode())
    for split in (train, test):
        digest.update(candidate_files.ids_sha256(split.ids).encode())
        digest.update(np.ascontiguousarray(split.targets).data)
    digest.update(np.ascontiguousarray(candidates).data)
    if verified is not None:
        digest.update(verified.rows.tobytes() + verified.truth.tobytes())
    counts = {} if verified is None else {"verified": len(verified.rows)}
    return counts | {
        "fingerprint": digest.hexdigest(),
        "train_images": len(train),
        "test_images": len(test),
        "classes": train.classes,
        "candidates_per_image": round(float(candidates.sum(axis=1).mean()), 4),
    }


def warn_of_uncovered(data: LabelledImages) -> None:
    """Say how many images lack a label that is known to be true: the method cannot find it."""
    if missed := uncovered(data).sum():
        warn(
            f"the labels of {missed} training images miss a true one, which no method for "
            "candidates can learn; check_data.py names them"
        )


def warn_of_undrawn(
    options: TrainingOptions, data: LabelledImages, verified: Verified | None
) -> None:
    """Say where --verified has drawn no image because no label is known to be false."""
    if options.verified and verified is None and truth_of(options, data) is None:
        warn(
            f"--verified {options.verified} has no effect: it needs noise that is added, or known "
            "true labels"
        )


def warn_of_list(train: LabelledImages, test: LabelledImages) -> None:
    """Say what a user's own list has that makes results misleading, a line for each kind."""
    for kind, items, _ in check_list(train, test):
        warn(f"{len(items)} {kind}, first {items[0]!a:.60}; check_data.py names all")


def truth_of(options: TrainingOptions, data: LabelledImages) -> np.ndarray | None:
    """(N, C) true labels where they are known: where noise was added, or where the files say.

    Args:
        options: of the run.
        data: its training images.
    """
    if data.true_targets is not None:
        return data.true_targets
    return data.targets if noise_was_added(options) else None


def noise_was_added(options: TrainingOptions) -> bool:
    """Tell whether noise was added to a run's labels, which are then the truth."""
    if not options.adds_noise:
        return False
    if options.dataset in FOUND_DATASETS and options.noise_file is not None:
        _, metadata = candidate_files.read_candidates(options.noise_file)
        # Labels that were cleaned are not true as found.
        return (metadata or {}).get("model") != candidate_files.REVIEWED
    return bool(options.partial_rate or options.noise_file)
