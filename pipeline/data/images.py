"""Images as (3, H, W) uint8 RGB tensors, from files or from memory."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms.v2 import functional as F

from utils.errors import UserError


class ImageFiles(Sequence):
    """Image files decoded when they are asked for.

    Args:
        paths: (N,) unicode array of file paths.
    """

    def __init__(self, paths: np.ndarray) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return read_image(str(self.paths[index]))


def find_images(folder: Path, names: list[str]) -> ImageFiles:
    """The files `names` of `folder`, all of which exist.

    The folder is listed once: asking for 80,000 files one by one takes minutes on a network disk.

    Raises:
        UserError: the folder or any of the files is missing.
    """
    try:
        with os.scandir(folder) as entries:
            present = {entry.name for entry in entries}
    except OSError as error:
        raise UserError(
            f"expected the image folder {folder}, but found: {error.strerror}; check --path_images"
        ) from error
    missing = [name for name in names if name not in present]
    if missing:
        raise UserError(
            f"{folder} must hold {len(names)} images, but lacks {len(missing)}, first "
            f"{missing[0]}; unpack the data set's archives again, or check --path_images"
        )
    return ImageFiles(np.array([f"{folder}/{name}" for name in names]))


def read_image(path: str) -> torch.Tensor:
    """Decode one file to (3, H, W) uint8 RGB, upright by its EXIF orientation.

    torchvision decodes JPEG and PNG about twice as fast as PIL; PIL reads whatever else there
    is (CMYK, TIFF, GIF, BMP, ...).

    Raises:
        UserError: the file is missing, is no image, or is truncated; it is named.
    """
    try:
        content = read_file(path)
    except RuntimeError as error:
        raise UserError(f"cannot read image {path}: no such file, or no permission") from error
    try:
        return decode_image(content, ImageReadMode.RGB, apply_exif_orientation=True)
    except RuntimeError:
        pass  # a form torchvision does not know, or a damaged file: PIL decides which
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # PIL warns of odd EXIF blocks, which do no harm
            return F.pil_to_tensor(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"cannot decode image {path}: {error}; replace the file or remove it from the list"
        ) from error
