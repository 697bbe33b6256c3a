import csv
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import coco, label_file
from pipeline.data.lists.names import one_form
from tests import helpers
from tests.helpers import cuts, damaged, refused, with_peak

fuzz = helpers.fuzz(100)
# Path, labels, split, and the truth where it is known. Class yew is only ever a truth.
ROWS = [
    ("a/1.jpg", ["sea", "sand"], "train", ["sea"]),
    ("a/2, blue.jpg", ["sky"], "test", ["sea", "yew"]),
    ("ä/3.png", [], "train", None),
    ("4.jpg", ["dog", "sky"], "test", None),
    ("5.jpg", ['Öl, "dick"'], "train", []),
]
CLASSES = ["dog", "sand", "sea", "sky", "yew", 'Öl, "dick"']
EXPECTED = {
    "train": {"a/1.jpg": {"sea", "sand"}, "ä/3.png": set(), "5.jpg": {CLASSES[-1]}},
    "test": {"a/2, blue.jpg": {"sea", "yew"}, "4.jpg": {"dog", "sky"}},
}
FIELDS = ["path", "labels", "split", "true_labels"]
SUFFIXES = [".csv", ".jsonl", ".json"]


def csv_text(rows, fields=FIELDS, line_end="\r\n", quoting=csv.QUOTE_MINIMAL):
    """`rows` as CSV; an unknown truth is an empty cell, and that there is none a lone |."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=line_end, quoting=quoting)
    writer.writerow(fields)
    for path, labels, split, truth in rows:
        known = "" if truth is None else "|".join(truth) or "|"
        cells = dict(zip(FIELDS, (path, "|".join(labels), split, known)))
        writer.writerow([cells[name] for name in fields])
    return file.getvalue()


def json_lines(rows, **options):
    objects = (
        {name: value for name, value in zip(FIELDS, row) if value not in (None, "")} for row in rows
    )
    return "".join(json.dumps(item, **options) + "\n" for item in objects)


def coco_text(rows, classes):
    """`rows`, whose truth is left out, with classes and images numbered in their order."""
    ids = {name: 10 * number for number, name in enumerate(classes, 1)}
    images = [
        {"id": number, "file_name": path} | ({"split": split} if split else {})
        for number, (path, _, split, _) in enumerate(rows)
    ]
    annotations = [
        {"image_id": number, "category_id": ids[name]}
        for number, (_, labels, _, _) in enumerate(rows)
        for name in labels
    ]
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return coco_json(images, annotations, categories)


def coco_json(images, annotations, categories):
    annotations = [item | {"id": number} for number, item in enumerate(annotations)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def in_form(suffix, rows, classes):
    if suffix == ".json":
        return coco_text(rows, classes)
    return csv_text(rows) if suffix == ".csv" else json_lines(rows)


@pytest.fixture
def write(tmp_path):
    """Write a label file, and an empty image for each path of ROWS beside it."""
    for path, *_ in ROWS:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()

    def write(content, name="labels.csv"):
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def shown(splits):
    return {split: helpers.shown(data) for split, data in splits.items()}


def everything(splits):
    """All that is read of both splits, to compare."""
    return {
        split: (
            data.classes,
            list(data.ids),
            [data.images.path(row) for row in range(len(data.images))],
            data.targets.tolist(),
            None if data.true_targets is None else data.true_targets.tolist(),
        )
        for split, data in splits.items()
    }


def row_labels(table):
    return [{table.classes[c] for c in np.flatnonzero(row)} for row in table.targets]


def assert_refused(message, path, **options):
    with refused(message):
        label_file.load(path, **options)


def test_rows_columns_and_paths_are_as_listed(write, tmp_path):
    splits = label_file.load(write(csv_text(ROWS)))
    train = splits["train"]
    assert list(train.ids) == ["a/1.jpg", "ä/3.png", "5.jpg"]
    assert train.classes == splits["test"].classes == CLASSES
    assert train.targets.tolist() == [[0, 1, 1, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 0, 1]]
    assert train.targets.dtype == train.true_targets.dtype == np.int8
    assert [train.images.path(row) for row in range(3)] == [
        str(tmp_path / name) for name in EXPECTED["train"]
    ]
    assert shown(splits) == EXPECTED


def test_all_three_forms_say_the_same(write):
    rows = [(*row[:3], None) for row in ROWS]
    classes = [name for name in CLASSES if name != "yew"]
    csv_file, *others = [write(in_form(s, rows, classes), f"labels{s}") for s in SUFFIXES]
    assert shown(label_file.load(csv_file))["train"] == EXPECTED["train"]
    for file in others:
        assert everything(label_file.load(file)) == everything(label_file.load(csv_file))


def test_a_coco_file_reads_as_the_folder_coco2014_does(shared, write):
    folder = coco.load(shared / "COCO2014", "train")
    table = label_file.read_table(shared / "COCO2014" / "annotations" / "instances_train2014.json")
    annotated = table.targets.any(axis=1)
    assert table.classes == folder.classes
    np.testing.assert_array_equal(table.targets[annotated], folder.targets)
    names = [folder.images.names[row] for row in range(len(folder))]
    assert [table.paths[row] for row in np.flatnonzero(annotated)] == names
    rows = [(n, sorted(labels), "", None) for n, labels in zip(names, row_labels(folder))]
    for suffix in SUFFIXES[:2]:
        path = write(in_form(suffix, rows, None), f"a{suffix}")
        same = label_file.read_table(path, table.classes)
        assert (same.paths, same.classes) == (names, table.classes)
        np.testing.assert_array_equal(same.targets, folder.targets)


CSV, JSON = csv_text(ROWS), json_lines(ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("a.csv", csv_text(ROWS, line_end="\n")),
        ("a.csv", csv_text(ROWS, line_end="\r")),
        ("a.csv", csv_text(ROWS, quoting=csv.QUOTE_ALL)),
        ("a.csv", CSV.replace("\r\n", "\r\n\r\n") + "\n"),
        ("a.csv", CSV.strip()),
        ("A.CSV", CSV),
        ("a.csv", CSV.replace("path,labels,", " path, labels ,")),
        ("a.csv", CSV.replace("a/1.jpg,sea|sand", " a/1.jpg , sea|  sand |")),
        ("a.csv", CSV.replace(",sky,", ",| |sky||sky,").replace("4.jpg,dog|sky", "4.jpg,sky|dog")),
        ("a.csv", CSV.replace(",train,", ", Train ,").replace(",test,", ",VAL,")),
        ("a.csv", CSV.replace("dog|sky,test,", "dog|sky,test, ")),
        ("a.jsonl", b"\xef\xbb\xbf" + JSON.encode()),
        ("a.jsonl", JSON.replace("\n", "\r\n")),
        ("a.jsonl", JSON.replace("\n", "\n \n").strip()),
        ("a.jsonl", json_lines(ROWS, ensure_ascii=False)),
        ("A.JSONL", JSON),
        ("a.ndjson", JSON),
        ("a.jsonl", JSON.replace('"sand"', '" sand ", "", " "').replace('"a/1', '" a/1')),
        ("a.jsonl", JSON.replace('"train"', '" Train "').replace('"test"', '"valid"')),
    ],
)
def test_the_same_content_written_in_another_way_reads_alike(write, name, content):
    expected = everything(label_file.load(write(CSV, "first.csv")))
    assert everything(label_file.load(write(content, name))) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_spaces_round_a_name_are_no_part_of_it(write, suffix):
    rows = [(path, [f" {n}" for n in labels], split, None) for path, labels, split, _ in ROWS]
    names = [name for name in CLASSES if name != "yew"]
    path = write(in_form(suffix, rows, [f" {name}" for name in names]), f"labels{suffix}")
    assert label_file.load(path)["train"].classes == names
    splits = label_file.load(path, classes=write("\n".join(names), "classes.txt"))
    assert shown(splits)["train"] == EXPECTED["train"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_given_classes_fix_the_columns_and_may_be_unused(write, suffix):
    classes = ["zebra", *reversed(CLASSES), "ant"]
    names = "\ufeff" + "".join(f"\r\n {name}\r\n" for name in classes)
    path = write(in_form(suffix, ROWS, CLASSES), f"labels{suffix}")
    splits = label_file.load(path, classes=write(names, "classes.txt"))
    assert splits["train"].classes == splits["test"].classes == classes
    assert shown(splits) == shown(label_file.load(path))
    assert not splits["train"].targets[:, [0, -1]].any()


@pytest.mark.parametrize(
    ("suffix", "place"),
    [(".csv", "labels.csv, line 5: "), (".jsonl", "line 4: "), (".json", "labels.json, image 3: ")],
)
def test_a_label_outside_the_given_classes_is_refused(write, suffix, place):
    path = write(in_form(suffix, ROWS, CLASSES), f"labels{suffix}")
    classes = write("\n".join(CLASSES[1:]), "classes.txt")
    message = f"{place}expected one of the 5 classes, but found 'dog'; correct it, or add it to"
    assert_refused(message, path, classes=classes)
    classes = write("\n".join(CLASSES).replace("yew\n", ""), "classes.txt")  # only ever a truth
    if suffix != ".json":
        assert_refused("line .: expected one of .* found 'yew'", path, classes=classes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must name every class once, but names none"),
        (b"\n \n", "must name every class once, but names none"),
        (b"sea\nsky\n sea\n", "must name every class once, but names 'sea' twice"),
        (b"sea\xff", "cannot be read: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_a_wrong_class_list_is_refused(write, content, message, tmp_path):
    assert_refused(message, write(CSV), classes=write(content, "classes.txt"))
    assert_refused("No such file", write(CSV), classes=tmp_path / "none.txt")
    assert_refused("Is a directory", write(CSV), classes=tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["test", "val", "valid", "TEST", " val"])
def test_test_has_several_names(write, suffix, name):
    rows = [(*row[:2], name if row[2] == "test" else "trainval", None) for row in ROWS]
    splits = label_file.load(write(in_form(suffix, rows, CLASSES), f"labels{suffix}"))
    for split, images in EXPECTED.items():
        assert set(splits[split].ids) == set(images)


def test_the_truth_judges_in_test_and_stays_out_of_training(write):
    splits = label_file.load(write(CSV))
    train, test = splits["train"], splits["test"]
    assert shown(splits)["train"]["a/1.jpg"] == {"sea", "sand"}
    assert train.true_targets.tolist() == [[0, 0, 1, 0, 0, 0], [-1] * 6, [0] * 6]
    assert test.true_targets.tolist() == [[0, 0, 1, 0, 1, 0], [-1] * 6]
    assert test.targets.tolist() == [[0, 0, 1, 0, 1, 0], [1, 0, 0, 1, 0, 0]]


def test_without_any_truth_there_are_no_true_targets(write):
    rows = [(*row[:3], None) for row in ROWS]
    for fields in (FIELDS, FIELDS[:3]):
        splits = label_file.load(write(csv_text(rows, fields)))
        assert splits["train"].true_targets is splits["test"].true_targets is None
    rows[1] = ROWS[1]
    splits = label_file.load(write(csv_text(rows)))
    assert splits["train"].true_targets is None
    assert splits["test"].true_targets is not None


def test_a_list_may_be_wholly_for_training_but_not_for_test(write):
    for suffix in SUFFIXES:
        rows = [(*row[:2], "train", None) for row in ROWS]
        path = write(in_form(suffix, rows, CLASSES), f"labels{suffix}")
        splits = label_file.load(path)
        assert [len(splits[name]) for name in ("train", "test")] == [len(ROWS), 0]
        assert splits["test"].targets.shape == (0, splits["train"].targets.shape[1])
        with refused("must name images to test, but none is in test: mark some, or"):
            label_file.load(path, wanted=["test"])
        rows = [(*row[:2], "test", None) for row in ROWS]
        path = write(in_form(suffix, rows, CLASSES), f"labels{suffix}")
        assert_refused("must name images to train on, but none is in train", path)


def test_of_a_list_that_is_too_short_to_divide_that_is_said(write):
    """Not to leave out the split, which it does not have."""
    path = write(csv_text([(*row[:2], "", None) for row in ROWS[:1]]))
    message = "none is in test: add images, or mark some as test: 1 without a split are too few"
    assert_refused(message, path)


# Rows without a split are divided.


def many_rows(count, split=""):
    """Rows with up to three of eight labels, some far rarer than others."""
    generator, weights = random.Random(0), (1, 2, 4, 8, 8, 16, 32, 32)

    def labels():
        return sorted(set(generator.choices("abcdefgh", weights, k=generator.randint(0, 3))))

    return [(f"{number}.jpg", labels(), split, None) for number in range(count)]


def load_many(tmp_path, rows, seed=0, suffix=".csv"):
    for path, *_ in rows:
        (tmp_path / path).touch()
    path = tmp_path / f"many{suffix}"
    path.write_text(in_form(suffix, rows, "abcdefgh"))
    return label_file.load(path, seed=seed)


def test_the_seed_alone_divides_rows_without_split(tmp_path):
    rows = many_rows(200)
    first, again, other = (everything(load_many(tmp_path, rows, seed)) for seed in (1, 1, 2))
    assert first == again
    assert first["test"] != other["test"]
    for suffix in SUFFIXES[1:]:
        assert everything(load_many(tmp_path, rows, 1, suffix)) == first
    everyone = {path: set(labels) for path, labels, *_ in rows}
    halves = shown(load_many(tmp_path, rows, 1))
    assert halves["train"] | halves["test"] == everyone
    assert not set(halves["train"]) & set(halves["test"])


@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_of_every_label_goes_to_test(tmp_path, seed):
    splits = load_many(tmp_path, many_rows(500), seed)
    counts = {split: data.targets.sum(axis=0, dtype=int) for split, data in splits.items()}
    everyone = counts["train"] + counts["test"]
    assert (abs(counts["test"] - 0.2 * everyone) < 1).all()
    assert len(splits["test"]) == pytest.approx(100, abs=1)


def test_given_splits_stay_while_the_rest_is_divided(tmp_path):
    given_rows = [(f"_{path}", *rest) for path, *rest in many_rows(40, "test")]
    given_rows += [(f"+{path}", *rest) for path, *rest in many_rows(60, "train")]
    splits = shown(load_many(tmp_path, [*many_rows(100), *given_rows]))
    for split, mark, count in (("train", "+", 60), ("test", "_", 40)):
        assert [path[0] for path in splits[split] if path[0] in "_+"] == [mark] * count
    assert len(splits["test"]) - 40 == pytest.approx(20, abs=1)


SIZES = st.tuples(st.integers(1, 60), st.integers(1, 6))


@given(st.integers(0, 2**32), SIZES, st.floats(0, 1), st.floats(0.05, 0.95))
def test_the_rarest_label_and_exclusive_labels_divide_to_within_one(seed, size, density, share):
    generator = np.random.default_rng(seed)
    targets, (rows, classes) = (generator.random(size) < density).astype(np.int8), size
    before = targets.copy()
    exclusive = np.eye(classes, dtype=np.int8)[generator.integers(0, classes, rows)]
    rarest = [int(targets.sum(axis=0).argmin())]
    for matrix, columns in ((targets, rarest), (exclusive, range(classes))):
        chosen = label_file.stratified_split(matrix, share, seed)
        for has in (matrix[:, columns] == 1).T:
            assert abs(chosen[has].sum() - share * has.sum()) < 1 + 1e-9
    np.testing.assert_array_equal(targets, before)


def test_a_rare_label_is_divided_before_a_common_one_that_it_comes_with():
    """Of 100 rows with the first label, four have the second too: one at most of these is taken."""
    targets = np.zeros((100, 2), np.int8)
    targets[:, 0], targets[:4, 1] = 1, 1
    chosen = np.array([label_file.stratified_split(targets, 0.2, seed) for seed in range(50)])
    assert chosen[:, :4].sum(axis=1).max() == 1
    assert set(chosen.sum(axis=1)) <= {20, 21}


def test_every_row_is_as_likely_in_test():
    targets = np.array([[1, 0]] * 6 + [[0, 1]], np.int8)
    chosen = [label_file.stratified_split(targets, 0.2, seed) for seed in range(3000)]
    np.testing.assert_allclose(np.mean(chosen, axis=0), 0.2, atol=0.03)


# Where images lie.


def test_paths_start_from_the_file_or_from_root(write, tmp_path, monkeypatch):
    path = write(CSV)
    (tmp_path / "lists").mkdir()
    elsewhere = path.rename(tmp_path / "lists" / "labels.csv")
    found = "lists must hold 3 images, but lacks 3, first a/1.jpg; "
    assert_refused(found + "bring them back, or check --path_images$", elsewhere)
    splits = label_file.load(str(elsewhere), root=str(tmp_path))
    assert splits["train"].images.path(0) == str(tmp_path / "a/1.jpg")
    monkeypatch.chdir(tmp_path)
    write(CSV)
    assert shown(label_file.load("labels.csv")) == EXPECTED


def test_absolute_paths_stand_for_themselves(write, tmp_path):
    (tmp_path / "lists").mkdir()
    rows = [(str(tmp_path / path), *rest) for path, *rest in ROWS]
    splits = label_file.load(write(csv_text(rows), "lists/labels.csv"))
    assert splits["train"].images.path(0) == str(tmp_path / "a/1.jpg")


def test_json_may_name_files_that_are_not_in_utf_8(write, tmp_path):
    name = os.fsdecode(b"\xe4.jpg")
    (tmp_path / name).touch()
    path = write(json_lines([*ROWS, (name, ["sea"], "test", None)]), "labels.jsonl")
    assert label_file.load(path)["test"].ids[2] == name


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_images_are_refused_or_left_out(write, tmp_path, capsys, suffix):
    path = write(in_form(suffix, ROWS, CLASSES), f"labels{suffix}")
    whole = label_file.load(path)
    (tmp_path / "a" / "1.jpg").unlink()
    found = "hold 3 images, but lacks 1, first a/1.jpg; "
    assert_refused(found + "bring .* or give --allow_missing", path)
    splits = label_file.load(path, allow_missing=True)
    assert splits["train"].missing == ("a/1.jpg",)
    assert "a/1.jpg; going on with the rest" in capsys.readouterr().err
    assert shown(splits)["train"] == {k: v for k, v in EXPECTED["train"].items() if k != "a/1.jpg"}
    if suffix != ".json":
        np.testing.assert_array_equal(splits["train"].true_targets, whole["train"].true_targets[1:])
    (tmp_path / "4.jpg").unlink()
    (tmp_path / "a" / "2, blue.jpg").unlink()
    assert_refused("hold 2 images, but lacks 2", path, allow_missing=True)


# What is refused.

HEAD = "path,labels,split\n"
GOOD = '{"path": "1.jpg", "labels": ["sea"]}\n'
SURROGATE = "\\ud800"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "must begin with the columns path,labels and may .* begins with ''"),
        ("a.csv", "path,split\n", "begins with 'path,split'"),
        ("a.csv", "path,colour,Path\n", "begins with 'path,colour,Path'"),
        (
            "a.csv",
            "path,colour\n1.jpg,red\n",
            "or one of 0 and 1 for each class, but 'colour' holds 'red'",
        ),
        ("a.csv", "path,labels,path\n", "begins with 'path,labels,path'"),
        ("a.csv", '"path\nx",labels\n', r"begins with 'path\\nx,labels'"),
        ("a.csv", "x" * 5000, "begins with 'x{80,120}'$"),
        ("a.csv", HEAD, "must name images and their labels, but names no image"),
        ("a.csv", HEAD + "1.jpg,,\n2.jpg,|,\n", "must name images .*, but names no label"),
        ("a.csv", HEAD + "1.jpg,sea\n", "a.csv, line 2: expected 3 columns, but found 2: join"),
        ("a.csv", HEAD + "1.jpg,sea,\n,sea,\n", "line 3: expected a path .* but found ''"),
        ("a.csv", HEAD + "1.jpg,sea,\n\n1.jpg,sky,\n", "line 4: .* earlier .* but found '1.jpg'"),
        ("a.csv", HEAD + "1.jpg,sea,\n 1.jpg,sky,\n", "line 3: .* but found '1.jpg'"),
        ("a.csv", HEAD + "a/1.jpg,sea,\na/../a/./1.jpg,sky,\n", "line 3: .* no earlier line names"),
        ("a.csv", HEAD + '"1\n.jpg",sea,\n', r"line 3: expected a path .* but found '1\\n.jpg'"),
        # Python 3.10's csv reads no NUL.
        ("a.csv", HEAD + "1\0.jpg,sea,\n", r"line 2: expected .*(1\\x00.jpg|NUL; write)"),
        ("a.csv", HEAD + '1.jpg,"sea\nsky",\n', r"line 3: expected .* found 'sea\\nsky'"),
        ("a.csv", HEAD + "1.jpg,sea,dev\n", "line 2: expected split train or test, .* 'dev'"),
        ("a.csv", HEAD + '1.jpg,sea,"x\ny"\n', r"line 3: expected split .* 'x\\ny'"),
        ("a.csv", HEAD + f"1.jpg,sea,{'x' * 999}\n", "expected split .* 'x{80}'"),
        ("a.csv", HEAD + '1.jpg,"sea"x,\n', "a.csv, line 2: .*',' expected after '\"'"),
        ("a.csv", HEAD + '1.jpg,sea,\n2.jpg,"sea,\n', "a.csv, line 3: .*unexpected end of data"),
        ("a.csv", HEAD + '1.jpg,"sea,\n2.jpg,sea,\n3.jpg', "line 2: .*unexpected end of data"),
        ("a.csv", HEAD + f"1.jpg,{'x' * 140_000},\n", "a.csv, line 2: .*field larger than field"),
        ("a.csv", b"path,labels\n1.jpg,\xe4\n", "a.csv cannot be read: 'utf-8' .* 0xe4 .*; save"),
        ("a.csv", HEAD.encode("utf-16"), "a.csv must name images .* but names no image"),
        ("a.jsonl", "", "must name images and their labels, but names no image"),
        ("a.jsonl", '{"path": "1.jpg", "labels": []}', "must name images .* but names no label"),
        ("a.jsonl", GOOD + "\n{", "a.jsonl, line 3: expected a JSON object, but found Expecting"),
        ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: expected a JSON object, but found .*recurs"),
        ("a.jsonl", "9" * 5000, "a.jsonl, line 1: expected a JSON object, but found Exceeds"),
        ("a.jsonl", GOOD * 2, "a.jsonl, line 2: .* no earlier line names, but found '1.jpg'"),
        ("a.jsonl", "[]", r"line 1: expected an object with path and labels, but found '\[\]'"),
        ("a.jsonl", '{"path": "1.jpg"}', "expected an object with path and labels, but found '{"),
        ("a.jsonl", '"\u2028"', r"expected an object with path .* found '\"\\u2028\"'"),
        ("a.jsonl", GOOD.replace('"sea"', "1"), "line 1: expected labels to be a list of texts"),
        ("a.jsonl", GOOD.replace('["sea"]', "1"), "line 1: expected labels to be a list of texts"),
        ("a.jsonl", GOOD + '{"path": "2.jpg"}', "line 2: expected an object with path and labels"),
        ("a.jsonl", GOOD.replace('"sea"', '["sea"]'), "line 1: expected labels to be a list of"),
        ("a.jsonl", GOOD.replace('"1.jpg"', "1"), "line 1: expected path to be a text"),
        ("a.jsonl", GOOD.replace("}", ', "split": 1}'), "line 1: expected split to be train or"),
        ("a.jsonl", GOOD.replace("}", ', "split": "x"}'), "line 1: expected split train .* 'x'"),
        ("a.jsonl", GOOD.replace("1.jpg", SURROGATE), r"line 1: expected a path .* '\\ud800'"),
        ("a.jsonl", GOOD.replace("1.jpg", "a\\u0000/b"), r"line 1: expected a path .* 'a\\x00/b'"),
        ("a.jsonl", GOOD.replace("sea", SURROGATE), r"line 1: expected .* found '\\ud800'"),
        ("a.jsonl", b'{"path": "\xff"}', "a.jsonl cannot be read: 'utf-8' .*; save it as UTF-8"),
        ("a.json", "", "COCO instances, .* but found: Expecting value.*; correct it"),
        ("a.json", "[]", "but found: no JSON object; write a list as .jsonl, with an object on"),
        ("a.json", b"\xff", "a.json must be COCO instances"),
        ("a.txt", GOOD, "a.txt is of an unknown form: expected .csv, .tsv"),
    ],
)
def test_a_malformed_file_gives_one_line_with_place_and_remedy(write, name, content, message):
    assert_refused(message, write(content, name))


IMAGES = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}]
LABELS = [{"image_id": 1, "category_id": 5}]
NAMES = [{"id": 5, "name": "sea"}, {"id": 6, "name": "sky"}]


@pytest.mark.parametrize(
    ("images", "categories", "message"),
    [
        ([{"id": 1}], NAMES, "must be COCO instances, .* but found: no 'file_name'"),
        ([IMAGES[0], IMAGES[1] | {"file_name": "1.jpg"}], NAMES, "image 2: .* '1.jpg'"),
        ([IMAGES[0] | {"split": "x\ny"}], NAMES, r"expected split train .* found 'x\\ny'"),
        ([IMAGES[0] | {"split": 1}], NAMES, "expected split train .* found '1'"),
        ([IMAGES[0] | {"file_name": "\ud800/1.jpg"}], NAMES, r"expected a path .*'\\ud800/1.jpg'"),
        (IMAGES, [{"id": 5, "name": "sea"}, {"id": 6, "name": "sea"}], "every category a name of"),
        (IMAGES, [{"id": 5, "name": "sea"}, {"id": 6, "name": " sea"}], "every category a name of"),
        (IMAGES, [{"id": 5, "name": "a\nb"}], r"name of its own, but has 'a\\nb'"),
        (IMAGES, [{"id": 5, "name": ""}], "a name of its own, but has ''"),
    ],
)
def test_a_malformed_coco_file_is_refused(write, images, categories, message):
    assert_refused(message, write(coco_json(images, LABELS, categories), "a.json"))


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name in ("folder.csv", "none.csv", "."):
        assert_refused("no label file", tmp_path / name)
    assert_refused("give a .csv, .jsonl or COCO .json file", "none.csv")


def load_or_refuse(path, **options):
    """Load whatever is in the file: one line, or splits that are consistent."""
    splits = helpers.load_or_refuse(label_file.load, path, allow_missing=True, **options) or {}
    for data in splits.values():
        helpers.assert_consistent(data)
        for text in (*data.missing, *data.ids, *data.classes):
            assert len(text.splitlines()) == 1
            assert text == text.strip()
        if data.true_targets is not None:
            assert data.true_targets.shape == data.targets.shape


odd_texts = st.sampled_from(
    "a/1.jpg;4.jpg;5.jpg;sea;sky;train;test;; ;\0;\n;\u2028;\ud800;\udce4;ä;..;/;a\0/b;',;|;\ufeff;"
    "\x85;UserError: x".split(";")
)
tokens = odd_texts | st.sampled_from(
    'path,labels\n;path,labels,split,true_labels\r\n;4.jpg,sea,test\n;5.jpg,sky,train\n;",;,;|;,,'
    ';\r;\n";"";[;{;];},;: ;1;null;"sea";\\'.split(";")
)
contents = (
    st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.lists(tokens, max_size=14).map(lambda texts: "".join(texts).encode(errors="replace"))
)
small = tokens.map(lambda text: text.encode(errors="replace")) | st.binary(max_size=6)


@fuzz
@given(content=contents, suffix=st.sampled_from(SUFFIXES))
def test_any_bytes_are_refused_or_load(write, content, suffix):
    load_or_refuse(write(content, f"any{suffix}"))


@fuzz
@given(suffix=st.sampled_from(SUFFIXES), damage=cuts(2000, st.integers(0, 9), small))
def test_files_damaged_anyhow_are_refused_or_load(write, suffix, damage):
    content = in_form(suffix, ROWS, CLASSES).encode()
    load_or_refuse(write(damaged(content, damage), f"any{suffix}"))


@fuzz
@given(content=contents)
def test_any_bytes_as_class_list_are_refused_or_load(write, content):
    for end in (b"", "\n".join(["", *CLASSES]).encode()):
        load_or_refuse(write(CSV), classes=write(content + end, "classes.txt"))


numbers = (
    st.none() | st.booleans() | st.integers(-1, 50) | st.sampled_from([0.5, float("nan"), 2**70])
)
json_values = st.recursive(
    numbers | odd_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=2),
    max_leaves=5,
)
new_values = numbers | odd_texts | st.lists(odd_texts, max_size=3) | json_values


change = st.tuples(st.integers(0, 4), st.sampled_from([*FIELDS, "x"]), new_values)


@fuzz
@given(st.lists(change, max_size=2))
def test_any_values_in_json_lines_are_refused_or_load(write, changes):
    objects = [json.loads(line) for line in JSON.splitlines()]
    for number, field, value in changes:
        objects[number][field] = value
    lines = "".join(json.dumps(item) + "\n" for item in objects)
    load_or_refuse(write(lines, "any.jsonl"))


LISTS = {
    "images": ["id", "file_name", "split"],
    "annotations": ["id", "image_id", "category_id"],
    "categories": ["id", "name"],
}
places = st.sampled_from([(kind, field) for kind, fields in LISTS.items() for field in fields])


@fuzz
@given(
    changes=st.lists(st.tuples(places, st.integers(0, 5), new_values), max_size=3),
    whole=st.dictionaries(st.sampled_from([*LISTS]), json_values, max_size=1) | st.just({}),
    given_classes=st.booleans(),
)
def test_any_values_in_coco_json_are_refused_or_load(write, changes, whole, given_classes):
    content = json.loads(coco_text(ROWS, CLASSES))
    for (kind, field), number, value in changes:
        content[kind][number % len(content[kind])][field] = value
    classes = write("\n".join(CLASSES), "classes.txt") if given_classes else None
    load_or_refuse(write(json.dumps(content | whole), "any.json"), classes=classes)


readable = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
names = st.text(readable, min_size=1, max_size=6).map(one_form).filter(bool)
labels = st.lists(names.filter(lambda name: "|" not in name), unique=True, max_size=4)
rows = st.tuples(names, labels, st.sampled_from(["", "train", "test"]), st.none() | labels)
row_lists = st.lists(
    rows, min_size=1, max_size=6, unique_by=lambda row: os.path.normpath(row[0])
).filter(lambda rows: any(row[1] for row in rows))


@fuzz
@given(
    rows=row_lists,
    fields=st.permutations(FIELDS),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_is_written_is_read_row_by_row(tmp_path, rows, fields, line_end, quoting):
    files = {
        "a.csv": csv_text(rows, fields, line_end, quoting),
        "a.jsonl": json_lines(rows),
        "b.jsonl": json_lines(rows, ensure_ascii=False),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode())
        table = label_file.read_table(tmp_path / name, reading=label_file.Reading(separator="|"))
        assert table.classes == sorted(set().union(*(row[1] + (row[3] or []) for row in rows)))
        assert table.paths == [os.path.normpath(row[0]) for row in rows]
        assert row_labels(table) == [set(row[1]) for row in rows]
        assert table.splits.tolist() == [{"": -1, "train": 0, "test": 1}[row[2]] for row in rows]
        assert (table.true_targets is None) == all(row[3] is None for row in rows)
        for truth, row in zip([] if table.true_targets is None else table.true_targets, rows):
            names = {table.classes[c] for c in np.flatnonzero(truth == 1)}
            assert names == set(row[3] or [])
            assert (truth == -1).all() if row[3] is None else (truth >= 0).all()


def write_rows(path, rows):
    """Write rows of three labels of eighty, two of them true."""
    generator = random.Random(0)
    classes = [f"class {number}" for number in range(80)]
    with path.open("w") as file:
        file.write("path,labels,split,true_labels\n")
        for number in range(rows):
            found = generator.sample(classes, 3)
            cells = f"{'|'.join(found)},train,{'|'.join(found[:2])}"
            file.write(f"folder_{number % 1000:03}/{number:012}.jpg,{cells}\n")


def test_a_row_takes_half_a_kibibyte_while_it_is_read(tmp_path):
    """Of the memory that numpy and Python take; two matrices of 80 classes are 160 bytes of it."""
    write_rows(tmp_path / "labels.csv", 20_000)
    table, peak = with_peak(label_file.read_table, tmp_path / "labels.csv")
    assert table.targets.sum(dtype=int) == 60_000
    assert peak < 20_000 * 512


MEASURE = """
import sys
from pathlib import Path
from pipeline.data import label_file
table = label_file.read_table(Path(sys.argv[1]))
assert table.targets.shape == (1_000_000, 80), table.targets.shape
assert table.targets.sum(dtype=int) == 3_000_000
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_a_million_rows_fit_in_a_gibibyte(tmp_path):
    """All in all, torch with it. Not getrusage: its peak begins with that of the caller."""
    write_rows(tmp_path / "labels.csv", 1_000_000)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "labels.csv")]
    measured = subprocess.check_output(command, cwd=Path(__file__).resolve().parents[1])
    assert int(measured) < 2**20  # KiB
