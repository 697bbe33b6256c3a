import json
import os
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import vg256
from pipeline.data.vg256 import clean_name
from tests import helpers
from tests.helpers import assert_loads_or_refuses, damaged, refused, remove, replaced, shown

fuzz = helpers.fuzz(80)
# Neither classes nor images are in alphabetical or numerical order; image 50 shows no class.
CATEGORIES = {"table": ["table", "desk"], "dog": ["dog", "hot dog"], "cat": ["cat"]}
NAMES = {
    10: ["Table", "small brown dog."],
    9: ["desk", "table", "Cat. "],
    2: ["hot dog", "wooden chair"],
    50: ["chair", "cat tree"],
    101: ["white cat"],
    33: ["sky", "dog"],
}
EXPECTED = {
    "VG_100K/2.jpg": {"dog"},
    "VG_100K/9.jpg": {"table", "cat"},
    "VG_100K/10.jpg": {"table", "dog"},
    "VG_100K/33.jpg": {"dog"},
    "VG_100K/101.jpg": {"cat"},
}
FILES = [f"formatted_{p}_{kind}.npy" for p in ("train", "val") for kind in ("images", "labels")]


@pytest.fixture
def root(tmp_path):
    """A small VG as downloaded, without the formatted files."""
    folder = tmp_path / "VG"
    (folder / "VG_100K").mkdir(parents=True)
    for image in NAMES:
        (folder / "VG_100K" / f"{image}.jpg").touch()
    (folder / "vg256.json").write_text(json.dumps(CATEGORIES))
    write_objects(folder, NAMES.items())
    return folder


@pytest.fixture
def formatted(root):
    """The same with formatted files, whose rows are not in the order of the ids."""
    (root / "objects.json").unlink()
    names = np.array(list(EXPECTED))
    labels = np.array([[name in shown for name in CATEGORIES] for shown in EXPECTED.values()])
    for part, rows in (("train", [3, 0, 1]), ("val", [4, 2])):
        np.save(root / f"formatted_{part}_images.npy", names[rows])
        np.save(root / f"formatted_{part}_labels.npy", labels[rows].astype(np.float64))
    return root


def write_objects(folder, images):
    """objects.json as published; an object's later names are other annotators'."""

    def entry(image, names):
        objects = [{"synsets": ["n.01"], "names": [name, "cat"], "x": 0} for name in names]
        return {"image_id": image, "objects": objects, "image_url": f"https://a.edu/{image}.jpg"}

    (folder / "objects.json").write_text(json.dumps([entry(*image) for image in images]))


def test_formatted_files_give_rows_and_columns_in_their_order(formatted):
    data = vg256.load(formatted, "train")
    rows = ["VG_100K/33.jpg", "VG_100K/2.jpg", "VG_100K/9.jpg"]
    assert list(data.ids) == rows
    assert data.classes == list(CATEGORIES) == ["table", "dog", "cat"]
    assert data.targets.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert data.targets.dtype == np.int8
    assert [data.images.path(row) for row in range(3)] == [str(formatted / name) for name in rows]
    expected = {"VG_100K/101.jpg": {"cat"}, "VG_100K/10.jpg": {"table", "dog"}}
    assert shown(vg256.load(formatted, "test")) == expected  # of the files called val


def test_without_vg256_json_classes_are_numbered(formatted):
    (formatted / "vg256.json").unlink()
    assert vg256.load(formatted, "train").classes == ["class_000", "class_001", "class_002"]


def test_of_ten_images_the_draw_gives_three_to_val(root):
    """numpy.random.RandomState(1).permutation(10) is 2 9 6 4 0 3 1 and 7 8 5."""
    images = [(image, ["dog"]) for image in range(20, 10, -1)]
    for image, _ in images:
        (root / "VG_100K" / f"{image}.jpg").touch()
    write_objects(root, images)
    assert list(vg256.load(root, "test").ids) == [f"VG_100K/{image}.jpg" for image in (16, 18, 19)]
    train = [f"VG_100K/{image}.jpg" for image in (11, 12, 13, 14, 15, 17, 20)]
    assert list(vg256.load(root, "train").ids) == train


def test_what_is_made_has_the_published_form(root):
    vg256.load(root, "test")
    arrays = [np.load(root / name, allow_pickle=False) for name in FILES]
    assert [array.shape for array in arrays] == [(3,), (3, 3), (2,), (2, 3)]
    assert [array.dtype.kind for array in arrays] == ["U", "f", "U", "f"]
    assert arrays[1].dtype == arrays[3].dtype == np.float64
    assert sorted(os.listdir(root)) == sorted([*FILES, "VG_100K", "objects.json", "vg256.json"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_files_are_made_once_and_loaded_from_then_on(root, split, capsys):
    first = vg256.load(root, split)
    assert "making the four formatted files in" in capsys.readouterr().err
    (root / "objects.json").unlink()
    vg256.load(root, {"train": "test", "test": "train"}[split])
    again = vg256.load(root, split)
    assert (list(again.ids), again.classes) == (list(first.ids), first.classes)
    np.testing.assert_array_equal(again.targets, first.targets)
    assert capsys.readouterr() == ("", "")


def test_what_a_user_downloaded_is_not_made_anew(formatted):
    write_objects(formatted, [(1, ["dog"]), (2, ["cat"])])
    before = {name: (formatted / name).read_bytes() for name in FILES}
    (formatted / FILES[3]).unlink()
    vg256.load(formatted, "train")
    with refused(r"formatted_val_labels.npy, but found: No such .*; downl"):
        vg256.load(formatted, "test")
    assert all((formatted / name).read_bytes() == before[name] for name in FILES[:3])


def test_a_failure_midway_leaves_no_formatted_file(root, monkeypatch):
    save = np.save

    def fail_at_the_last(file, array, **options):
        if "val_labels" in file.name:
            raise OSError(28, "No space left on device")
        save(file, array, **options)

    monkeypatch.setattr("numpy.save", fail_at_the_last)
    with pytest.raises(OSError, match="No space left") as caught:
        vg256.load(root, "train")
    assert caught.value.filename.endswith(".npy")
    assert sorted(os.listdir(root)) == ["VG_100K", "objects.json", "vg256.json"]


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        (" Dog ", "dog"),
        ("dog . ", "dog"),
        ("dog..", "dog."),
        ("LARGE Dark grey dog.", "dog"),
        ("large  dark\tdog", "dog"),
        ("hot dog .", "hot dog"),
        ("black hot dog", "black hot dog"),
        ("dog black", "dog black"),
        ("small orange", "orange"),
        ("white. dog", "white. dog"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_names_lose_case_one_dot_and_adjectives_alone(name, cleaned):
    assert clean_name(name) == cleaned


@pytest.mark.parametrize(
    ("entries", "classes"),
    [
        ([(2, [["dog", "cat"], []]), (9, [["cat"]])], {"dog"}),  # the first name alone counts
        ([(2, [["dog"]]), (9, [["cat"]]), (2, [["desk"]])], {"dog", "table"}),  # listed twice
    ],
)
def test_an_image_shows_the_first_names_of_the_objects_of_all_its_entries(root, entries, classes):
    entries = [
        {"image_id": image, "objects": [{"names": names} for names in objects]}
        for image, objects in entries
    ]
    (root / "objects.json").write_text(json.dumps(entries))
    found = shown(vg256.load(root, "train")) | shown(vg256.load(root, "test"))
    assert found == {"VG_100K/2.jpg": classes, "VG_100K/9.jpg": {"cat"}}


words = st.sampled_from("black large dark dog cat hot table desk chair Dog CAT dog. . tree".split())
phrases = st.lists(words, max_size=3).map(" ".join)
scenes = st.lists(st.tuples(st.integers(1, 60), st.lists(phrases, max_size=4)), max_size=25)


def slow_split(images):
    """{file name: classes} of both parts, by the authors' recipe in plain loops."""
    rows = {}
    for image, names in images:
        for name in names:
            name = name.lower().strip()
            if name.endswith("."):
                name = name[:-1].strip()
            parts = name.split()
            if len(parts) > 1 and all(part in ("black", "large", "dark") for part in parts[:-1]):
                name = parts[-1]
            for category, members in CATEGORIES.items():
                if name in members:
                    rows.setdefault(image, set()).add(category)
    ordered = [(f"VG_100K/{image}.jpg", rows[image]) for image in sorted(rows)]
    permutation = np.random.RandomState(1).permutation(len(ordered)).tolist()
    val_count = int(np.round(0.3 * len(ordered)))
    train = sorted(permutation[: len(ordered) - val_count])
    val = sorted(permutation[len(ordered) - val_count :])
    return [[ordered[row] for row in rows] for rows in (train, val)]


@fuzz
@given(images=scenes)
def test_any_objects_give_what_plain_loops_find(root, images):
    for name in FILES:
        (root / name).unlink(missing_ok=True)
    for image, _ in images:
        (root / "VG_100K" / f"{image}.jpg").touch()
    write_objects(root, images)
    train, val = slow_split(images)
    if len(train) + len(val) < 2:
        with refused("must hold two images or more .*, but has [01]; downl"):
            vg256.load(root, "train")
        assert not (root / FILES[0]).exists()
    else:
        assert list(shown(vg256.load(root, "train")).items()) == train
        assert list(shown(vg256.load(root, "test")).items()) == val


def test_missing_images_may_be_left_out(formatted, capsys):
    (formatted / "VG_100K" / "2.jpg").unlink()
    data = vg256.load(formatted, "train", allow_missing=True)
    assert shown(data) == {"VG_100K/33.jpg": {"dog"}, "VG_100K/9.jpg": {"table", "cat"}}
    assert "lacks 1, first VG_100K/2.jpg; going on" in capsys.readouterr().err


def write(name, content):
    return lambda root: (root / name).write_text(content)


def objects(content):
    return write("objects.json", json.dumps(content))


def images(array):
    return lambda root: np.save(root / FILES[0], array)


def labels(array):
    return lambda root: np.save(root / FILES[1], array)


ENTRY = {"image_id": 2, "objects": [{"names": ["dog"]}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "expected .*/vg256.json, but found: No such file.*; --path_images must be"),
        (remove("vg256.json"), "expected .*/vg256.json, but found: No such .*with the four format"),
        (remove("objects.json"), "expected .*/objects.json, but found: No such.*or with objects.j"),
        (remove("VG_100K", "2.jpg"), "must hold 2 images, but lacks 1, first VG_100K/2.jpg; bring"),
        (write("vg256.json", ""), "vg256.json must .*, but found: Expecting value.*; download"),
        (write("vg256.json", "[" * 100_000), "vg256.json must hold .*, but found: .+; download"),
        (write("vg256.json", "[]"), "vg256.json must hold .*found: JSON of another form; download"),
        (write("vg256.json", '{"dog": "dog"}'), "vg256.json must hold .*JSON of another form; dow"),
        (write("vg256.json", '{"dog": [1]}'), "vg256.json must hold .*JSON of another form; downl"),
        (write("vg256.json", "{}"), "vg256.json must hold .*, but found: no class; download"),
        (write("objects.json", "[{]"), "objects.json must hold .*, but found: Expecting .*; downl"),
        (write("objects.json", "[" * 100_000), "objects.json must hold .*, but found: .+; downloa"),
        (objects({}), "objects.json must hold .*, but found: no list; download"),
        (objects([]), "objects.json must hold two images or more .*, but has 0; download"),
        (objects([ENTRY]), "objects.json must hold two images or more .*, but has 1; download"),
        (objects([ENTRY, 5]), "objects.json must hold .*found: another form in entry 2; download"),
        (objects([ENTRY, {"names": ["dog"]}]), "another form in entry 2; download"),
        (objects([ENTRY | {"image_id": True}]), "another form in entry 1; download"),
        (objects([{"image_id": 2}]), "another form in entry 1; download"),
        (objects([ENTRY | {"objects": [{"name": "dog"}]}]), "another form in entry 1; download"),
        (objects([ENTRY | {"objects": [{"names": [2]}]}]), "another form in entry 1; download"),
        (objects([ENTRY | {"objects": [[0]]}]), "another form in entry 1; download"),
    ],
)
def test_damaged_json_gives_one_line_with_found_and_remedy(root, change, message):
    change(root)
    with refused(message):
        vg256.load(root, "test")


ROWS = np.eye(3)


def write_version_3(root):
    with open(root / FILES[1], "wb") as file:
        np.lib.format.write_array(file, ROWS, version=(3, 0))


def spoil_texts(root):
    """Texts that are no Unicode."""
    (root / FILES[0]).write_bytes((root / FILES[0]).read_bytes()[:-4] + b"\xff\xff\xff\x7f")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("formatted_train_images.npy"), "_train_images.npy, but found: No such .*; downloa"),
        (remove("formatted_train_labels.npy"), "_train_labels.npy, but found: No such .*; downloa"),
        (remove("VG_100K"), "must hold 3 images, but lacks 3, first VG_100K/33.jpg; bring"),
        (write("formatted_train_images.npy", ""), "images.npy must hold .*, but found: .+; downl"),
        (images(ROWS), r"images.npy must hold an \(N,\) array.*found: shape \(3, 3\) of float64"),
        (images(np.array([["a.jpg"]])), r"images.npy must hold .*found: shape \(1, 1\) of <U5; d"),
        (images(np.array([], "U5")), r"images.npy must hold .*found: shape \(0,\) of <U5; downlo"),
        (images(np.array(["a", ""])), "images.npy must hold .*, but found: the name ''; download"),
        (images(np.array(["a\n\0b"])), r"images.npy must hold .*found: the name 'a\\n\\x00b'; do"),
        (images(np.array(["\ud800"])), r"images.npy must hold .*found: the name '\\ud800'; downl"),
        (images(np.array(["a", "b", "a"])), "images.npy must hold .*, but found: a 2 times; downl"),
        (images(np.array(["a", "b"])), "labels.npy must have a row .* 2 images .*, but has 3; dow"),
        (labels(ROWS[0]), r"labels.npy must hold an \(N, C\) array.*found: shape \(3,\) of float"),
        (labels(ROWS[:0]), r"labels.npy must hold .*found: shape \(0, 3\) of float64; download"),
        (labels(ROWS.astype(complex)), "labels.npy must hold .*of complex128; download"),
        (labels(ROWS[:2]), "labels.npy must have a row for each of the 3 images .*, but has 2; do"),
        (labels(ROWS[:, :2]), "labels.npy must have a column for .* 3 classes .*, but has 2; down"),
        (labels(ROWS * 256), "labels.npy must hold .*, but found: 3 other values, first 256.0; do"),
        (labels(ROWS - 1), "labels.npy must hold .*, but found: 6 other values, first -1.0; down"),
        (labels(ROWS + np.nan), "labels.npy must hold .*, but found: 9 other values, first nan; d"),
        (write_version_3, r"labels.npy must hold .*found: version \(3, 0\) .*; down"),
        (spoil_texts, "images.npy must hold .*, but found: .+; download"),
    ],
)
def test_damaged_formatted_files_give_one_line_with_found_and_remedy(formatted, change, message):
    change(formatted)
    with refused(message):
        vg256.load(formatted, "train")


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("bare", [False, True])
def test_a_pickle_is_refused_and_not_run(formatted, name, bare, tmp_path):
    bomb = helpers.Call(os.mkdir, str(tmp_path / "boom"))
    if bare:
        (formatted / name).write_bytes(pickle.dumps(bomb))
    else:
        np.save(formatted / name, np.array([bomb, bomb], object), allow_pickle=True)
    with refused(f"{name} must hold .*, but found: .+; download"):
        vg256.load(formatted, "train")
    assert not (tmp_path / "boom").exists()


cuts = helpers.cuts(700, st.sampled_from([0, 1, 4, 8, 10_000]), st.binary(max_size=8))


@fuzz
@given(name=st.sampled_from([*FILES, "vg256.json"]), damage=cuts)
def test_formatted_files_damaged_anyhow_are_refused_or_load(formatted, name, damage):
    with replaced(formatted / name, lambda content: damaged(content, damage)):
        assert_loads_or_refuses(vg256.load, formatted)


@fuzz
@given(name=st.sampled_from(["objects.json", "vg256.json"]), damage=cuts)
def test_json_damaged_anyhow_is_refused_or_loads(root, name, damage):
    for made in FILES:
        (root / made).unlink(missing_ok=True)
    with replaced(root / name, lambda content: damaged(content, damage)):
        assert_loads_or_refuses(vg256.load, root)


keys = st.sampled_from(["names", "objects", "image_id"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["dog", "cat", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


@fuzz
@given(content=st.lists(json_values, max_size=3) | json_values)
def test_any_json_as_objects_is_refused_or_loads(root, content):
    (root / "objects.json").write_text(json.dumps(content))
    for made in FILES:
        (root / made).unlink(missing_ok=True)
    assert_loads_or_refuses(vg256.load, root)
