"""Features kept under the images' content."""

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data import feature_store
from pipeline.data.feature_store import FeatureStore, image_hashes
from pipeline.data.images import ImageFiles
from utils.errors import UserError


def batches(features, size=3):
    return (features[first : first + size] for first in range(0, len(features), size))


@pytest.fixture
def hashes():
    return np.random.default_rng(0).integers(0, 256, (10, 32)).astype(np.uint8)


@pytest.fixture
def features():
    return np.random.default_rng(1).normal(size=(10, 4, 2, 2)).astype(np.float16)


def test_what_is_stored_is_found_in_any_order(tmp_path, hashes, features, monkeypatch):
    monkeypatch.setattr(feature_store, "PART_BYTES", features[:4].nbytes)
    store = FeatureStore(tmp_path, "trunk")
    store.add(hashes, batches(features))
    order = np.array([7, 2, 9, 2, 0])
    found, missing = store.find(hashes[order])
    assert len(found.parts) > 1
    assert not len(missing)
    assert (found.take(range(5)).numpy() == features[order]).all()
    assert torch.allclose(found.pooled(), torch.from_numpy(features[order]).float().mean((2, 3)))


def test_only_what_is_missing_is_asked_for_again(tmp_path, hashes, features):
    store = FeatureStore(tmp_path, "trunk")
    assert store.find(hashes)[1].tolist() == list(range(10))
    store.add(hashes[:6], batches(features[:6]))
    assert store.find(hashes)[1].tolist() == [6, 7, 8, 9]
    store.add(hashes[6:], batches(features[6:]))
    assert (store.find(hashes)[0].take(range(10)).numpy() == features).all()
    assert len(FeatureStore(tmp_path, "other").find(hashes)[1]) == 10


def test_what_a_killed_run_has_stored_counts(tmp_path, hashes, features, monkeypatch):
    monkeypatch.setattr(feature_store, "PART_IMAGES", 3)

    def killed():
        yield from list(batches(features))[:2]
        raise KeyboardInterrupt

    store = FeatureStore(tmp_path, "trunk")
    with pytest.raises(KeyboardInterrupt):
        store.add(hashes, killed())
    assert store.find(hashes)[1].tolist() == [6, 7, 8, 9]


def test_a_disk_too_small_is_refused_before_anything_is_written(
    tmp_path, hashes, features, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(UserError, match="GiB are free: give another folder as --cache"):
        FeatureStore(tmp_path, "trunk").add(hashes, batches(features))
    assert not (tmp_path / "trunk").exists()


@pytest.mark.parametrize("which", ["*.hashes.npy", "*[0-9a-f].npy"])
def test_a_damaged_part_is_computed_again(tmp_path, hashes, features, which):
    store = FeatureStore(tmp_path, "trunk")
    store.add(hashes, batches(features))
    (path,) = [
        each for each in store.path.glob(which) if which[1] == "." or "hash" not in each.name
    ]
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"x" * 200):
        path.write_bytes(damaged)
        assert len(store.find(hashes)[1]) == 10
    store.add(hashes, batches(features))
    assert (store.find(hashes)[0].take(range(10)).numpy() == features).all()


@given(position=st.integers(128, 10 * 4 * 2 * 2 * 2 + 127), bit=st.integers(0, 7))
def test_a_flipped_bit_is_computed_again(position, bit):
    hashes = np.random.default_rng(0).integers(0, 256, (10, 32)).astype(np.uint8)
    features = np.random.default_rng(1).normal(size=(10, 4, 2, 2)).astype(np.float16)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), "trunk")
        store.add(hashes, batches(features))
        (path,) = (each for each in store.path.iterdir() if "hashes" not in each.name)
        content = bytearray(path.read_bytes())
        content[position] ^= 1 << bit
        path.write_bytes(content)
        assert store.find(hashes)[1].tolist() == [(position - 128) // 32]


def photo_files(folder, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 8, 8, 3), np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{number}.png")
    return ImageFiles(folder, [f"{number}.png" for number in range(3)])


def test_hashes_are_those_of_the_bytes_and_kept(tmp_path, monkeypatch):
    photos, kept = tmp_path / "photos", tmp_path / "kept"
    photos.mkdir()
    images = photo_files(photos)
    first = image_hashes(images, kept)
    shutil.copytree(photos, tmp_path / "moved")
    moved = ImageFiles(tmp_path / "moved", images.names)
    assert (image_hashes(moved, kept) == first).all()
    with monkeypatch.context() as patch:
        patch.setattr(feature_store.hashlib, "sha256", refuse_bytes(feature_store.hashlib.sha256))
        assert (image_hashes(images, kept) == first).all()
    shutil.copy(photos / "1.png", photos / "0.png")
    changed = image_hashes(images, kept)
    assert (changed[0] == first[1]).all()
    assert (changed[1:] == first[1:]).all()


def refuse_bytes(sha256):
    """Hashing of names, not of photos, which begin as PNG does."""

    def checked(content=b""):
        assert not content.startswith(b"\x89PNG")
        return sha256(content)

    return checked


def test_images_in_memory_are_hashed_by_their_pixels(tmp_path):
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    found = image_hashes(images, tmp_path)
    assert (found[0] != found[1]).any()
    assert (image_hashes(images.flip(0), tmp_path) == found[::-1]).all()


def test_what_a_killed_process_left_of_hashes_is_removed_after_an_hour(tmp_path):
    old, new = (
        tmp_path / "store" / ".123.part.images-00.npy",
        tmp_path / "store" / ".124.part.images-00.npy",
    )
    old.parent.mkdir()
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    image_hashes(photo_files(tmp_path), old.parent)
    assert not old.exists()
    assert new.exists()  # another may be writing it


def test_a_pipe_named_like_a_photo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UserError, match="pipe.jpg: it is a folder, pipe or device"):
        image_hashes(ImageFiles(tmp_path, ["pipe.jpg"]), tmp_path)
