"""Lists as people have them: whatever their dialect, the same rows or one line of error."""

import csv
import importlib
import io
import json
import os
import random
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data import label_file
from pipeline.data.label_file import Reading
from pipeline.data.lists.names import Rename, read_rename
from pipeline.data.lists.places import locate
from pipeline.data.lists.separators import LIST, find_separator, judge, parse_list
from tests import helpers
from tests.helpers import refused

fuzz = helpers.fuzz(150)
NAMES = ["dog", "sand", "sea", "sky"]


def many_rows(count=48, seed=1):
    """Labels by path, in every combination."""
    generator = random.Random(seed)
    labels = [[n for n in NAMES if generator.random() < 0.5] or ["sea"] for _ in range(count)]
    return {f"{row:03}.jpg": found for row, found in enumerate(labels)}


def write(path, rows, join="|".join, header="path,labels", delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerow(header.split(","))
        table.writerows([name, join(labels)] for name, labels in rows.items())
    return path


def read(path, **reading):
    """Labels by path."""
    table = label_file.read_table(path, reading=Reading(**reading))
    rows = [[table.classes[c] for c in np.flatnonzero(row)] for row in table.targets]
    return dict(zip(table.paths, map(set, rows)))


def sets(rows):
    return {name: set(labels) for name, labels in rows.items()}


# What joins labels.


@pytest.mark.parametrize(
    "join",
    [
        *(
            ",".join,
            ", ".join,
            ";".join,
            " ".join,
            "\t".join,
            str,
            json.dumps,
            " / ".join,
            "+".join,
            *(sign.join for sign in ("\n", "<br>", "#", ":", "_", "-")),
        ),
        *(lambda labels: str(np.array(labels)), lambda labels: repr(np.array(labels, object))),
    ],
)
def test_a_separator_is_found_where_it_is_certain(tmp_path, join):
    rows = many_rows()
    assert read(write(tmp_path / "a.csv", rows, join)) == sets(rows)


SINGLE = {
    f"{row}.jpg": [["traffic light", "bear", "teddy bear", "car"][row % 4]] for row in range(40)
}
MEANT = {
    "names with spaces": SINGLE,
    "names with commas, joined by |": {"1.jpg": ["Öl, dick", "sea"], "2.jpg": ["Öl, dick"]},
    "names with spaces, joined by |": {"1.jpg": ["fire truck", "fire"], "2.jpg": ["truck", "car"]},
    "synonyms of one class": {
        f"{row}.jpg": [f"noun{row % 9}, its other name {row % 9}"] for row in range(36)
    },
    "names with hyphens": {
        "1.jpg": ["close-up", "t-shirt"],
        "2.jpg": ["x-ray"],
        "3.jpg": ["x-wing"],
        "4.jpg": ["sea"],
    },
    "one name with a slash": {f"{row}.jpg": [["sea/ocean", "sand"][row % 2]] for row in range(6)},
}


@pytest.mark.parametrize("rows", MEANT.values(), ids=MEANT)
def test_names_that_hold_a_sign_stay_names(tmp_path, rows):
    assert read(write(tmp_path / "a.csv", rows)) == sets(rows)


@pytest.mark.parametrize("sign", [",", ";", " "])
def test_a_short_list_that_could_be_read_in_two_ways_is_refused_and_the_flag_reads_it(
    tmp_path, sign
):
    rows = {"1.jpg": ["sea", "sky"], "2.jpg": ["dog"]}
    path = write(tmp_path / "a.csv", rows, sign.join)
    with refused("a.csv: expected labels joined by .*'sea.sky'.* --separator .* --separator pipe"):
        read(path)
    assert read(path, separator=sign) == sets(rows)
    assert read(path, separator="|") == {"1.jpg": {f"sea{sign}sky"}, "2.jpg": {"dog"}}
    table = label_file.read_table(path, ["dog", "sea", "sky"])  # known classes make it certain
    assert table.targets.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert label_file.read_table(path, ["dog", f"sea{sign}sky"]).targets.tolist() == [
        [0, 1],
        [1, 0],
    ]


def test_lists_that_join_in_two_ways_are_refused(tmp_path):
    rows = many_rows()
    for other in (",", ";"):
        path = write(tmp_path / "a.csv", rows, lambda n, o=other: ("|", o)[len(n) > 2].join(n))
        with refused("joined by . alone, since some are.*: write .* as ., and no . in|which may"):
            read(path)
    path = write(tmp_path / "a.csv", rows, lambda names: str(names) if len(names) > 1 else names[0])
    with refused("or every cell a list of quoted texts, but found .*: write all in one of"):
        read(path)


def test_what_is_no_list_is_refused_where_the_flag_says_list(tmp_path):
    path = write(tmp_path / "a.csv", {"1.jpg": ["sea"]})
    with refused("a.csv, line 2: expected a list of quoted texts, but found 'sea'; correct it, or"):
        read(path, separator=LIST)


def test_a_name_in_brackets_stays_where_bars_join_labels(tmp_path):
    rows = {"1.jpg": ["[sea, calm]", "sky"], "2.jpg": ["[x]"]}
    assert read(write(tmp_path / "a.csv", rows)) == sets(rows)
    path = write(tmp_path / "a.csv", rows | {"3.jpg": ["['sea', 'sky']"]})
    with refused("every cell a list of quoted texts, but found .*'sea', 'sky'"):
        read(path)


def test_a_lone_bar_for_no_true_label_does_not_hide_what_joins_the_others(tmp_path):
    lines = [f'{name},"{",".join(found)}",|' for name, found in many_rows().items()]
    (tmp_path / "a.csv").write_text("\n".join(["path,labels,true_labels", *lines]))
    table = label_file.read_table(tmp_path / "a.csv")
    assert table.classes == NAMES
    assert not table.true_targets.any()


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("[]", []),
        ("['a']", ["a"]),
        ("""["it's", 'a "b"']""", ["it's", 'a "b"']),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("('a', 'b')", ["a", "b"]),
        ("{'a', 'b'}", ["a", "b"]),
        ('["\\u00e9", "\\ud83d\\ude00"]', ["é", "😀"]),
        (r"['a\'b', '\xe9']", ["a'b", "é"]),
        ("[a, b]", None),
        ("['a', 1]", None),
        ("a", None),
        ("['a'", None),
    ],
)
def test_a_printed_list_is_read_without_running_it(cell, found):
    assert parse_list(cell) == found


def test_the_rule_of_each_sign():
    assert judge(Counter({"a,b": 1, "a,c": 1, "b,c": 1, "a,b,c": 1}), ",") == "separator"
    assert judge(Counter({"a,b": 1, "a,c": 1, "b,c": 1}), ",") == "doubt"
    assert judge(Counter({"a,b": 9, "c": 9}), ",") == "doubt"
    assert judge(Counter({"a,b": 10, "c": 9}), ",") == "name"
    assert judge(Counter({"a b": 9, "c": 9}), " ") == "doubt"
    assert judge(Counter({"a b": 10, "c": 9}), " ") == "name"
    assert judge(Counter({"a/b": 1, "a": 1}), "/") == "name"
    assert judge(Counter({"a-b": 1, "a-c": 1, "b-c": 1}), "-") == "doubt"
    assert judge(Counter({"a-b": 1, "a-c": 1, "d-e": 1}), "-") == "name"
    assert find_separator("", Counter({"a": 1})) == "|"
    assert find_separator("", Counter({"['a']": 1, "|": 1})) == LIST


# Columns, delimiters, empty rows and splits.


@pytest.mark.parametrize("name", ["path", "File", "FILENAME", "file_name", "Image", "file name"])
@pytest.mark.parametrize("labels", ["labels", "Labels", "TAGS"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_found_by_their_usual_names_in_any_dialect(tmp_path, name, labels, delimiter):
    rows = many_rows(5)
    path = write(tmp_path / "a.csv", rows, header=f"{name},{labels}", delimiter=delimiter)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + delimiter.encode() + b"\r\n")
    assert read(path) == sets(rows)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_read_where_its_first_bytes_say_so(tmp_path, encoding):
    """Excel writes it as Unicode text, with tabs."""
    rows = many_rows(5) | {"é.jpg": ["été"]}
    path = write(tmp_path / "a.csv", rows, delimiter="\t")
    path.write_bytes(("\ufeff" * (encoding != "utf-16") + path.read_text("utf-8")).encode(encoding))
    assert read(path) == sets(rows)
    path.write_bytes(path.read_bytes()[:-1])
    with refused("a.csv cannot be read: .*save it as UTF-8 text"):
        read(path)


def test_other_columns_are_passed_over_and_named(tmp_path):
    text = "id;Width;tags;file_name;Set\n1;64;sea|sky;a.jpg;Train\n2;64;sea;b.jpg;validation\n"
    (tmp_path / "a.tsv").write_text(text)
    listing = label_file.read_list(tmp_path / "a.tsv", Reading(), ())
    table = label_file.read_table(tmp_path / "a.tsv")
    assert table.paths == ["a.jpg", "b.jpg"]
    assert table.splits.tolist() == [0, 1]
    assert listing.understood.describe() == (
        "CSV with semicolons; path from file_name; labels from tags; split from Set; labels joined "
        "by pipe; 2 other columns passed over (id, Width)"
    )


def test_columns_may_be_named(tmp_path):
    (tmp_path / "a.csv").write_text(
        "photo id,what,tags,use\na.jpg,sea|sky,x,test\nb.jpg,sky,y,train\n"
    )
    columns = {"path": "photo id", "labels": "what", "split": "use"}
    assert read(tmp_path / "a.csv", columns=columns) == {"a.jpg": {"sea", "sky"}, "b.jpg": {"sky"}}
    with refused(
        "--columns labels=whet: .*a.csv has no such column; it begins with 'photo id,what"
    ):
        read(tmp_path / "a.csv", columns={"path": "photo id", "labels": "whet"})


def test_columns_of_0_and_1_are_classes(tmp_path):
    text = "image,sea,sky,width,dog\na.jpg,1,0,64,0\nb.jpg,1,1,80,0\n\n,,,,\nc.jpg,0,,64,0\n"
    (tmp_path / "a.csv").write_text(text)
    table = label_file.read_table(tmp_path / "a.csv")
    assert table.classes == ["dog", "sea", "sky"]
    assert table.targets.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]
    (tmp_path / "b.csv").write_text(text.replace(",0", ",-1"))
    assert label_file.read_table(tmp_path / "b.csv").targets.tolist() == table.targets.tolist()
    with refused("found -1, 0 and 1; correct it"):
        (tmp_path / "c.csv").write_text(text.replace(",0\n", ",-1\n"))
        label_file.read_table(tmp_path / "c.csv")
    assert read(tmp_path / "a.csv", columns={"labels": "sea,dog"})["b.jpg"] == {"sea"}
    with refused("or one of 0 and 1 for each class, but 'width' holds '64': correct it$"):
        read(tmp_path / "a.csv", columns={"labels": "sea,width"})


def test_the_column_that_keeps_a_list_from_being_read_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("file,TagsList,n\na.jpg,sea/sky,2\nb.jpg,,3\n")
    with refused("'TagsList' holds 'sea/sky': correct it, or give --columns labels=NAME"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", columns={"labels": "TagsList"}) == {
        "a.jpg": {"sea/sky"},
        "b.jpg": set(),
    }


def test_a_list_in_which_no_image_has_a_label_is_refused(tmp_path):
    for text in ("path,regions\na.jpg,0\nb.jpg,0\n", "path,labels\na.jpg,\nb.jpg,|\n"):
        (tmp_path / "a.csv").write_text(text)
        with refused("a.csv must name images and their labels, but names no label"):
            read(tmp_path / "a.csv")


def test_the_separator_to_give_where_a_sign_is_a_part_of_names_is_the_one_that_joins(tmp_path):
    blue = {"sky": "sky, blue"}
    rows = {name: [blue.get(n, n) for n in found] for name, found in many_rows().items()}
    path = write(tmp_path / "a.csv", rows, "; ".join)
    with refused("--separator comma if that joins labels, or --separator semicolon if it belongs"):
        read(path)
    assert read(path, separator=";") == sets(rows)


def test_a_flag_that_a_message_names_is_not_refused_in_the_next(tmp_path):
    """Lightroom's keywords, each with the ones above it, joined by |."""
    rows = {name: [f"things|{each}" for each in found] for name, found in many_rows().items()}
    path = write(tmp_path / "a.csv", rows, ", ".join)
    with refused("found '.*, things': write comma between labels as ., and no . in names"):
        read(path)
    with refused("leave --separator out, or write names without |"):
        read(path, separator=",")
    path.write_text(path.read_text().replace("|", "/"))
    assert read(path)["000.jpg"] == {n.replace("|", "/") for n in rows["000.jpg"]}


def test_objects_in_cells_are_refused(tmp_path):
    """Label Studio's CSV export."""
    rows = many_rows()
    for write_one in (str, json.dumps):
        path = write(
            tmp_path / "a.csv", rows, lambda n, w=write_one: w({"choices": n}) if n[1:] else n[0]
        )
        with refused("every cell a list of quoted texts, but found .{.*choices.*: write all in"):
            read(path)


def test_is_valid_says_the_split(tmp_path):
    (tmp_path / "a.csv").write_text("fname,labels,is_valid\n1.jpg,sea,True\n2.jpg,sea,False\n")
    assert label_file.read_table(tmp_path / "a.csv").splits.tolist() == [1, 0]


def test_json_lines_of_hugging_face_are_read(tmp_path):
    lines = [{"file_name": n, "tags": found, "width": 3} for n, found in many_rows().items()]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read(tmp_path / "metadata.jsonl") == sets(many_rows())


def test_more_classes_than_a_list_can_have_are_refused_before_they_fill_the_memory(tmp_path):
    lines = [f"{row}.jpg,sea{row}" for row in range(20_000)]
    (tmp_path / "a.csv").write_text("\n".join(["path,labels", *lines]))
    with refused(
        "expected classes that images share, but read 20000 .* from 20000 images: give th"
    ):
        read(tmp_path / "a.csv")
    objects = [{"path": f"{row}.jpg", "labels": ["sea"], f"key{row}": 1} for row in range(2100)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, objects)))
    with refused(
        "a.jsonl, line 2.*: expected objects with the same keys, .* 2.*; give labels as a list"
    ):
        read(tmp_path / "a.jsonl")


def test_many_names_are_read_in_seconds(tmp_path):
    """A reader that compares each with each takes minutes."""
    count, begun = 20_000, time.process_time()
    names = [f"sea{number}" for number in range(count)]
    (tmp_path / "classes.txt").write_text("\n".join(names))
    assert label_file.read_classes(tmp_path / "classes.txt") == names
    content = {
        "images": [{"id": 0, "file_name": "0.jpg"}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 3}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read(tmp_path / "a.json") == {"0.jpg": {"sea3"}}
    (tmp_path / "a.csv").write_text(",".join(["path", *names]) + "\n0.jpg" + ",1" * count)
    assert len(read(tmp_path / "a.csv")["0.jpg"]) == count
    assert time.process_time() - begun < 20


# Folders.


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_for_each_class_is_a_list(tmp_path):
    touch(
        tmp_path, "sea/1.jpg", "sea/deep/2.PNG", "sky/1.jpg", "sky/notes.txt", ".git/x.jpg", "0.jpg"
    )
    (tmp_path / "empty").mkdir()
    assert read(tmp_path) == {"sea/1.jpg": {"sea"}, "sea/deep/2.PNG": {"sea"}, "sky/1.jpg": {"sky"}}
    understood = label_file.read_list(tmp_path, Reading(), ()).understood
    assert understood.describe() == (
        "a folder for each of 2 classes; 1 images in no class's folder passed over; 1 images lie "
        "deeper, and get the first folder's label (sea/deep/2.PNG)"
    )
    assert read(tmp_path, rename=Rename({"sky": "air"}))["sky/1.jpg"] == {"air"}
    with refused("--columns and --separator are for tables"):
        read(tmp_path, separator=",")


def test_folders_of_splits_hold_those_of_classes(tmp_path):
    touch(tmp_path, "Train/sea/1.jpg", "validation/sea/1.jpg", "validation/sky/2.jpg")
    table = label_file.read_table(tmp_path)
    assert table.paths == ["Train/sea/1.jpg", "validation/sea/1.jpg", "validation/sky/2.jpg"]
    assert table.classes == ["sea", "sky"]
    assert table.splits.tolist() == [0, 1, 1]
    touch(tmp_path, "car/3.jpg")  # then train is a vehicle
    assert read(tmp_path)["Train/sea/1.jpg"] == {"Train"}


@pytest.mark.parametrize("splits", [[""], ["test", "train"]])
@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_in_folders_is_read(tmp_path, splits, name):
    for split in splits:
        touch(tmp_path / split, "1.jpg", "2.jpg", "sub/3.jpg")
        rows = {"1.jpg": ["sea", "sky"], "2.jpg": ["sky"]}
        if name.endswith("csv"):
            write(tmp_path / split / name, rows, header="file_name,labels")
        else:
            lines = [{"file_name": path, "labels": labels} for path, labels in rows.items()]
            (tmp_path / split / name).write_text("\n".join(map(json.dumps, lines)))
    table = label_file.read_table(tmp_path)
    assert table.paths == [os.path.join(split, n) for split in splits for n in ("1.jpg", "2.jpg")]
    assert table.targets.tolist() == [[1, 1], [0, 1]] * len(splits)
    assert table.splits.tolist() == ([-1, -1] if splits == [""] else [1, 1, 0, 0])
    if splits != [""]:
        assert label_file.load(tmp_path)["train"].images.path(0) == f"{tmp_path}/train/1.jpg"


def test_a_folder_without_folders_of_photos_is_refused(tmp_path):
    touch(tmp_path, "1.jpg", "notes/a.txt")
    with refused("no label file .* or a folder that holds folders of photos"):
        read(tmp_path)


# Workbooks and Parquet.


def write_workbook(path, *sheets):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Sheet{number}")
        for row in rows:
            sheet.append(row)
    book.save(path)


def test_the_sheet_of_a_workbook_that_has_the_columns_is_read(tmp_path):
    rows = [
        ["File", "Tags", "Split", "Verified", "true_labels"],
        ["1.jpg", "sea|sky", "Train", True, "sea"],
    ]
    rows += [[None] * 5, [2, "sky", "validation", None, None], [None, None]]
    write_workbook(tmp_path / "a.xlsx", [["notes"]], rows)
    table = label_file.read_table(tmp_path / "a.xlsx")
    assert table.paths == ["1.jpg", "2"]
    assert table.targets.tolist() == [[1, 1], [0, 1]]
    assert table.splits.tolist() == [0, 1]
    assert table.verified.tolist() == [True, False]
    assert table.true_targets.tolist() == [[1, 0], [-1, -1]]
    understood = label_file.read_list(tmp_path / "a.xlsx", Reading(), ()).understood
    assert understood.describe().startswith("Excel sheet 'Sheet1', of 2; path from File;")


def test_a_workbook_of_0_and_1_is_read(tmp_path):
    write_workbook(
        tmp_path / "a.xlsx", [["image", "sea", "sky"], ["1.jpg", 1, 0], ["2.jpg", 1.0, True]]
    )
    assert read(tmp_path / "a.xlsx") == {"1.jpg": {"sea"}, "2.jpg": {"sea", "sky"}}


def write_parquet(path, columns, features=None):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(columns)
    if features is not None:
        info = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(info)
    importlib.import_module("pyarrow.parquet").write_table(table, path)


def photo(shade):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_parquet_lists_labels_as_texts_or_as_numbers_with_names(tmp_path):
    columns = {"file_name": ["1.jpg", "2.jpg"], "labels": [["sea", "sky"], []], "n": [1, 2]}
    write_parquet(tmp_path / "a.parquet", columns)
    assert read(tmp_path / "a.parquet") == {"1.jpg": {"sea", "sky"}, "2.jpg": set()}
    numbered = columns | {"labels": [[0, 1], [1]]}
    names = {"feature": {"names": ["sea", "traffic light"], "_type": "ClassLabel"}}
    write_parquet(tmp_path / "b.parquet", numbered, {"labels": names})
    assert read(tmp_path / "b.parquet") == {
        "1.jpg": {"sea", "traffic light"},
        "2.jpg": {"traffic light"},
    }
    write_parquet(tmp_path / "c.parquet", numbered)
    with refused(r"c.parquet, row 0: expected labels to be a list of texts, but found \[0, 1\]"):
        read(tmp_path / "c.parquet")
    write_parquet(
        tmp_path / "d.parquet", columns | {"labels": [1, -1]}, {"labels": names["feature"]}
    )
    assert read(tmp_path / "d.parquet") == {"1.jpg": {"traffic light"}, "2.jpg": set()}


def test_images_in_parquet_are_unpacked_once_and_found(tmp_path):
    names = ["x/sea 1.png", "../../2.png", None]
    images = [{"bytes": photo(shade), "path": name} for shade, name in enumerate(names)]
    columns = {"image": images, "labels": [["sea"], ["sky"], ["sea"]]}
    write_parquet(tmp_path / "a.parquet", columns | {"split": ["train", "test", "train"]})
    lines = []
    splits = label_file.load(tmp_path / "a.parquet", say=lines.append)
    folder = tmp_path / "a-images"
    assert list(splits["train"].ids) == ["000000-sea 1.png", "000002.png"]
    assert splits["train"].images[1][0, 0, 0] == 2
    assert splits["test"].images.path(0) == f"{folder}/000001-2.png"
    assert "Parquet with images in 'image'" in lines[0]
    (folder / "000000-sea 1.png").write_bytes(photo(99))
    assert label_file.load(tmp_path / "a.parquet")["train"].images[0][0, 0, 0] == 99  # not again
    columns["image"][0]["bytes"] = photo(7) + b" "
    write_parquet(tmp_path / "a.parquet", columns | {"split": ["train", "test", "train"]})
    assert label_file.load(tmp_path / "a.parquet")["train"].images[0][0, 0, 0] == 7
    touch(tmp_path, "mine/000000.jpg")
    with refused("unpacked to .*mine, which holds other files: give an empty folder by --path_im"):
        label_file.load(tmp_path / "a.parquet", tmp_path / "mine")


@pytest.mark.parametrize("folder", ["", "data"])
def test_parquet_files_of_a_tree_are_one_list_whose_images_are_unpacked_beside_each(
    tmp_path, folder
):
    (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
    names = ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001")
    for shade, name in enumerate(names):
        image = [{"bytes": photo(shade), "path": "1.png"}, {"bytes": photo(shade), "path": None}]
        columns = {"image": image, "label": [shade % 2, 1]}
        features = {"label": {"names": ["sea", "sky"], "_type": "ClassLabel"}}
        write_parquet(tmp_path / "set" / folder / f"{name}.parquet", columns, features)
    lines = []
    for root in (None, tmp_path / "elsewhere"):
        splits = label_file.load(tmp_path / "set", root, say=lines.append)
        train, test = splits["train"], splits["test"]
        assert [str(name) for name in train.ids] == [
            os.path.join(folder, f"{name}-images", image)
            for name in names[:2]
            for image in ("000000-1.png", "000001.png")
        ]
        assert [train.images[row][0, 0, 0] for row in range(4)] == [0, 0, 1, 1]
        assert test.images.path(0).startswith(str(root or tmp_path / "set"))
    assert train.targets.tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]
    first = os.path.join(folder, names[0])
    assert f"{first}.parquet and 2 more: Parquet with images in 'image'" in lines[0]


def test_images_within_metadata_of_a_folder_are_unpacked(tmp_path):
    columns = {"image": [{"bytes": photo(3), "path": "1.png"}] * 2, "labels": [["sea"], ["sky"]]}
    (tmp_path / "train").mkdir()
    write_parquet(tmp_path / "train" / "metadata.parquet", columns)
    train = label_file.load(tmp_path, wanted=["train"])["train"]
    assert train.images.path(1) == f"{tmp_path}/train/metadata-images/000001-1.png"
    assert train.images[1][0, 0, 0] == 3


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("a.xlsx", "openpyxl", "must be an Excel workbook, but cannot be read: "),
        ("a.parquet", "pyarrow.parquet", "must be a Parquet file, but cannot be read: "),
    ],
)
def test_a_damaged_file_or_a_missing_library_gives_one_line(
    tmp_path, monkeypatch, name, module, message
):
    pytest.importorskip(module)
    (tmp_path / name).write_bytes(b"PK no such file")
    with refused(message):
        read(tmp_path / name)
    monkeypatch.setitem(sys.modules, module, None)
    with refused(f"needs {module[:7]}.*: python -m pip install -r requirements-lists.txt"):
        read(tmp_path / name)


# Names of classes.


def test_the_two_unicode_forms_of_a_name_are_one_class(tmp_path):
    rows = {"1.jpg": ["séa"], "2.jpg": [unicodedata.normalize("NFD", "séa"), "sky"]}
    assert read(write(tmp_path / "a.csv", rows)) == {"1.jpg": {"séa"}, "2.jpg": {"sky", "séa"}}


def test_classes_are_merged_renamed_and_dropped(tmp_path):
    rows = {"1.jpg": ["SEA", "junk"], "2.jpg": ["sea", "sky"], "3.jpg": ["junk"]}
    path = write(tmp_path / "a.csv", rows)
    (tmp_path / "names.csv").write_text('\ufeffSEA;sea\nsky;"sky; blue"\njunk;\nlamp;light\n')
    rename = read_rename(tmp_path / "names.csv")
    found = read(path, rename=rename)
    assert found == {"1.jpg": {"sea"}, "2.jpg": {"sea", "sky; blue"}, "3.jpg": set()}
    assert rename.unused() == ["lamp"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a line for each name"),
        ("sea\n", "expected a line for each name, old,new or old, to drop it"),
        ("a,b,c\n", "expected a line for each name"),
        ("a," + "x" * 140_000, "expected a line for each name"),
        ("a,b\na,c\n", "expected one new name of 'a'"),
        (",b\n", "expected one new name of ''"),
        ("a,b\nb,c\n", "'b' is a new name, and renamed itself"),
        ("\udcff,b\n", "cannot be read: 'utf-8'"),
    ],
)
def test_a_wrong_file_of_names_is_refused(tmp_path, text, message):
    (tmp_path / "n.csv").write_text(text, "utf-8", "surrogateescape")
    with refused(message):
        read_rename(tmp_path / "n.csv")


def test_categories_of_coco_are_renamed_too(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "categories": [{"id": k, "name": n} for k, n in enumerate(["sky", "SEA", "sea", "junk"])],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c}
            for k, (i, c) in enumerate([(1, 1), (1, 3), (2, 2), (2, 0)])
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    rename = Rename({"SEA": "sea", "junk": ""})
    table = label_file.read_table(tmp_path / "a.json", reading=Reading(rename=rename))
    assert table.classes == ["sky", "sea"]
    assert table.targets.tolist() == [[0, 1], [1, 1]]


# Where files are.


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a/1.jpg", "b.png"], ["a/1.jpg", "b.png"]),
        (["a\\1.jpg", ".\\b.png"], ["a/1.jpg", "./b.png"]),
        (["A/1.JPG", "b.PNG"], ["a/1.jpg", "b.png"]),
        (["a/1", "b"], ["a/1.jpg", "b.png"]),
        (["a/1.png", "b.png"], ["a/1.png", "b.png"]),
        (["/home/ann/photos/a/1.jpg", "/home/ann/photos/b.png"], ["a/1.jpg", "b.png"]),
        (["C:\\ann\\a\\1.jpg", "C:\\ann\\B.png"], ["a/1.jpg", "b.png"]),
        # A photo of another folder is another photo, where some are found as listed.
        (["b.png", "x/1.jpg", "x/b.png"], ["b.png", "x/1.jpg", "x/b.png"]),
        (["a/1.jpg", "a/1.JPG"], ["a/1.jpg", "a/1.JPG"]),
        (["A/1.jpg", "a/1.JPG"], ["A/1.jpg", "a/1.JPG"]),
        (["c/1.JPG"], ["c/1.JPG"]),  # two files fit
        (["c/é.jpg"], [unicodedata.normalize("NFD", "c/é.jpg")]),
    ],
)
def test_a_path_in_another_form_is_found_where_one_file_fits(tmp_path, names, found):
    for name in ("a/1.jpg", "b.png", "c/1.jpg", "c/1.Jpg", unicodedata.normalize("NFD", "c/é.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert locate(tmp_path, names) == found


def test_photos_in_the_one_folder_that_has_them_are_found(tmp_path):
    touch(tmp_path, "images/1.jpg", "images/deep/2.jpg", "other/9.jpg")
    assert locate(tmp_path, ["1.JPG", "deep/2.jpg"]) == ["images/1.jpg", "images/deep/2.jpg"]
    assert locate(tmp_path, ["3.jpg", "4.jpg", "1.jpg"]) == ["3.jpg", "4.jpg", "1.jpg"]
    touch(tmp_path, "maps/1.jpg.png")  # of predict.py: another file than the photo
    assert locate(tmp_path, ["1.JPG", "deep/2.jpg"]) == ["images/1.jpg", "images/deep/2.jpg"]
    touch(tmp_path, "small/1.jpg")
    assert locate(tmp_path, ["1.jpg", "deep/2.jpg"]) == ["1.jpg", "deep/2.jpg"]


# Any dialect.

DIALECTS = {
    "delimiter": st.sampled_from([",", ";", "\t"]),
    "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    "order": st.permutations(range(4)),
    "names": st.tuples(
        st.sampled_from(["path", "File", "FILENAME", "file_name", "Image"]),
        st.sampled_from(["labels", "Labels", "tags", "TAGS"]),
        st.sampled_from(["split", "Split", "SET"]),
        st.sampled_from(["width", "", "note"]),
    ),
    "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    "line_end": st.sampled_from(["\n", "\r\n", "\r"]),
    "space": st.sampled_from(["", " "]),
    "join": st.sampled_from(
        [
            *("|".join, ",".join, ", ".join, ";".join, " ".join, "\t".join, str, json.dumps),
            lambda labels: str(np.array(labels, str)),
        ]
    ),
    "slash": st.sampled_from(["/", "\\"]),
}
MANY = st.sampled_from(["sea", "sand", "sky", "dog", "été", "bird"])
label_sets = st.lists(MANY, unique=True, max_size=4)
some_rows = st.lists(
    st.tuples(label_sets, st.sampled_from(["train", "Test", "", "VALIDATION"])),
    min_size=1,
    max_size=60,
).filter(lambda rows: any(labels for labels, _ in rows))


def in_dialect(rows, delimiter, quoting, order, names, encoding, line_end, space, join, slash):
    file = io.StringIO()
    table = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    lines = [names]
    for number, (labels, split) in enumerate(rows):
        lines.append([f"a{slash}{number}.jpg", join(labels) if labels else "", split, str(number)])
    for line in lines:
        table.writerow([f"{space}{line[column]}{space}" for column in order])
    return file.getvalue()


@fuzz
@given(some_rows, st.fixed_dictionaries(DIALECTS))
def test_a_list_in_any_dialect_is_read_to_the_same_rows_or_refused(tmp_path, rows, dialect):
    (tmp_path / "a").mkdir(exist_ok=True)
    path = tmp_path / "a.csv"
    path.write_text(in_dialect(rows, **dialect), dialect["encoding"], newline="")
    found = helpers.load_or_refuse(lambda: list(label_file.read_rows(path)))
    if found is None:
        return
    assert [sorted(row.labels) for row in found] == [sorted(labels) for labels, _ in rows]
    assert [row.split.strip() for row in found] == [split for _, split in rows]
    slash = dialect["slash"]
    assert [row.path.strip() for row in found] == [f"a{slash}{n}.jpg" for n in range(len(rows))]


@pytest.mark.parametrize("join", [",".join, ";".join, " ".join, str])
def test_a_list_of_many_rows_is_not_refused(tmp_path, join):
    """Else the test above would pass where nothing is read."""
    for seed in range(10):
        rows = many_rows(60, seed)
        assert read(write(tmp_path / "a.csv", rows, join)) == sets(rows)


@fuzz
@given(
    rows=some_rows,
    keys=st.tuples(
        *(
            st.sampled_from(names.split())
            for names in ("path File file_name", "labels Tags", "split Set")
        )
    ),
    more=st.dictionaries(st.sampled_from(["width", "note"]), st.none() | st.integers(), max_size=2),
    backwards=st.booleans(),
    escaped=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_json_lines_in_any_dialect_are_read_to_the_same_rows(
    tmp_path, rows, keys, more, backwards, escaped, line_end
):
    lines = []
    for number, (labels, split) in enumerate(rows):
        values = dict(zip(keys, (f"{number}.jpg", labels, split))) | more
        values = dict(reversed(values.items())) if backwards else values
        lines.append(json.dumps(values, ensure_ascii=escaped))
    (tmp_path / "a.jsonl").write_bytes(line_end.join(lines).encode())
    found = list(label_file.read_rows(tmp_path / "a.jsonl"))
    expected = [(f"{n}.jpg", labels, split) for n, (labels, split) in enumerate(rows)]
    assert [(row.path, row.labels, row.split) for row in found] == expected


@helpers.fuzz(40)
@given(
    rows=some_rows,
    names=st.tuples(
        *(
            st.sampled_from(names.split())
            for names in ("path File file_name", "labels Tags", "split SET", "width note")
        )
    ),
    order=st.permutations(range(4)),
    join=st.sampled_from(["|".join, ", ".join, str]),
    sheet=st.booleans(),
)
def test_workbooks_and_parquet_are_read_to_the_same_rows_or_refused(
    tmp_path, rows, names, order, join, sheet
):
    cells = [(f"{n}.jpg", join(labels), split, n) for n, (labels, split) in enumerate(rows)]
    names = [names[column] for column in order]
    cells = [[row[column] for column in order] for row in cells]
    if sheet:
        write_workbook(path := tmp_path / "a.xlsx", [names, *cells])
    else:
        write_parquet(path := tmp_path / "a.parquet", dict(zip(names, zip(*cells))))
    found = helpers.load_or_refuse(lambda: list(label_file.read_rows(path)))
    expected = [(f"{n}.jpg", sorted(labels), split) for n, (labels, split) in enumerate(rows)]
    if found is None:
        assert join != "|".join
    else:
        assert [(row.path, sorted(row.labels), row.split) for row in found] == expected


@helpers.fuzz(40)
@given(
    photos=st.lists(
        st.tuples(
            st.sampled_from(["", "train", "Test", "valid"]),
            st.sampled_from(["sea", "été", "traffic light", "a,b"]),
            st.sampled_from(["", "deep/", "deep/er/"]),
            st.sampled_from([".jpg", ".PNG", ".webp", ".jpeg"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_a_tree_of_folders_is_read_to_its_photos_or_refused(photos):
    with tempfile.TemporaryDirectory() as folder:
        split_or_none = photos[0][0]
        expected = {}
        for number, (split, name, deep, suffix) in enumerate(photos):
            split = split or "test" if split_or_none else ""
            path = os.path.join(split, name, f"{deep}{number}{suffix}")
            touch(Path(folder), path, os.path.join(split, name, f"{number}.txt"))
            expected[path] = ([name], split)
        found = {row.path: (row.labels, row.split) for row in label_file.read_rows(Path(folder))}
        assert found == expected


@fuzz
@given(
    rows=some_rows,
    kinds=st.lists(st.sampled_from([int, str, float]), min_size=4, max_size=4),
    first=st.integers(-3, 3),
    shuffled=st.randoms(),
)
def test_coco_files_with_ids_of_any_kind_are_read_to_the_same_rows(
    tmp_path, rows, kinds, first, shuffled
):
    names = sorted({name for labels, _ in rows for name in labels})
    ids = {name: first + place for place, name in enumerate(names)}
    of_image, of_category, in_image, in_category = [
        (lambda number, kind=kind: str(number) if kind is str else kind(number)) for kind in kinds
    ]
    images = [
        {"id": of_image(first + n), "file_name": f"{n}.jpg", "split": split}
        for n, (_, split) in enumerate(rows)
    ]
    pairs = [(first + n, ids[name]) for n, (labels, _) in enumerate(rows) for name in labels]
    annotations = [
        {"id": n, "image_id": in_image(image), "category_id": in_category(category)}
        for n, (image, category) in enumerate(pairs)
    ]
    categories = [{"id": of_category(number), "name": name} for name, number in ids.items()]
    for items in (images, annotations, categories):
        shuffled.shuffle(items)
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = list(label_file.read_rows(tmp_path / "a.json"))
    expected = [(f"{n}.jpg", sorted(labels), split) for n, (labels, split) in enumerate(rows)]
    assert [(row.path, sorted(row.labels), row.split) for row in found] == expected
