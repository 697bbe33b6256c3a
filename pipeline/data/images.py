"""Images as (3, H, W) uint8 RGB tensors, from files or from memory."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import UnidentifiedImageError

from pipeline.data.decoding import FORMATS, decode
from pipeline.data.labelled import LabelledImages, Texts
from utils.errors import UserError
from utils.terminal import warn


class ImageFiles(Sequence):
    """Image files decoded when they are asked for.

    Args:
        folder: that the names start from.
        names: N file names, with folders or without.
    """

    def __init__(self, folder: str | Path, names: Sequence[str]) -> None:
        self.folder, self.names = str(folder), names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return read_image(self.path(index))

    def path(self, index: int) -> str:
        """Path of image `index`."""
        return os.path.join(self.folder, self.names[index])


def open_images(
    folder: str | Path,
    names: Sequence[str],
    classes: list[str],
    targets: np.ndarray,
    *,
    ids: Sequence[str] | None = None,
    true_targets: np.ndarray | None = None,
    verified: np.ndarray | None = None,
    allow_missing: bool = False,
) -> LabelledImages:
    """A split of image files, all of which exist.

    Args:
        folder: that the names start from.
        names: N file names.
        classes, targets, true_targets, verified: as in `LabelledImages`.
        ids: N ids; the names where not given.
        allow_missing: leave out the images without a file, and say on stderr how many.

    Raises:
        UserError: a file is missing and `allow_missing` is not set, or all files are missing.
    """
    there = exist(folder, names)
    missing = tuple(names[row] for row in np.flatnonzero(~there).tolist())
    if missing:
        found = (
            f"{folder} must hold {len(names)} images, but lacks {len(missing)}, first {missing[0]}"
        )
        if not allow_missing or not there.any():
            remedy = "bring them back, or check --path_images"
            if there.any():
                remedy += ", or give --allow_missing to go on with the rest"
            raise UserError(f"{found}; {remedy}")
        warn(f"{found}; going on with the rest")
        rows = np.flatnonzero(there).tolist()
        names = [names[row] for row in rows]
        ids = None if ids is None else [ids[row] for row in rows]
        targets = targets[there]
        true_targets = None if true_targets is None else true_targets[there]
        verified = None if verified is None else verified[there]
    stored = Texts(names)
    images = ImageFiles(folder, stored)
    return LabelledImages(
        images,
        classes,
        targets,
        stored if ids is None else Texts(ids),
        true_targets,
        missing,
        verified,
    )


def subset(data: LabelledImages, rows: np.ndarray) -> LabelledImages:
    """The images of `data` at `rows`, an array of row numbers, in its order."""

    def chosen(texts: Sequence[str]) -> Texts:
        return Texts(texts[row] for row in rows.tolist())

    images = data.images
    return LabelledImages(
        ImageFiles(images.folder, chosen(images.names))
        if isinstance(images, ImageFiles)
        else images[rows],  # type: ignore[call-overload]  # a tensor
        data.classes,
        data.targets[rows],
        chosen(data.ids),
        None if data.true_targets is None else data.true_targets[rows],
        verified=None if data.verified is None else data.verified[rows],
    )


def concatenated(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """The images of `first`, then those of `second`, of the same classes; no truth of theirs."""
    one, other = first.images, second.images
    images: Sequence[torch.Tensor]
    if isinstance(one, ImageFiles) and isinstance(other, ImageFiles):
        paths = (part.path(row) for part in (one, other) for row in range(len(part)))
        images = ImageFiles("", Texts(paths))
    else:
        images = torch.cat([one, other])  # type: ignore[list-item, assignment]
    targets = np.concatenate([first.targets, second.targets])
    return LabelledImages(images, first.classes, targets, Texts([*first.ids, *second.ids]))


def exist(folder: str | Path, names: Iterable[str]) -> np.ndarray:
    """(N,) bool: which of the files `names` are in `folder` or its subfolders.

    Every folder is listed once: asking for 80,000 files one by one takes minutes on a network
    disk.

    Raises:
        UserError: there is no `folder`.
    """
    folder = str(Path(folder))
    try:
        listings = {folder: list_files(folder)}
    except OSError as error:
        raise UserError(
            f"expected the image folder {folder}, but found: {error.strerror}; check --path_images"
        ) from error

    def is_there(name: str) -> bool:
        place, base = os.path.split(os.path.join(folder, name))
        if place not in listings:
            listings[place] = set()
            with contextlib.suppress(OSError, ValueError):  # or a name that no file can have
                listings[place] = list_files(place)
        return base in listings[place]

    return np.array([is_there(name) for name in names], bool)


def list_files(folder: str) -> set[str]:
    """Names of what lies in `folder`."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def read_content(path: str) -> bytes:
    """Read the bytes of an image's file.

    Raises:
        UserError: it is missing or no file.
    """
    try:
        if not os.path.isfile(path) and os.path.exists(path):  # a pipe would be waited for
            raise UserError(f"cannot read image {path}: it is a folder, pipe or device")
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read image {path}: {error.strerror}") from error


def read_image(path: str) -> torch.Tensor:
    """Decode one file, see `decode`.

    Raises:
        UserError: the file is missing, is no image, or is truncated; it is named.
    """
    content = read_content(path)
    try:
        return decode(content)
    except UnidentifiedImageError as error:
        raise UserError(
            f"cannot decode image {path}: it is none of {', '.join(FORMATS)}; replace or remove "
            "the file"
        ) from error
    except Exception as error:  # Pillow raises of any kind on damaged files
        reason = str(error).split("<")[0].strip()  # Pillow ends with a Python object's address
        raise UserError(
            f"cannot decode image {path}: {reason}; replace or remove the file"
        ) from error
