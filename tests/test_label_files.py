import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.data import label_file
from pipeline.data.candidates import read_verified
from pipeline.data.labelled import LabelledImages
from pipeline.data.lists.names import Rename
from pipeline.data.verified import Verified
from pipeline.review.label_files import (
    as_text,
    relabel_coco,
    rename_coco,
    write_kept,
    write_table,
    written_suffix,
)
from pipeline.review.scan import entries_of
from utils.options.training import TrainingOptions

CLASSES = ["=sea", "sand", "sky"]
PATHS = ["a/1.jpg", "+2.jpg", "ä, 3.jpg", "4.jpg", "5.jpg"]
LABELS = [["=sea", "sky"], ["sand", "=sea"], ["sky"], ["sand"], ["=sea"]]
SPLITS = ["train", "train", "train", "test", ""]
TRUE = [["sky"], None, [], ["sky"], None]
BOX = [1, 2, 3, 4]


def write(folder, form):
    """A label file of five images, of which the last goes where the seed puts it."""
    path = folder / f"labels{form}"
    if form == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["labels", "path", "split", "true_labels"])
            for name, labels, split, true in zip(PATHS, LABELS, SPLITS, TRUE):
                cell = "" if true is None else "|".join(true) or "|"
                table.writerow(["|".join(labels), f"./{name}", split, cell])
    elif form == ".jsonl":
        records = [
            {"path": name, "labels": labels, "split": split}
            | ({} if true is None else {"true_labels": true})
            for name, labels, split, true in zip(PATHS, LABELS, SPLITS, TRUE)
        ]
        path.write_text("\n".join(map(json.dumps, records)), "utf-8")
    else:
        images = [
            {"id": i, "file_name": n, "split": s} for i, (n, s) in enumerate(zip(PATHS, SPLITS))
        ]
        pairs = [(i, name) for i, labels in enumerate(LABELS) for name in labels]
        annotations = [
            {"id": k or "zero", "image_id": i, "category_id": CLASSES.index(name), "bbox": BOX}
            for k, (i, name) in enumerate(pairs)
        ]
        categories = [{"id": c, "name": name} for c, name in enumerate(CLASSES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        path.write_text(json.dumps(content | {"info": {"year": 2026}}))
    return path


@pytest.mark.parametrize(
    ("columns", "join", "suffix"),
    [
        ("File;Tags", ", ", "csv"),
        ("a photo\twhat", ",", "csv"),
        ("path,labels", ";", "csv"),
        ("path,labels", "#", "csv"),
    ],
)
def test_a_list_in_any_dialect_is_written_in_one_that_is_read_to_the_same_rows(
    columns, join, suffix, tmp_path
):
    sign = next(sign for sign in ";\t," if sign in columns)
    source = tmp_path / "labels.tsv"
    rows = [[f"{n}.jpg", join.join(labels)] for n, labels in enumerate(LABELS)]
    with source.open("w", newline="") as file:
        csv.writer(file, delimiter=sign).writerows([columns.split(sign), *rows])
    (tmp_path / "names.csv").write_text("sky,blue sky\n")
    options = TrainingOptions(
        **{"script": "main_real", "dataset": "files", "partial_rate": 0.0, "labels": str(source)},
        separator=join.strip(),
        columns=["path=a photo", "labels=what"] if "what" in columns else None,
        rename=str(tmp_path / "names.csv"),
    )
    before = label_file.read_table(source, reading=label_file.reading_of(options))
    assert "blue sky" in before.classes
    data = LabelledImages([None] * 5, before.classes, before.targets, before.paths)
    _, path = write_kept(tmp_path / "cleaned", options, data, before.targets)
    assert path.name == f"cleaned.{suffix}"
    after = label_file.read_table(path, label_file.read_classes(tmp_path / "cleaned-classes.txt"))
    assert (after.paths, after.classes) == (before.paths, before.classes)
    assert np.array_equal(after.targets, before.targets)


@pytest.mark.parametrize(
    ("name", "classes", "suffix"),
    [
        ("a.CSV", ["sea"], ".csv"),
        ("a.tsv", ["sea"], ".csv"),
        ("a.xlsx", ["sea"], ".csv"),
        ("folder", ["sea"], ".csv"),
        ("a.csv", ["sea", "a|b"], ".jsonl"),  # CSV would part it
        ("a.parquet", ["sea"], ".jsonl"),
        ("a.ndjson", ["sea"], ".ndjson"),
        ("a.json", ["a|b"], ".json"),
    ],
)
def test_a_list_is_written_in_its_form_or_one_that_holds_its_names(name, classes, suffix):
    assert written_suffix(Path(name), classes) == suffix


def test_a_folder_with_a_file_name_that_is_no_utf_8_is_listed_in_json_lines(tmp_path):
    for name in ("sea/\udcff.jpg", "sky/b.jpg", "sea/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"photo")
    options = TrainingOptions(
        script="main_real", dataset="files", labels=str(tmp_path), partial_rate=0.0
    )
    before = label_file.read_table(tmp_path)
    data = LabelledImages([None] * 3, before.classes, before.targets, before.paths)
    folder = tmp_path.with_name(f"{tmp_path.name}-review")
    folder.mkdir()
    _, path = write_kept(folder / "cleaned", options, data, before.targets)
    assert path.suffix == ".jsonl"
    after = label_file.read_table(path)
    assert (after.paths, after.targets.tolist()) == (before.paths, before.targets.tolist())


def test_categories_that_a_run_has_merged_or_dropped_are_written_so():
    content = {
        "categories": [{"id": k, "name": n} for k, n in enumerate(["sky", "SEA", "sea", "junk"])],
        "images": [{"id": 1, "file_name": "a.jpg", "candidates": [1, 2, 3]}],
        "annotations": [{"id": c, "image_id": 1, "category_id": c} for c in range(4)],
    }
    found = rename_coco(content, Rename({"SEA": "sea", "junk": ""}))
    assert found["categories"] == [{"id": 0, "name": "sky"}, {"id": 1, "name": "sea"}]
    assert [item["category_id"] for item in found["annotations"]] == [0, 1, 1]
    assert found["images"][0]["candidates"] == [1]
    assert rename_coco(content, Rename({})) == content


@pytest.mark.parametrize("form", [".csv", ".jsonl", ".json"])
def test_a_label_file_keeps_its_form_and_all_but_the_training_labels(form, tmp_path):
    source = write(tmp_path, form)
    before = label_file.read_table(source)
    train = np.flatnonzero(~label_file.divide(before, 3))
    targets = before.targets[train]
    ids = [before.paths[row] for row in train]
    data = LabelledImages([None] * len(ids), before.classes, targets, ids)
    of_run = {"script": "main_real", "dataset": "files", "partial_rate": 0.0}
    options = TrainingOptions(labels=str(source), seed=3, **of_run)
    kept = targets.copy().astype(np.uint8)
    kept[0] = [0, 1, 0]  # a dropped label and one that was added as noise
    kept[1] = 0
    array, path = write_kept(tmp_path / "cleaned", options, data, kept)
    assert path.name == ("cleaned-coco.json" if form == ".json" else f"cleaned{form}")
    after = label_file.read_table(path, label_file.read_classes(tmp_path / "cleaned-classes.txt"))
    assert after.classes == before.classes
    assert after.paths == before.paths
    assert np.array_equal(after.targets[train], kept)
    others = np.setdiff1d(np.arange(5), train)
    assert np.array_equal(after.targets[others], before.targets[others])
    assert np.array_equal(after.splits == 1, label_file.divide(before, 3))
    assert (after.splits >= 0).all()
    if form != ".json":
        assert np.array_equal(after.true_targets, before.true_targets)
    else:
        content = json.loads(path.read_text())
        assert content["info"] == {"year": 2026}
        boxes = sum(item["bbox"] == BOX for item in content["annotations"])
        assert boxes == after.targets.sum() - 1
    assert array.name == "cleaned.npy"


@pytest.mark.parametrize("form", [".csv", ".jsonl", ".json"])
def test_verified_photos_keep_their_labels_and_get_their_truth_beside_them(form, tmp_path):
    source = write(tmp_path, form)
    before = label_file.read_table(source)
    train = np.flatnonzero(~label_file.divide(before, 3))
    targets, ids = before.targets[train], [before.paths[row] for row in train]
    data = LabelledImages([None] * len(ids), before.classes, targets, ids)
    of_run = {"script": "main_real", "dataset": "files", "partial_rate": 0.0}
    options = TrainingOptions(labels=str(source), seed=3, **of_run)
    truth = np.eye(3, dtype=np.uint8)[None, before.classes.index("sand")]
    others = {"4.jpg": ["sand"]}, {"4.jpg": ["=sea", "sand"]}  # a test photo
    known = Verified(np.array([0]), truth)
    array, path = write_kept(tmp_path / "reviewed", options, data, targets, known, others)
    after = label_file.read_table(path, label_file.read_classes(tmp_path / "reviewed-classes.txt"))
    assert np.array_equal(after.targets, before.targets)
    names = [after.paths[row] for row in np.flatnonzero(after.verified)]
    assert sorted(names) == ["4.jpg", "a/1.jpg"]
    assert np.array_equal(after.true_targets[[after.paths.index("a/1.jpg")]], truth)
    of_test = after.true_targets[after.paths.index("4.jpg")] == 1
    assert {after.classes[column] for column in np.flatnonzero(of_test)} == {"=sea", "sand"}
    found = read_verified(array, targets.shape)
    assert found.rows.tolist() == [0]
    assert np.array_equal(found.truth, truth)


def test_no_cell_of_the_table_is_a_formula(tmp_path):
    candidates = np.array([[1, 0, 1], [1, 1, 0]], np.uint8)
    data = LabelledImages([None] * 2, CLASSES, candidates, ["=1+1.jpg", "@x, \udce4.jpg"])
    entries = entries_of(candidates)
    kept = np.array([True, False, True, True])
    write_table(tmp_path / "t.csv", data, entries, np.array([0.5, 0.1, 1, 0.25]), kept)
    text = (tmp_path / "t.csv").read_text("utf-8", "surrogateescape")
    rows = list(csv.reader(text.splitlines()))
    assert rows[1] == ["'=1+1.jpg", "'=sea", "0.5000", "kept"]
    assert rows[2] == ["'=1+1.jpg", "sky", "0.1000", "dropped"]
    assert rows[3][0] == "'@x, \udce4.jpg"
    assert not any(cell[:1] in "=+-@" for row in rows for cell in row)


@pytest.mark.parametrize("cell", ["=a", "+a", "-a", "@a", "\ta", "\ra"])
def test_an_apostrophe_defuses(cell):
    assert as_text(cell) == f"'{cell}"
    assert as_text(f"x{cell}") == f"x{cell}"


def test_of_a_verified_image_of_coco_the_candidates_change_and_the_truth_stays():
    names = ("sea", "sky", "sun")
    content = {
        "categories": [{"id": k, "name": name} for k, name in enumerate(names, 1)],
        "images": [
            {"id": 1, "file_name": "a.jpg", "verified": True, "candidates": [1, 3]},
            {"id": 2, "file_name": "b.jpg", "candidates": None},
        ],
        "annotations": [
            {"id": k, "image_id": image, "category_id": category}
            for k, (image, category) in enumerate([(1, 1), (1, 2), (2, 1), (2, 3)])
        ],
    }
    table = SimpleNamespace(classes=list(names))
    kept = {"a.jpg": ["sea"], "b.jpg": ["sun"]}
    found = relabel_coco(content, table, {"a.jpg": "train", "b.jpg": "train"}, kept, {})
    assert found["images"][0] == content["images"][0] | {"candidates": [1], "split": "train"}
    pairs = [(item["image_id"], item["category_id"]) for item in found["annotations"]]
    assert pairs == [(1, 1), (1, 2), (2, 3)]


def test_ids_of_coco_may_be_texts_here_and_numbers_there():
    content = {
        "categories": [{"id": "5", "name": "sea"}, {"id": "x", "name": "sky"}],
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": "two", "file_name": "b.jpg"}],
        "annotations": [
            {"id": "7", "image_id": "1", "category_id": 5},
            {"id": 8, "image_id": "two", "category_id": "x"},
        ],
    }
    table = SimpleNamespace(classes=["sea", "sky", "sun"])
    kept = {"a.jpg": ["sea", "sun"], "b.jpg": []}
    found = relabel_coco(content, table, {"a.jpg": "train", "b.jpg": "test"}, kept, {})
    assert found["annotations"][0] == content["annotations"][0]
    added = {"id": 8, "image_id": 1, "category_id": 6, "bbox": [0] * 4, "area": 0, "iscrowd": 0}
    assert found["annotations"][1:] == [added]
    assert found["categories"][2:] == [{"id": 6, "name": "sun"}]
