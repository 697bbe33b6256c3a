import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import check_data
from pipeline.data.candidates import Origin, write_candidates
from pipeline.data.labelled import LabelledImages
from pipeline.data.verified import Verified

LISTED = [
    ("train/a.png", "cat", "train"),
    ("train/b.jpg", "cat|dog", "train"),
    ("train/c.png", "dog", "train"),
    ("test/d.png", "cat|dog", "test"),
    ("test/e.jpg", "dog", "test"),
]
TARGETS = np.array([[1, 0], [1, 1], [0, 1]], np.int8)
CANDIDATES = np.array([[1, 0], [1, 1], [1, 1]], np.uint8)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working folder, with the images and the list of LISTED."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name, _, _ in LISTED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / name)
    write_list(LISTED)
    return tmp_path


def write_list(rows, columns=("path", "labels", "split")):
    with open("photos.csv", "w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def check(photos, monkeypatch, capsys):
    """Call the script as the shell would: (status, lines of stdout, lines of stderr)."""

    def call(*flags, dataset=("files", "--labels", "photos.csv")):
        argv = ["check_data.py", "--dataset", *dataset, *flags]
        monkeypatch.setattr(sys, "argv", [str(word) for word in argv])
        try:
            status = check_data.main()
        except SystemExit as caught:
            status = caught.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return call


FINE = "nothing found that would make training wrong"
LIST = "list  photos.csv: CSV with commas; labels joined by pipe"
FEW = [
    "note   2 test images, too few for their mAP to tell much",
    *[f"         test/{n}" for n in ("d.png", "e.jpg")],
]
EVERY = ["note   1 classes that every test image has", "         dog"]
TABLE = [
    "class            training    test",
    "cat                     2       1",
    "dog                     2       2",
    "images                  3       2",
    "labels an image      1.33    1.50",
]


def found_in(out):
    """The lines between that on the list and the table, without those this set always has."""
    assert out[0] == LIST
    found = out[1 : out.index(TABLE[0])]
    assert [line for line in found if line in EVERY + FEW] == EVERY + FEW
    return [line for line in found if line not in EVERY + FEW]


def test_a_clean_set_passes_with_its_counts_after_what_was_found(check):
    assert check() == (0, [LIST, *EVERY, *FEW, *TABLE, FINE], [])


def test_flags_say_how_a_list_is_read(check, photos):
    write_list(
        [(name, labels.replace("|", "#"), split) for name, labels, split in LISTED], ("a", "b", "c")
    )
    (photos / "names.csv").write_text("dog,hound\nwolf,hound\n")
    status, out, err = check(
        *("--columns", "path=a", "labels=b", "split=c", "--separator", "#", "--rename", "names.csv")
    )
    assert status == 0
    assert out[0] == (
        "list  photos.csv: CSV with commas; path from a; labels from b; split from c; "
        "labels joined by #"
    )
    assert ["hound", "2", "2"] in map(str.split, out)
    assert err == ["warning: --rename has 1 names that no label has, first wolf"]


def test_what_a_careless_list_has_is_named_before_the_table(check):
    write_list(
        [(name, labels.replace("cat|dog", "cat|Dog|nan"), split) for name, labels, split in LISTED]
    )
    out = check()[1]
    for kind, item in (
        ("differ in case or spaces alone", "Dog = dog"),
        ("named like an empty cell", "nan"),
    ):
        line = next(number for number, text in enumerate(out) if kind in text)
        assert out[line].startswith("note   1 classes")
        assert out[line + 1] == f"         {item}"
        assert line < out.index(TABLE[0])


def test_a_name_with_a_line_end_stays_on_its_line(check, photos):
    Image.new("RGB", (3, 3)).save(photos / "train" / "a\nb.png")
    assert r"         train/a\nb.png" in check()[1]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_text(path):
    path.write_text("no image")


@pytest.mark.parametrize("damage", [write_text, truncate, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["train/a.png", "train/b.jpg", "test/e.jpg"])
def test_a_damaged_file_is_named_and_wrong(check, photos, damage, name):
    damage(photos / name)
    status, out, err = check()
    assert status == 1
    first, second = found_in(out)
    assert first == "WRONG  1 unreadable or truncated images"
    assert second.startswith(f"         cannot decode image ./{name}: ")
    assert out[-5:] == TABLE
    message = "error: training would be wrong: unreadable or truncated images, see above"
    assert err == [message]


def test_a_missing_file_is_wrong_unless_allowed(check, photos):
    (photos / "train/c.png").unlink()
    found = ["1 listed images without a file", "         train/c.png"]
    status, out, err = check()
    every = ["note   1 classes that every training image has", "         cat"]  # of what is left
    assert (status, found_in(out)) == (1, [f"WRONG  {found[0]}", found[1], *every])
    assert err[-1] == "error: training would be wrong: listed images without a file, see above"
    status, out, err = check("--allow_missing")
    assert (status, out[-1]) == (0, FINE)
    assert found_in(out) == [f"note   {found[0]}", found[1], *every]
    assert len(err) == 1
    assert "lacks 1, first train/c.png; going on with the rest" in err[0]
    assert ["images", "2", "2"] in map(str.split, out)


def copy(source, target):
    return lambda photos: shutil.copy(photos / source, photos / target)


def unlabel_first(photos):
    write_list([(LISTED[0][0], "", "train"), *LISTED[1:]])


SAME = "images with the same bytes in training and in test"
UNLISTED, UNLABELLED = "note   1 images that no list names", "training images without a label"


@pytest.mark.parametrize(
    ("change", "found", "item"),
    [
        (copy("test/d.png", "train/a.png"), f"WRONG  1 {SAME}", "./train/a.png = ./test/d.png"),
        (copy("test/d.png", "test/f.PNG"), UNLISTED, "test/f.PNG"),
        # What such a file holds is not looked at, its name need not be UTF-8.
        pytest.param(
            copy("test/d.png", "test/caf\udce9.png"),
            UNLISTED,
            "test/caf\\udce9.png",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="not every system has such"),
        ),
        (unlabel_first, f"note   1 {UNLABELLED}", "train/a.png"),
    ],
)
def test_each_finding_names_its_items_and_only_what_is_wrong_fails(
    check, photos, change, found, item
):
    change(photos)
    status, out, err = check()
    assert [found, f"         {item}"] == out[out.index(found) :][:2]
    if found.startswith("WRONG"):
        kind = found.split(maxsplit=2)[2]
        assert (status, err) == (1, [f"error: training would be wrong: {kind}, see above"])
        assert FINE not in out
    else:
        assert (status, err, out[-1]) == (0, [], FINE)


def test_the_error_names_every_kind_that_is_wrong(check, photos):
    (photos / "train/c.png").unlink()
    truncate(photos / "train/b.jpg")
    _, _, err = check()
    kinds = "listed images without a file; unreadable or truncated images"
    assert err[-1] == f"error: training would be wrong: {kinds}, see above"


def test_five_of_a_kind_are_named_or_all(check, photos):
    for number in range(7):
        shutil.copy(photos / "test/d.png", photos / f"test/x{number}.png")
    names = [f"         test/x{number}.png" for number in range(7)]
    found = "note   7 images that no list names"
    assert found_in(check()[1]) == [found, *names[:5], "         ... (--all names them)"]
    assert found_in(check("--all")[1]) == [found, *names]
    for number in (5, 6):
        (photos / f"test/x{number}.png").unlink()
    assert found_in(check()[1])[1:] == names[:5]


def write_noise(candidates, classes=("cat", "dog"), verified=None):
    names = [name for name, _, _ in LISTED[:3]]
    data = LabelledImages([], list(classes), TARGETS[: len(candidates)], names)
    write_candidates("noise.npy", candidates, data, Origin("files", 0.5, 0, "uniform"), verified)


def test_candidates_that_fit_are_confirmed(check):
    write_noise(CANDIDATES)
    status, out, _ = check("--noise_file", "noise.npy")
    fits = "noise.npy fits the training images and their labels"
    assert (status, out[-2:]) == (0, [fits, FINE])


def test_verified_images_of_candidates_say_their_noise_and_contradict_the_list(check):
    """As training takes them: with those of the list, and rather than these."""
    rows = [("cat", "yes"), ("cat|dog", "yes"), ("dog", "no"), ("cat|dog", ""), ("", "")]
    listed = [(*row, *more) for row, more in zip(LISTED, rows)]
    write_list(listed, ("path", "labels", "split", "true_labels", "verified"))
    write_noise(CANDIDATES, verified=Verified(np.array([1, 2]), np.array([[0, 1], [0, 1]])))
    status, out, err = check("--noise_file", "noise.npy")
    assert (status, err) == (0, [])
    noise = out[out.index(TABLE[-1]) + 1 :]
    assert noise[:3] == [
        "noise.npy fits the training images and their labels; it has 2 verified images",
        "note   1 images whose true labels in the candidate file, which count, are not those of "
        "the list",
        "         train/b.jpg",
    ]
    assert noise[3] == "3 verified images, with 95% intervals:"
    assert [line.split("  ")[0] for line in noise[5:8]] == ["all classes", "cat", "dog"]
    for line, share in zip(noise[5:8], ("40% (12 to 77) of 5", "67% (21 to 94) of 3", "0% ")):
        assert line[13:].startswith(share)
    content = json.loads(Path("noise.json").read_text())
    Path("noise.json").write_text(json.dumps(content | {"verified": [[99, [0]]]}))
    status, out, err = check("--noise_file", "noise.npy")
    assert (status, out) == (1, [])
    assert "noise.json must list verified images as rows with the columns" in err[-1]


def test_opposite_truths_of_one_photo_in_a_candidate_file_are_noted(check, photos):
    shutil.copy(photos / "train" / "a.png", photos / "train" / "c.png")
    write_noise(CANDIDATES, verified=Verified(np.array([0, 2]), np.array([[1, 0], [0, 1]])))
    status, out, _ = check("--noise_file", "noise.npy")
    assert status == 0
    kind = "training images with the same bytes that are verified to be different"
    assert out[out.index(f"note   1 {kind}") + 1] == "         ./train/a.png = ./train/c.png"


@pytest.mark.parametrize(
    ("candidates", "classes", "message"),
    [
        (CANDIDATES[:2], ["cat", "dog"], "noise.npy has shape (2, 2), but the split has 3 images"),
        (CANDIDATES * [[0], [1], [1]], ["cat", "dog"], "leaves out 1 of 4, first 'cat' of image t"),
        (CANDIDATES, ["dog", "cat"], "noise.json lists other classes than the 2 here"),
    ],
)
def test_candidates_of_something_else_are_refused(check, candidates, classes, message):
    write_noise(candidates, classes)
    status, out, [err] = check("--noise_file", "noise.npy")
    assert (status, message in err, FINE in out) == (1, True, False)


def test_a_damaged_candidate_file_is_said_before_anything_is_read(check):
    Path("noise.npy").write_bytes(b"no numpy file")
    status, out, err = check("--noise_file", "noise.npy")
    assert (status, out, "noise.npy" in err[-1]) == (1, [], True)


def test_missing_images_are_not_blamed_on_the_candidates(check, photos):
    """Which would be of another shape than what is left, and be deleted as the remedy."""
    write_noise(CANDIDATES)
    (photos / "train/c.png").unlink()
    status, _, err = check("--noise_file", "noise.npy")
    assert status == 1
    assert err[-1] == "error: training would be wrong: listed images without a file, see above"
    status, _, err = check("--noise_file", "noise.npy", "--allow_missing")
    assert status == 1
    assert "noise.npy has shape (3, 2), but the split has 2 images" in err[-1]


def test_the_seed_divides_files_without_a_split_as_in_training(check):
    write_list([row[:2] for row in LISTED], ("path", "labels"))
    tables = [check("--seed", seed)[1][-6:] for seed in (0, 0, 1, 2, 3)]
    assert tables[0] == tables[1]
    assert any(table != tables[0] for table in tables)


def test_digits_are_checked_without_files(check):
    status, out, err = check(dataset=["digits"])
    assert (status, err, out[-1]) == (0, [], FINE)
    assert out[0] == "class            training    test"
    assert out[11].split() == ["images", "2000", "1000"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (["digits", "--labels", "photos.csv"], "--labels is for --dataset files"),
        (["digits", "--separator", ","], "--separator is for --dataset files"),
        (
            ["files", "--labels", "x", "--columns", "a=b"],
            "expected one of path, labels, split, true",
        ),
        (["digits", "--workers", "0"], "expected a whole number of at least 1, but got 0"),
    ],
)
def test_bad_usage_exits_with_2(check, dataset, message):
    status, _, err = check(dataset=dataset)
    assert status == 2
    assert message in err[-1]
