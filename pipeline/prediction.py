"""Labels for any images: found by folder or pattern, scored, and drawn over."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.data.images import read_image
from pipeline.data.loader import end_workers, worker_options
from pipeline.data.transforms import test_transform
from pipeline.evaluation import Trained
from utils.errors import UserError
from utils.progress import progress_bar

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}

Batch = list[tuple[int, torch.Tensor | str]]


def find_images(places: Sequence[str]) -> list[str]:
    """Image files of `places`: files as given, folders with their subfolders, and globs.

    In folders and globs only names that end like an image's are taken, in alphabetical order.
    A file that is reached twice is listed once.

    Raises:
        UserError: a place does not exist, or holds no image.
    """
    found: dict[str, None] = {}  # a set that keeps its order
    for place in places:
        if os.path.isfile(place):
            files = [place]
        else:
            inside = glob.glob(glob.escape(place) + "/**", recursive=True)
            matches = inside if os.path.isdir(place) else glob.glob(place, recursive=True)
            files = sorted(
                match
                for match in matches
                if Path(match).suffix.lower() in SUFFIXES and os.path.isfile(match)
            )
        if not files:
            there = "holds no image" if os.path.exists(place) else "is no file, folder or glob here"
            raise UserError(
                f"{place} {there}: expected files ending in {' '.join(sorted(SUFFIXES))}"
            )
        found |= dict.fromkeys(os.path.normpath(file) for file in files)
    return list(found)


class Photos(Dataset):
    """Images resized for the classifier; for one that cannot be read, why."""

    def __init__(self, paths: list[str], img_size: int) -> None:
        self.paths, self.transform = paths, test_transform(img_size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor | str]:
        try:
            return index, self.transform(read_image(self.paths[index]))
        except UserError as error:
            return index, str(error)


@torch.inference_mode()
def predict(
    trained: Trained, paths: list[str], batch_size: int, workers: int
) -> Iterator[tuple[str, np.ndarray, torch.Tensor] | tuple[str, str]]:
    """Score images, in order, with a progress bar.

    Yields:
        (path, logits (C,) float32, maps (C, H, W) float32), or (path, why it cannot be read).
    """
    photos = Photos(paths, trained.settings["img_size"])
    loader = DataLoader(
        photos, batch_size, collate_fn=list, **worker_options(workers, pin_memory=False)
    )
    device, precision = trained.device, trained.precision
    try:
        with progress_bar("predict", len(paths)) as bar:
            for batch in loader:
                readable = [image for _, image in batch if not isinstance(image, str)]
                outputs: Iterator[tuple[np.ndarray, torch.Tensor]] = iter(())
                if readable:
                    images = torch.stack(readable).to(device)
                    with torch.autocast(device.type, precision, enabled=precision is not None):
                        output = trained.classifier(images)
                    logits = output.logits.float().cpu().numpy()
                    outputs = zip(logits, output.cams.float().cpu())
                for index, image in batch:
                    if isinstance(image, str):
                        yield paths[index], image
                    else:
                        yield (paths[index], *next(outputs))
                bar.update(len(batch))
    finally:
        end_workers(loader)
