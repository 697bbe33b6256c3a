"""Labels for any images: found by folder or pattern, scored, and drawn over."""

import glob
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from pipeline.data.decoding import FORMATS, SUFFIXES, is_image
from pipeline.data.images import read_image
from pipeline.data.loader import count_workers, end_workers, evaluation_loader
from pipeline.data.transforms import evaluation_transform
from pipeline.evaluation import Trained
from pipeline.inference import score_images
from utils.errors import UserError
from utils.progress import progress_bar


def find_images(places: Sequence[str]) -> tuple[list[str], list[str]]:
    """Image files of `places`: files as given, folders with their subfolders, and globs.

    In folders and globs, files whose names do not end like an image's are taken if their content
    is one. A file that is reached twice is listed once.

    Returns:
        the images and the other files there, each place's in alphabetical order.

    Raises:
        UserError: a place does not exist, or holds no image.
    """
    found: dict[str, str] = {}  # by the place that a link leads to
    others: dict[str, str] = {}
    for place in places:
        if os.path.isfile(place):
            found.setdefault(os.path.realpath(place), place)
            continue
        matches = glob.glob(place, recursive=True)
        if os.path.isdir(place):  # links to folders are not followed: they may lead in circles
            matches = [os.path.join(top, n) for top, _, names in os.walk(place) for n in names]
        images = 0
        for file in sorted(match for match in matches if not os.path.isdir(match)):
            # A broken link of an image's name is worth a warning.
            image = Path(file).suffix.lower() in SUFFIXES or is_image(file)
            (found if image else others).setdefault(os.path.realpath(file), file)
            images += image
        if not images:
            there = "holds no image" if os.path.exists(place) else "is no file, folder or glob here"
            raise UserError(f"{place} {there}: expected {', '.join(FORMATS)} files")
    return list(found.values()), [file for key, file in others.items() if key not in found]


class Photos(Dataset):
    """Images resized for the classifier; for one that cannot be read, why."""

    def __init__(self, paths: list[str], img_size: int) -> None:
        self.paths, self.transform = paths, evaluation_transform(img_size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor | str]:
        try:
            return index, self.transform(read_image(self.paths[index]))
        except UserError as error:
            return index, str(error)


class Prediction(NamedTuple):
    """Logits (C,) and maps (C, H, W) of one image, float32; or why it cannot be read."""

    path: str
    error: str
    logits: np.ndarray
    maps: torch.Tensor

    def ranking(self) -> list[int]:
        """The classes, those of highest score first; of equal ones the first class."""
        return (-self.logits).argsort(kind="stable").tolist()


def choose_thresholds(
    threshold: float | None, stored: dict[str, Any] | None, classes: list[str]
) -> tuple[list[float], str]:
    """The logit of each class above which its label is given, and where it is from.

    Args:
        threshold: probability asked for, for all classes; None takes those stored, or 0.5.
        stored: from `read_thresholds`.
        classes: C names.
    """
    if threshold is None and stored is not None:
        limits = [stored["thresholds"][name] for name in classes]
        return limits, f"tuned on {stored['split']} images of {stored['dataset']}"
    probability = 0.5 if threshold is None else threshold
    with np.errstate(divide="ignore"):  # 0 and 1 are infinite logits
        logit = float(np.log(probability) - np.log(1 - probability))
    return [logit] * len(classes), f"{probability:g}"


def predict(
    trained: Trained, paths: list[str], batch_size: int, workers: int | None
) -> Iterator[Prediction]:
    """Score images with a progress bar, in order; unreadable ones come between two passes.

    Raises:
        UserError: a score is not finite.
    """
    photos = Photos(paths, trained.settings["img_size"])
    workers = count_workers(workers, paths)
    loader = evaluation_loader(photos, batch_size, workers, pin_memory=False, collate_fn=collate)
    waiting: deque[int] = deque()
    failed: deque[tuple[int, str]] = deque()

    def readable() -> Iterator[torch.Tensor]:
        for images, indices, errors in loader:
            waiting.extend(indices)
            failed.extend(errors)
            if indices:
                yield images

    def failures() -> Iterator[Prediction]:
        while failed:
            index, reason = failed.popleft()
            bar.update()
            yield Prediction(paths[index], reason, np.empty(0), torch.empty(0))

    model, device = trained.classifier, trained.device
    try:
        with progress_bar("predict", len(paths)) as bar:
            for scored in score_images(model, readable(), device, trained.amp_dtype):
                yield from failures()
                for logits, maps in zip(scored.logits, scored.cams.cpu()):
                    bar.update()
                    yield Prediction(paths[waiting.popleft()], "", logits, maps)
            yield from failures()
    finally:
        end_workers(loader)


def collate(
    items: list[tuple[int, torch.Tensor | str]],
) -> tuple[torch.Tensor, list[int], list[tuple[int, str]]]:
    """Readable images (B, 3, S, S) and their indices, and the indices of others with reasons.

    One tensor a batch: each that a worker hands over takes a file descriptor.
    """
    readable = [(index, image) for index, image in items if not isinstance(image, str)]
    errors = [(index, reason) for index, reason in items if isinstance(reason, str)]
    images = [image for _, image in readable]
    return torch.stack(images) if images else torch.empty(0), [i for i, _ in readable], errors
