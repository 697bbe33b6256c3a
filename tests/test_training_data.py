import json

import numpy as np
import pytest

from pipeline.data.candidates import Origin, write_candidates
from pipeline.data.labelled import LabelledImages
from pipeline.data.training_data import truth_of
from tests.helpers import SMALL
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


@pytest.mark.parametrize("model", ["uniform", "reviewed"])
@pytest.mark.parametrize("dataset", ["files", "nuswide"])
def test_labels_that_were_cleaned_are_no_truth(dataset, model, tmp_path):
    path, candidates = tmp_path / "c.npy", np.array([[1, 1, 0], [1, 1, 1]], np.uint8)
    write_candidates(path, candidates, DATA, Origin(dataset, 0.0, 0, model))
    options = TrainingOptions(
        script="main_BCE", partial_rate=None, noise_file=str(path), dataset=dataset
    )
    assert (truth_of(options, DATA) is None) == (model == "reviewed")


@pytest.fixture
def judge(call_script, devkit, tmp_path):
    """Train on noisy candidates, then judge them: (status, evaluation, stdout, stderr)."""
    flags = ["--dataset", "voc07", "--path_images", devkit, *SMALL, "--output_dir", "r"]
    status, _, err = call_script(
        "main_BCE", *flags, "--partial_rate", 0.4, "--noise_file", "noise.npy"
    )
    assert status == 0, err

    def judge(*flags):
        place = tmp_path / f"v{len(list(tmp_path.glob('v*')))}"
        status, out, err = call_script("val", "--load_from", "r", "--output_dir", place, *flags)
        report = json.loads((place / "evaluation.json").read_text()) if status == 0 else None
        return status, report, out, err

    return judge


def test_a_run_is_judged_by_its_own_candidates(judge):
    flags = ["--split", "train", "--candidates", "--save_scores", "s.npz"]
    status, report, out, _ = judge(*flags)
    assert status == 0
    with np.load("s.npz") as saved:
        expected = judge_candidates(saved["scores"], saved["targets"], np.load("noise.npy"))
    assert {name: report[name] for name in expected} == expected
    assert f"AP {expected['candidate_AP']:6.2f} over {expected['candidates']}, of which " in out
    assert "candidate_AP" not in judge("--split", "train")[1]


def test_of_labels_as_found_nobody_knows_which_are_true(call_script, devkit, tmp_path):
    flags = ["--dataset", "voc07", "--path_images", devkit, *SMALL, "--output_dir", "r"]
    assert call_script("main_BCE", *flags, "--partial_rate", 0)[0] == 0
    flags = ["--load_from", "r", "--split", "train", "--candidates", "--output_dir", "v"]
    status, out, err = call_script("val", *flags)
    assert status == 0, err
    assert "which of them are true is not known" in out
    report = json.loads((tmp_path / "v" / "evaluation.json").read_text())
    assert [report[name] for name in ("candidate_AP", "true_candidates")] == [None, None]


def test_other_candidates_than_the_run_s_are_refused(judge, tmp_path):
    candidates = np.load("noise.npy")
    candidates[0] = 1
    np.save("noise.npy", candidates)
    status, _, _, err = judge("--split", "train", "--candidates")
    assert status == 1
    assert "data or candidates are not those that r/model.safetensors was trained on" in err
    (tmp_path / "noise.npy").unlink()
    status, _, _, err = judge("--split", "train", "--candidates")
    assert status == 1
    assert "noise.npy, the candidates that r/model.safetensors was trained on, is missing" in err
    assert not (tmp_path / "noise.npy").exists()


@pytest.mark.parametrize("flags", ["", "--split test", "--split train --dataset digits"])
def test_only_a_run_on_its_training_images_has_candidates(flags, call_script):
    status, _, err = call_script("val", "--load_from", "r", "--candidates", *flags.split())
    assert status == 2
    assert "--candidates needs --split train and a run's own data" in err
