"""Decoded, shrunk images in one memory-mapped file a split, for machines with a slow CPU."""

import hashlib
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from pipeline.data.decoding import as_tensor
from pipeline.data.images import ImageFiles
from pipeline.data.labelled import LabelledImages
from utils.errors import UserError
from utils.files import SECONDS_LEFT, atomic_path, remove_leftovers, write_json
from utils.progress import progress_bar

Prepare = Callable[[torch.Tensor], torch.Tensor]


class CachedImages(Sequence):
    """Images in one file of pixels, mapped when the first of them is asked for.

    Args:
        path: of the file: one (H, W, 3) uint8 image after another.
        index: of what is in it.

    Raises:
        UserError: an image that is asked for has changed on the disk.
    """

    def __init__(self, path: Path, index: "Index") -> None:
        self.path, self.shapes, self.checksums = path, index.shapes, index.checksums
        self._bounds = np.concatenate([[0], (3 * self.shapes.prod(axis=1)).cumsum()])
        self._pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if self._pixels is None:
            self._pixels = np.memmap(self.path, np.uint8, "r")
        row = range(len(self))[index]
        pixels = self._pixels[self._bounds[row] : self._bounds[row + 1]].copy()
        if zlib.crc32(pixels.data) != self.checksums[row]:
            raise UserError(f"{self.path} has changed on the disk: delete it, to have it made anew")
        return as_tensor(pixels.reshape(*self.shapes[row], 3))


class Index(NamedTuple):
    """The content of a file of pixels: shapes (N, 2) int64 of its images, and checksums (N,) int64.

    A checksum is the CRC-32 of an image's pixels.
    """

    shapes: np.ndarray
    checksums: np.ndarray


def cache_images(
    data: LabelledImages, folder: str | Path, prepare: Prepare, kind: str
) -> LabelledImages:
    """`data` with its images prepared and kept in `folder`, from which they are read.

    The cache belongs to the images' paths, sizes and times of change: where one differs it is
    built anew. Images that are in memory already stay as they are.

    Args:
        data: a split.
        folder: made where it is missing.
        prepare: what is kept of a (3, H, W) uint8 image, for example `shrink`.
        kind: names `prepare` and its settings.

    Raises:
        UserError: an image cannot be read, or the disk has no room.
    """
    if not isinstance(data.images, ImageFiles):
        return data
    paths = [data.images.path(row) for row in range(len(data))]
    named = "\n".join([kind, *map(os.path.abspath, paths)])
    name = hashlib.sha256(os.fsencode(named)).hexdigest()
    file = Path(folder) / f"{kind}-{name[:16]}.pixels"
    index = file.with_suffix(".json")
    sources = fingerprint(paths)
    found = read_index(index, file, sources)
    if found is None:
        remove_leftovers(file.parent, SECONDS_LEFT)
        index.unlink(missing_ok=True)  # it must never stand beside another's pixels
        found = build(file, data.images, prepare)
        arrays = {name: array.tolist() for name, array in found._asdict().items()}
        write_json(index, {"sources": sources} | arrays)
    return replace(data, images=CachedImages(file, found))


def shrink(image: torch.Tensor, side: int) -> torch.Tensor:
    """Resize so that the shorter side is `side` pixels; smaller images stay as they are."""
    return image if min(image.shape[1:]) <= side else F.resize(image, [side], antialias=True)


def fingerprint(paths: list[str]) -> str:
    """SHA-256 of the files' sizes and times of change."""
    digest, step = hashlib.sha256(), 1000

    def describe(first: int) -> bytes:
        stats = map(os.stat, paths[first : first + step])
        return b"".join(f"{stat.st_size} {stat.st_mtime_ns}\n".encode() for stat in stats)

    with ThreadPoolExecutor(16) as pool:  # one by one takes minutes on a network disk
        try:
            for part in pool.map(describe, range(0, len(paths), step)):
                digest.update(part)
        except OSError as error:
            raise UserError(f"cannot read image {error.filename}: {error.strerror}") from error
    return digest.hexdigest()


def read_index(index: Path, file: Path, sources: str) -> Index | None:
    """Read what `file` holds; None where it has to be built."""
    try:
        content = json.loads(index.read_text("utf-8"))
        found = Index(*(np.array(content[name], np.int64) for name in Index._fields))
        whole = file.stat().st_size == 3 * int(found.shapes.prod(axis=1).sum())
        fits = whole and found.checksums.shape == (len(found.shapes),)
        return found if fits and content["sources"] == sources else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def build(file: Path, images: Sequence[torch.Tensor], prepare: Prepare) -> Index:
    """Write all images to `file`, all or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    built = Index(np.zeros((len(images), 2), np.int64), np.zeros(len(images), np.int64))
    with (
        atomic_path(file) as temporary,
        temporary.open("wb") as output,
        progress_bar("cache", len(images)) as bar,
    ):
        for row, image in enumerate(prepared(images, prepare)):
            pixels = image.permute(1, 2, 0).contiguous().numpy()
            built.shapes[row], built.checksums[row] = image.shape[1:], zlib.crc32(pixels.data)
            output.write(pixels.data)
            bar.update()
            if row == 99:
                check_room(file, output.tell() / 100 * len(images))
    return built


def prepared(images: Sequence[torch.Tensor], prepare: Prepare) -> Iterator[torch.Tensor]:
    """All images in their order, decoded by several threads, a few at a time in memory."""
    with ThreadPoolExecutor() as pool:
        rows = iter(range(len(images)))
        while window := list(itertools.islice(rows, 256)):
            yield from pool.map(lambda row: prepare(images[row]), window)


def check_room(file: Path, needed: float) -> None:
    """Refuse at the start what the first images say will not fit."""
    free = shutil.disk_usage(file.parent).free
    if needed > free:
        raise UserError(
            f"--cache needs about {needed / 2**30:.1f} GiB in {file.parent}, but "
            f"{free / 2**30:.1f} GiB are free: give another folder, or leave --cache out"
        )
