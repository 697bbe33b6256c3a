import hashlib
import os

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.checks import Finding, check_files, check_labels, check_list, examine
from pipeline.data.images import ImageFiles
from pipeline.data.labelled import LabelledImages
from pipeline.data.verified import of_list

CLASSES = ["cat", "dog", "hen"]


def labels(targets, ids, true_targets=None, verified=None):
    true = None if true_targets is None else np.array(true_targets, np.int8)
    known = None if verified is None else np.array(verified)
    return LabelledImages([], CLASSES, np.array(targets, np.int8), ids, true, verified=known)


def photo(path, shade):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(path)


def files(folder, *names):
    """A split of the files `names`, whose labels do not matter."""
    return LabelledImages(ImageFiles(folder, names), CLASSES, np.ones((len(names), 3)), names)


@pytest.fixture
def folder(tmp_path):
    """Photos a, b, c, d of which no two are alike."""
    for shade, name in enumerate("abcd"):
        photo(tmp_path / f"{name}.png", shade)
    return tmp_path


# Labels


def test_images_and_classes_without_a_label_are_noted_by_split_and_difficult_is_none():
    train = labels([[1, 0, 0], [0, -1, 0], [1, 1, 0]], ["1", "2", "3"])
    test = labels([[1, 1, 1], [0, 0, 0]], ["4", "5"])
    assert check_labels(train, test) == [
        Finding("training images without a label", ["2"], False),
        Finding("classes without a training image", ["hen"], False),
        Finding("test images without a label", ["5"], False),
    ]


def test_a_class_that_only_true_labels_have_is_noted():
    train = labels([[1, 0, 0], [0, 1, 0]], ["1", "2"], [[1, 0, 0], [0, 1, 1]], [False, True])
    kind = "classes that true_labels of training images alone have, no labels"
    assert Finding(kind, ["hen"], False) in check_labels(train, labels([[1, 1, 0]], ["3"]))


def test_a_true_label_that_training_would_take_for_false_is_wrong():
    true = [[1, 0, 0], [0, 1, 0], [-1, -1, -1]]  # nobody knows the last
    train = labels([[1, 1, 0], [1, 0, 0], [0, 1, 1]], ["1", "2", "3"], true)
    test = labels(np.eye(3), ["4", "5", "6"])
    kind = "training images whose labels miss a true one"
    assert check_labels(train, test) == [Finding(kind, ["2"], True)]


def test_verified_images_that_went_to_test_are_noted():
    train = labels(np.tri(3), ["1", "2", "3"], np.tri(3), [True, True, False])
    test = labels(np.eye(3), ["4", "5", "6"], np.eye(3), [False, True, False])
    kind = "verified images in test, which training cannot know"
    assert check_labels(train, test) == [Finding(kind, ["5"], False)]


def test_an_id_in_both_splits_is_wrong():
    train, test = labels(np.ones((3, 3)), ["1", "2", "3"]), labels(np.eye(3), ["3", "4", "2"])
    kind = "images listed in training and in test"
    assert check_labels(train, test) == [Finding(kind, ["2", "3"], True)]


def test_images_of_which_no_label_can_be_dropped_are_noted():
    """As in a folder for each class."""
    test = labels(np.ones((2, 3)), ["8", "9"])
    kind = "training images of one label each: review.py never drops an image's only label"
    found = check_labels(labels(np.eye(3), ["1", "2", "3"]), test)
    assert found == [Finding(kind, ["1", "2", "3"], False)]
    assert check_labels(labels(np.tri(3), ["1", "2", "3"]), test) == []


def test_what_makes_a_careless_or_small_list_misleading_is_noted():
    classes = ["SKY", "sky", "nan", "a, b", "rare", "all"]
    train = LabelledImages(
        [], classes, np.array([[1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0, 1]]), ["1", "2"]
    )
    test = LabelledImages([], classes, np.array([[1, 0, 0, 0, 1, 0]]), ["3"])
    assert check_list(train, test) == [
        Finding("classes whose names differ in case or spaces alone", ["SKY = sky"], False),
        Finding("classes named like an empty cell", ["nan"], False),
        Finding("classes with a comma or semicolon in their name", ["a, b"], False),
        Finding("classes all of whose images are in test", ["rare"], False),
        Finding("classes that every training image has", ["all"], False),
        Finding("classes that every test image has", ["SKY", "rare"], False),
        Finding("test images, too few for their mAP to tell much", ["3"], False),
    ]
    many = labels(np.tile(np.eye(3, dtype=np.int8), (4, 1)), [str(n) for n in range(12)])
    assert check_list(many, many) == []
    none = labels(np.zeros((0, 3), np.int8), [])
    kinds = [finding.kind for finding in check_list(many, none)]
    assert "classes that every test image has" not in kinds


def test_verified_images_without_a_label_as_found_are_noted():
    found, true = np.tri(4, 3, -1), np.ones((4, 3))
    true[1] = 0
    train = labels(found[[0, 0, 0, 3]], ["1", "2", "3", "4"], true, [True, True, False, True])
    kind = "verified images without a label as found: all their true labels count as missing"
    many = labels(np.tile(np.eye(3, dtype=np.int8), (4, 1)), [str(n) for n in range(12)])
    assert check_list(train, many) == [Finding(kind, ["1"], False)]


# Files


def test_findings_do_not_depend_on_the_number_of_threads(folder):
    for name in "bd":
        (folder / f"{name}.png").write_bytes(b"no image")
    splits = files(folder, "a.png", "b.png"), files(folder, "c.png", "d.png")
    found = check_files(*splits, 1)
    assert found == check_files(*splits, 3)
    assert [len(finding.items) for finding in found] == [2]


def test_images_in_memory_have_no_files_to_check():
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    data = LabelledImages(images, CLASSES, np.eye(3, dtype=np.int8), ["1", "2", "3"])
    assert check_files(data, data, 2) == []


def test_equal_contents_are_found_between_the_splits_and_within_each(folder):
    for name, shade in (("a2", 0), ("a3", 0), ("c2", 2), ("b2", 1)):
        photo(folder / f"{name}.png", shade)
    train = files(folder, "a.png", "b.png", "a2.png", "a3.png")
    test = files(folder, "c.png", "b2.png", "c2.png", "d.png")
    path = f"{folder}/{{}}.png".format
    across = "images with the same bytes in training and in test"
    assert check_files(train, test, 2) == [
        Finding(across, [f"{path('b')} = {path('b2')}"], True),
        Finding("training images with the same bytes", [f"{path('a')} = {path('a2')}"], False),
        Finding("test images with the same bytes", [f"{path('c')} = {path('c2')}"], False),
    ]


def test_equal_contents_that_are_verified_to_be_different_are_noted(folder):
    for name, shade in (("a2", 0), ("a3", 0), ("a4", 0), ("b2", 1)):
        photo(folder / f"{name}.png", shade)
    names = [f"{name}.png" for name in ("a", "a2", "a3", "a4", "b", "b2")]
    truth = np.eye(3, dtype=np.int8)[[0, 0, 1, 2, 1, 1]]
    known = np.array([True, True, True, False, True, True])
    train = LabelledImages(ImageFiles(folder, names), CLASSES, truth, names, truth, verified=known)
    kind = "training images with the same bytes that are verified to be different"
    found = check_files(train, files(folder, "c.png", "d.png"), 2, of_list(train))
    assert found[1:] == [Finding(kind, [f"{folder}/a2.png = {folder}/a3.png"], False)]
    assert len(found[0].items) == 2


def test_damaged_files_are_not_taken_for_copies_of_each_other(folder):
    for name in "abc":
        (folder / f"{name}.png").write_bytes(b"no image")
    found = check_files(files(folder, "a.png", "b.png"), files(folder, "c.png", "d.png"), 2)
    assert [(finding.kind, len(finding.items), finding.wrong) for finding in found] == [
        ("unreadable or truncated images", 3, True)
    ]


def test_only_images_beside_listed_ones_are_unlisted(folder):
    for name in ("e.JPG", "notes.txt", "other/f.png", "inner/g.png", "inner/h.gif"):
        photo(folder / "x.png", 9)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / "x.png").rename(folder / name)
    found = check_files(files(folder, "a.png", "b.png", "inner/g.png"), files(folder, "c.png"), 2)
    unlisted = [f"{folder}/{name}" for name in ("d.png", "e.JPG", "inner/h.gif")]
    assert Finding("images that no list names", unlisted, False) in found


@pytest.mark.parametrize("name", ["./b.png", "inner/../b.png", ".//b.png"])
def test_a_listed_image_is_listed_however_its_path_is_written(folder, name):
    (folder / "inner").mkdir()
    train = files(folder, "a.png", name)
    assert check_files(train, files(folder, "c.png", "d.png"), 2) == []


@pytest.mark.parametrize("written", [".", "", "inner/.."])
def test_the_working_folder_is_listed_too(folder, monkeypatch, written):
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder)
    found = check_files(files(written, "a.png", "b.png"), files(written, "c.png"), 2)
    assert found == [Finding("images that no list names", ["d.png"], False)]


def test_a_file_is_known_by_its_content_and_a_damaged_one_by_its_name(folder):
    path = folder / "a.png"
    content = path.read_bytes()
    assert examine(str(path)) == (hashlib.sha256(content).digest(), None)
    path.write_bytes(content[:40])
    digest, problem = examine(str(path))
    assert digest == os.fsencode(path)
    assert f"cannot decode image {path}" in problem
