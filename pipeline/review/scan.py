"""Scores, class maps and thumbnails of the images to review, by one model or out of sample."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from pipeline import methods
from pipeline.baselines import losses
from pipeline.data.images import subset
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import EvaluationImages, end_workers, evaluation_loader
from pipeline.data.transforms import evaluation_transform
from pipeline.engine import outputs
from pipeline.evaluation import Trained, load_trained
from pipeline.experiment import fit_data
from pipeline.review.page import MAP_SIDE, write_thumbnail
from utils.errors import UserError
from utils.machine import default_workers
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
        write_thumbnail(self.folder, int(self.rows[index]), image)
        return self.transform(image)


class Scan:
    """What a classifier, or several for parts of the images, sees in N images.

    Attributes:
        logits: (N, C) float32.
        maps: (M, MAP_SIDE, MAP_SIDE) uint8: the positive part of each candidate's class map, 255
            at its maximum; 0 where there is none.
        parts: rows that one classifier looked at, for each.
    """

    def __init__(self, data: LabelledImages, entries: Entries, folder: Path) -> None:
        self.data, self.entries, self.folder = data, entries, folder
        self.logits = np.zeros(data.targets.shape, np.float32)
        self.maps = np.zeros((len(entries.rows), MAP_SIDE, MAP_SIDE), np.uint8)
        self.parts: list[np.ndarray] = []

    @torch.inference_mode()
    def look(self, trained: Trained, rows: np.ndarray, workers: int | None, batch: int) -> None:
        """Fill in the images of `rows`; a progress bar.

        Raises:
            UserError: an image cannot be read, a score is not finite, or Ctrl-C.
        """
        if workers is None:
            workers = 0 if isinstance(self.data.images, torch.Tensor) else default_workers()
        images = Thumbnailed(self.data, rows, trained.settings["img_size"], self.folder)
        loader = evaluation_loader(images, batch, workers, trained.device.type == "cuda")
        device, precision, done = trained.device, trained.precision, 0
        try:
            with interruptible() as stop, progress_bar("look", len(rows)) as bar:
                for output in outputs(trained.classifier, loader, device, precision):
                    here = rows[done : done + len(output.logits)]
                    self.logits[here] = output.logits.float().cpu().numpy()
                    maps = small_maps(output.cams)
                    for row, of_image in zip(here.tolist(), maps):
                        own = slice(self.entries.starts[row], self.entries.starts[row + 1])
                        self.maps[own] = of_image[self.entries.columns[own]]
                    done += len(here)
                    bar.update(len(here))
                    if stop():
                        raise UserError("interrupted; the same command begins this pass again")
        finally:
            end_workers(loader)
        if not np.isfinite(self.logits[rows]).all():
            raise UserError(
                "the classifier's scores are not finite: give --amp off, or review another run"
            )
        self.parts.append(rows)


def small_maps(cams: torch.Tensor) -> np.ndarray:
    """(B, C, MAP_SIDE, MAP_SIDE) uint8 from class maps (B, C, h, w): see `Scan.maps`."""
    size = (MAP_SIDE, MAP_SIDE)
    maps = F.interpolate(cams.float().relu(), size, mode="bilinear", antialias=True)
    maps = maps / maps.amax(dim=(2, 3), keepdim=True).clamp(min=1e-12)
    return (255 * maps).round().to(torch.uint8).cpu().numpy()


def fold_rows(images: int, folds: int, seed: int) -> list[np.ndarray]:
    """`folds` parts of the rows 0 to `images` - 1, each ascending, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(images)
    return [np.sort(part) for part in np.array_split(order, folds)]


def train_fold(
    options: argparse.Namespace,
    data: LabelledImages,
    candidates: np.ndarray,
    held_out: np.ndarray,
    folder: Path,
) -> Trained:
    """A classifier trained as the run was, on all images but those of `held_out`.

    Args:
        options: the run's, with device, amp and workers resolved.
        candidates: (N, C) uint8, of all images.
        folder: of this training; one that is there is gone on with.

    Raises:
        UserError: as in training, or Ctrl-C, after which the same call goes on.
    """
    rest = np.setdiff1d(np.arange(len(data)), held_out)
    begun = str(folder) if (folder / "config.json").exists() else None
    # A cache would keep almost all images once more for each fold.
    changes = {"output_dir": str(folder), "resume": begun, "cache": None}
    own = argparse.Namespace(**vars(options) | changes)
    make = losses.make_method if options.script == "main_BCE" else methods.make_method
    again = "the same command"
    fit_data(own, make, subset(data, rest), subset(data, held_out), candidates[rest], again)
    return load_trained(str(folder), {"device": options.device, "amp": options.amp})
