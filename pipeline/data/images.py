"""Images as (3, H, W) uint8 RGB tensors, from files or from memory."""

import contextlib
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as F

from utils.errors import UserError

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # deprecated since torchvision 0.29: PIL then decodes everything
    decode_jpeg = None

JPEG_MAGIC = b"\xff\xd8\xff"


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

    Greyscale, palette and CMYK become RGB, transparency is dropped, 16 bits are reduced to 8,
    and an animation gives its first frame.

    Raises:
        UserError: the file is missing, is no image, or is truncated; it is named.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read image {path}: {error.strerror}") from error
    try:
        with warnings.catch_warnings():
            # torchvision announces to give up decoding, PIL warns of odd EXIF blocks.
            warnings.simplefilter("ignore")
            return decode(content)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).split("<")[0].strip()  # PIL ends with a Python object's address
        raise UserError(
            f"cannot decode image {path}: {reason}; replace the file or remove it from the list"
        ) from error


def decode(content: bytes) -> torch.Tensor:
    """Decode an image file's content as `read_image` does; raises what PIL raises."""
    if content.startswith(JPEG_MAGIC) and decode_jpeg is not None:
        # Twice as fast as PIL. Where it refuses, PIL decides whether the file is damaged.
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        with contextlib.suppress(RuntimeError):
            return decode_jpeg(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # PIL would clip 16 bits at 255, to white
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return F.pil_to_tensor(upright.convert("RGB"))
