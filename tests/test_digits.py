import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from pipeline.data import digits


@pytest.fixture(scope="module")
def splits():
    return {split: digits.load(split) for split in ("train", "test")}


@pytest.fixture
def drawn(monkeypatch):
    """Collect, for each scene drawn, the stacks of digits to draw one of each from."""
    scenes = []

    def record(stacks, generator):
        scenes.append(stacks)
        return np.zeros((3, digits.SIZE, digits.SIZE), np.uint8)

    monkeypatch.setattr(digits, "draw_scene", record)
    return scenes


def pixels(stacks):
    return {(16 * image).astype(int).tobytes() for stack in stacks for image in stack}


def test_splits_have_their_sizes_and_one_value_per_image_and_class(splits):
    for split, count in (("train", 2000), ("test", 1000)):
        data = splits[split]
        assert data.images.shape == (count, 3, 64, 64)
        assert data.images.dtype == data.images[0].dtype == torch.uint8
        assert data.targets.shape == (count, 10)
        assert data.targets.dtype == np.int8
        assert set(np.unique(data.targets)) == {0, 1}
        assert len(data) == len(set(data.ids)) == count
    assert splits["train"].classes == splits["test"].classes
    assert len(set(data.classes)) == 10
    assert not set(splits["train"].ids) & set(splits["test"].ids)


def test_a_seed_fixes_every_pixel_and_label_on_any_machine(splits):
    content = hashlib.sha256()
    for data in splits.values():
        content.update(data.images.numpy().tobytes() + data.targets.tobytes())
    assert content.hexdigest() == "2c34fd3286dcf96988bfbb68cc0e57edd21b596259fc6550d4af2a65e5e4b8a9"


def test_another_seed_makes_other_scenes(splits):
    other = digits.load("test", seed=1)
    assert (other.images != splits["test"].images).float().mean() > 0.5
    assert (other.targets != splits["test"].targets).any()


def test_a_scene_shows_one_to_four_digits_each_number_often(splits):
    for data in splits.values():
        counts = np.bincount(data.targets.sum(axis=1), minlength=6)
        assert counts[0] == counts[5] == 0
        assert (counts[1:5] > 0.1 * len(data)).all()


def test_digits_go_together_alike_in_both_splits(splits):
    correlations = [np.corrcoef(data.targets.T) for data in splits.values()]
    for correlation in correlations:
        others = correlation[~np.eye(10, dtype=bool)]
        assert others.max() > 0.4
        assert others.min() < -0.3
    assert np.abs(correlations[0] - correlations[1]).max() < 0.15


def test_train_and_test_share_no_digit_image_and_use_all(drawn):
    digits.load("train")
    train = set.union(*map(pixels, drawn))
    drawn.clear()
    digits.load("test")
    test = set.union(*map(pixels, drawn))
    assert not train & test
    assert len(train | test) == 1797


def test_targets_name_the_digits_drawn(drawn):
    data = digits.load("test")
    genuine = load_digits()
    label = {image.astype(int).tobytes(): c for image, c in zip(genuine.images, genuine.target)}
    for stacks, target in zip(drawn, data.targets):
        shown = [{label[content] for content in pixels([stack])} for stack in stacks]
        assert all(len(classes) == 1 for classes in shown)
        assert sorted(c for classes in shown for c in classes) == np.flatnonzero(target).tolist()


def test_four_digits_lie_in_four_quarters_at_various_places_and_sizes():
    solid = [np.ones((1, 8, 8))] * 4  # drawn as a square of one colour, beside noise
    places = set()
    for seed in range(20):
        scene = digits.draw_scene(solid, np.random.default_rng(seed))
        for quarter in scene.reshape(3, 2, 32, 2, 32).transpose(1, 3, 0, 2, 4).reshape(4, 3, -1):
            colours, counts = np.unique(quarter, axis=1, return_counts=True)
            side = round(counts.max() ** 0.5)
            square = (quarter == colours[:, [counts.argmax()]]).all(axis=0)
            assert 18 <= side <= 30
            assert square.sum() == side * side
            places.add((side, int(square.argmax())))
    assert len(places) > 40


@pytest.mark.parametrize("side", [18, 25, 30])
def test_enlarging_agrees_with_bilinear_interpolation_of_torch(side):
    image = load_digits().images[7] / 16
    batch, bilinear = torch.from_numpy(image)[None, None], {"mode": "bilinear"}
    expected = interpolate(batch, (side, side), **bilinear, align_corners=False)[0, 0]
    np.testing.assert_allclose(digits.enlarge(image, side), expected.numpy(), atol=1e-12)
