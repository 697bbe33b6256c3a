"""Images whose labels somebody has checked, every one of them."""

from typing import NamedTuple

import numpy as np


class Verified(NamedTuple):
    """Training images whose labels are known.

    rows: (V,) int64, ascending. truth: (V, C) uint8 in {0, 1}.
    """

    rows: np.ndarray
    truth: np.ndarray
