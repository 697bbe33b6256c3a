"""Arrays from .npy files that nobody vouches for.

numpy's own reader trusts the header, and in any file there is room for 2 ** 31 texts of no length;
where pickles are allowed, it runs what they ask for. Here an array is a view of the bytes that the
file holds.
"""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

# numpy refuses headers above 10,000 characters; the rest is room for the magic and the length.
HEADER_BYTES = 10_100
# The three items of a plain array's header, in any order.
HEADER = re.compile(
    rb"""\{ ?((['"]descr['"] ?: ?['"][^'"\\]{1,30}['"]|['"]fortran_order['"] ?: ?(True|False)|"""
    rb"""['"]shape['"] ?: ?\([\d, L]*\)) ?,? ?){3}\}\s*"""
)
MAPPED_BYTES = 2**30  # of a file, above which it is mapped to memory and not read


def read_array(
    path: str | Path, kinds: str, sides: int, unpickle: Callable[[bytes], np.ndarray] | None = None
) -> np.ndarray:
    """The array in an .npy file.

    Memory is bounded by the file's size, or, of a large file, by what of it is in use: it is
    mapped, and must stay as it is.

    Args:
        kinds: numpy's letters for the types admitted.
        sides: number of dimensions, each of at least 1.
        unpickle: reads the content of an object array, which is a pickle; None refuses it.

    Returns:
        A view of the file's bytes: of booleans, any byte may stand for one.

    Raises:
        OSError: the file cannot be read.
        Exception: it holds something else; parsers of headers raise of any kind.
    """
    with open(path, "rb") as file:
        check_header(file)
        header = io.BytesIO(file.read(HEADER_BYTES))
        start = header.getvalue()[: npy.MAGIC_LEN]
        if not start.startswith(npy.MAGIC_PREFIX):
            raise ValueError(f"no .npy file, it begins with {start!r}")
        version = npy.read_magic(header)
        if version == (1, 0):
            shape, fortran_order, dtype = npy.read_array_header_1_0(header)
        elif version == (2, 0):
            shape, fortran_order, dtype = npy.read_array_header_2_0(header)
        else:
            raise ValueError(f"version {version} of the .npy format")
        file.seek(header.tell())
        if dtype.hasobject and unpickle is not None:
            return unpickle(file.read())
        content: bytes | np.ndarray
        if Path(path).stat().st_size > MAPPED_BYTES:
            content = np.memmap(file, np.uint8, "c", offset=header.tell())
        else:
            content = file.read()
    return array_of(content, dtype, shape, fortran_order, kinds, sides)


def check_header(file: BinaryIO) -> None:
    """Raise ValueError for an .npy file whose header is not that of one plain array.

    numpy gives any header to Python's parser, and what that refuses to its tokenizer, which took
    near two seconds for one of 2,000 characters. The file is at its start, before and after.
    """
    start = file.read(HEADER_BYTES)
    file.seek(0)
    begin = 10 if start[6:7] == b"\x01" else 12  # after magic, version and length
    end = begin + int.from_bytes(start[8:begin], "little")
    if start.startswith(npy.MAGIC_PREFIX) and not HEADER.fullmatch(start[begin:end]):
        raise ValueError("a header of something else than one plain array")


def array_of(
    content: bytes | np.ndarray,
    dtype: np.dtype,
    shape: tuple[int, ...],
    fortran_order: bool,
    kinds: str,
    sides: int,
) -> np.ndarray:
    """View bytes as an array, after checking that they are one of the kinds and sides asked for.

    Raises:
        ValueError: they are not.

    >>> array_of(bytes([1, 0]), np.dtype("u1"), (1, 2), False, "u", 2)
    array([[1, 0]], dtype=uint8)
    """
    # Sides of a million digits, which a pickle may hold, are neither multiplied nor printed.
    if any(abs(side) >= 2**63 for side in shape):
        raise ValueError("a shape beyond 64 bits")
    if dtype.kind not in kinds or len(shape) != sides or not all(side > 0 for side in shape):
        raise ValueError(f"shape {shape} of {dtype}")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for shape {shape} of {dtype}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
