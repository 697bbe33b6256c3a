import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.page import MAP_SIDE
from pipeline.review.scan import entries_of, fold_rows, small_maps


def test_entries_come_image_by_image():
    candidates = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 1]], np.uint8)
    entries = entries_of(candidates)
    assert entries.starts.tolist() == [0, 2, 2, 4]
    for row, (start, end) in enumerate(zip(entries.starts, entries.starts[1:])):
        assert (entries.rows[start:end] == row).all()
        assert entries.columns[start:end].tolist() == np.flatnonzero(candidates[row]).tolist()


def test_a_map_is_its_positive_part_by_its_own_maximum():
    cams = torch.full((1, 2, 2, 2), -1.0)
    cams[0, 0, 0, 1] = 0.25
    maps = small_maps(cams)
    assert maps.shape == (1, 2, MAP_SIDE, MAP_SIDE)
    assert maps[0, 0, 0, -1] == 255
    assert maps[0, 0, -1, 0] == 0
    assert not maps[0, 1].any()


@given(st.integers(4, 90), st.integers(2, 4), st.integers(0, 5))
def test_folds_share_no_image_and_leave_none_out(images, folds, seed):
    parts = fold_rows(images, folds, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(images))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all((np.diff(part) > 0).all() for part in parts)


def test_folds_depend_on_the_seed_alone():
    assert all(np.array_equal(a, b) for a, b in zip(fold_rows(50, 3, 1), fold_rows(50, 3, 1)))
    assert not np.array_equal(fold_rows(50, 3, 1)[0], fold_rows(50, 3, 2)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_of_any_precision(dtype):
    assert small_maps(torch.ones(1, 1, 3, 3, dtype=dtype)).min() == 255
