"""Classifiers trained as a run was, each without a part of its images, which it then scores."""

import dataclasses
from pathlib import Path

import numpy as np

from pipeline.data.images import subset
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import count_workers
from pipeline.data.verified import Verified
from pipeline.evaluation import Trained, amp_of, load_trained
from pipeline.experiment import train_on
from pipeline.review.scan import Scan
from utils.machine import choose_device
from utils.options.groups import CheckpointOptions, MachineOptions
from utils.options.training import TrainingOptions


def scan_folds(
    scan: Scan,
    data: LabelledImages,
    *,
    options: TrainingOptions,
    candidates: np.ndarray,
    folds: int,
    machine: MachineOptions,
    folder: Path,
    verified: Verified | None,
    store: Path,
) -> None:
    """Fill in the training images of `scan`, each by a classifier that was not trained on it.

    Args:
        scan: whose first images they are.
        data: the run's training images.
        options: its own.
        candidates: (N, C) uint8, what it was trained on.
        folds: how many classifiers.
        machine: where they are trained and run.
        folder: of the trainings; "-1-of-5" and so on is added to its name.
        verified: images whose labels the run knew.
        store: the folder of features.

    Raises:
        UserError: as in training, or Ctrl-C, after which the same call goes on.
    """
    own = on_machine(options, data, machine)
    for fold, held_out in enumerate(fold_rows(len(data), folds, options.seed), 1):
        print(f"fold                {fold} of {folds}", flush=True)
        part = folder.with_name(f"{folder.name}-{fold}-of-{folds}")
        trained = train_fold(own, data, candidates, held_out, part, verified, store)
        scan.add(trained, held_out, machine.workers, machine.batch_size)


def on_machine(
    options: TrainingOptions, data: LabelledImages, machine: MachineOptions
) -> TrainingOptions:
    """The options of a run that trains by `options` on another machine."""
    device = choose_device(machine.device)
    amp = machine.amp or amp_of(dataclasses.asdict(options), device)
    workers = count_workers(machine.workers, data.images)
    return dataclasses.replace(options, device=str(device), amp=amp, workers=workers)


def fold_rows(images: int, folds: int, seed: int) -> list[np.ndarray]:
    """`folds` parts of the rows 0 to `images` - 1, each ascending, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(images)
    return [np.sort(part) for part in np.array_split(order, folds)]


def train_fold(
    options: TrainingOptions,
    data: LabelledImages,
    candidates: np.ndarray,
    held_out: np.ndarray,
    folder: Path,
    verified: Verified | None,
    store: Path,
) -> Trained:
    """A classifier trained as the run was, on all images but those of `held_out`.

    Args:
        options: the run's, with device, amp and workers resolved.
        candidates: (N, C) uint8, of all images.
        folder: of this training; one that is there is gone on with.
        verified, store: as in `scan_folds`.

    Raises:
        UserError: as in training, or Ctrl-C, after which the same call goes on.
    """
    rest = np.setdiff1d(np.arange(len(data)), held_out)
    begun = str(folder) if (folder / "config.json").exists() else None
    # A cache would keep almost all images once more for each fold.
    own = dataclasses.replace(options, output_dir=str(folder), resume=begun, cache=None)
    if verified is not None:
        kept = np.isin(verified.rows, rest)
        left = Verified(np.searchsorted(rest, verified.rows[kept]), verified.truth[kept])
        verified = left if kept.any() else None
    parts = subset(data, rest), subset(data, held_out)
    train_on(own, *parts, candidates[rest], verified, "the same command", store)
    return load_trained(
        CheckpointOptions(load_from=str(folder), device=options.device, amp=options.amp)
    )
