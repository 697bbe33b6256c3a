"""Scores, class maps and thumbnails of the images to review."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.data.images import subset
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import EvaluationImages, count_workers, end_workers, evaluation_loader
from pipeline.data.transforms import evaluation_transform
from pipeline.evaluation import Trained
from pipeline.inference import score_images
from pipeline.review.page import MAP_SIDE, write_thumbnail
from utils.errors import UserError, of_system
from utils.progress import interruptible, progress_bar


class Entries(NamedTuple):
    """The M candidates of N images, image by image.

    starts: (N + 1,) int64; those of image i are starts[i] to starts[i + 1]. rows, columns: (M,)
    int64, image and class of each.
    """

    starts: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def matrix(self, chosen: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(N, C) uint8: 1 at the candidates that `chosen`, (M,) bool, names."""
        result = np.zeros(shape, np.uint8)
        result[self.rows[chosen], self.columns[chosen]] = 1
        return result


def entries_of(candidates: np.ndarray) -> Entries:
    """The entries of candidates (N, C) in {0, 1}.

    >>> entries_of(np.array([[0, 1], [0, 0], [1, 1]])).starts
    array([0, 1, 1, 3])
    """
    rows, columns = np.nonzero(candidates)
    starts = np.concatenate([[0], np.count_nonzero(candidates, axis=1).cumsum()])
    return Entries(starts, rows, columns)


class Thumbnailed(EvaluationImages):
    """Resized images; a thumbnail of each is written where it is loaded."""

    def __init__(self, data: LabelledImages, rows: np.ndarray, img_size: int, folder: Path) -> None:
        super().__init__(subset(data, rows).images, evaluation_transform(img_size))
        self.rows, self.folder = rows, folder

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self.images[index]
        try:
            write_thumbnail(self.folder, int(self.rows[index]), image)
        except OSError as error:  # a worker process would hand it over without its number
            raise UserError(of_system(error)) from error
        return self.transform(image)


class Scan:
    """Scores and class maps of N images, by one classifier or by several for parts of them.

    Attributes:
        logits: (N, C) float32.
        maps: (M, MAP_SIDE, MAP_SIDE) uint8: the positive part of each candidate's class map, 255
            at its maximum; 0 where there is none.
        parts: rows that one classifier scored, for each.
    """

    def __init__(self, data: LabelledImages, entries: Entries, folder: Path) -> None:
        self.data, self.entries, self.folder = data, entries, folder
        self.logits = np.zeros(data.targets.shape, np.float32)
        self.maps = np.zeros((len(entries.rows), MAP_SIDE, MAP_SIDE), np.uint8)
        self.parts: list[np.ndarray] = []

    def add(self, trained: Trained, rows: np.ndarray, workers: int | None, batch_size: int) -> None:
        """Fill in the images of `rows`; a progress bar.

        Raises:
            UserError: an image cannot be read, a score is not finite, or Ctrl-C.
        """
        images = Thumbnailed(self.data, rows, trained.settings["img_size"], self.folder)
        workers = count_workers(workers, self.data.images)
        loader = evaluation_loader(images, batch_size, workers, trained.device.type == "cuda")
        model, device, done = trained.classifier, trained.device, 0
        try:
            with interruptible() as stop, progress_bar("review", len(rows)) as bar:
                for scored in score_images(model, loader, device, trained.amp_dtype):
                    here = rows[done : done + len(scored.logits)]
                    self.logits[here] = scored.logits
                    for row, of_image in zip(here.tolist(), small_maps(scored.cams)):
                        own = slice(self.entries.starts[row], self.entries.starts[row + 1])
                        self.maps[own] = of_image[self.entries.columns[own]]
                    done += len(here)
                    bar.update(len(here))
                    if stop():
                        raise UserError("interrupted; the same command begins this pass again")
        finally:
            end_workers(loader)
        self.parts.append(rows)


def small_maps(cams: torch.Tensor) -> np.ndarray:
    """(B, C, MAP_SIDE, MAP_SIDE) uint8 from class maps (B, C, h, w): see `Scan.maps`."""
    size = (MAP_SIDE, MAP_SIDE)
    maps = F.interpolate(cams.float().relu(), size, mode="bilinear", antialias=True)
    maps = maps / maps.amax(dim=(2, 3), keepdim=True).clamp(min=1e-12)
    return (255 * maps).round().to(torch.uint8).cpu().numpy()
