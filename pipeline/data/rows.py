"""Candidates by image in compressed rows: state of their number, not of images x classes."""

import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from utils.errors import UserError

Tensor = torch.Tensor
CHUNK_BYTES = 2**24  # of a dense array looked at in one go
CHUNK_ENTRIES = 2**20  # of candidates computed on in one go
MAPPED_BYTES = 2**30  # of a table on the CPU, above which it lies on the disk


class Batch(NamedTuple):
    """Positions of the candidates of B images, each image's padded to the largest number, L.

    positions: (B, L) int64, entries of a table of values; past an image's last, the spare one.
    columns: (B, L) int64, their classes; past an image's last, 0.
    inside: (B, L) bool, false past an image's last.
    classes: C.
    """

    positions: Tensor
    columns: Tensor
    inside: Tensor
    classes: int

    def take(self, dense: Tensor) -> Tensor:
        """The candidates' values (B, L) of all labels' (B, C); 0 past an image's last."""
        return torch.where(self.inside, dense.gather(1, self.columns), 0)

    def spread(self, values: Tensor) -> Tensor:
        """(B, C) of values (B, L) that are 0 past an image's last; 0 outside the candidates."""
        dense = values.new_zeros(len(values), self.classes)
        # What lies past the last adds 0 to class 0.
        return dense.scatter_add_(1, self.columns, values)


class CandidateRows:
    """The (N, C) matrix of candidates, as the classes of each image's.

    A table of values has one for each candidate, image by image and, in these, class by class; at
    its end it has a spare one that is always 0. So a batch has a fixed shape, whatever its images'
    numbers of candidates, and nothing waits for the device to learn these. Large tables on the CPU,
    and the rows themselves, are mapped to memory.

    Args:
        start: (N + 1,) int64 from 0 up to the number of entries: image i's are start[i] to
            start[i + 1].
        columns: (entries,) integers, their classes, ascending within an image.
        classes: C.

    Attributes:
        start: as above.
        columns: as above, int32.
        images, classes: N and C.
        longest: L, the largest number of candidates of an image.

    >>> rows = CandidateRows.from_dense(np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]]))
    >>> rows.start.tolist(), rows.columns.tolist()
    ([0, 2, 2, 3], [0, 2, 1])
    >>> rows.read(rows.table(torch.tensor([0.5, 0.6, 0.7])), torch.tensor([2, 0]))
    tensor([[0.0000, 0.7000, 0.0000],
            [0.5000, 0.0000, 0.6000]])
    """

    def __init__(self, start: Tensor, columns: Tensor, classes: int) -> None:
        self.start, self.classes, self.images = start, classes, len(start) - 1
        self._padded_columns = self.table(columns.int())
        self.columns = self._padded_columns[:-1]
        self.longest = int(start.diff().max()) if self.images else 0

    @classmethod
    def from_dense(cls, candidates: np.ndarray | Tensor) -> "CandidateRows":
        """The rows of (N, C) candidates in {0, 1}, in memory or mapped to it, on the CPU.

        What it takes beside the result does not grow with N.
        """
        dense = np.asarray(candidates)
        images, classes = dense.shape
        counts, columns = np.zeros(images + 1, np.int64), [np.zeros(0, np.int32)]
        step = max(1, CHUNK_BYTES // max(classes, 1))
        for first in range(0, images, step):
            image, column = np.nonzero(dense[first : first + step] != 0)
            found = np.bincount(image)
            counts[first + 1 : first + 1 + len(found)] = found
            columns.append(column.astype(np.int32))
        start = torch.from_numpy(counts.cumsum())
        return cls(start, torch.from_numpy(np.concatenate(columns)), classes)

    def to(self, device: torch.device | str) -> "CandidateRows":
        return CandidateRows(self.start.to(device), self.columns.to(device), self.classes)

    @property
    def device(self) -> torch.device:
        return self.start.device

    @property
    def count(self) -> Tensor:
        """(N,) int64, candidates of each image."""
        return self.start.diff()

    @property
    def class_count(self) -> Tensor:
        """(C,) int64, candidates of each class."""
        return torch.bincount(self.columns, minlength=self.classes)

    def table(self, values: Tensor) -> Tensor:
        """A table of values (entries,), with the spare one."""
        return mapped_if_large(F.pad(values, (0, 1)))

    def batch(self, index: Tensor) -> Batch:
        """Positions of the candidates of the images at `index` (B,)."""
        first, last = self.start[index, None], self.start[index + 1, None]
        positions = first + torch.arange(self.longest, device=self.device)
        inside = positions < last
        positions = torch.where(inside, positions, len(self.columns))
        return Batch(positions, self._padded_columns[positions].long(), inside, self.classes)

    def read(self, table: Tensor, index: Tensor) -> Tensor:
        """(B, C) values of the images at `index` (B,); 0 outside their candidates."""
        batch = self.batch(index)
        return batch.spread(table[batch.positions])

    def dense(self, index: Tensor) -> Tensor:
        """(B, C) float32 in {0, 1}, the candidates of the images at `index` (B,)."""
        batch = self.batch(index)
        return batch.spread(batch.inside.float())

    def times(self, matrix: Tensor) -> Tensor:
        """The product S M, (N, K) float, of the candidates with a matrix (C, K)."""
        return F.embedding_bag(
            self.columns, matrix, self.start.int(), mode="sum", include_last_offset=True
        )

    def take(self, index: Tensor) -> "CandidateRows":
        """The rows of the images at `index` (B,)."""
        count = self.count[index]
        start = F.pad(count.cumsum(0), (1, 0))
        moved = (self.start[index] - start[:-1]).repeat_interleave(count)
        entries = torch.arange(len(moved), device=self.device) + moved
        return CandidateRows(start, self.columns[entries], self.classes)

    def chunks(self) -> Iterator[tuple[slice, "CandidateRows"]]:
        """The rows in parts of about a million entries, and the entries of each."""
        step = max(1, CHUNK_ENTRIES * self.images // max(len(self.columns), 1))
        for first in range(0, self.images, step):
            start = self.start[first : first + step + 1]
            entries = slice(int(start[0]), int(start[-1]))
            yield entries, CandidateRows(start - start[0], self.columns[entries], self.classes)


def mapped_if_large(values: Tensor) -> Tensor:
    """`values`, those of the CPU above `MAPPED_BYTES` in a file without a name, mapped to memory.

    Between checkpoints the machine keeps of them what is in use and it has room for. The file lies
    where TMPDIR says.

    Raises:
        UserError: there is no room for it.
    """
    if values.device.type != "cpu" or values.nbytes <= MAPPED_BYTES:
        return values
    try:
        with tempfile.TemporaryFile() as file:
            values.numpy().tofile(file)
            file.flush()
            return torch.from_numpy(np.memmap(file, values.numpy().dtype, "r+", shape=len(values)))
    except OSError as error:  # numpy's of a full disk names nothing
        raise UserError(
            f"{tempfile.gettempdir()} has no room for {values.nbytes / 2**30:.1f} GiB of values of "
            "candidates: set TMPDIR to a folder on a larger disk"
        ) from error
