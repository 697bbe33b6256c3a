import functools
import json
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data import cache
from pipeline.data.cache import shrink
from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages
from pipeline.data.transforms import evaluation_transform
from utils.errors import UserError

NAMES = [f"{i}.png" for i in range(5)]
SIZES = [(40, 60), (60, 40), (10, 12), (33, 33), (1, 90)]


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(0)
    for name, size in zip(NAMES, SIZES):
        Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / name)
    return open_images(tmp_path, NAMES, ["x"], np.ones((5, 1), np.int8))


def shrinking(side):
    return functools.partial(shrink, side=side)


def cache_images(data, folder, side=20):
    return cache.cache_images(data, folder, shrinking(side), f"short{side}")


def test_cached_images_are_the_prepared_ones(data, tmp_path):
    cached = cache_images(data, tmp_path / "c")
    assert isinstance(cached.images, cache.CachedImages)
    assert list(cached.ids) == list(data.ids)
    for row in (4, 0, 2, 1, 3):
        assert torch.equal(cached.images[row], shrinking(20)(data.images[row]))
    with pytest.raises(IndexError):
        cached.images[5]


def test_the_test_resize_commutes_with_its_cache(data, tmp_path):
    resize = evaluation_transform(24)
    cached = cache.cache_images(data, tmp_path / "c", resize, "square24")
    for row in range(5):
        assert torch.equal(resize(cached.images[row]), resize(data.images[row]))


def test_an_image_that_changed_on_the_disk_is_refused(data, tmp_path):
    cached = cache_images(data, tmp_path / "c")
    (file,) = (tmp_path / "c").glob("*.pixels")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert torch.equal(cached.images[0], shrinking(20)(data.images[0]))
    with pytest.raises(UserError, match="has changed on the disk: delete it"):
        cached.images[4]


@pytest.mark.parametrize(("size", "expected"), [((40, 60), (20, 30)), ((10, 12), (10, 12))])
def test_shrinking_keeps_the_aspect_and_never_enlarges(size, expected):
    assert shrink(torch.zeros(3, *size, dtype=torch.uint8), 20).shape[1:] == expected


def count_builds(monkeypatch):
    builds, build = [], cache.build
    monkeypatch.setattr(cache, "build", lambda *a: builds.append(1) or build(*a))
    return builds


def test_a_cache_is_built_once_and_again_when_a_source_changes(data, tmp_path, monkeypatch):
    builds = count_builds(monkeypatch)
    for expected in (1, 1):
        cache_images(data, tmp_path / "c")
        assert len(builds) == expected
    Image.new("RGB", (50, 50), "red").save(tmp_path / NAMES[1])
    cached = cache_images(data, tmp_path / "c")
    assert len(builds) == 2
    assert cached.images[1][:, 3, 3].tolist() == [255, 0, 0]
    os.utime(tmp_path / NAMES[0], ns=(1, 1))
    cache_images(data, tmp_path / "c")
    assert len(builds) == 3
    assert len(list((tmp_path / "c").iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncate", "no index", "bad index"])
def test_a_damaged_cache_is_built_again(damage, data, tmp_path, monkeypatch):
    builds = count_builds(monkeypatch)
    cache_images(data, tmp_path / "c")
    (file,) = (tmp_path / "c").glob("*.pixels")
    (index,) = (tmp_path / "c").glob("*.json")
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text(json.dumps({"shapes": 3}))
    cached = cache_images(data, tmp_path / "c")
    assert len(builds) == 2
    assert torch.equal(cached.images[3], shrinking(20)(data.images[3]))


def test_settings_have_caches_of_their_own(data, tmp_path):
    for side, shape in ((20, (3, 20, 30)), (30, (3, 30, 45))):
        assert cache_images(data, tmp_path / "c", side).images[0].shape == shape


def test_an_unreadable_image_leaves_no_cache(data, tmp_path):
    (tmp_path / NAMES[2]).write_bytes(b"no image")
    with pytest.raises(UserError, match=f"cannot decode image .*{NAMES[2]}"):
        cache_images(data, tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())


def test_a_disk_without_room_is_said_at_the_start(tmp_path):
    usage = cache.shutil.disk_usage(tmp_path).free
    with pytest.raises(UserError, match="--cache needs about .* GiB in .*, but .* GiB are free"):
        cache.check_room(tmp_path / "x.pixels", 2.0 * usage)
    cache.check_room(tmp_path / "x.pixels", 1.0)


def test_workers_get_the_file_and_not_its_content(data, tmp_path):
    cached = cache_images(data, tmp_path / "c").images
    stored = pickle.dumps(cached)
    assert len(stored) < 2000
    assert torch.equal(pickle.loads(stored)[0], cached[0])


def test_a_name_that_is_no_utf_8_is_cached(tmp_path):
    name = "caf\udce9.png"
    Image.new("RGB", (4, 4)).save(tmp_path / name)
    data = open_images(tmp_path, [name], ["x"], np.ones((1, 1), np.int8))
    assert cache_images(data, tmp_path / "c").images[0].shape == (3, 4, 4)


def test_images_in_memory_stay_as_they_are(tmp_path):
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    data = LabelledImages(images, ["x"], np.ones((2, 1), np.int8), ["a", "b"])
    assert cache_images(data, tmp_path / "c") is data
    assert not (tmp_path / "c").exists()
