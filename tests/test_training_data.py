from pathlib import Path

import numpy as np
import pytest

from pipeline.data.candidates import Origin, write_candidates
from pipeline.data.labelled import LabelledImages
from pipeline.data.training_data import truth_of, warn_of_list
from tests.helpers import SMALL, read_json
from utils.metrics import judge_candidates
from utils.options.training import TrainingOptions

TRUTH = np.array([[1, 0, 0], [0, 1, -1]], np.int8)
DATA = LabelledImages([None, None], ["a", "b", "c"], TRUTH, ["x", "y"])


@pytest.mark.parametrize(
    ("script", "rate", "file", "known"),
    [
        ("main_CoNeS", 0.2, None, True),
        ("main_BCE", None, "a.npy", True),
        ("main_BCE", 0.0, None, False),
        ("main_real", 0.0, None, False),
        ("main_real", None, "a.npy", False),
    ],
)
def test_the_truth_is_known_where_noise_was_added(script, rate, file, known):
    options = TrainingOptions(script=script, partial_rate=rate, noise_file=file, dataset="voc07")
    assert (truth_of(options, DATA) is not None) == known


def test_what_misleads_in_a_list_is_said_a_line_each(capsys):
    train = LabelledImages([], ["Sea", "sea", "rare"], np.array([[1, 0, 0], [0, 1, 0]]), ["a", "b"])
    test = LabelledImages([], train.classes, np.array([[1, 0, 1]]), ["c\n" * 99])
    warn_of_list(train, test)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "warning: 1 classes whose names differ in case or spaces alone, first 'Sea = sea'; "
        "check_data.py names all",
        "warning: 1 classes all of whose images are in test, first 'rare'; check_data.py names all",
    ]
    assert lines[-1].startswith(
        "warning: 1 test images, too few for their mAP to tell much, first 'c"
    )
    assert max(map(len, lines)) < 200
    many = LabelledImages(
        [], ["a", "b"], np.tile(np.eye(2, dtype=np.int8), (6, 1)), list("abcdefghijkl")
    )
    warn_of_list(many, many)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("model", ["uniform", "reviewed"])
@pytest.mark.parametrize("dataset", ["files", "nuswide"])
def test_labels_that_were_cleaned_are_no_truth(dataset, model, tmp_path):
    path, candidates = tmp_path / "c.npy", np.array([[1, 1, 0], [1, 1, 1]], np.uint8)
    write_candidates(path, candidates, DATA, Origin(dataset, 0.0, 0, model))
    given = {"partial_rate": None, "noise_file": str(path), "dataset": dataset}
    options = TrainingOptions(script="main_BCE", **given)
    assert (truth_of(options, DATA) is None) == (model == "reviewed")


@pytest.fixture
def trained(run_script, devkit):
    """A run on noisy candidates, and how to judge its training images."""
    flags = ["--dataset", "voc07", "--path_images", devkit, *SMALL, "--output_dir", "r"]
    run_script("main_BCE", *flags, "--partial_rate", 0.4, "--noise_file", "noise.npy")
    return ["--load_from", "r", "--split", "train"]


def test_a_run_is_judged_by_its_own_candidates(trained, run_script):
    flags = [*trained, "--candidates", "--save_scores", "s.npz", "--output_dir", "v"]
    out, _ = run_script("val", *flags)
    report = read_json("v/evaluation.json")
    with np.load("s.npz") as saved:
        expected = judge_candidates(saved["scores"], saved["targets"], np.load("noise.npy"))
    assert {name: report[name] for name in expected} == expected
    assert f"AP {expected['candidate_AP']:6.2f} over {expected['candidates']}, of which " in out
    run_script("val", *trained, "--output_dir", "without")
    assert "candidate_AP" not in read_json("without/evaluation.json")


@pytest.mark.parametrize("number", [5, 8])
def test_verified_images_do_not_judge_the_run_that_knew_them(number, run_script, devkit):
    flags = ["--dataset", "voc07", "--path_images", devkit, *SMALL, "--output_dir", "r"]
    flags += ["--partial_rate", 0.4, "--noise_file", "noise.npy", "--verified", number, "--seed", 0]
    run_script("main_BCE", *flags)
    flags = ["--split", "train", "--candidates", "--save_scores", "s.npz", "--output_dir", "v"]
    run_script("val", "--load_from", "r", *flags)
    report = read_json("v/evaluation.json")
    others = np.random.default_rng([0, 2]).permutation(8)[number:]
    with np.load("s.npz") as saved:
        parts = saved["scores"], saved["targets"], np.load("noise.npy")
    expected = judge_candidates(*(part[others] for part in parts))
    assert {name: report[name] for name in expected} == expected
    assert (expected["candidate_AP"] is None) == (number == 8)


def test_of_labels_as_found_nobody_knows_which_are_true(run_script, devkit):
    flags = ["--dataset", "voc07", "--path_images", devkit, *SMALL, "--output_dir", "r"]
    run_script("main_BCE", *flags, "--partial_rate", 0)
    flags = ["--load_from", "r", "--split", "train", "--candidates", "--output_dir", "v"]
    assert "which of them are true is not known" in run_script("val", *flags)[0]
    report = read_json("v/evaluation.json")
    assert [report[name] for name in ("candidate_AP", "true_candidates")] == [None, None]


def test_other_candidates_than_the_run_s_are_refused(trained, assert_refused):
    candidates = np.load("noise.npy")
    candidates[0] = 1
    np.save("noise.npy", candidates)
    assert_refused("noise.json was written with other candidates", "val", *trained, "--candidates")
    Path("noise.json").unlink()
    message = "data or candidates are not those that r/model.safetensors was trained on"
    assert_refused(message, "val", *trained, "--candidates")
    Path("noise.npy").unlink()
    message = "noise.npy, the candidates that r/model.safetensors was trained on, is missing"
    assert_refused(message, "val", *trained, "--candidates")
    assert not Path("noise.npy").exists()


@pytest.mark.parametrize("flags", ["", "--split test", "--split train --dataset digits"])
def test_only_a_run_on_its_training_images_has_candidates(flags, assert_refused):
    message = "--candidates needs --split train and a run's own data"
    assert_refused(message, "val --load_from r --candidates", *flags.split(), status=2)
