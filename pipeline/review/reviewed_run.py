"""The run to review: its data, its candidates, and the photos to look at."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.data import label_file
from pipeline.data.candidates import REVIEW_MARK
from pipeline.data.feature_store import image_hashes
from pipeline.data.images import concatenated
from pipeline.data.labelled import LabelledImages
from pipeline.data.registry import load_splits
from pipeline.data.training_data import candidates_of_run, find_verified, noise_was_added
from pipeline.data.verified import Verified, shown
from pipeline.features import feature_folder
from pipeline.model.checkpoint import read_checkpoint, weights_sha256
from pipeline.review.stored_targets import StoredTargets, read_targets
from utils.errors import UserError
from utils.files import atomic_path, holds_something
from utils.options.choices import FOUND_DATASETS
from utils.options.stored import run_options
from utils.options.training import TrainingOptions
from utils.run_folder import CHECKPOINT
from utils.terminal import warn


class Photos(NamedTuple):
    """P photos to review: training images, in their order, and then test images.

    data: their images. found: (P, C) uint8, candidates as found. trained: how many are of training.
    """

    data: LabelledImages
    found: np.ndarray
    trained: int


@dataclasses.dataclass(frozen=True)
class ReviewedRun:
    """A run to review.

    Attributes:
        path: its folder.
        options: its own, with data where they lie now.
        train, test: its images.
        candidates: (N, C) uint8, what it was trained on.
        key: names the review, by data and weights.
    """

    path: Path
    options: TrainingOptions
    train: LabelledImages
    test: LabelledImages
    candidates: np.ndarray
    key: str

    @functools.cached_property
    def verified(self) -> Verified | None:
        """The training images whose labels the run knew."""
        return find_verified(self.options, self.train)

    @functools.cached_property
    def targets(self) -> StoredTargets | None:
        """The targets it trained on, where it made them from neighbours before training."""
        if not self.options.needs_features:
            return None
        number = 0 if self.verified is None else len(self.verified.rows)
        found = read_targets(self.path, shown(self.candidates, self.verified), number)
        if found is None:
            warn(
                f"{self.path / CHECKPOINT} is missing or not of this run, which holds how likely "
                "each label was before training: probabilities are of the classifier alone, and "
                "less sure; bring it back, or train anew"
            )
        return found

    @functools.cached_property
    def has_noise_in_test(self) -> bool:
        """Tell whether test labels are as found: not where noise was added to true ones."""
        return self.options.dataset in FOUND_DATASETS and not noise_was_added(self.options)

    def photos(self, split: str | None) -> Photos:
        """The photos of a split, "all" of both; None: all where test labels are as found.

        Raises:
            UserError: there is nothing to review in it.
        """
        split = split or ("all" if self.has_noise_in_test else "train")
        if split == "train" or (split == "all" and not len(self.test)):
            return Photos(self.train, self.candidates, len(self.train))
        if not self.has_noise_in_test or not len(self.test):
            what = "true ones" if len(self.test) else "of no image"
            raise UserError(f"--split {split}: the labels of the run's test images are {what}")
        found = self.found_in_test
        if split == "test":
            return Photos(self.test, found, 0)
        both = concatenated(self.train, self.test)
        return Photos(both, np.concatenate([self.candidates, found]), len(self.train))

    @functools.cached_property
    def found_in_test(self) -> np.ndarray:
        """The test images' labels as found, (M, C) uint8: they are judged by their true ones.

        Kept: one command asks for its photos several times, and the list may be long.
        """
        if self.options.dataset != "files":
            return (self.test.targets == 1).astype(np.uint8)
        reading = label_file.reading_of(self.options)
        table = label_file.read_table(Path(str(self.options.labels)), self.train.classes, reading)
        rows = {path: row for row, path in enumerate(table.paths)}
        return table.targets[[rows[name] for name in self.test.ids]].astype(np.uint8)

    def as_found_where_verified(self, labels: np.ndarray, photos: Photos) -> np.ndarray:
        """Labels (P, C) of photos, as found where the run knew the truth.

        From both together training learns what the noise is like.
        """
        if self.verified is None or not photos.trained:
            return labels
        result = labels.copy()
        result[self.verified.rows] = photos.found[self.verified.rows]
        return result

    def hashes(self, photos: Photos) -> list[str]:
        """The first 16 hex digits of the SHA-256 of each photo's bytes."""
        folder = feature_folder(self.options.cache, self.path)
        tests = len(photos.data) - photos.trained
        splits = [self.train] * (photos.trained > 0) + [self.test] * (tests > 0)
        # By split, as training has hashed and kept them.
        found = np.concatenate([image_hashes(data.images, folder) for data in splits])
        return [row[:8].tobytes().hex() for row in found]


def open_folder(folder: Path, run: ReviewedRun, applies: bool = False) -> None:
    """Make the folder of a review, or take up one that a review of the run has marked as its own.

    Args:
        folder: one in the run's folder is its own, also where it has been trained further.
        run: the run.
        applies: what a review has written there stays, and with it the mark.

    Raises:
        UserError: it holds something else.
    """
    mark = folder / REVIEW_MARK
    own = folder == run.path / "review"
    marked = mark.is_file() and (own or mark.read_text("utf-8").strip() == run.key)
    if not marked and folder.exists() and (not folder.is_dir() or holds_something(folder)):
        raise UserError(
            f"{folder} exists and holds no review of this run: give a new or empty --output_dir"
        )
    if not (marked and applies):
        with atomic_path(mark) as temporary:
            temporary.write_text(f"{run.key}\n", "utf-8")


def load_run(load_from: str, moved: Mapping[str, str]) -> ReviewedRun:
    """The run at `load_from` with its data and candidates.

    Args:
        load_from: its folder, or a checkpoint in it.
        moved: options that name data which have moved.

    Raises:
        UserError: it is no run, or its data or candidates have changed.
    """
    place = Path(load_from)
    place = place if place.is_dir() else place.parent
    no_run = UserError(
        f"{load_from} is no run: expected the folder of one, whose config.json says which "
        "candidates it was trained on"
    )
    if not (place / "config.json").exists():
        raise no_run
    checkpoint = read_checkpoint(load_from)
    if "fingerprint" not in checkpoint.data or not checkpoint.options:
        raise no_run
    options = dataclasses.replace(run_options(checkpoint.options, place), **moved)  # type: ignore
    splits = load_splits(options, ["train", "test"], options.seed)
    fingerprint, data = checkpoint.data["fingerprint"], splits["train"]
    candidates = candidates_of_run(options, fingerprint, checkpoint.path, data, splits["test"])
    key = hashlib.sha256(f"{fingerprint} {weights_sha256(checkpoint)}".encode()).hexdigest()[:32]
    return ReviewedRun(place, options, data, splits["test"], candidates, key)
