"""What every data set yields: one split of images with their labels, in arrays.

Arrays, not lists of Python objects: forked loader workers share them, while touching a list
copies it page by page into each worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Split = Literal["train", "test"]


@dataclass(frozen=True)
class LabelledImages:
    """One split of a data set.

    Attributes:
        images: N images; item i is a (3, H, W) uint8 RGB tensor, decoded when asked for.
        classes: C class names, in the order of the columns of `targets`.
        targets: (N, C) int8: 1 true, 0 false, -1 not judged (a VOC object marked difficult).
        ids: (N,) unicode array, unique; what candidate files are aligned by.
    """

    images: Sequence[torch.Tensor]
    classes: list[str]
    targets: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)
