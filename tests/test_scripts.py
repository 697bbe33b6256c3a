"""The training scripts from the shell's side: what a command leaves behind, and what it says."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from pipeline import experiment, methods
from pipeline.cones import released
from pipeline.data import label_file
from pipeline.data.loader import TrainingImages
from pipeline.model import classifier
from pipeline.model.backbone import Backbone
from tests import helpers
from tests.kept_runs.make import make_photos
from utils import files
from utils.options.training import TrainingOptions
from utils.run_folder import RunFolder


def voc_flags(devkit, *more):
    return ["--dataset", "voc07", "--path_images", devkit, *helpers.SMALL, *more]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    helpers.write_devkit(folder / "VOCdevkit")
    helpers.call_in(folder, "main_BCE", *voc_flags("VOCdevkit", "--output_dir", "r"))
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """A finished run of main_BCE.py in r, of two epochs on the photos in VOCdevkit."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return "r"


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("main_CoNeS", "--recipe paper --num_cls 20 --partial_rate 0.2 --r_ws 3"),
        ("main_CoNeS", "--recipe released --num_cls 20 --partial_rate 0.2 --r_ws 3"),
        ("main_CoNeS", "--recipe posterior --partial_rate 0.2"),
        ("main_BCE", "--num_cls 20 --partial_rate 0.2"),
    ],
)
def test_a_command_leaves_a_complete_run(script, flags, run_script, devkit):
    out, _ = run_script(script, *voc_flags(devkit, "--output_dir", "r", *flags.split()))
    assert helpers.last_line(out) == "run: r"
    records, result = helpers.read_records("r"), helpers.read_json("r/result.json")
    assert [record["epoch"] for record in records] == [1, 2]
    assert result["mAP"] == records[-1]["mAP"]
    assert f"epoch   2/2  loss {result['train_loss']:.4f}  mAP {result['mAP']:6.2f}" in out
    assert Path("r/model.safetensors").exists()
    assert Path("pre-processed-data/voc07_0.2.npy").exists()


def assert_same_weights(first, second):
    """Compare the weights of two runs bit for bit."""
    first, second = (Path(name, "model.safetensors") for name in (first, second))
    assert first.read_bytes() == second.read_bytes()


def test_the_same_command_gives_the_same_numbers(run_script, devkit):
    for name, workers in (("a", 0), ("b", 2)):
        flags = ["--output_dir", name, "--workers", workers, "--randaugment"]
        run_script("main_CoNeS", *voc_flags(devkit, *flags))
    assert helpers.read_records("a") == helpers.read_records("b")


@pytest.mark.parametrize("recipe", ["paper", "posterior"])
def test_a_longer_resumed_run_equals_one_that_was_never_stopped(recipe, run_script, devkit):
    workers = 2 if recipe == "paper" else 0
    flags = voc_flags(devkit, "--recipe", recipe, "--workers", workers, "--output_dir")
    run_script("main_CoNeS", *flags, "whole", "--total_epoch", 3)
    run_script("main_CoNeS", *flags, "parts")
    out, _ = run_script("main_CoNeS --resume parts --total_epoch 3")
    assert "resuming in epoch 3" in out
    assert_same_weights("whole", "parts")


def test_a_finished_run_resumed_only_prints_its_result(run_script, assert_refused, trained):
    assert helpers.last_line(run_script("main_BCE --resume r")[0]) == "run: r"
    message = "r has trained 2 epochs, more than --total_epoch 1"
    assert_refused(message, "main_BCE --resume r --total_epoch 1")


def test_a_run_broken_in_its_first_epoch_starts_from_its_weights_again(
    run_script, devkit, monkeypatch
):
    torch.save(Backbone("kept_trunk", 32).model.state_dict(), "w.pth")
    flags = voc_flags(devkit, "--weights", "w.pth", "--output_dir")
    run_script("main_BCE", *flags, "whole")

    class PowerCut(BaseException):
        """An end after which nothing is tidied up."""

    def power_cut(self, training):
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_checkpoint", power_cut)
        with pytest.raises(PowerCut):
            run_script("main_BCE", *flags, "broken")
    run_script("main_BCE --resume broken")
    assert_same_weights("whole", "broken")


def test_a_run_that_another_process_trains_is_not_resumed(
    run_script, assert_refused, devkit, monkeypatch
):
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    fit, held = experiment.fit, []

    def resume_meanwhile(*arguments):
        err = assert_refused("another process writes to r: wait", "main_BCE --resume r")
        held.append(err)
        return fit(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "fit", resume_meanwhile)
        run_script("main_BCE", *voc_flags(devkit, "--output_dir", "r"))
    assert len(held) == 1
    run_script("main_BCE --resume r")


def test_what_changes_on_resume_is_kept_for_the_next(run_script, trained):
    run_script("main_BCE --resume r --total_epoch 3 --print_freq 7")
    run_script("main_BCE --resume r")
    options = helpers.read_json("r/config.json")["options"]
    assert (options["total_epoch"], options["print_freq"]) == (3, 7)


def test_a_checkpoint_of_another_model_is_refused(run_script, assert_refused, trained):
    run_script("main_BCE", *voc_flags("VOCdevkit", "--output_dir", "gap", "--head", "gap"))
    Path("gap/last.pt").replace("r/last.pt")
    message = "r/last.pt is not of this run: expected the weights"
    assert_refused(message, "main_BCE --resume r")


def test_the_flags_reach_what_they_are_for(run_script, devkit, monkeypatch):
    made = {}

    def keep(module, name):
        original = getattr(module, name)

        def make(*arguments, **keywords):
            made[name] = original(*arguments, **keywords)
            return made[name]

        monkeypatch.setattr(module, name, make)

    keep(methods, "CoNeS")
    keep(classifier, "Classifier")
    keep(torch.optim, "SGD")
    keep(v2, "RandAugment")
    flags = (
        "--tau 0.2 --clusters 3 --beta 0.3 --mu 0.4 --gamma 0.5 --r_ws 6 --num_heads 4 --lam 0.7 "
        "--momentum 0.8 --w_d 0.01 --normalize imagenet --output_dir r --recipe released "
        "--head csra --lr 0.02 --lr_head 0.03 --amp bf16 --randaugment --workers 2"
    )
    run_script("main_CoNeS", *voc_flags(devkit, *flags.split()))
    method, head = made["CoNeS"], made["Classifier"].head
    found = (method.tau, method.clusters, method.beta, method.confidence.mu, method.gamma)
    assert (*found, method.r) == (0.2, 3, 0.3, 0.4, 0.5, 6.0)
    assert method.steps == released.STEPS
    assert (head.weight.shape[0], head.lam) == (4, 0.7)
    np.testing.assert_allclose(made["Classifier"].mean.flatten(), [0.485, 0.456, 0.406])
    groups = made["SGD"].param_groups
    assert [group["base_lr"] for group in groups] == [0.02, 0.03]
    assert {(group["momentum"], group["weight_decay"]) for group in groups} == {(0.8, 0.01)}
    options = helpers.read_json("r/config.json")["options"]
    assert "RandAugment" in made
    assert (options["amp"], options["device"], options["workers"]) == ("bf16", "cpu", 2)
    assert options["noise_file"] == "pre-processed-data/voc07_0.1.npy"


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_resumes_exactly_too(amp, run_script, devkit):
    """With the scaler of fp16 too, whose state is a part of the checkpoint."""
    run_script("main_CoNeS", *voc_flags(devkit, "--amp", amp, "--output_dir", "whole"))
    run_script("main_CoNeS", *voc_flags(devkit, "--output_dir", "fp32"))
    flags = voc_flags(devkit, "--amp", amp, "--output_dir", "parts", "--total_epoch", 1)
    run_script("main_CoNeS", *flags)
    run_script("main_CoNeS --resume parts --total_epoch 2")
    assert_same_weights("whole", "parts")
    whole, fp32 = (Path(name, "model.safetensors").read_bytes() for name in ("whole", "fp32"))
    assert whole != fp32
    scale = torch.load("parts/last.pt", weights_only=True)["scaler"]
    assert ("scale" in scale) == (amp == "fp16")


def test_resuming_refuses_data_that_changed(assert_refused, trained, tmp_path):
    path = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "cow_test.txt"
    path.write_text(path.read_text().replace("-1", "1", 1))
    message = "the data of r changed since the run began (fingerprint)"
    assert_refused(message, "main_BCE --resume r")


def test_resuming_does_not_replace_candidates_that_are_gone(run_script, assert_refused, devkit):
    run_script("main_BCE", *voc_flags(devkit, "--output_dir", "r", "--noise_file", "noise.npy"))
    Path("noise.npy").rename("moved.npy")
    flags = ["--resume", "r", "--total_epoch", 3]
    message = "noise.npy, the candidates that r was trained on, is missing: bring it"
    assert_refused(message, "main_BCE", *flags)
    assert not Path("noise.npy").exists()
    run_script("main_BCE", *flags, "--noise_file", "moved.npy")


def test_weights_of_a_run_start_another(run_script, assert_refused, trained):
    flags = voc_flags("VOCdevkit", "--load_from", "r/model.safetensors")
    del flags[flags.index("--weights") : flags.index("--weights") + 2]
    assert "was trained with" not in run_script("main_BCE", *flags)[1]
    _, err = run_script("main_BCE", *flags, "--normalize", "imagenet")
    assert "r/model.safetensors was trained with --normalize none, but goes on with imagenet" in err
    run_script("main_BCE", *flags, "--load_from", "r")
    message = "--head gap, but r/model.safetensors has head csra: give --head csra"
    assert_refused(message, "main_BCE", *flags, "--head", "gap")
    message = (
        "r/model.safetensors has 20 classes, but the data have 10: give a run on the same classes"
    )
    assert_refused(message, "main_BCE --dataset digits --load_from r --model test_resnet")


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


PHOTO, TEST_LIST = "VOC2007/JPEGImages/000003.jpg", "VOC2007/ImageSets/Main/test.txt"


@pytest.mark.parametrize(
    ("damage", "flags", "message"),
    [
        (None, "--path_images nowhere", "--path_images nowhere does not exist: give the data"),
        (None, "--num_cls 80", "--num_cls 80, but voc07 has 20 classes: leave the flag out"),
        (None, "--model resnet100", "unknown model 'resnet100': did you mean resnet200"),
        (None, "--weights no.pth", "--weights no.pth does not exist: give imagenet, none, or a"),
        (None, "--device tpu", "--device tpu cannot be used here"),
        (None, "--device meta", "--device meta cannot be used here: expected cpu or cuda"),
        (None, "--model test_resnet --batch_size 1", "at 32 px leave batch norm a single value"),
        (None, "--weights r.safetensors", "holds a run's trunk and head: give it as --load_from"),
        (None, "--output_dir VOCdevkit", "VOCdevkit is not empty"),
        (None, "--noise_file VOCdevkit", "VOCdevkit cannot be read: Is a directory"),
        (None, "--resume nowhere", "nowhere is no run: expected a readable"),
        (helpers.remove(PHOTO), "", "lacks 1, first 000003.jpg"),
        (lambda kit: truncate(kit / PHOTO), "", "cannot decode image VOCdevkit/" + PHOTO),
        (lambda kit: (kit / PHOTO).write_text("hi"), "--workers 1", "VOCdevkit/" + PHOTO),
        (helpers.remove(TEST_LIST), "", f"expected the image list VOCdevkit/{TEST_LIST}"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    damage, flags, message, assert_refused, trained, tmp_path
):
    if damage is not None:
        damage(tmp_path / "VOCdevkit")
    Path("r/model.safetensors").rename("r.safetensors")
    before = sorted(tmp_path.rglob("*"))
    assert_refused(message, "main_BCE", *voc_flags("VOCdevkit", *flags.split()))
    left = {path.parts[len(tmp_path.parts)] for path in set(tmp_path.rglob("*")) - set(before)}
    # Candidates and a run that was begun are whole, and may stay.
    assert left <= {"pre-processed-data", "runs"}
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


@pytest.mark.parametrize(
    "command",
    [
        "main_BCE --dataset files --labels no.where",
        "main_CoNeS --dataset digits --weights no.where",
        "main_real --dataset files --labels l.csv --noise_file no.where",
        "val --load_from no.where",
        "predict l.csv --load_from no.where",
        "review --load_from no.where",
        "review --load_from l.csv --apply no.where",
        "check_data --dataset voc07 --path_images no.where",
        "check_data --dataset files --labels l.csv --noise_file no.where",
        "make_candidates --dataset files --labels l.csv --classes no.where --partial_rate 0.1",
        "make_candidates --dataset files --labels l.csv --noise class --class_rates no.where",
        "compare --noise instance --load_from no.where",
    ],
)
def test_what_is_not_there_is_said_before_torch_is_loaded(command, tmp_path):
    (tmp_path / "l.csv").touch()
    name, *flags = command.split()
    program = (
        f"import sys, {name}; sys.argv = {[name, *flags]}; status = {name}.main()\n"
        "sys.exit(3 if 'torch' in sys.modules else status)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = [sys.executable, "-c", program]
    done = subprocess.run(process, cwd=tmp_path, env=environment, capture_output=True, text=True)
    flag = flags[flags.index("no.where") - 1]
    assert done.stderr.startswith(f"error: {flag} no.where does not exist: give ")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["l.csv"]


@pytest.mark.parametrize(
    "flags", ["--model test_resnet --lr 1e6 --warmup_epoch 0", "--cache VOCdevkit/x.txt"]
)
def test_a_run_that_fails_before_its_first_checkpoint_does_not_bar_the_way(
    flags, assert_refused, run_script, devkit
):
    (devkit / "x.txt").write_text("in the way")
    command = voc_flags(devkit, "--output_dir", "r")
    assert_refused("", "main_BCE", *command, *flags.split())
    assert not Path("r").exists()
    run_script("main_BCE", *command)


@pytest.mark.parametrize(("name", "value"), [("head", None), ("total_epoch", "x"), ("lr", [1])])
def test_a_config_changed_by_hand_is_one_line(name, value, assert_refused, trained):
    config = helpers.read_json("r/config.json")
    config["options"][name] = value
    if value is None:
        del config["options"][name]
    Path("r/config.json").write_text(json.dumps(config))
    assert_refused(f"its config.json has no usable {name}", "main_BCE --resume r")


def list_photos(devkit, header, lines):
    path = devkit / "VOC2007" / "JPEGImages" / "labels.csv"
    path.write_text("\n".join([header, *lines]))
    return ["--dataset", "files", "--labels", path, *helpers.SMALL]


def test_a_test_set_without_any_label_still_ends_well(run_script, devkit):
    lines = [f"{i:06}.jpg,sky,train" for i in range(1, 5)] + ["000011.jpg,,test"]
    flags = list_photos(devkit, "path,labels,split", lines)
    assert "mAP   none" in run_script("main_real", *flags, "--output_dir", "r")[0]
    assert helpers.read_json("r/result.json")["mAP"] is None


def test_labels_that_miss_a_true_one_are_warned_of(run_script, devkit):
    lines = [f"{i:06}.jpg,sky,train,sky|sea" for i in range(1, 5)] + ["000011.jpg,sea,test,sea"]
    flags = list_photos(devkit, "path,labels,split,true_labels", lines)
    _, err = run_script("main_real", *flags)
    assert "warning: the labels of 4 training images miss a true one" in err


def test_bad_usage_is_one_line_that_names_the_help(assert_refused):
    message = "error: --dataset is needed: the name of a data set"
    err = assert_refused(message, "main_CoNeS", status=2)
    assert err.endswith("; main_CoNeS.py --help lists all flags\n")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("images", "remedy"),
    [(1, "train on more, raise --img_size, or give --freeze"), (9, "raise --b")],
)
def test_a_batch_without_statistics_is_refused_with_what_helps(images, remedy):
    options = TrainingOptions(script="main_BCE", dataset="files", batch_size=16, img_size=32)
    message = f"at 32 px leave batch norm a single value: {remedy}"
    with helpers.refused(message), experiment.enough_values(options, images):
        raise ValueError("Expected more than 1 value per channel when training")


def test_a_non_finite_loss_names_epoch_and_step(assert_refused, devkit):
    flags = "--model test_resnet --lr 1e9 --warmup_epoch 0 --print_freq 1".split()
    err = assert_refused("finite", "main_BCE", *voc_flags(devkit, *flags))
    assert "non-finite in epoch" in err or "scores are not finite" in err


@pytest.mark.parametrize(("send", "number"), [(os.kill, "SIGINT"), (os.killpg, "SIGTERM")])
def test_a_signal_stores_the_run_and_says_how_to_go_on(send, number, devkit, tmp_path, monkeypatch):
    """Ctrl-C to the main process, or as a scheduler sends it, to the loader workers too.

    In a process of its own, as from a terminal, whose output goes to a file.
    """
    monkeypatch.chdir(tmp_path)
    flags = "--workers 2 --print_freq 1 --total_epoch 500 --output_dir r".split()
    process = helpers.ForkedScript("main_BCE", *voc_flags(devkit, *flags))
    process.wait_for(lambda text: "\nepoch 2 step" in text)
    send(process.pid, getattr(signal, number))
    status, text = process.wait()
    assert status == 128 + getattr(signal, number), text
    assert "interrupted in epoch" in text
    assert helpers.last_line(text).endswith("python main_BCE.py --resume r")
    assert (tmp_path / "r" / "last.pt").exists()


@pytest.mark.parametrize(
    ("epoch", "then"),
    [(1, "give the command again"), (2, "go on with: python main_BCE.py --resume r")],
)
def test_a_loader_process_that_is_killed_is_one_line(
    epoch, then, assert_refused, devkit, monkeypatch
):
    """As the system does where memory runs out."""
    load = TrainingImages.__getitem__

    def killed(images, key):
        if key[0] == epoch:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(images, key)

    monkeypatch.setattr(TrainingImages, "__getitem__", killed)
    flags = "--workers 1 --output_dir r".split()
    message = (
        "error: a loader process was killed, perhaps because the memory was full: with fewer "
        f"--workers, {then}"
    )
    err = assert_refused(message, "main_BCE", *voc_flags(devkit, *flags))
    assert helpers.last_line(err) == message
    assert Path("r").exists() == (epoch == 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("main_CoNeS", "--dataset voc07 --num_cls 20 --partial_rate 0.1 --r_ws 3 VOCdevkit"),
        ("main_CoNeS", "--dataset coco --num_cls 80 --partial_rate 0.05 --r_ws 2 COCO2014"),
        ("main_BCE", "--dataset voc07 --num_cls 20 --partial_rate 0.4 VOCdevkit"),
        ("main_BCE", "--dataset coco --num_cls 80 --partial_rate 0.2 COCO2014"),
    ],
)
def test_the_authors_commands_run_on_real_photos(script, flags, run_script, shared):
    *flags, folder = flags.split()
    small = "--img_size 224 --batch_size 16 --model resnet10t --weights none --total_epoch 1"
    run_script(
        script, *flags, "--path_images", shared / folder, *small.split(), "--output_dir", "r"
    )
    assert helpers.read_json("r/result.json")["mAP"] > 0


@pytest.mark.parametrize("recipe", ["posterior", "paper"])
def test_a_few_epochs_on_patches_of_colour_beat_chance(recipe, run_script, tmp_path):
    make_photos(tmp_path / "photos")
    flags = (
        "--dataset files --labels photos/labels.csv --partial_rate 0.3 --output_dir r --seed 3 "
        "--img_size 16 --batch_size 6 --lr 0.05 --warmup_epoch 1 --total_epoch 10"
    )
    run_script("main_CoNeS", *helpers.SMALL, *flags.split(), "--recipe", recipe)
    chance = 100 * label_file.load("photos/labels.csv")["test"].targets.mean()
    assert helpers.read_json("r/result.json")["mAP"] > chance + 10
