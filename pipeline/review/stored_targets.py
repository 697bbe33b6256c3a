"""The targets that a run of recipe `posterior` made before training, as its checkpoint has them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils import tensor_files
from utils.run_folder import CHECKPOINT


class StoredTargets(NamedTuple):
    """The probability of each label of N training images to the run, before it trained.

    values: (N, C) float32, of the candidates; 0 elsewhere. of_others: (N, C) float32, of the other
    labels; None where none is missing. held_out: (V, C) float32, of the candidates of verified
    images in the order of their rows, without knowing them; None where there is none.
    """

    values: np.ndarray
    of_others: np.ndarray | None
    held_out: np.ndarray | None


def read_targets(folder: Path, candidates: np.ndarray, verified: int) -> StoredTargets | None:
    """The targets of a run; None where it has none, or none any more.

    Args:
        folder: of the run.
        candidates: (N, C) uint8, with the truth of verified images in place of theirs.
        verified: V.
    """
    shape = candidates.shape
    try:
        method = tensor_files.load(folder / CHECKPOINT, mmap=True)["method"]
        values = np.zeros(shape, np.float32)
        values[candidates == 1] = method["confidence"]["values"].numpy()
        others, held_out = (
            None if (found := method.get(name)) is None else found.float().numpy().reshape(size)
            for name, size in (("of_others", shape), ("held_out", (verified, shape[1])))
        )
    except Exception:  # no last.pt, a damaged one, or one of other candidates
        return None
    return StoredTargets(values, others, held_out)
