import ast
import csv
import io
import shutil

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data import nuswide
from tests import helpers
from tests.helpers import assert_loads_or_refuses, refused, shown

fuzz = helpers.fuzz(100)
HEAD = "filepath,label,split_name\r\n"
# The list's labels are printed by Python, which quotes by ' or, where ' is within, by ".
LIST = HEAD + (
    "images/0_3_m.jpg,\"['sky', 'clouds']\",train\r\n"
    "images/0_1_m.jpg,['map'],val\r\n"
    "images/0_2_m.jpg,[],train\r\n"
    'images/0_5_m.jpg,"[""person"", \'dog\', \'person\']",val\r\n'
    "images/0_4_m.jpg,['clouds'],train\r\n"
)
EXPECTED = {
    "train": {"0_3_m.jpg": {"clouds", "sky"}, "0_2_m.jpg": set(), "0_4_m.jpg": {"clouds"}},
    "test": {"0_1_m.jpg": {"map"}, "0_5_m.jpg": {"person", "dog"}},
}


@pytest.fixture
def root(tmp_path):
    """A small folder nuswide, whose images are not in order."""
    folder = tmp_path / "nuswide"
    (folder / "images").mkdir(parents=True)
    for images in EXPECTED.values():
        for name in images:
            (folder / "images" / name).touch()
    write(folder, LIST)
    return folder


def write(root, content):
    content = content if isinstance(content, bytes) else content.encode()
    (root / nuswide.LIST_NAME).write_bytes(content)


def assert_refused(message, root, split="train", **options):
    with refused(message):
        nuswide.load(root, split, **options)


@pytest.mark.parametrize("split", EXPECTED)
def test_rows_and_labels_are_those_of_the_list(root, split):
    data = nuswide.load(root, split)
    assert list(shown(data).items()) == list(EXPECTED[split].items())
    assert data.targets.shape == (len(data), 81)
    assert data.targets.dtype == np.int8
    assert set(np.unique(data.targets)) == {0, 1}
    assert [data.images.path(row) for row in range(len(data.images))] == [
        str(root / "images" / name) for name in EXPECTED[split]
    ]
    assert data.true_targets is None


def test_classes_are_81_in_the_order_of_the_released_code(root):
    assert len(set(nuswide.CLASSES)) == len(nuswide.CLASSES) == 81
    assert (nuswide.CLASSES[:3], nuswide.CLASSES[-1]) == (["clouds", "sky", "person"], "map")
    train, test = nuswide.load(root, "train"), nuswide.load(root, "test")
    assert train.classes == test.classes == nuswide.CLASSES
    assert np.flatnonzero(train.targets[0]).tolist() == [0, 1]
    assert np.flatnonzero(test.targets[0]).tolist() == [80]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("images/", ""),
        lambda text: text.replace("images/", "images\\"),
        lambda text: text.replace("\r\n", "\n"),
        lambda text: text.replace(HEAD, "path,labels,split\n"),
        lambda text: text.replace("filepath", "\ufefffilepath"),
        lambda text: text.replace("['map']", '"[""map""]"'),
        lambda text: text.replace("['map']", " [ 'map' ] "),
        lambda text: text.replace("['map']", "\"['map',\n 'map',]\""),
        lambda text: text.strip(),
    ],
)
def test_the_same_list_written_in_another_way_reads_alike(root, change):
    write(root, change(LIST))
    for split, expected in EXPECTED.items():
        assert shown(nuswide.load(root, split)) == expected


def test_images_may_lie_in_the_folder_itself_or_below(root):
    (root / "images" / "a").mkdir()
    (root / "images" / "0_1_m.jpg").rename(root / "images" / "a" / "0_1_m.jpg")
    write(root, LIST.replace("0_1_m", "a/0_1_m"))
    assert list(nuswide.load(root, "test").ids) == ["a/0_1_m.jpg", "0_5_m.jpg"]
    for entry in (root / "images").iterdir():
        entry.rename(root / entry.name)
    (root / "images").rmdir()
    assert nuswide.load(root, "test").images.path(0) == str(root / "a" / "0_1_m.jpg")


def test_the_list_may_lie_in_data_nuswide(root, monkeypatch):
    elsewhere = root.parent / "checkout" / "data" / "nuswide"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(root.parent / "checkout")
    write(elsewhere, LIST.replace("['map']", "['zebra']"))
    assert shown(nuswide.load(root, "test"))["0_1_m.jpg"] == {"map"}
    (root / nuswide.LIST_NAME).unlink()
    assert shown(nuswide.load(root, "test"))["0_1_m.jpg"] == {"zebra"}
    shutil.rmtree(elsewhere)
    message = "nuswide/nus_wid_data.csv, or data/nuswide/nus_wid_data.csv, but there is none; down"
    assert_refused(message, root)
    (root / nuswide.LIST_NAME).mkdir()
    assert_refused(message, root)


def test_missing_images_are_refused_or_left_out(root, capsys):
    (root / "images" / "0_3_m.jpg").unlink()
    assert_refused("images must hold 3 images, but lacks 1, first 0_3_m.jpg; ", root)
    data = nuswide.load(root, "train", allow_missing=True)
    assert "0_3_m.jpg; going on with the rest" in capsys.readouterr().err
    assert (list(data.ids), data.missing) == (["0_2_m.jpg", "0_4_m.jpg"], ("0_3_m.jpg",))
    assert data.targets.sum(axis=1).tolist() == [0, 1]
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    assert_refused("must hold 3 images, but lacks 3", root, allow_missing=True)


GOOD = HEAD + "images/0_3_m.jpg,['sky'],train\n"


def row(path="0_4_m.jpg", labels="['sky']", split="train"):
    """GOOD and one more row of these cells."""
    file = io.StringIO()
    cells = [cell.replace("\0", "\ue000") for cell in (path, labels, split)]
    csv.writer(file, lineterminator="\n").writerow(cells)
    return GOOD + file.getvalue().replace("\ue000", "\0")  # which Python 3.10's csv cannot write


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must name train images, but names none; download the list again"),
        (HEAD, "must name train images, but names none; download the list again"),
        (HEAD + "images/0_1_m.jpg,['map'],val\n", "must name train images, but names none"),
        (GOOD + "images/0_4_m.jpg,['sky']\n", "line 3: .* train or val, but found .'images/0_4_m"),
        (GOOD + "0_4_m.jpg,['sky', 'sun'],train\n", "line 3: .* train or val, but found .'0_4_m"),
        (GOOD + "0_4_m.jpg,['sky'],train,x\n", "line 3: .* train or val, but found .'0_4_m.jpg'"),
        (GOOD + "\n", r"line 3: .* but found \[\]; download"),
        (row(split="test"), "line 3: .* train or val, but found .*'test'"),
        (row(split="val\nval"), r"line 4: .* train or val, but found .*'val\\nval'"),
        (row("0_3_m.jpg"), "line 3: .* no earlier line names, but found '0_3_m.jpg'; download"),
        (row("images/"), "line 3: .* no earlier line names, but found ''; download"),
        # Python 3.10's csv reads no NUL.
        (row("a\0/1.jpg"), r"line 3: .*(but found 'a\\x00/1.jpg'|NUL); download"),
        (row("a\n1.jpg"), r"line 4: .* no earlier line names, but found 'a\\n1.jpg'"),
        (row(labels="['unicorn']"), "line 3: expected one of the 81 concepts .* 'unicorn'; downl"),
        (row(labels="['Sky']"), "line 3: expected one of the 81 concepts of .* found 'Sky'; down"),
        (row(labels="['sky' 'sun']"), "line 3: expected one of the 81 .* found 'skysun'; downloa"),
        (row(labels=r"['a\nb']"), r"line 3: expected one of the 81 concepts .* found 'a\\nb'"),
        (row(labels=r"['\ud800']"), r"line 3: expected one of the 81 .* found '\\ud800'; downloa"),
        (row(labels=""), "line 3: expected a list of labels such as .* found ''; download"),
        (row(labels="'sky'"), "line 3: expected a list of labels such as .* found \"'sky'\"; do"),
        (row(labels="['sky', 1]"), "line 3: expected a list of labels such as .*'sky', 1"),
        (row(labels="[['sky']]"), "line 3: expected a list of labels such as .*'sky'"),
        (row(labels="['sky'"), "line 3: expected a list of labels such as .*'sky'"),
        (row(labels="[\n1]"), r"line 4: expected a list of labels .* found '\[\\n1\]'; downl"),
        (row(labels=f"[{'1' * 400} + 1j]"), "line 3: expected a list of labels such as"),
        (row(labels="9" * 5000), "line 3: expected a list of labels such as .* found '9{80}'; do"),
        (row(labels="\0"), r"line 3: .*(list of labels .* found '\\x00'|NUL); d"),
        (GOOD + "\"0_4_m.jpg\"x,['sky'],train\n", "line 3: ',' expected after '\"'; download"),
        (GOOD + "0_4_m.jpg,\"['sky'],train\n", "line 3: unexpected end of data; download"),
        (row(labels="x" * 140_000), "line 3: field larger than field limit"),
        (GOOD.encode() + b"\xff.jpg,['sky'],train\n", "cannot be read as a CSV .*'utf-8' .*0xff"),
        (LIST.encode("utf-16"), "cannot be read as a CSV file: 'utf-8'"),
    ],
)
def test_a_malformed_list_gives_one_line_with_place_and_remedy(root, content, message):
    write(root, content)
    assert_refused(f"nus_wid_data.csv,? ?{message}", root)


@pytest.mark.parametrize("text", ["[", "(", "{", "-", "not ", "1+", "'", "f'{", "[1,", "a."])
def test_deep_nesting_is_refused(root, text):
    write(root, row(labels=text * (100_000 if text == "[" else 20_000)))
    assert_refused("line 3: expected a list of labels such as", root)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch {}')",
        "[__import__('os').system('touch {}')]",
        "[open('{}', 'w')]",
        '[f\'{{open("{}", "w")}}\']',
        "[x for x in [open('{}', 'w')]]",
        "(lambda: open('{}', 'w'))()",
    ],
)
def test_expressions_in_the_list_are_not_run(root, expression):
    made = root / "made"
    write(root, row(labels=expression.format(made)))
    assert_refused("line 3: expected a list of labels such as", root)
    assert not made.exists()


pieces = st.sampled_from(
    "0_3_m.jpg images/ .. / a\0/ , \" \"\" ' [ ] { } ( ) 'sky' \"['sky']\" ['sky'] , : + 1 1j - "
    ",train ,train ,val *x lambda f' \\ \\ud800 \0 \ufeff \x85 \u2028 # 1e999".split(" ")
) | st.sampled_from([" ", "\n", "\r", "\r\n", "images/0_4_m.jpg,['sky'],train\n"])
contents = (
    st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.lists(pieces, max_size=14).map(lambda texts: "".join(texts).encode())
)


@fuzz
@given(head=st.sampled_from(["", HEAD, GOOD, LIST]), content=contents)
def test_any_list_is_refused_or_loads(root, head, content):
    write(root, head.encode() + content)
    assert_loads_or_refuses(nuswide.load, root, allow_missing=True)


@fuzz
@given(labels=st.lists(pieces, max_size=10).map("".join) | st.text(max_size=20))
@example("{{}}")
@example("1" * 400 + "-1j")
def test_any_labels_are_refused_or_load(root, labels):
    for text in (labels, f"[{labels}]"):
        write(root, row(labels=text))
        assert_loads_or_refuses(nuswide.load, root, allow_missing=True)


of_image = st.lists(st.sampled_from(nuswide.CLASSES), max_size=4)
marks = st.sampled_from(["train", "val"])


@fuzz
@given(st.dictionaries(st.integers(0, 9), st.tuples(of_image, marks)))
def test_what_is_written_is_read_row_by_row(tmp_path, rows):
    with (tmp_path / nuswide.LIST_NAME).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "label", "split_name"])
        for image, (labels, mark) in rows.items():
            writer.writerow([f"images/{image}.jpg", str(labels), mark])
    for split, mark in (("train", "train"), ("test", "val")):
        chosen = {f"{i}.jpg": set(labels) for i, (labels, of) in rows.items() if of == mark}
        if chosen:
            names, targets = nuswide.read_list(tmp_path / nuswide.LIST_NAME, split)
            found = [{nuswide.CLASSES[column] for column in np.flatnonzero(row)} for row in targets]
            assert list(zip(names, found)) == list(chosen.items())


@pytest.mark.parametrize(
    ("split", "mark", "count"), [("train", "train", 110), ("test", "val", 102)]
)
def test_real_photos_have_the_labels_that_a_plain_loop_finds(shared, split, mark, count):
    with (shared / "nuswide" / nuswide.LIST_NAME).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split_name"] == mark]
    expected = {
        row["filepath"].removeprefix("images/"): set(ast.literal_eval(row["label"])) for row in rows
    }
    data = nuswide.load(shared / "nuswide", split)
    assert list(shown(data).items()) == list(expected.items())
    assert len(data) == len(data.images) == count
    assert data.images[0].dtype == torch.uint8
    assert data.images[count - 1].shape[0] == 3


def test_check_data_takes_the_authors_candidates_without_the_first_image(root, call_script):
    candidates = (nuswide.load(root, "train").targets == 1)[1:].astype(np.uint8)
    np.save("noise.npy", candidates)
    flags = ["--dataset", "nuswide", "--path_images", root, "--noise_file", "noise.npy"]
    _, out, err = call_script("check_data", *flags)
    assert "lacks the first image, as the authors' reader does" in err
    assert "noise.npy fits the training images" in out
    np.save("noise.npy", candidates[1:])
    assert "noise.npy has shape (1, 81)" in call_script("check_data", *flags)[2]
