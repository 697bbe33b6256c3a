"""The yield of every data set: one split of images with their labels, in arrays.

Arrays, not lists of Python objects: forked loader workers share them, while touching a list
copies it page by page into each worker.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
import torch

from utils.errors import UserError

Split = Literal["train", "test"]
# Targets up to 128 MiB may be of any classes; larger ones of as many for each label that is listed.
SMALL, CLASSES_A_LABEL = 1 << 27, 1024


class Texts(Sequence[str]):
    """Many strings in one buffer, as long as they are: no object each, no padding to the longest.

    >>> Texts(["a.jpg", "", "é.png"])[-1]
    'é.png'
    """

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._buffer = b"".join(encoded)
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._bounds = np.concatenate([[0], lengths.cumsum()])

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Texts": ...
    def __getitem__(self, index: int | slice) -> "str | Texts":
        if isinstance(index, slice):
            return Texts(self[i] for i in range(*index.indices(len(self))))
        row = range(len(self))[index]  # negative indices and IndexError as in any sequence
        content = self._buffer[self._bounds[row] : self._bounds[row + 1]]
        return content.decode("utf-8", "surrogateescape")


def check_classes(path: object, images: int, classes: Collection[str], labels: int) -> None:
    """Refuse classes that are far too many for the labels of a list, before memory is taken.

    Args:
        path: of the list.
        images: N.
        classes: C names, as found in the list.
        labels: how many the images have in all.

    Raises:
        UserError: they are, as where a wrong separator makes a class of every image's labels.
    """
    if images * len(classes) > max(SMALL, CLASSES_A_LABEL * (images + labels)):
        first = ", ".join(repr(name[:30]) for name in list(classes)[:2])
        raise UserError(
            f"{path}: expected classes that images share, but read {len(classes)} ({first}, ...) "
            f"from {images} images: give the right --separator, or the classes' names by --classes"
        )


@dataclass(frozen=True)
class LabelledImages:
    """One split of a data set.

    Attributes:
        images: N images; item i is a (3, H, W) uint8 RGB tensor, decoded when asked for.
        classes: C class names, in the order of the columns of `targets`.
        targets: (N, C) int8: 1 true, 0 false, -1 not judged (a VOC object marked difficult). In
            training, labels whose noise is as found count as true here.
        ids: N unique texts; what candidate files are aligned by.
        true_targets: (N, C) int8 in {0, 1}, the truth behind labels whose noise is as found,
            where somebody knows it, and -1 where nobody does; training does not look at it.
        verified: (N,) bool: where somebody has checked every label, so that training may take
            `true_targets` for known, of a training split; None where there are none.
        missing: names of the listed images that were left out, having no file.
    """

    images: Sequence[torch.Tensor]
    classes: list[str]
    targets: np.ndarray
    ids: Sequence[str]
    true_targets: np.ndarray | None = None
    missing: tuple[str, ...] = ()
    verified: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)
