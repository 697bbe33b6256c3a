import json
import shutil

import numpy as np
import pytest
import torch

from pipeline.data import coco
from tests.helpers import refused, remove, shown

# Neither images, annotations nor categories are in order; image 30 has no annotation.
NAMES = {90: "toothbrush", 1: "person", 7: "train"}
IMAGES = {"train": [200, 9, 30, 100], "test": [42]}
ANNOTATIONS = {
    "train": [(200, 7, 0), (9, 90, 0), (9, 1, 0), (100, 1, 1), (9, 1, 0), (200, 90, 0)],
    "test": [(42, 1, 0)],
}


@pytest.fixture
def root(tmp_path):
    """A small COCO2014, with files of three annotated images in training and one in test."""
    (tmp_path / "annotations").mkdir()
    for split, year in (("train", "train2014"), ("test", "val2014")):
        (tmp_path / "images" / year).mkdir(parents=True)
        for image in IMAGES[split]:
            (tmp_path / "images" / year / f"{image:012}.jpg").touch()
        instances_path(tmp_path, year).write_text(json.dumps(instances(split)))
    return tmp_path


def instances(split):
    return {
        "images": [{"id": image, "file_name": f"{image:012}.jpg"} for image in IMAGES[split]],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "iscrowd": crowd}
            for number, (image, category, crowd) in enumerate(ANNOTATIONS[split])
        ],
        "categories": [{"id": number, "name": name} for number, name in NAMES.items()],
    }


def instances_path(root, year="train2014"):
    return root / "annotations" / f"instances_{year}.json"


def test_rows_ascend_by_image_id_columns_by_category_id_and_crowds_count(root, capsys):
    data = coco.load(root, "train")
    assert data.classes == ["person", "train", "toothbrush"]
    assert list(data.ids) == ["9", "100", "200"]
    assert [data.images.path(row) for row in range(3)] == [
        f"{root}/images/train2014/{image:012}.jpg" for image in (9, 100, 200)
    ]
    assert data.targets.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 1]]
    assert data.targets.dtype == np.int8
    assert capsys.readouterr() == ("", "")


def test_images_without_annotation_are_left_out_and_need_no_file(root):
    (root / "images" / "train2014" / f"{30:012}.jpg").unlink()
    assert "30" not in coco.load(root, "train").ids


def test_the_test_split_is_val2014(root):
    data = coco.load(root, "test")
    assert list(data.ids) == ["42"]
    assert data.targets.tolist() == [[1, 0, 0]]
    assert data.images.path(0) == f"{root}/images/val2014/{42:012}.jpg"


def write(content):
    return lambda root: instances_path(root).write_text(content)


def edit(**entries):
    return write(json.dumps(instances("train") | entries))


ANNOTATION = {"id": 1, "image_id": 9, "category_id": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "annotations .*_train2014.json, but found: No such file.* --path_images"),
        (remove("annotations"), "_train2014.json, but found: No such file.* --path_images must"),
        (remove("images", "train2014"), "folder .*train2014, but found: No such file.*; check"),
        (remove("images", "train2014", f"{9:012}.jpg"), "hold 3 images, .* lacks 1, first 0+9.jpg"),
        (write(""), "must be COCO instances, .*but found: Expecting value: .*; download"),
        (write('{"images": ['), "must be COCO instances, .*but found: Expecting value: .*; downl"),
        (write("[" * 100_000), "must be COCO instances, .*but found: .+; download"),
        (write("[]"), "must be COCO instances, .*but found: .*list.* not supported; download"),
        (write("{}"), "must be COCO instances, .*but found: no 'annotations'; download"),
        (edit(annotations=[]), "must be COCO instances, .*but found: no annotation; download"),
        (edit(annotations=None), "must be COCO instances, .*but found: .*NoneType.*; download"),
        (edit(annotations=[{"id": 1, "image_id": 9, "caption": "A"}]), "found: no 'category_id'"),
        (edit(annotations=[ANNOTATION | {"image_id": 5}]), "annotation of image_id 5, which is no"),
        (edit(annotations=[ANNOTATION | {"category_id": 5}]), "of category_id 5, which is not l"),
        (edit(annotations=[ANNOTATION | {"image_id": 2**70}]), "COCO instances.* too large"),
        (edit(images=[{"id": 9}, {"id": 100}, {"id": 200}]), "found: no 'file_name'; download"),
        (edit(images=[*instances("train")["images"], {"id": 9.0}]), "two images of id 9; download"),
        (edit(categories=[{"id": 7}, {"id": "7"}]), "two categories of id 7; download"),
        (
            edit(annotations=[ANNOTATION | {"image_id": 9.5}]),
            "found: the id 9.5, which is no whole",
        ),
        (edit(annotations=[ANNOTATION | {"category_id": True}]), "found: the id True, which is no"),
    ],
)
def test_a_damaged_folder_gives_one_line_with_found_and_remedy(root, change, message):
    change(root)
    with refused(message):
        coco.load(root, "train")


def as_texts(content, kinds):
    """The content with ids of some kinds as texts."""
    return {
        kind: [{k: str(v) if k in kinds and "id" in k else v for k, v in i.items()} for i in items]
        for kind, items in content.items()
    }


@pytest.mark.parametrize("kinds", [("image_id", "category_id"), ("id",), ("id", "image_id")])
def test_an_id_that_is_a_number_here_and_a_text_there_is_one(root, kinds):
    expected = coco.load(root, "train")
    instances_path(root).write_text(json.dumps(as_texts(instances("train"), kinds)))
    data = coco.load(root, "train")
    assert (list(data.ids), data.classes) == (list(expected.ids), expected.classes)
    np.testing.assert_array_equal(data.targets, expected.targets)


def test_ids_may_be_texts_and_come_after_numbers(root):
    content = json.dumps(instances("train"))
    for image in (100, 200):
        content = content.replace(f'id": {image},', f'id": "photo {image}",')
    instances_path(root).write_text(content)
    data = coco.load(root, "train")
    assert list(data.ids) == ["9", "photo 100", "photo 200"]
    assert data.targets.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("split", "year", "count"), [("train", "train2014", 126), ("test", "val2014", 128)]
)
def test_real_photos_have_the_labels_that_a_plain_loop_finds(shared, split, year, count):
    data = coco.load(shared / "COCO2014", split)
    content = json.loads(instances_path(shared / "COCO2014", year).read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    expected = {}
    for item in content["annotations"]:
        expected.setdefault(str(item["image_id"]), set()).add(names[item["category_id"]])
    assert shown(data) == expected
    assert len(data) == len(data.images) == count
    assert [int(image) for image in data.ids] == sorted(int(image) for image in data.ids)
    assert data.images[0].dtype == torch.uint8
    assert data.images[count - 1].shape[0] == 3
    assert data.classes == coco.CLASSES
    assert (len(coco.CLASSES), coco.CLASSES[0], coco.CLASSES[-1]) == (80, "person", "toothbrush")
