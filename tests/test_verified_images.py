"""Verified images: where they come from, and what training may know of them."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from pipeline.data import label_file
from pipeline.data.candidates import Origin, read_verified, write_candidates
from pipeline.data.labelled import LabelledImages
from pipeline.data.training_data import describe_data, find_verified, read_prior, warn_of_undrawn
from pipeline.data.verified import Verified, describe_noise, format_noise, shown
from tests.helpers import refused
from utils.errors import UserError
from utils.options.training import TrainingOptions

HEADER = "path,labels,split,true_labels,verified\n"


def read(tmp_path, text, name="list.csv"):
    """The training split of a list, whose photos need not be there."""
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return label_file.read_table(path)


@pytest.mark.parametrize("yes", ["yes", "YES", "true", "1", " yes "])
@pytest.mark.parametrize("no", ["no", "", "False", "0"])
def test_a_list_says_which_images_are_verified(tmp_path, yes, no):
    rows = f"a.jpg,sea|sky,train,sea,{yes}\nb.jpg,sea,train,sky,{no}\nc.jpg,sky,train,|,{yes}\n"
    table = read(tmp_path, HEADER + rows)
    assert table.verified.tolist() == [True, False, True]
    assert table.targets.tolist() == [[1, 1], [1, 0], [0, 1]]
    assert table.true_targets.tolist() == [[1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("verified", [True, "yes"])
def test_json_lines_say_it_too(tmp_path, verified):
    row = {"path": "a.jpg", "labels": ["sea", "sky"], "true_labels": ["sea"], "verified": verified}
    assert read(tmp_path, json.dumps(row), "list.jsonl").verified.tolist() == [True]


def test_coco_files_keep_the_tags_as_found_beside_the_truth(tmp_path):
    names = ("sea", "sky", "sun")
    content = {
        "categories": [{"id": 10 * k, "name": name} for k, name in enumerate(names, 1)],
        "images": [
            {"id": 1, "file_name": "a.jpg", "verified": True, "candidates": [10, 30]},
            {"id": 2, "file_name": "b.jpg"},
            {"id": 3, "file_name": "c.jpg", "verified": True, "candidates": None},
            {"id": 4, "file_name": "d.jpg", "verified": "yes", "split": None},
            {"id": 5, "file_name": "e.jpg", "verified": None},
        ],
        "annotations": [
            {"id": k, "image_id": image, "category_id": category}
            for k, (image, category) in enumerate([(1, 10), (1, 20), (2, 30), (3, 30)])
        ],
    }
    table = read(tmp_path, json.dumps(content), "list.json")
    assert table.verified.tolist() == [True, False, True, True, False]
    assert table.targets.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert table.true_targets.tolist() == [[1, 1, 0], [-1] * 3, [0, 0, 1], [0, 0, 0], [-1] * 3]
    assert table.splits.tolist() == [-1] * 5
    understood = label_file.read_list(tmp_path / "list.json", label_file.NO_READING, ()).understood
    assert understood.notes[0].startswith("2 verified images without candidates, whose annotations")
    content["images"][0]["candidates"] = [10, "x"]
    with pytest.raises(UserError, match="candidates to be a list of ids of categories"):
        read(tmp_path, json.dumps(content), "list.json")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,sea,train,sea,perhaps", "line 2: expected verified to be yes or no"),
        ("a.jpg,sea,train,,yes", r"line 2: expected the true_labels of a verified image"),
    ],
)
def test_contradictions_are_refused_in_a_line(tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, HEADER + row + "\n")


def data(images=20, true=None, verified=None):
    targets = np.random.default_rng(0).integers(0, 2, (images, 3)).astype(np.int8)
    names = [str(row) for row in range(images)]
    return LabelledImages(names, ["a", "b", "c"], targets, names, true, verified=verified)


def options(script="main_CoNeS", **changes):
    return TrainingOptions(script=script, **{"dataset": "voc07", "partial_rate": 0.2} | changes)


@pytest.mark.parametrize(("asked", "count"), [(5, 5), (0.25, 5), (20, 20)])
def test_so_many_are_drawn_by_the_seed_and_their_truth_is_shown(asked, count):
    clean = data()
    found = find_verified(options(verified=asked), clean)
    assert len(found.rows) == count
    assert (found.truth == clean.targets[found.rows]).all()
    again = find_verified(options(verified=asked), clean)
    other = find_verified(options(verified=asked, seed=1), clean)
    assert (again.rows == found.rows).all()
    assert count == 20 or (other.rows != found.rows).any()
    more = find_verified(options(verified=15), clean)
    assert count > 15 or set(found.rows) <= set(more.rows)  # more are the same, and others


@pytest.mark.parametrize(
    "given", [options(), options(verified=0), options("main_BCE", partial_rate=0.0, verified=5)]
)
def test_none_are_known_where_none_are_asked_for_or_no_label_is_false(given):
    assert find_verified(given, data()) is None


def test_those_of_the_list_are_taken_where_none_are_asked_for():
    true = np.zeros((20, 3), np.int8)
    marked = np.arange(20) % 4 == 0
    found = find_verified(options("main_real"), data(true=true, verified=marked))
    assert found.rows.tolist() == [0, 4, 8, 12, 16]
    assert not found.truth.any()


def test_of_labels_as_found_only_known_ones_are_drawn():
    true = np.full((20, 3), -1, np.int8)
    true[::2] = 1
    found = find_verified(options("main_real", verified=10), data(true=true))
    assert (found.rows % 2 == 0).all()
    with pytest.raises(UserError, match="asks for 11 training images .* but there are 10"):
        find_verified(options("main_real", verified=11), data(true=true))


@pytest.mark.parametrize("script", ["main_real", "main_BCE", "main_CoNeS"])
def test_they_are_drawn_in_a_list_by_every_script_that_adds_no_noise(script, tmp_path):
    true = np.zeros((20, 3), np.int8)
    listed = data(true=true, verified=np.arange(20) < 10)
    given = options(script, dataset="files", partial_rate=0.0, verified=5)
    drawn = find_verified(given, listed)
    assert len(drawn.rows) == 5
    assert not drawn.truth.any()
    path = tmp_path / "reviewed.npy"
    known = Verified(np.array([7]), np.array([[1, 0, 1]], np.uint8))
    write_candidates(path, listed.targets, listed, Origin("files", 0.0, 0, "reviewed"), known)
    given = dataclasses.replace(given, noise_file=str(path), partial_rate=None)
    assert find_verified(given, listed).rows.tolist() == sorted({7, *drawn.rows.tolist()})
    if script != "main_real":  # which takes no labels for the truth
        assert find_verified(given, data()).rows.tolist() == [7]


def test_it_is_said_that_none_can_be_drawn_where_no_label_is_known_to_be_false(capsys):
    for rate, true, found in (0.0, None, 1), (0.2, None, 0), (0.0, np.zeros((20, 3)), 0):
        given, images = options("main_BCE", partial_rate=rate, verified=5), data(true=true)
        warn_of_undrawn(given, images, find_verified(given, images))
        assert capsys.readouterr().err.count("--verified 5 has no effect") == found


def test_those_of_a_reviewed_candidate_file_are_taken_too_and_win(tmp_path):
    true = np.zeros((20, 3), np.int8)
    listed = data(true=true, verified=np.arange(20) < 3)
    path = tmp_path / "reviewed.npy"
    known = Verified(np.array([2, 7]), np.array([[1, 0, 1], [0, 0, 0]], np.uint8))
    given = options("main_real", noise_file=str(path), partial_rate=None)
    write_candidates(path, listed.targets, listed, Origin("voc07", 0.0, 0, "reviewed"), known)
    found = find_verified(given, listed)
    assert found.rows.tolist() == [0, 1, 2, 7]
    assert found.truth.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]
    write_candidates(path, listed.targets, listed, Origin("voc07", 0.0, 0, "reviewed"))
    assert find_verified(given, listed).rows.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "pairs",
    [[[0, [3]]], [[0, [-1]]], [[5, []]], [[1, []], [1, []]], [[-1, []]], [0], 3, [["a", 0]]],
)
def test_a_damaged_list_of_verified_images_is_refused(pairs, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"verified": pairs}))
    with refused("c.json must list verified images as rows"):
        read_verified(tmp_path / "c.npy", (5, 3))


def test_verified_images_are_part_of_what_a_run_was_trained_on():
    clean = data()
    candidates = np.ones((20, 3), np.uint8)
    known = Verified(np.array([2, 5]), clean.targets[[2, 5]].astype(np.uint8))
    assert (shown(candidates, known)[[2, 5]] == known.truth).all()
    assert candidates.all()
    prints = [describe_data(clean, clean, candidates, each) for each in (None, known)]
    assert prints[0]["fingerprint"] != prints[1]["fingerprint"]
    assert prints[1]["verified"] == 2


@pytest.mark.parametrize(
    "content",
    [np.zeros((3, 2)), np.full((4, 2), 1.5), np.full((4, 2), np.nan), np.zeros((4, 2), int), b"?"],
)
def test_a_prior_that_is_no_probabilities_of_these_images_is_refused(tmp_path, content):
    path = tmp_path / "p.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(UserError, match="--prior"):
        read_prior(path, (4, 2))
    np.save(path, np.full((4, 2), 0.5))
    assert (read_prior(path, (4, 2)) == 0.5).all()


def test_the_noise_of_verified_images_is_described_in_all_and_by_class():
    candidates = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]], np.uint8)
    known = Verified(np.array([0, 1, 2]), np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]], np.uint8))
    noise = describe_noise(candidates, known, ["a", "b", "c"])
    assert noise["false_candidates"][0] == noise["false_candidates"][3] / 12 == 0.5
    assert noise["missing_labels"][0::3] == [0.25, 4]
    assert noise["by_class"]["b"]["false_candidates"][0::3] == [0.5, 2]
    assert noise["by_class"]["c"] == {
        "false_candidates": [1.0, pytest.approx(0.2065, abs=1e-3), 1.0, 1],
        "missing_labels": None,
    }
    lines = format_noise(noise)
    assert lines[0].startswith("3 verified images")
    assert "50% (19 to 81) of 6" in lines[2]
    assert len(lines) == 2 + 4


def test_check_data_says_what_verified_images_tell(run_script, tmp_path):
    rows = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,a|b,{'test' if number == 3 else 'train'},a,yes")
    (tmp_path / "list.csv").write_text(HEADER + "\n".join(rows))
    out, _ = run_script("check_data --dataset files --labels list.csv")
    assert "note   1 verified images in test" in out
    assert "3 verified images" in out
    assert "50% (19 to 81) of 6" in out
