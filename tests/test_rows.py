from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays

from pipeline.data import rows as rows_module
from pipeline.data.rows import CandidateRows
from tests.helpers import refused, with_peak

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 6))
DENSE = arrays(np.uint8, SHAPES, elements=st.integers(0, 1))


def values_of(dense, seed=0):
    """Random values of every label, 0 outside the candidates, and those of the candidates."""
    values = np.random.default_rng(seed).normal(size=dense.shape).astype(np.float32) * dense
    return torch.from_numpy(values), torch.from_numpy(values[dense > 0])


@given(DENSE)
def test_entries_are_those_of_numpy(dense):
    rows = CandidateRows.from_dense(dense)
    image, column = np.nonzero(dense)
    assert rows.columns.tolist() == column.tolist()
    assert rows.start.tolist() == [0, *np.bincount(image, minlength=len(dense)).cumsum()]
    assert (rows.images, rows.classes) == dense.shape
    assert rows.longest == dense.sum(axis=1).max()
    assert rows.count.tolist() == dense.sum(axis=1).tolist()
    assert rows.class_count.tolist() == dense.sum(axis=0).tolist()
    assert (rows.start.dtype, rows.columns.dtype) == (torch.int64, torch.int32)


@given(DENSE, st.lists(st.integers(0, 8), max_size=12))
def test_a_batch_is_read_from_any_images_in_any_order(dense, index):
    """Images of no candidate, of all, and one image twice among them."""
    rows, (expected, entries) = CandidateRows.from_dense(dense), values_of(dense)
    index = torch.tensor(index, dtype=torch.long) % len(dense)
    assert torch.equal(rows.read(rows.table(entries), index), expected[index])


@given(DENSE)
def test_a_batch_is_written_at_its_candidates_and_nowhere_else(dense):
    rows, (expected, entries) = CandidateRows.from_dense(dense), values_of(dense)
    table = rows.table(entries)
    index = torch.arange(0, len(dense), 2).flip(0)
    new = torch.full((len(index), rows.classes), torch.inf)  # also outside the candidates
    new[:, 0] = 7
    batch = rows.batch(index)
    table[batch.positions] = batch.take(new)
    expected[index] = torch.where(torch.from_numpy(dense)[index] > 0, new, 0)
    assert torch.equal(rows.read(table, torch.arange(len(dense))), expected)
    assert table[-1] == 0


@given(DENSE)
def test_products_are_those_of_the_dense_matrix(dense):
    rows = CandidateRows.from_dense(dense)
    matrix = torch.rand(rows.classes, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rows.times(matrix), torch.from_numpy(dense).float() @ matrix)


@given(DENSE)
def test_taken_images_and_chunks_have_the_rows_of_their_images(dense):
    rows, index = CandidateRows.from_dense(dense), np.arange(len(dense))[::-2].copy()
    taken, expected = rows.take(torch.from_numpy(index)), CandidateRows.from_dense(dense[index])
    assert torch.equal(taken.start, expected.start)
    assert torch.equal(taken.columns, expected.columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "CHUNK_ENTRIES", 4)
        patch.setattr(rows_module, "CHUNK_BYTES", 2 * rows.classes)
        in_pieces = CandidateRows.from_dense(dense)
        parts = list(rows.chunks())
    assert torch.equal(in_pieces.start, rows.start)
    assert torch.equal(in_pieces.columns, rows.columns)
    assert torch.equal(torch.cat([part.count for _, part in parts]), rows.count)
    for entries, part in parts:
        assert torch.equal(part.columns, rows.columns[entries])
    if rows.images >= 4 and len(rows.columns) >= 2 * rows.images:
        assert len(parts) > 1


def test_rows_are_built_from_a_memory_mapped_file_without_a_copy_of_it(tmp_path, monkeypatch):
    """Memory that numpy and Python take: 50 MB of labels, a chunk of 1 MB at a time."""
    path = tmp_path / "labels.npy"
    dense = np.lib.format.open_memmap(path, "w+", np.uint8, (50_000, 1000))
    dense[np.arange(50_000), np.arange(50_000) % 1000] = 1
    dense.flush()
    monkeypatch.setattr(rows_module, "CHUNK_BYTES", 2**20)
    rows, peak = with_peak(CandidateRows.from_dense, np.load(path, mmap_mode="r"))
    assert torch.equal(rows.columns, (torch.arange(50_000) % 1000).int())
    assert peak < 10e6


def test_state_takes_bytes_by_the_candidate():
    columns = torch.arange(40).repeat(100)
    rows = CandidateRows(torch.arange(0, 4001, 40), columns, classes=10_000)
    table = rows.table(torch.zeros(4000))
    assert rows.start.nbytes + rows.columns.nbytes + table.nbytes == 101 * 8 + 4000 * 4 + 4001 * 4


def is_mapped(values):
    """Tell whether the memory of `values` is that of a file, as the system sees it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(address, 16) for address in line.split()[0].split("-"))
        if begin <= values.data_ptr() < end:
            return "(deleted)" in line
    raise AssertionError("nowhere")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mappings")
def test_large_tables_lie_in_a_file_and_are_used_alike(monkeypatch):
    dense = np.random.default_rng(0).integers(0, 2, (50, 30), np.uint8)
    values, entries = values_of(dense)
    monkeypatch.setattr(rows_module, "MAPPED_BYTES", 1000)
    rows, small = CandidateRows.from_dense(dense), CandidateRows.from_dense(dense[:2])
    table, index = rows.table(entries), torch.tensor([7, 0, 49])
    assert is_mapped(rows.columns)
    assert is_mapped(table)
    assert not is_mapped(small.columns)
    assert torch.equal(rows.dense(index), torch.from_numpy(dense)[index].float())
    assert torch.equal(rows.read(table, index), values[index])
    batch = rows.batch(index)
    table[batch.positions] = batch.take(values[index] + 1)
    assert torch.equal(rows.read(table, index), values[index] + rows.dense(index))
    assert table[-1] == 0


def test_a_full_disk_is_named(monkeypatch):
    def full():
        raise OSError("100000 requested and 1024 written")

    monkeypatch.setattr(rows_module, "MAPPED_BYTES", 1000)
    monkeypatch.setattr(rows_module.tempfile, "TemporaryFile", full)
    with refused("has no room for .* set TMPDIR"):
        CandidateRows.from_dense(np.ones((50, 30)))
