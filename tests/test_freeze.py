"""Training of a head on the features of a frozen trunk, by the scripts."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import safetensors.torch

from pipeline.data import digits
from pipeline.model import decoder
from tests.helpers import ForkedScript, call_in
from utils.options.choices import LOSSES, NEED_VERIFIED, RECIPES

FROZEN = (
    "--dataset digits --freeze --model kept_trunk --weights none --img_size 32 --total_epoch 2 "
    "--workers 0"
).split()


def last_line(folder):
    return json.loads((folder / "metrics.jsonl").read_text("utf-8").splitlines()[-1])


def weights(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    """Digits as always, but few of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "SCENES", {"train": 400, "test": 200})
        yield


@pytest.fixture(scope="module")
def frozen_run(tmp_path_factory, few_scenes):
    """A folder with a run of recipe posterior, and the features it has stored."""
    folder = tmp_path_factory.mktemp("frozen")
    flags = "--recipe posterior --targets neighbours --partial_rate 0.3 --verified 20 "
    flags += "--output_dir run"
    call_in(folder, "main_CoNeS", *FROZEN, *flags.split())
    return folder


@pytest.fixture
def frozen(frozen_run, tmp_path, monkeypatch):
    """A copy of it, in which scripts are called."""
    shutil.copytree(frozen_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(decoder, "HIDDEN", 64)  # an epoch of its full size takes seconds
    return tmp_path


@pytest.mark.parametrize("stored", [True, False])
def test_evaluation_equals_the_trainings_last_to_the_digit(frozen, call_script, stored):
    if not stored:
        shutil.rmtree("features")
    status, _, err = call_script("val", "--load_from", "run", "--output_dir", "v")
    assert (status, err) == (0, "")
    found = json.loads((frozen / "v/evaluation.json").read_text("utf-8"))
    last = last_line(frozen / "run")
    for name in ("mAP", "CF1", "OF1", "CP_top3"):
        assert found[name] == last[name]


def test_later_runs_find_the_features(frozen, call_script):
    status, out, _ = call_script(
        "main_BCE", *FROZEN, "--partial_rate", "0.1", "--loss", "asl", "--output_dir", "b"
    )
    assert status == 0
    assert out.count("images found in ") == 2


@pytest.mark.parametrize("head", ["gap", "csra"])
def test_the_trunk_stays_and_the_head_learns(frozen, call_script, head):
    flags = ["--head", head, "--total_epoch", "6", "--output_dir", head, "--verified", "5"]
    status, _, err = call_script("main_BCE", *FROZEN, "--partial_rate", "0", *flags)
    assert status == 0
    assert "--verified 5 has no effect" in err
    before, after = weights(frozen / "run"), weights(frozen / head)
    shared = [key for key in before if key.startswith("trunk.")]
    assert shared
    assert all((before[key] == after[key]).all() for key in shared)
    lines = (frozen / head / "metrics.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[-1])["train_loss"] < json.loads(lines[0])["train_loss"]


@pytest.mark.parametrize("name", [*RECIPES, *LOSSES])
def test_every_recipe_and_loss_trains(frozen, call_script, name):
    script, kind = ("main_CoNeS", "recipe") if name in RECIPES else ("main_BCE", "loss")
    flags = [f"--{kind}", name, "--partial_rate", "0.3", "--total_epoch", "1", "--output_dir", "r"]
    flags += ["--verified", "5"] if name in NEED_VERIFIED else []
    assert call_script(script, *FROZEN, *flags)[0] == 0
    assert np.isfinite(last_line(frozen / "r")["train_loss"])


def test_pml_cd_learns_and_evaluates_to_its_last_figures(frozen, call_script):
    flags = "--loss pml-cd --lr 0.001 --partial_rate 0.2 --output_dir p".split()
    assert call_script("main_BCE", *FROZEN, *flags)[0] == 0
    lines = [json.loads(line) for line in (frozen / "p/metrics.jsonl").read_text().splitlines()]
    assert [line["confidence"] == 1 for line in lines] == [True, False]
    assert lines[-1]["mAP"] > 26  # 24% of labels are true
    status, out, err = call_script("val", "--load_from", "p", "--output_dir", "v")
    assert (status, err) == (0, "")
    assert "kept_trunk, decoder, 10 classes" in out
    found = json.loads((frozen / "v/evaluation.json").read_text("utf-8"))
    assert found["mAP"] == lines[-1]["mAP"]


def test_the_data_are_checked_with_what_a_run_says_of_its_verified_images(frozen, call_script):
    status, out, _ = call_script("review", "--load_from", "run", "--threshold", "0.5")
    assert status == 0
    said = out.splitlines()
    start = said.index(next(line for line in said if line.startswith("dropped from verified")))
    check = ["check_data", "--dataset", "digits", "--load_from"]
    status, out, err = call_script(*check, "run")
    assert (status, err) == (0, "")
    assert out.splitlines()[-12] == "run, of the candidates it was trained on:"
    assert out.splitlines()[-11:] == said[start : start + 11]  # two lines of head, thresholds
    call_script("main_BCE", *FROZEN, "--partial_rate", "0.3", "--output_dir", "plain")
    status, _, err = call_script(*check, "plain")
    assert status == 1
    assert "verified images or more, and its last.pt; found bce with 0" in err


def test_a_run_interrupted_and_resumed_equals_an_unbroken_one(frozen, call_script):
    flags = "--recipe posterior --targets neighbours --partial_rate 0.3 --verified 20".split()
    flags += ["--total_epoch", "30"]
    many = [*FROZEN, *flags, "--print_freq", "1"]
    script = ForkedScript("main_CoNeS", *many, "--output_dir", "cut")
    script.wait_for(lambda text: "epoch 2 step" in text)
    os.kill(script.pid, signal.SIGTERM)
    status, text = script.wait()
    assert status == 143, text
    assert "--resume cut" in text
    assert call_script("main_CoNeS", "--resume", "cut", "--print_freq", "1000")[0] == 0
    whole = [*FROZEN, *flags, "--output_dir", "whole"]
    assert call_script("main_CoNeS", *whole)[0] == 0
    cut, unbroken = weights(frozen / "cut"), weights(frozen / "whole")
    assert all((cut[key] == unbroken[key]).all() for key in unbroken)
    assert last_line(frozen / "cut")["mAP"] == last_line(frozen / "whole")["mAP"]


def test_a_frozen_run_can_be_trained_whole(frozen, call_script):
    small = [flag for flag in FROZEN if flag != "--freeze"]
    small = [flag for flag in small if flag not in ("--weights", "none")]
    flags = "--load_from run --head gap --total_epoch 1 --amp off --partial_rate 0.3".split()
    status, _, err = call_script("main_BCE", *small, *flags, "--output_dir", "w")
    assert status == 0, err
    before, after = weights(frozen / "run"), weights(frozen / "w")
    assert before.keys() == after.keys()
    assert any((before[key] != after[key]).any() for key in before if key.startswith("trunk."))
    assert (before["head.standardization.mean"] == after["head.standardization.mean"]).all()
    assert call_script("val", "--load_from", "w", "--output_dir", "vw")[0] == 0
    assert call_script("main_BCE", "--resume", "w", "--total_epoch", "2")[0] == 0


def test_a_run_trained_whole_can_be_frozen(frozen, call_script):
    small = [flag for flag in FROZEN if flag not in ("--weights", "none")]
    whole = [flag for flag in FROZEN if flag != "--freeze"]
    flags = "--total_epoch 1 --amp off --partial_rate 0.3".split()
    assert call_script("main_BCE", *whole, *flags, "--output_dir", "w")[0] == 0
    flags = "--load_from w --head csra --partial_rate 0.3 --output_dir f".split()
    assert call_script("main_BCE", *small, *flags)[0] == 0
    assert call_script("val", "--load_from", "f", "--output_dir", "vf")[0] == 0
    found = json.loads((frozen / "vf/evaluation.json").read_text("utf-8"))
    assert found["mAP"] == last_line(frozen / "f")["mAP"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--freeze --randaugment", "--randaugment is for a trunk that is trained"),
        ("--verified -1", "expected a number of images"),
        ("--verified 1.5", "expected a number of images"),
        ("--verified some", "expected a number of images"),
        ("--targets moon", "expected one of neighbours, classifier"),
        ("--recipe paper --targets neighbours", "--targets is for --recipe posterior"),
        (
            "--recipe posterior --targets neighbours --ablate offset",
            "--ablate of --recipe posterior is for --targets classifier",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_bad_usage(call_script, flags, message):
    status, _, err = call_script("main_CoNeS", "--dataset", "digits", *flags.split())
    assert status == 2
    assert message in err


def test_a_prior_that_is_none_is_refused_before_features_are_computed(frozen, assert_refused):
    shutil.rmtree("features")
    np.save("p.npy", np.full((400, 10), 2.0))
    flags = "--recipe posterior --targets neighbours --partial_rate 0.3 --prior p.npy".split()
    assert_refused("values outside 0..1", "main_CoNeS", *FROZEN, *flags)
    assert not (frozen / "features").exists()


def test_more_verified_images_than_there_are_is_an_error(call_script):
    flags = "--partial_rate 0.3 --verified 100000".split()
    status, _, err = call_script("main_CoNeS", *FROZEN, *flags)
    assert status == 1
    assert "asks for 100000 training images whose true labels are known" in err
