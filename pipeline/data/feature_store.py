"""Features of images, kept in a folder under the images' content.

A run on the same photos, by whatever list, method, seed or noise, finds them there.
"""

import contextlib
import hashlib
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pipeline.data.arrays import check_header
from pipeline.data.cache import fingerprint
from pipeline.data.images import ImageFiles, read_content
from utils.errors import UserError
from utils.files import SECONDS_LEFT, atomic_path, remove_leftovers
from utils.progress import progress_bar

# Of features in one file: what is lost when their making is killed.
PART_BYTES, PART_IMAGES = 2**28, 2000


class Features:
    """Features of N images, mapped to memory.

    Args:
        parts: arrays (n, D, H, W) float16.
        place: (N, 2) int64: part and row in it of each image.
    """

    def __init__(self, parts: Sequence[np.ndarray], place: np.ndarray) -> None:
        self.parts, self.place = parts, place

    def __len__(self) -> int:
        return len(self.place)

    def take(self, index: Sequence[int] | np.ndarray) -> torch.Tensor:
        """(B, D, H, W) float16 of the images at `index` (B,)."""
        part, row = self.place[index].T
        result = np.empty((len(part), *self.parts[0].shape[1:]), np.float16)
        for number in np.unique(part):
            chosen = part == number
            result[chosen] = self.parts[number][row[chosen]]
        return torch.from_numpy(result)

    def pooled(self) -> torch.Tensor:
        """(N, D) float32, each image's mean over its map."""
        rows = np.arange(len(self))
        means = [self.take(rows[k : k + 256]).float().mean(dim=(2, 3)) for k in rows[::256]]
        return torch.cat(means)


class FeatureStore:
    """A folder of features that one trunk gives.

    Each file of features has one beside it, written after it, with the hash of each image and the
    checksum of its features: what has changed on the disk is computed again.

    Args:
        folder: that holds the stores of all trunks.
        key: names trunk, weights, input and form of the features.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / key

    def find(self, hashes: np.ndarray) -> tuple[Features, np.ndarray]:
        """The features of images with these hashes (N, 32), and the rows that lack them."""
        place: dict[bytes, tuple[int, int]] = {}
        parts: list[np.ndarray] = []
        for names in sorted(self.path.glob("*.hashes.npy")):
            file = names.with_name(names.name.replace(".hashes", ""))
            try:
                own, part = load(names), load(file, "r")
            except Exception:  # numpy raises of any kind
                continue  # damaged: what it held is computed again
            if own.shape != (len(part), 36) or part.dtype != np.float16:
                continue
            sound = np.flatnonzero((own[:, 32:] == checksums(part)).all(axis=1))
            place.update((own[row, :32].tobytes(), (len(parts), row)) for row in sound.tolist())
            parts.append(part)
        found = [place.get(each.tobytes(), (-1, -1)) for each in hashes]
        places = np.array(found, np.int64).reshape(-1, 2)
        return Features(parts, places), np.flatnonzero(places[:, 0] < 0)

    def add(self, hashes: np.ndarray, features: Iterable[np.ndarray]) -> None:
        """Store the features of images with these hashes (n, 32), given in batches of any size.

        Raises:
            UserError: the disk is too small, which the first batch tells.
        """
        batches: list[np.ndarray] = []
        first, size = 0, 0
        for batch in features:
            if not first and not batches:
                self._check_room(batch[0].nbytes * len(hashes))
                remove_leftovers(self.path, SECONDS_LEFT)
            batches.append(batch)
            size += batch.nbytes
            if size >= PART_BYTES or sum(map(len, batches)) >= PART_IMAGES:
                first, batches, size = self._write(hashes, first, batches), [], 0
        if batches:
            self._write(hashes, first, batches)

    def _write(self, hashes: np.ndarray, first: int, batches: list[np.ndarray]) -> int:
        """Write a part, whose images begin at `first`; returns where the next begins."""
        content = np.concatenate(batches)
        own = hashes[first : first + len(content)]
        marked = np.concatenate([own, checksums(content)], axis=1)
        name = hashlib.sha256(own.tobytes()).hexdigest()[:16]
        for end, array in ((".npy", content), (".hashes.npy", marked)):
            with atomic_path(self.path / f"{name}{end}") as temporary:
                np.save(temporary, array)
        return first + len(content)

    def _check_room(self, needed: int) -> None:
        place = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        free = shutil.disk_usage(place).free
        if needed > free:
            raise UserError(
                f"the features need {needed / 2**30:.1f} GiB in {self.path.parent}, but "
                f"{free / 2**30:.1f} GiB are free: give another folder as --cache, or --head gap, "
                "which keeps a mean of each map"
            )


def load(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """np.load of what may be damaged.

    Raises:
        Exception: it is; numpy raises of any kind.
    """
    with path.open("rb") as file:
        check_header(file)
    return np.load(path, mmap_mode)


def checksums(features: np.ndarray) -> np.ndarray:
    """(n, 4) uint8: the CRC-32 of each image's features (n, D, H, W)."""
    found = np.array([zlib.crc32(row.tobytes()) for row in features], "<u4")
    return found.view(np.uint8).reshape(-1, 4)


def image_hashes(images: Sequence[torch.Tensor], folder: Path) -> np.ndarray:
    """(N, 32) uint8, the SHA-256 of each file's bytes, or of each image's in memory.

    Those of files are kept in `folder`, as long as no file's size or time of change differs.

    Raises:
        UserError: a file is missing or no file.
    """
    if not isinstance(images, ImageFiles):
        digests = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images]
        return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    paths = [os.path.abspath(images.path(row)) for row in range(len(images))]
    named = hashlib.sha256(os.fsencode("\n".join([*paths, fingerprint(paths)])))
    file = folder / f"images-{named.hexdigest()[:16]}.npy"
    with contextlib.suppress(Exception):  # missing, or damaged, of which numpy raises any kind
        kept = load(file)
        if kept.shape == (len(paths), 32):
            return kept

    def digest(path: str) -> bytes:
        return hashlib.sha256(read_content(path)).digest()

    result = np.empty((len(paths), 32), np.uint8)
    with ThreadPoolExecutor() as pool, progress_bar("hash", len(paths)) as bar:
        for row, each in enumerate(pool.map(digest, paths)):
            result[row] = np.frombuffer(each, np.uint8)
            bar.update()
    remove_leftovers(folder, SECONDS_LEFT)
    with contextlib.suppress(OSError), atomic_path(file) as temporary:  # in a folder of others
        np.save(temporary, result)
    return result
