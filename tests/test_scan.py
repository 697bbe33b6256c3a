import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.labelled import LabelledImages
from pipeline.evaluation import Trained
from pipeline.model.classifier import Output
from pipeline.review.folds import fold_rows
from pipeline.review.page import MAP_SIDE
from pipeline.review.scan import Scan, entries_of, small_maps


def test_entries_come_image_by_image():
    candidates = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 1]], np.uint8)
    entries = entries_of(candidates)
    assert entries.starts.tolist() == [0, 2, 2, 4]
    for row, (start, end) in enumerate(zip(entries.starts, entries.starts[1:])):
        assert (entries.rows[start:end] == row).all()
        assert entries.columns[start:end].tolist() == np.flatnonzero(candidates[row]).tolist()


class Echo(torch.nn.Module):
    """Logits of the image's first pixel and the class; class c's map peaks in its corner c."""

    def forward(self, images):
        logits = images[:, 0, 0, 0, None].float() + torch.tensor([0.0, 0.25, 0.5])
        cams = torch.zeros(len(images), 3, 2, 2)
        for c, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):
            cams[:, c, row, column] = 1
        return Output(logits, torch.zeros(len(images), 1, 2, 2), cams)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_seen_lands_on_its_image_and_candidate(workers, tmp_path):
    images = torch.arange(40, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 8, 8)
    candidates = np.zeros((40, 3), np.uint8)
    candidates[::2, 2], candidates[::3, 0] = 1, 1  # some have none
    data = LabelledImages(images, ["a", "b", "c"], candidates, [str(i) for i in range(40)])
    entries = entries_of(candidates)
    scan = Scan(data, entries, tmp_path)
    trained = Trained(Echo(), None, {"img_size": 8}, torch.device("cpu"), None)
    parts = fold_rows(40, 2, 0)
    for rows in parts:
        scan.add(trained, rows, workers, 7)
    expected = np.arange(40)[:, None] + np.array([0, 0.25, 0.5])
    assert np.array_equal(scan.logits, expected)
    corners = {0: (0, 0), 2: (-1, 0)}
    for column, of_candidate in zip(entries.columns, scan.maps):
        assert of_candidate[corners[column]] == 255
        assert of_candidate[-1, -1] < 128
    assert [rows.tolist() for rows in scan.parts] == [rows.tolist() for rows in parts]
    for i in (0, 17, 39):
        with Image.open(tmp_path / "thumbs" / "0" / f"{i}.jpg") as picture:
            assert picture.getpixel((4, 4)) == (i, i, i)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [3, 7, 14, 28])
def test_a_map_of_any_size_and_precision_reaches_its_maximum(side, dtype):
    cams = torch.zeros(1, 1, side, side, dtype=dtype)
    cams[0, 0, side // 2, side // 2] = 3
    assert small_maps(cams).max() == 255


def test_folds_depend_on_the_seed_alone():
    assert all(np.array_equal(a, b) for a, b in zip(fold_rows(50, 3, 1), fold_rows(50, 3, 1)))
    assert not np.array_equal(fold_rows(50, 3, 1)[0], fold_rows(50, 3, 2)[0])
