"""Labels for any images: found by folder or pattern, scored, and drawn over."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.data.images import SUFFIXES, read_image
from pipeline.data.loader import end_workers, worker_options
from pipeline.data.transforms import evaluation_transform
from pipeline.engine import IMAGES_A_PASS, outputs
from pipeline.evaluation import Trained
from utils.errors import UserError
from utils.progress import progress_bar


def find_images(places: Sequence[str]) -> list[str]:
    """Image files of `places`: files as given, folders with their subfolders, and globs.

    In folders and globs only names that end like an image's are taken, in alphabetical order.
    A file that is reached twice is listed once.

    Raises:
        UserError: a place does not exist, or holds no image.
    """
    found: dict[str, str] = {}  # by the place that a link leads to
    for place in places:
        if os.path.isfile(place):
            files = [place]
        else:
            matches = glob.glob(place, recursive=True)
            if os.path.isdir(place):  # links to folders are not followed: they may lead in circles
                matches = [os.path.join(top, n) for top, _, names in os.walk(place) for n in names]
            files = sorted(
                match
                for match in matches
                if Path(match).suffix.lower() in SUFFIXES
                and not os.path.isdir(match)  # a broken link is worth a warning
            )
        if not files:
            there = "holds no image" if os.path.exists(place) else "is no file, folder or glob here"
            raise UserError(
                f"{place} {there}: expected files ending in {' '.join(sorted(SUFFIXES))}"
            )
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


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
    """Of one image: logits (C,) and maps (C, H, W), float32; or why it cannot be read."""

    path: str
    error: str
    logits: np.ndarray
    maps: torch.Tensor


def predict(
    trained: Trained, paths: list[str], batch_size: int, workers: int
) -> Iterator[Prediction]:
    """Score images with a progress bar, in order; unreadable ones come as soon as they are met.

    Raises:
        UserError: a score is not finite.
    """
    photos = Photos(paths, trained.settings["img_size"])
    loader = DataLoader(
        photos, batch_size, collate_fn=collate, **worker_options(workers, pin_memory=False)
    )
    waiting: list[str] = []
    images = torch.empty(0)
    try:
        with progress_bar("predict", len(paths)) as bar:
            for batch, indices, errors in loader:
                for index, error in errors:
                    yield Prediction(paths[index], error, np.empty(0), torch.empty(0))
                images = torch.cat([images, batch]) if waiting else batch
                waiting += [paths[index] for index in indices]
                while len(waiting) >= IMAGES_A_PASS:
                    yield from score_photos(
                        trained, waiting[:IMAGES_A_PASS], images[:IMAGES_A_PASS]
                    )
                    waiting, images = waiting[IMAGES_A_PASS:], images[IMAGES_A_PASS:]
                bar.update(len(indices) + len(errors))
            if waiting:
                yield from score_photos(trained, waiting, images)
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


@torch.inference_mode()
def score_photos(trained: Trained, paths: list[str], images: torch.Tensor) -> list[Prediction]:
    """One pass over at most IMAGES_A_PASS images (B, 3, S, S)."""
    [output] = outputs(trained.classifier, [images], trained.device, trained.precision)
    logits, maps = output.logits.float().cpu().numpy(), output.cams.float().cpu()
    if not np.isfinite(logits).all():
        raise UserError("the classifier's scores are not finite: give --amp off, or other weights")
    return [Prediction(path, "", *result) for path, *result in zip(paths, logits, maps)]
