"""The pixels of an image file, as (3, H, W) uint8 RGB, whatever its format, depth and size."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator

import numpy as np
import simplejpeg
import torch
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

Image.init()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to the terminal
# Pillow opens many more, some by running other programs on them. Those that it lacks are left out.
FORMATS: list[str] = [
    name
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000")
    if name in Image.OPEN
]
SUFFIXES = {suffix for suffix, name in Image.EXTENSION.items() if name in {*FORMATS, "MPO"}}
JPEG_MAGIC = b"\xff\xd8\xff"
EXIF_WITHIN = 65_536  # bytes; the block comes first, after a thumbnail at most
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_PIXELS = 178_956_970  # 0.5 GiB of RGB; Pillow's own limit
# Even a blank JPEG has a byte for 64 pixels. Large files with far fewer are made to fill memory.
SMALL, MAX_PIXELS_A_BYTE = 1 << 25, 100


def decode(content: bytes) -> torch.Tensor:
    """Decode an image file's content to (3, H, W) uint8 RGB, upright by its EXIF orientation.

    Greyscale, palette and CMYK become RGB, transparency is dropped, and an animation gives its
    first frame; of deep greyscale see `eight_bits`.

    Raises:
        Exception: its format is none of `FORMATS`, it is too large, or damaged; Pillow raises of
            any kind.
    """
    if content.startswith(JPEG_MAGIC) and not has_orientation(content):
        # Faster than Pillow. What it refuses, such as CMYK, Pillow decodes or calls damaged.
        with contextlib.suppress(ValueError):
            height, width, *_ = simplejpeg.decode_jpeg_header(content)
            check_size(width, height, len(content))
            return as_tensor(simplejpeg.decode_jpeg(content, "RGB"))
    if content[4:8] == b"ftyp":  # AVIF: turned by other means, and Pillow rewrites its EXIF block
        head, mark, pixels = content.partition(b"mdat")
        content = head.replace(b"Exif", b"Skip") + mark + pixels
    with opened(io.BytesIO(content)) as image:
        check_size(*image.size, len(content))
        tags = dict(image.tag_v2) if isinstance(image, TiffImageFile) else {}
        # A tile may be larger than the image.
        tile = tags.get(ExifTags.Base.TileWidth, 1), tags.get(ExifTags.Base.TileLength, 1)
        check_size(*tile, len(content))
        image.load()  # which turns a TIFF, and takes its orientation away
        turn = TURNS.get(orientation(image))
        upright = image if turn is None else image.transpose(turn)
        if upright.mode[0] not in "IF":
            return as_tensor(np.array(upright.convert("RGB")))
        (bits,) = tags.get(ExifTags.Base.BitsPerSample, (16,))
        grey = eight_bits(np.asarray(upright), bits)
        if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero
            grey = 255 - grey
        return as_tensor(np.repeat(grey[..., None], 3, axis=2))


@contextlib.contextmanager
def opened(source: str | io.BytesIO) -> Iterator[Image.Image]:
    """Open an image of a known format; its pixels are not decoded yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF blocks, which do no harm
        with Image.open(source, formats=FORMATS) as image:
            yield image


def is_image(path: str) -> bool:
    """Tell by its first bytes whether a file is of a format in `FORMATS`."""
    with contextlib.suppress(Exception):
        if os.path.isfile(path):  # and no pipe, which would be waited for
            with opened(path):
                return True
    return False


def check_size(width: int, height: int, size: int) -> None:
    """Refuse a size that would take the memory, before any of it is taken.

    Args:
        width, height: claimed, in pixels.
        size: of the file, in bytes.
    """
    pixels = width * height
    if pixels > MAX_PIXELS or pixels > max(SMALL, MAX_PIXELS_A_BYTE * size):
        raise Image.DecompressionBombError(f"{size} bytes claim {width} x {height} pixels")


def has_orientation(jpeg: bytes) -> bool:
    """Tell whether the photo has to be turned upright."""
    if b"Exif" not in jpeg[:EXIF_WITHIN]:
        return False
    with opened(io.BytesIO(jpeg)) as image:
        return orientation(image) in TURNS


def orientation(image: Image.Image) -> int:
    """Read the EXIF orientation; 1, upright, also where its block cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises of any kind on damaged blocks
        return 1


def eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Grey values (H, W) uint8 from integers of any depth, or from floats.

    Files do not say which value is white: up to 255 values are taken as they are, whatever the
    depth; larger integers of 16 (or 12) bits lose their lower ones; floats up to 1 are
    scaled by 255.

    Raises:
        ValueError: the values are others, so that it is not certain which of them is white.
    """
    low, high = values.min(), values.max()
    floats = values.dtype.kind == "f"
    if low >= 0 and floats and high <= 1:
        return (255 * values + 0.5).astype(np.uint8)
    if low >= 0 and high <= 255 and not (floats and high < 16):
        return values.astype(np.uint8)
    if low >= 0 and not floats and high < 1 << 16:
        return (values >> (bits - 8 if bits < 16 else 8)).astype(np.uint8)
    raise ValueError(f"its values run from {low:g} to {high:g}: save it with 8 bits a channel")


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """(3, H, W) from (H, W, 3), as a view: resizing is fastest on pixels that lie together."""
    return torch.from_numpy(pixels).permute(2, 0, 1)
