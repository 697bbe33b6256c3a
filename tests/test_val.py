"""The evaluation script from the shell's side."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from pipeline.data import voc
from pipeline.data.transforms import evaluation_transform
from pipeline.model.classifier import assemble
from tests import helpers
from tests.helpers import SMALL, SMALL_OF_TIMM, call_in, csra_form, read_json, released_form
from utils.metrics import average_precision

evaluation_transform.__test__ = False


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    helpers.write_devkit(folder / "VOCdevkit")
    flags = "--dataset voc07 --path_images VOCdevkit --partial_rate 0 --output_dir r".split()
    own = "--normalize imagenet --num_heads 2 --lam 0.4".split()
    call_in(folder, "main_BCE", *flags, *SMALL_OF_TIMM, *own)
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """A finished run in r, of two attention heads, whose settings are not the defaults."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return "r"


@pytest.fixture
def evaluate(run_script, tmp_path):
    """Call val.py on a run or a weight file: what it writes in a new folder, and what it prints."""

    def evaluate(source, *flags):
        folder = tmp_path / f"v{len(list(tmp_path.glob('v*')))}"
        out, _ = run_script("val --load_from", source, "--output_dir", folder, *flags)
        return read_json(folder / "evaluation.json"), out

    return evaluate


def test_a_run_evaluates_to_the_last_digit_of_its_last_epoch(evaluate, trained):
    result = read_json("r/result.json")
    names = ["mAP", "CP", "CR", "CF1", "OP", "OR", "OF1", "CF1_top3", "classes_scored"]
    for source, flags in (
        ("r", "--batch_size 1"),
        ("r/model.safetensors", "--batch_size 7 --workers 2"),
        ("r/last.pt", "--batch_size 64"),
    ):
        report, _ = evaluate(source, *flags.split())
        assert [report[name] for name in names] == [result[name] for name in names]


def test_the_report_names_settings_and_every_class(evaluate, trained, tmp_path):
    report, out = evaluate("r")
    assert "test_resnet, csra of 2, 20 classes" in out
    assert "32 px (the run's), normalised by ImageNet's statistics (the run's)" in out
    assert "lam 0.4 (the run's)" in out
    assert list(report["by_class"]) == voc.CLASSES
    defined = [value["AP"] for value in report["by_class"].values() if value["AP"] is not None]
    assert np.mean(defined) == pytest.approx(report["mAP"])
    assert len(defined) == report["classes_scored"]
    for name, value in report["by_class"].items():
        line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
        assert line.split()[1] == str(value["positives"])
    assert f"mAP {report['mAP']:6.2f}" in out
    with Image.open(tmp_path / "v0" / "precision_recall.png") as picture:
        assert picture.width > 1000


def test_scores_are_saved_with_what_they_belong_to(evaluate, assert_refused, trained):
    report, _ = evaluate("r", "--save_scores", "s.npz")
    with np.load("s.npz") as saved:
        ap = average_precision(saved["scores"], saved["targets"])
        assert np.nanmean(ap) == report["mAP"]
        assert saved["classes"].tolist() == voc.CLASSES
        assert saved["ids"].tolist() == [f"{i:06}" for i in range(11, 31)]
    message = "--save_scores s.npz exists: give another name, or move it away"
    assert_refused(message, "val --load_from r --save_scores s.npz")


def test_tuned_thresholds_are_stored_and_named_on_the_next_evaluation(evaluate, trained):
    tuned, out = evaluate("r", "--tune_thresholds")
    assert "F1 on the same images flatters" in out
    assert tuned["CF1_tuned"] >= tuned["CF1"]
    stored = read_json("r/thresholds.json")
    assert list(stored["thresholds"]) == voc.CLASSES
    assert (stored["dataset"], stored["split"], stored["images"]) == ("voc07", "test", 20)
    again, out = evaluate("r", "--split", "train")
    assert "tuned on test images of voc07" in out
    assert "flatters" not in out
    assert again["images"] == 8
    assert "CF1_tuned" in again


@pytest.mark.parametrize("form", ["released", "csra"])
def test_a_downloaded_file_takes_the_published_protocol(form, evaluate, devkit):
    torch.manual_seed(0)
    head = "gap" if form == "released" else "csra"
    original = assemble("resnet18", 448, head, 20, 4, 0.1, "none")
    torch.save(released_form(original) if form == "released" else csra_form(original), "w.pth")
    for listed in (devkit / "VOC2007/ImageSets/Main").glob("*test.txt"):
        listed.write_text("\n".join(listed.read_text().splitlines()[:4]))
    where = ["--dataset", "voc07", "--path_images", devkit]
    report, out = evaluate("w.pth", *where, "--save_scores", "s.npz")
    assert "448 px (published for voc07), scaled to 0..1 (published for voc07)" in out
    assert ("left out    10 tensors contrastive_class_selector_*" in out) == (form == "released")
    assert ("lam 0.1 (published for voc07)" in out) == (form == "csra")
    one = evaluation_transform(448)(voc.load(devkit, "test").images[0])
    with torch.inference_mode():
        expected = original.eval()(one[None]).logits[0]
    torch.testing.assert_close(torch.from_numpy(np.load("s.npz")["scores"][0]), expected)
    assert report["img_size"] == 448


def test_labels_as_found_give_way_to_known_truth(run_script, evaluate, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 40, 40, 3), np.uint8)
    lines = ["path,labels,split,true_labels"]
    for i in range(8):
        Image.fromarray(pixels[i]).save(tmp_path / f"{i}.png")
        split = "train" if i < 4 else "test"
        truth = "" if i == 7 else "a" if i % 2 else "b"  # of one test image nobody knows it
        lines.append(f"{i}.png,a|b,{split},{truth}")
    (tmp_path / "l.csv").write_text("\n".join(lines))
    run_script("main_real --dataset files --labels l.csv --output_dir r", *SMALL)
    report, _ = evaluate("r", "--split", "train")
    assert [value["positives"] for value in report["by_class"].values()] == [2, 2]
    for i in range(4):
        (tmp_path / f"{i}.png").unlink()  # judging the test images needs no other
    report, _ = evaluate("r")
    assert report["mAP"] == read_json("r/result.json")["mAP"]
    assert [value["positives"] for value in report["by_class"].values()] == [2, 3]


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--load_from r --head gap", "--head gap, but r/model.safetensors has head csra"),
        ("--load_from r --num_heads 4", "--num_heads 4, but r/model.safetensors has num_heads 2"),
        ("--load_from r --model resnet50", "has model test_resnet: give --model test_resnet"),
        ("--load_from r --num_cls 80", "--num_cls 80, but r/model.safetensors has num_cls 20"),
        ("--load_from nowhere", "--load_from nowhere does not exist: give a run's folder"),
        ("--load_from r --output_dir r", "r already holds a run"),
        ("--load_from r --output_dir lone.safetensors/x/y", "lone.safetensors is a file"),
        ("--load_from r --save_scores lone.safetensors/s.npz", "lone.safetensors is a file"),
        ("--load_from r --dataset digits", "scores 20 classes, but digits has 10"),
        ("--load_from lone.safetensors --dataset voc07 --path_images VOCdevkit", "give --model"),
    ],
)
def test_what_contradicts_the_weights_is_one_line(
    flags, message, assert_refused, trained, tmp_path
):
    state = safetensors.torch.load_file("r/model.safetensors")
    safetensors.torch.save_file(state, "lone.safetensors")
    assert_refused(message, "val", *flags.split())
    assert not (tmp_path / "runs").exists()


def test_thresholds_that_could_not_be_stored_are_said_before_the_work(
    assert_refused, trained, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda place, _: Path(place).name != trained)
    message = "--tune_thresholds writes beside r/"
    assert_refused(message, "val --load_from r --tune_thresholds")
    monkeypatch.setattr(os, "access", lambda place, _: Path(place).name == trained)
    assert_refused("--output_dir runs/val-voc07-", "val --load_from r")


def test_damaged_thresholds_are_named_and_tuning_replaces_them(evaluate, assert_refused, trained):
    Path("r/thresholds.json").write_text("{}")
    assert_refused("make it again with val.py --tune_thresholds", "val --load_from r")
    evaluate("r", "--tune_thresholds")
    evaluate("r")


@pytest.mark.parametrize(
    ("part", "changes", "named"),
    [
        ("data", {"classes": 7}, "classes"),
        ("options", {"img_size": "a", "normalize": "z", "lam": "q"}, "img_size, normalize, lam"),
        ("options", {"amp": "fp8"}, "amp"),
    ],
)
def test_a_config_changed_by_hand_is_one_line(part, changes, named, assert_refused, trained):
    config = read_json("r/config.json")
    config[part] |= changes
    Path("r/config.json").write_text(json.dumps(config))
    err = assert_refused("no usable ", "val --load_from r")
    for name in named.split(", "):
        assert name in err.split("no usable ")[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--load_from is needed"),
        ("--load_form r", "unrecognized arguments: --load_form r"),
        ("--load_from r --save_scores s.csv", "expected a name that ends in .npz"),
        ("--load_from r --dataset voc07", "--path_images is needed"),
    ],
)
def test_bad_usage_exits_with_2(flags, message, assert_refused):
    assert_refused(message, "val", *flags.split(), status=2)


def test_settings_that_nobody_knows_are_asked_for(assert_refused, tmp_path):
    torch.save(csra_form(assemble("resnet18", 64, "csra", 5, 1, 0.1, "none")), tmp_path / "w.pth")
    (tmp_path / "l.csv").write_text("path,labels\n0.png,a")
    command = "val --load_from w.pth --dataset files --labels l.csv"
    for name, value in (("img_size", 64), ("normalize", "none"), ("lam", 0.1)):
        err = assert_refused(f"w.pth does not say its {name}", command)
        assert f"give --{name}" in err
        command += f" --{name} {value}"


def test_weights_without_a_run_need_a_data_set(assert_refused, tmp_path):
    torch.save(released_form(assemble("resnet18", 64, "gap", 5, 1, 0.1, "none")), "w.pth")
    command = "val --load_from w.pth --img_size 64 --normalize none"
    assert_refused("--dataset is needed", command, status=2)
