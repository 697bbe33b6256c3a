import os
import shutil

import numpy as np
import pytest
import torch

from pipeline.data import voc
from tests.helpers import refused, remove

# What each image shows, as (class, difficult); dictionaries keep the order the lists get.
OBJECTS = {
    "train": {
        "000007": [("dog", 0), ("dog", 1), ("cat", 1)],
        "000002": [("train", 0), ("person", 1), ("person", 1)],
        "000005": [],
    },
    "test": {"000001": [("cat", 0)], "000003": [("person", 0), ("train", 1)]},
}
SPLITS = {"train": "trainval", "test": "test"}


@pytest.fixture
def root(tmp_path):
    """A small VOCdevkit, whose class lists and annotations say the same."""
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for split, name in SPLITS.items():
        lists = folder / "ImageSets" / "Main"
        (lists / f"{name}.txt").write_text("".join(f"{image}\r\n" for image in OBJECTS[split]))
        for image, objects in OBJECTS[split].items():
            (folder / "JPEGImages" / f"{image}.jpg").touch()
            (folder / "Annotations" / f"{image}.xml").write_text(annotation(objects))
        for class_name in voc.CLASSES:
            marks = [mark(objects, class_name) for objects in OBJECTS[split].values()]
            lines = [f"{image} {sign:2}\r\n" for image, sign in zip(OBJECTS[split], marks)]
            (lists / f"{class_name}_{name}.txt").write_text("".join(lines))
    return folder.parent


def annotation(objects):
    items = (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        "<part><name>head</name></part></object>"
        for name, difficult in objects
    )
    return f"<annotation><filename>x.jpg</filename>{''.join(items)}</annotation>"


def mark(objects, class_name):
    """The mark in VOC's lists: 1 there, 0 only difficult ones, -1 absent."""
    difficult = [flag for name, flag in objects if name == class_name]
    return -1 if not difficult else int(not all(difficult))


def shown(data):
    """{id: {class: target}} of the targets that are not 0."""
    return {
        str(image): {c: int(t) for c, t in zip(data.classes, row) if t}
        for image, row in zip(data.ids, data.targets)
    }


def lists_of(root):
    return root / "VOC2007" / "ImageSets" / "Main"


def test_present_is_1_only_difficult_minus_1_absent_0_by_ascending_id(root):
    data = voc.load(root, "train")
    expected = {"000002": {"person": -1, "train": 1}, "000005": {}, "000007": {"cat": -1, "dog": 1}}
    assert shown(data) == expected
    assert list(data.ids) == list(expected)
    assert data.targets.dtype == np.int8
    assert data.images.path(2).endswith("/JPEGImages/000007.jpg")
    assert len(data.images) == len(data) == 3


def test_the_test_split_reads_its_own_lists(root):
    expected = {"000001": {"cat": 1}, "000003": {"person": 1, "train": -1}}
    assert shown(voc.load(root, "test")) == expected


def test_the_folder_voc2007_itself_will_do(root):
    data, inner = voc.load(root, "train"), voc.load(root / "VOC2007", "train")
    np.testing.assert_array_equal(data.targets, inner.targets)
    assert data.images.path(1) == inner.images.path(1)


@pytest.mark.parametrize("missing", [["dog", "train"], voc.CLASSES, []])
def test_lists_and_annotations_stand_in_for_each_other(root, missing):
    expected = shown(voc.load(root, "train"))
    for class_name in missing:
        (lists_of(root) / f"{class_name}_trainval.txt").unlink()
    if not missing:
        shutil.rmtree(root / "VOC2007" / "Annotations")
    assert shown(voc.load(root, "train")) == expected


def test_an_object_without_a_difficult_mark_counts_as_true(root):
    (lists_of(root) / "cow_trainval.txt").unlink()
    path = root / "VOC2007" / "Annotations" / "000005.xml"
    path.write_text("<annotation><object><name>cow</name></object></annotation>")
    assert shown(voc.load(root, "train"))["000005"] == {"cow": 1}


def test_a_shortened_image_list_selects_images(root):
    (lists_of(root) / "trainval.txt").write_text("000007\n\n")
    assert shown(voc.load(root, "train")) == {"000007": {"cat": -1, "dog": 1}}


def test_classes_are_twenty_in_alphabetical_order(root):
    assert len(voc.CLASSES) == 20
    assert sorted(voc.CLASSES) == voc.CLASSES
    assert voc.load(root, "train").classes == voc.load(root, "test").classes == voc.CLASSES


def test_images_are_checked_by_one_listing(root, monkeypatch):
    folder = str(root / "VOC2007" / "JPEGImages")
    listings, stats = [], []
    scandir, stat = os.scandir, os.stat
    monkeypatch.setattr("os.scandir", lambda path: listings.append(str(path)) or scandir(path))
    monkeypatch.setattr("os.stat", lambda path, **kw: stats.append(str(path)) or stat(path, **kw))
    voc.load(root, "train")
    assert listings == [folder]
    assert not [path for path in stats if path.startswith(folder)]


def write(content, *parts):
    return lambda root: root.joinpath(*parts).write_bytes(content.encode(errors="surrogateescape"))


def annotate(content):
    def change(root):
        (lists_of(root) / "dog_trainval.txt").unlink()
        (root / "VOC2007" / "Annotations" / "000005.xml").write_text(content)

    return change


def forget_annotation(root):
    annotate("")(root)
    (root / "VOC2007" / "Annotations" / "000005.xml").unlink()


MAIN = ("VOC2007", "ImageSets", "Main")
DOG = (*MAIN, "dog_trainval.txt")
LINES = "000002 -1\n000005 -1\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "VOC2007/ImageSets/Main, but there is no such folder; --path_images must"),
        (remove(*MAIN), "VOC2007/ImageSets/Main, but there is no such folder; --path_images must"),
        (remove(*MAIN, "trainval.txt"), "list .*/trainval.txt, but found: No such file.* archives"),
        (write(" \n", *MAIN, "trainval.txt"), "trainval.txt must name images, but is empty"),
        (write("000002\n000005 1\n", *MAIN, "trainval.txt"), "trainval.txt, line 2: .*'000005 1'"),
        (write("5\n5\n", *MAIN, "trainval.txt"), "trainval.txt, line 2: .*'5', which an earlier"),
        (write(LINES + "\n000007 2", *DOG), "dog_trainval.txt, line 4: expected an.*'000007 2'; "),
        (write(LINES + "000007", *DOG), "dog_trainval.txt, line 3: expected an image id and 1, 0"),
        (write("000002 -1\n\udcff\udcd8\0\n", *DOG), "line 2: expected an image id"),
        (write(LINES + "000005 1", *DOG), "line 3: .*'000005 1', which an earlier line names"),
        (write("000007 1", *DOG), "dog_trainval.txt must label all 3.* lacks 2, first 000002; un"),
        (remove("VOC2007", "JPEGImages"), "folder .*/JPEGImages, but found: No such file.*check"),
        (remove("VOC2007", "JPEGImages", "000005.jpg"), "hold 3 .*lacks 1, first 000005.jpg; bri"),
        (forget_annotation, "annotation .*/000005.xml in place.*found: No such file.*; unpack"),
        (annotate("<annotation>"), "annotation .*/000005.xml in place .*no element found.*; unp"),
        (annotate(annotation([("unicorn", 0)])), "000005.xml: .*20 classes.*'unicorn'; unpack"),
    ],
)
def test_a_damaged_folder_gives_one_line_with_found_and_remedy(root, change, message):
    change(root)
    with refused(message):
        voc.load(root, "train")


@pytest.mark.parametrize("split", SPLITS)
def test_lists_and_annotations_of_real_photos_agree(shared, split, tmp_path):
    folder = shared / "VOCdevkit" / "VOC2007"
    lists = folder / "ImageSets" / "Main"
    shutil.copy(lists / f"{SPLITS[split]}.txt", tmp_path)
    ids, by_list = voc.read_labels(lists, folder / "no annotations", split)
    same_ids, by_annotation = voc.read_labels(tmp_path, folder / "Annotations", split)
    np.testing.assert_array_equal(ids, same_ids)
    np.testing.assert_array_equal(by_list, by_annotation)
    assert set(np.unique(by_list)) == {-1, 0, 1}


@pytest.mark.parametrize(("split", "count"), [("train", 97), ("test", 100)])
def test_real_photos_decode(shared, split, count):
    data = voc.load(shared / "VOCdevkit", split)
    assert len(data) == len(data.images) == count
    assert data.images[0].dtype == torch.uint8
    assert data.images[count - 1].shape[0] == 3


def test_the_genuine_lists_give_the_published_numbers_of_images(shared):
    """The table of http://host.robots.ox.ac.uk/pascal/VOC/voc2007/dbstats.html."""
    lists = shared / "voc2007-lists" / "Main"
    ids, targets = voc.read_labels(lists, lists, "train")
    published = [238, 243, 330, 181, 244, 186, 713, 337, 445, 141]
    published += [200, 421, 287, 245, 2008, 245, 96, 229, 261, 256]
    assert (targets == 1).sum(axis=0).tolist() == published
    assert (len(ids), ids[0], ids[-1]) == (5011, "000005", "009961")
    assert (targets == -1).sum() == 607
    ids, targets = voc.read_labels(lists, lists, "test")
    assert (len(ids), ids[0], ids[-1]) == (4952, "000001", "009963")
    assert ((targets == 1).sum(), (targets == -1).sum()) == (7013, 619)


@pytest.mark.parametrize("encoding", ["gb2312", "shift_jis", "utf-16", "latin-1", "utf-8", "ascii"])
def test_an_annotation_may_be_in_any_encoding(encoding, tmp_path):
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<annotation><folder>\u7167\u7247</folder>'
    text += "<object><name>dog</name></object></annotation>"
    (tmp_path / "a.xml").write_bytes(text.encode(encoding, "replace"))
    assert voc._read_annotation(tmp_path / "a.xml")[voc.CLASSES.index("dog")] == 1


def test_bytes_beside_the_encoding_are_no_matter(tmp_path):
    """Such as GBK's, in files that declare the older GB2312."""
    text = '<?xml version="1.0" encoding="gb2312"?><annotation><folder>\u9555</folder>'
    content = f"{text}<object><name>dog</name></object></annotation>".encode("gbk")
    (tmp_path / "a.xml").write_bytes(content)
    assert voc._read_annotation(tmp_path / "a.xml")[voc.CLASSES.index("dog")] == 1


@pytest.mark.parametrize("encoding", ["nonsense", "hex", "undefined", "a" * 300])
def test_an_encoding_that_does_not_exist_is_one_line(encoding, tmp_path):
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotation/>')
    with refused("expected the annotation .*a.xml in place of missing class lists, but found: "):
        voc._read_annotation(tmp_path / "a.xml")
