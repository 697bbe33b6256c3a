import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import cub200
from tests import helpers
from tests.helpers import assert_loads_or_refuses, damaged, refused, remove, with_peak

fuzz = helpers.fuzz(80)
# Neither images nor attributes are in order, so that ids tell rows and columns.
IMAGES = {
    10: "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg",
    2: "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg",
    1: "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
    7: "199.Winter_Wren/Winter_Wren_0001_189549.jpg",
}
TRAIN = {10, 1, 2}
ATTRIBUTES = {
    12: "has_back_color::blue",
    1: "has_bill_shape::curved_(up_or_down)",
    3: "has_bill_shape::hooked",
}
PRESENT = {(1, 1), (1, 12), (2, 3), (7, 12), (10, 1)}
LABELS = "attributes/image_attribute_labels.txt"


@pytest.fixture
def root(tmp_path):
    """A small CUB-200-2011 as its archive unpacks it, with attributes.txt beside the folder."""
    folder = tmp_path / "CUB_200_2011"
    (folder / "attributes").mkdir(parents=True)
    for name in IMAGES.values():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).touch()
    write_lines(folder / "images.txt", IMAGES.items())
    write_lines(folder / "train_test_split.txt", ((i, int(i in TRAIN)) for i in IMAGES))
    write_lines(tmp_path / "attributes.txt", ATTRIBUTES.items())
    write_lines(folder / LABELS, label_lines(PRESENT))
    return folder


def write_lines(path, lines):
    path.write_text("".join(" ".join(map(str, line)) + "\n" for line in lines))


def label_lines(present):
    """A line for each image and attribute, with certainty and seconds."""
    for image in IMAGES:
        for attribute in ATTRIBUTES:
            yield image, attribute, int((image, attribute) in present), 3, "27.7080"


def shown(data):
    """{id: ids of attributes} of one split."""
    by_name = {name: attribute for attribute, name in ATTRIBUTES.items()}
    return {image: {by_name[c] for c in names} for image, names in helpers.shown(data).items()}


def test_rows_ascend_by_image_id_columns_by_attribute_id(root, capsys):
    data = cub200.load(root, "train")
    names = [IMAGES[1], IMAGES[2], IMAGES[10]]
    assert data.classes == [ATTRIBUTES[1], ATTRIBUTES[3], ATTRIBUTES[12]]
    assert list(data.ids) == names
    assert [data.images.path(i) for i in range(3)] == [str(root / "images" / n) for n in names]
    assert data.targets.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert data.targets.dtype == np.int8
    assert capsys.readouterr() == ("", "")


def test_the_test_split_holds_the_other_images(root):
    data = cub200.load(root, "test")
    assert shown(data) == {IMAGES[7]: {12}}
    assert data.classes == cub200.load(root, "train").classes


@pytest.mark.parametrize("place", ["attributes", ".", ".."])
def test_attributes_may_lie_in_the_folder_and_root_be_the_one_around(root, place, monkeypatch):
    expected = shown(cub200.load(root, "train"))
    shutil.move(root.parent / "attributes.txt", root / place / "attributes.txt")
    monkeypatch.chdir(root)
    for start in (root, root.parent, "."):
        assert shown(cub200.load(start, "train")) == expected


def test_only_the_first_three_fields_of_a_label_matter(root):
    lines = ["7 1 1\n", "7 3 1 4 0 1.509\r\n", "\n", "7\t12  0 3 0 1.0 x\n", "1 3 1 1 2.4"]
    (root / LABELS).write_text("".join(lines))
    assert shown(cub200.load(root, "test")) == {IMAGES[7]: {1, 3}}


def test_what_has_no_line_is_absent(root):
    (root / LABELS).write_text("2 3 1 3 2.5\n10 1 0 3 2.5\n")
    assert list(shown(cub200.load(root, "train")).values()) == [set(), {3}, set()]


def test_missing_images_may_be_left_out(root, capsys):
    (root / "images" / IMAGES[2]).unlink()
    data = cub200.load(root, "train", allow_missing=True)
    assert shown(data) == {IMAGES[1]: {1, 12}, IMAGES[10]: {1}}
    assert f"lacks 1, first {IMAGES[2]}; going on" in capsys.readouterr().err


@fuzz
@given(present=st.sets(st.sampled_from([(i, a) for i in IMAGES for a in ATTRIBUTES])))
def test_any_labels_give_what_plain_loops_find(root, present):
    write_lines(root / LABELS, label_lines(present))
    found = shown(cub200.load(root, "train")) | shown(cub200.load(root, "test"))
    assert found == {IMAGES[i]: {a for a in ATTRIBUTES if (i, a) in present} for i in IMAGES}


def test_memory_does_not_grow_with_the_lines(root):
    """What follows the third field is not kept: 10 MB here, 70 in the genuine file."""
    lines = [" ".join(map(str, line)) + " " + "0" * 800_000 + "\n" for line in label_lines(PRESENT)]
    (root / LABELS).write_text("".join(lines))
    assert with_peak(cub200.load, root, "train")[1] < 5e6


def write(content, *parts):
    return lambda root: root.joinpath(*parts).write_bytes(content)


def label(*lines):
    return write(b"\n".join(lines), LABELS)


IMAGE = b"1 a/1.jpg\n"
SPLIT = b"10 1\n2 1\n1 1\n"
NAMES = ("..", "attributes.txt")
MARKS = "train_test_split.txt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "CUB_200_2011/images.txt, but there is no such file; --path_images must"),
        (remove("images.txt"), "images.txt, but there is no such file; --path_images must be the"),
        (remove(*NAMES), "expected attributes.txt in .*/attributes, .* or .*no such file; unpack"),
        (remove(MARKS), "list .*/train_test_split.txt, but found: No such file.*; unpack"),
        (remove(LABELS), "list .*/image_attribute_labels.txt, but found: No such file.*; unpack"),
        (remove("images"), "the image folder .*/images, but found: No such file.*; check"),
        (remove("images", IMAGES[2]), "hold 3 images, but lacks 1, first 001.Black.*34.jpg; bring"),
        (write(b" \n", "images.txt"), "images.txt must hold lines of an image id and.* is empty"),
        (write(b" \n", *NAMES), "attributes.txt must hold lines of an attribute id.* is empty; un"),
        (write(b"\n", MARKS), "train_test_split.txt must hold lines of an image id.* is empty; un"),
        (write(b"", LABELS), "image_attribute_labels.txt must label images, but is empty; unpack"),
        (write(IMAGE + b"2", "images.txt"), "images.txt, line 2: expected an image id and.*'2'; "),
        (write(IMAGE + b"x b", "images.txt"), "images.txt, line 2: .*found 'x b'; unpack"),
        (write(IMAGE + b"2 \0", "images.txt"), r"images.txt, line 2: .*found '2 \\x00'; unpack"),
        (write(IMAGE + b"2 \xff", "images.txt"), "images.txt, line 2: .*found '2 \ufffd'; unpack"),
        (write("١ a".encode(), "images.txt"), "images.txt, line 1: .*found '١ a'; unpack"),
        (write(IMAGE + b"9" * 5000 + b" a", "images.txt"), "images.txt, line 2: .*'9{80}'; unpac"),
        (write(IMAGE + b"\n01 b", "images.txt"), "images.txt, line 3: .*'01 b', which repeats an"),
        (write(b"1 a\n\n2", *NAMES), "attributes.txt, line 3: expected an attribute id and.*'2'; "),
        (write(b"1 a\n2 a", *NAMES), "attributes.txt, line 2: .*'2 a', which repeats an earlier"),
        (write(SPLIT + b"7 2", MARKS), "train_test_split.txt, line 4: expected an image.*'7 2'; "),
        (write(SPLIT + b"5 1", MARKS), "line 4: expected an image id of images.txt.*'5 1'; unpac"),
        (write(SPLIT + b"2 0", MARKS), "line 4: .*'2 0', which repeats an earlier line; unpack"),
        (write(b"7 1\n1 0", MARKS), "split.txt must mark all 4 .*, but lacks 2, first 2; unpack"),
        (write(b"7 0\n1 0\n2 0\n10 0", MARKS), "must mark train images by 1, but has none; unpack"),
        (label(b"2 1 0", b"", b"2 1"), "labels.txt, line 3: expected an image id of.*'2 1'; unpac"),
        (label(b"2 1 0", b"2 3 2 1 1"), "labels.txt, line 2: .* 0 or 1, but found '2 3 2 1 1'; un"),
        (label(b"2 1 0", b"5 1 0 3"), "line 2: .*image id of images.txt,.*'5 1 0 3'; unpack"),
        (label(b"2 1 0", b"2 2 0 3"), "line 2: .*attribute id of attributes.txt.*'2 2 0 3'; unpa"),
        (label(b"2 1 0", b"2 1 1"), "line 2: .*found '2 1 1', labelled by an earlier line; unpac"),
        (label(b"\xff\xd8\0\r1 1 1"), "labels.txt, line 1: expected an image id .*found '.+'; unp"),
    ],
)
def test_a_damaged_folder_gives_one_line_with_found_and_remedy(root, change, message):
    change(root)
    with refused(message):
        cub200.load(root, "train")


LISTS = ["images.txt", MARKS, "../attributes.txt", LABELS]
texts = st.sampled_from([b"", b" ", b"\n", b"\r", b"0", b"1", b"7 ", b"-", b"x", b"\0", b"\xc3"])
cuts = helpers.cuts(300, st.integers(0, 9), texts | st.binary(max_size=6), count=4)


@fuzz
@given(name=st.sampled_from(LISTS), damage=cuts)
def test_lists_damaged_anyhow_are_refused_or_load(root, name, damage):
    with helpers.replaced(root / name, lambda content: damaged(content, damage)):
        assert_loads_or_refuses(cub200.load, root)
