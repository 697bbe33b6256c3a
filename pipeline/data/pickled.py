"""Label arrays in pickles, as the method's authors released them, read without trust.

Unpickling can run any code, and numpy's own unpickling can be led to wild pointers by a forged
dtype. So names in the pickle stand for inert recorders here, and the array is built from its bytes
alone.
"""

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np

from pipeline.data.arrays import array_of

LABEL_KINDS = "biu"
# np.save of one array in a dict takes at most 122 opcodes, 6 of which copy an earlier value.
MAX_OPCODES = 300
MAX_COPIES = 20


def unpickle_labels(content: bytes) -> np.ndarray:
    """The array under 'partial_labels' in the pickle of a 0-dimensional object array.

    Returns:
        (N, C), of one of `LABEL_KINDS`.

    Raises:
        Exception: it is something else; unpickling raises of any kind.
    """
    _refuse_bombs(content)
    match _ArrayUnpickler(io.BytesIO(content)).load():
        # np.save wraps the dict in an object array, whose content is the list of its elements.
        case _PickledArray(content=[{"partial_labels": _PickledArray() as labels}]):
            dtype, shape = labels.kind.dtype(), labels.shape
            return array_of(labels.content, dtype, shape, labels.fortran_order, LABEL_KINDS, 2)
        case _:
            raise ValueError("a pickle of something else")


def _refuse_bombs(content: bytes) -> None:
    """Refuse pickles that grow when loaded.

    A few bytes can ask for gigabytes of memo, or for a dict key of tuples of copies of tuples,
    whose hash takes years. Lengths beyond the end of the file are refused by genops.
    """
    copies = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        copies += opcode.name in {"DUP", "GET", "BINGET", "LONG_BINGET"}
        far_memo = opcode.name.endswith("PUT") and int(argument or 0) > MAX_OPCODES
        if count > MAX_OPCODES or copies > MAX_COPIES or far_memo:
            raise ValueError("a pickle too intricate for one array")


class _PickledType:
    """A stand-in for numpy.dtype: keeps its code and byte order."""

    def __init__(self, code: str, *flags: object) -> None:
        self.code, self.byte_order = code, "|"

    def __setstate__(self, state: tuple) -> None:
        self.byte_order = state[1]

    def dtype(self) -> np.dtype:
        name = self.byte_order + self.code
        if not re.fullmatch(r"[<>|=][biuf]\d", name):
            raise ValueError(f"values of type {name}")
        return np.dtype(name)


class _PickledArray:
    """A stand-in for numpy.ndarray and for the function that makes an empty one, to be filled."""

    def __init__(self, *empty: object) -> None:
        self.content: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.kind, self.fortran_order, self.content = state


class _PickledBuffer(_PickledArray):
    """A stand-in for the function that protocol 5 makes arrays with."""

    def __init__(
        self, content: bytes, kind: _PickledType, shape: tuple, order: str, *axes: object
    ) -> None:
        self.__setstate__((1, shape, kind, order == "F", content))


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for codecs.encode, by which protocols below 3 write bytes, always as latin1."""
    return text.encode("latin1")


STAND_INS = {
    "numpy.ndarray": _PickledArray,
    "numpy.core.multiarray._reconstruct": _PickledArray,
    "numpy.core.numeric._frombuffer": _PickledBuffer,
    "numpy.dtype": _PickledType,
    "_codecs.encode": _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of numpy arrays, as recorders, and of nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 renamed numpy.core to numpy._core.
        full_name = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if full_name not in STAND_INS:
            raise pickle.UnpicklingError(f"a pickle that asks for {full_name}")
        return STAND_INS[full_name]
