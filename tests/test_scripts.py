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
from pipeline.data import digits, label_file
from pipeline.model import classifier
from pipeline.model.backbone import Backbone
from tests.helpers import SMALL, ForkedScript, call_in, last_line, write_devkit
from tests.kept_runs.make import make_photos
from utils import files
from utils.run_folder import RunFolder


def voc_flags(devkit, *more):
    return ["--dataset", "voc07", "--path_images", devkit, *SMALL, *more]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_devkit(folder / "VOCdevkit")
    call_in(folder, "main_BCE", *voc_flags("VOCdevkit", "--output_dir", "r"))
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
def test_a_command_leaves_a_complete_run(script, flags, call_script, devkit, tmp_path):
    status, out, _ = call_script(script, *voc_flags(devkit, "--output_dir", "r", *flags.split()))
    assert status == 0
    assert last_line(out) == "run: r"
    lines = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["mAP"] == json.loads(lines[-1])["mAP"]
    assert f"epoch   2/2  loss {result['train_loss']:.4f}  mAP {result['mAP']:6.2f}" in out
    assert (tmp_path / "r" / "model.safetensors").exists()
    assert (tmp_path / "pre-processed-data" / "voc07_0.2.npy").exists()


def test_the_same_command_gives_the_same_numbers(call_script, devkit, tmp_path):
    for name, workers in (("a", 0), ("b", 2)):
        flags = ["--output_dir", name, "--workers", workers, "--randaugment"]
        call_script("main_CoNeS", *voc_flags(devkit, *flags))
    first, second = (json.loads((tmp_path / n / "result.json").read_text()) for n in "ab")
    assert first["mAP"] == second["mAP"]
    assert first["train_loss"] == second["train_loss"]


@pytest.mark.parametrize("recipe", ["paper", "posterior"])
def test_a_longer_resumed_run_equals_one_that_was_never_stopped(
    recipe, call_script, devkit, tmp_path
):
    workers = 2 if recipe == "paper" else 0
    flags = voc_flags(devkit, "--recipe", recipe, "--workers", workers, "--output_dir")
    call_script("main_CoNeS", *flags, "whole", "--total_epoch", 3)
    call_script("main_CoNeS", *flags, "parts")
    status, out, _ = call_script("main_CoNeS", "--resume", "parts", "--total_epoch", 3)
    assert status == 0
    assert "resuming in epoch 3" in out
    whole, parts = (tmp_path / name / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_a_finished_run_resumed_only_prints_its_result(call_script, trained):
    status, out, _ = call_script("main_BCE", "--resume", "r")
    assert (status, last_line(out)) == (0, "run: r")
    status, _, err = call_script("main_BCE", "--resume", "r", "--total_epoch", 1)
    assert status == 1
    assert "r has trained 2 epochs, more than --total_epoch 1" in err


def test_a_run_broken_in_its_first_epoch_starts_from_its_weights_again(
    call_script, devkit, tmp_path, monkeypatch
):
    trunk = Backbone("kept_trunk", 32)
    torch.save(trunk.model.state_dict(), tmp_path / "w.pth")
    flags = voc_flags(devkit, "--weights", "w.pth", "--output_dir")
    assert call_script("main_BCE", *flags, "whole")[0] == 0

    class PowerCut(BaseException):
        """Nothing is tidied up after it."""

    def power_cut(self, training):
        raise PowerCut

    monkeypatch.setattr(RunFolder, "save_checkpoint", power_cut)
    with pytest.raises(PowerCut):
        call_script("main_BCE", *flags, "broken")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert call_script("main_BCE", "--resume", "broken")[0] == 0
    whole, broken = (tmp_path / name / "model.safetensors" for name in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


def test_a_run_that_another_process_trains_is_not_resumed(call_script, devkit, monkeypatch):
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    held = []

    def resume_meanwhile(*arguments):
        held.append(call_script("main_BCE", "--resume", "r"))
        return fit(*arguments)

    with monkeypatch.context() as patch:
        fit = experiment.fit
        patch.setattr(experiment, "fit", resume_meanwhile)
        assert call_script("main_BCE", *voc_flags(devkit, "--output_dir", "r"))[0] == 0
    [(status, _, err)] = held
    assert (status, last_line(err)) == (
        1,
        "error: another process writes to r: wait until it has ended, or stop it",
    )
    assert call_script("main_BCE", "--resume", "r")[0] == 0


def test_what_changes_on_resume_is_kept_for_the_next(call_script, trained, tmp_path):
    assert call_script("main_BCE", "--resume", "r", "--total_epoch", 3, "--print_freq", 7)[0] == 0
    assert call_script("main_BCE", "--resume", "r")[0] == 0
    options = json.loads((tmp_path / "r" / "config.json").read_text())["options"]
    assert (options["total_epoch"], options["print_freq"]) == (3, 7)


def test_a_checkpoint_of_another_model_is_refused(call_script, trained, tmp_path):
    call_script("main_BCE", *voc_flags("VOCdevkit", "--output_dir", "gap", "--head", "gap"))
    (tmp_path / "gap" / "last.pt").replace(tmp_path / "r" / "last.pt")
    status, _, err = call_script("main_BCE", "--resume", "r")
    assert status == 1
    assert "r/last.pt is not of this run: expected the weights" in err
    assert len(err.strip().splitlines()) == 1


def test_the_flags_reach_what_they_are_for(call_script, devkit, tmp_path, monkeypatch):
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
        "--tau 0.2 --clusters 3 --beta 0.3 --mu 0.4 --gamma 0.5 --r_ws 6 --num_heads 4 --lam 0.7"
    )
    flags += " --momentum 0.8 --w_d 0.01 --normalize imagenet --output_dir r --recipe released"
    flags += " --lam 0.7 --head csra --lr 0.02 --lr_head 0.03 --amp bf16 --randaugment"
    flags += " --workers 2"
    assert call_script("main_CoNeS", *voc_flags(devkit, *flags.split()))[0] == 0
    method, head = made["CoNeS"], made["Classifier"].head
    found = (method.tau, method.clusters, method.beta, method.confidence.mu, method.gamma)
    assert (*found, method.r) == (0.2, 3, 0.3, 0.4, 0.5, 6.0)
    assert method.steps == released.STEPS
    assert (head.weight.shape[0], head.lam) == (4, 0.7)
    np.testing.assert_allclose(made["Classifier"].mean.flatten(), [0.485, 0.456, 0.406])
    groups = made["SGD"].param_groups
    assert [group["base_lr"] for group in groups] == [0.02, 0.03]
    assert {(group["momentum"], group["weight_decay"]) for group in groups} == {(0.8, 0.01)}
    options = json.loads((tmp_path / "r" / "config.json").read_text())["options"]
    assert "RandAugment" in made
    assert (options["amp"], options["device"], options["workers"]) == ("bf16", "cpu", 2)
    assert options["noise_file"] == "pre-processed-data/voc07_0.1.npy"


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_resumes_exactly_too(amp, call_script, devkit, tmp_path):
    """With the scaler of fp16 too, whose state is a part of the checkpoint."""
    call_script("main_CoNeS", *voc_flags(devkit, "--amp", amp, "--output_dir", "whole"))
    call_script("main_CoNeS", *voc_flags(devkit, "--output_dir", "fp32"))
    flags = voc_flags(devkit, "--amp", amp, "--output_dir", "parts", "--total_epoch", 1)
    call_script("main_CoNeS", *flags)
    assert call_script("main_CoNeS", "--resume", "parts", "--total_epoch", 2)[0] == 0
    names = ("whole", "parts", "fp32")
    whole, parts, fp32 = ((tmp_path / n / "model.safetensors").read_bytes() for n in names)
    assert whole == parts
    assert whole != fp32
    scale = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["scaler"]
    assert ("scale" in scale) == (amp == "fp16")


def test_resuming_refuses_data_that_changed(call_script, trained, tmp_path):
    path = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "cow_test.txt"
    path.write_text(path.read_text().replace("-1", "1", 1))
    status, _, err = call_script("main_BCE", "--resume", "r")
    assert status == 1
    assert "the data of r changed since the run began (fingerprint)" in err


def test_resuming_does_not_replace_candidates_that_are_gone(call_script, devkit, tmp_path):
    call_script("main_BCE", *voc_flags(devkit, "--output_dir", "r", "--noise_file", "noise.npy"))
    (tmp_path / "noise.npy").rename(tmp_path / "moved.npy")
    status, _, err = call_script("main_BCE", "--resume", "r", "--total_epoch", 3)
    assert status == 1
    assert "noise.npy, the candidates that r was trained on, is missing: bring it" in err
    assert not (tmp_path / "noise.npy").exists()
    flags = ["--resume", "r", "--total_epoch", 3, "--noise_file", "moved.npy"]
    assert call_script("main_BCE", *flags)[0] == 0


def test_weights_of_a_run_start_another(call_script, trained):
    flags = voc_flags("VOCdevkit", "--load_from", "r/model.safetensors")
    del flags[flags.index("--weights") : flags.index("--weights") + 2]
    status, _, err = call_script("main_BCE", *flags)
    assert (status, "was trained with" in err) == (0, False)
    status, _, err = call_script("main_BCE", *flags, "--normalize", "imagenet")
    assert status == 0
    assert "r/model.safetensors was trained with --normalize none, but goes on with imagenet" in err
    assert call_script("main_BCE", *flags, "--load_from", "r")[0] == 0
    status, _, err = call_script("main_BCE", *flags, "--head", "gap")
    assert status == 1
    assert "--head gap, but r/model.safetensors has head csra: give that" in err


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


PHOTO = "VOC2007/JPEGImages/000003.jpg"


@pytest.mark.parametrize(
    ("damage", "flags", "message"),
    [
        (None, "--path_images nowhere", "--path_images nowhere does not exist: give the data"),
        (None, "--num_cls 80", "--num_cls 80, but voc07 has 20 classes: leave the flag out"),
        (None, "--model resnet100", "unknown model 'resnet100': did you mean resnet200"),
        (None, "--weights no.pth", "--weights no.pth does not exist: give imagenet, none, or a"),
        (None, "--device tpu", "--device tpu cannot be used here"),
        (None, "--device meta", "--device meta cannot be used here: expected cpu or cuda"),
        (
            None,
            "--model test_resnet --batch_size 1",
            "batches of 1 at 32 px leave batch norm a single value",
        ),
        (None, "--output_dir VOCdevkit", "VOCdevkit is not empty"),
        (None, "--noise_file VOCdevkit", "VOCdevkit cannot be read: Is a directory"),
        (None, "--resume nowhere", "nowhere is no run: expected a readable"),
        (lambda kit: (kit / PHOTO).unlink(), "", "lacks 1, first 000003.jpg"),
        (lambda kit: truncate(kit / PHOTO), "", "cannot decode image VOCdevkit/" + PHOTO),
        (lambda kit: (kit / PHOTO).write_text("hi"), "--workers 1", "VOCdevkit/" + PHOTO),
        (
            lambda kit: (kit / "VOC2007/ImageSets/Main/test.txt").unlink(),
            "",
            "expected the image list VOCdevkit/VOC2007/ImageSets/Main/test.txt",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    damage, flags, message, call_script, devkit, tmp_path
):
    if damage is not None:
        damage(devkit)
    before = sorted(tmp_path.rglob("*"))
    status, _, err = call_script("main_BCE", *voc_flags("VOCdevkit", *flags.split()))
    assert status == 1
    assert message in last_line(err)
    assert last_line(err).startswith("error: ")
    assert "Traceback" not in err
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
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    flag = flags[flags.index("no.where") - 1]
    assert done.stderr.startswith(f"error: {flag} no.where does not exist: give ")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["l.csv"]


@pytest.mark.parametrize(
    "flags", ["--model test_resnet --lr 1e6 --warmup_epoch 0", "--cache VOCdevkit/x.txt"]
)
def test_a_run_that_fails_before_its_first_checkpoint_does_not_bar_the_way(
    flags, call_script, devkit
):
    (devkit / "x.txt").write_text("in the way")
    command = voc_flags(devkit, "--output_dir", "r")
    assert call_script("main_BCE", *command, *flags.split())[0] == 1
    assert not Path("r").exists()
    status, _, err = call_script("main_BCE", *command)
    assert status == 0, err


@pytest.mark.parametrize(("name", "value"), [("head", None), ("total_epoch", "x"), ("lr", [1])])
def test_a_config_changed_by_hand_is_one_line(name, value, call_script, trained, tmp_path):
    path = tmp_path / "r" / "config.json"
    config = json.loads(path.read_text())
    config["options"][name] = value
    if value is None:
        del config["options"][name]
    path.write_text(json.dumps(config))
    status, _, err = call_script("main_BCE", "--resume", "r")
    assert status == 1
    assert f"its config.json has no usable {name}" in err
    assert len(err.strip().splitlines()) == 1


def list_photos(devkit, header, lines):
    path = devkit / "VOC2007" / "JPEGImages" / "labels.csv"
    path.write_text("\n".join([header, *lines]))
    return ["--dataset", "files", "--labels", path, *SMALL]


def test_a_test_set_without_any_label_still_ends_well(call_script, devkit, tmp_path):
    lines = [f"{i:06}.jpg,sky,train" for i in range(1, 5)] + ["000011.jpg,,test"]
    flags = list_photos(devkit, "path,labels,split", lines)
    status, out, err = call_script("main_real", *flags, "--output_dir", "r")
    assert status == 0, err
    assert "mAP   none" in out
    assert json.loads((tmp_path / "r" / "result.json").read_text())["mAP"] is None


def test_labels_that_miss_a_true_one_are_warned_of(call_script, devkit):
    lines = [f"{i:06}.jpg,sky,train,sky|sea" for i in range(1, 5)] + ["000011.jpg,sea,test,sea"]
    status, _, err = call_script(
        "main_real", *list_photos(devkit, "path,labels,split,true_labels", lines)
    )
    assert status == 0
    assert "warning: the labels of 4 training images miss a true one" in err


def test_a_run_s_weights_as_a_trunk_s_are_refused_by_the_right_flag(call_script, trained):
    flags = voc_flags("VOCdevkit", "--weights", "r/model.safetensors")
    status, _, err = call_script("main_BCE", *flags)
    assert status == 1
    assert "r/model.safetensors holds a run's trunk and head: give it as --load_from" in err


def test_bad_usage_is_one_line_that_names_the_help(call_script):
    status, _, err = call_script("main_CoNeS")
    assert status == 2
    assert err.startswith("error: --dataset is needed: the name of a data set")
    assert err.endswith("; main_CoNeS.py --help lists all flags\n")
    assert len(err.splitlines()) == 1


def test_without_path_images_the_flag_is_asked_for(call_script):
    status, _, err = call_script("main_CoNeS", "--dataset", "coco")
    assert status == 2
    assert "--path_images is needed: the folder that holds coco" in err


def test_a_non_finite_loss_names_epoch_and_step(call_script, devkit):
    flags = "--model test_resnet --lr 1e9 --warmup_epoch 0 --print_freq 1".split()
    status, _, err = call_script("main_BCE", *voc_flags(devkit, *flags))
    assert status == 1
    assert "non-finite in epoch" in err or "scores are not finite" in err
    assert len(err.strip().splitlines()) == 1


def test_sigterm_to_all_processes_stores_the_run(devkit, tmp_path, monkeypatch):
    """As a scheduler sends it: to the main process and its loader workers alike."""
    monkeypatch.chdir(tmp_path)
    flags = "--workers 2 --print_freq 1 --total_epoch 500 --output_dir r".split()
    process = ForkedScript("main_BCE", *voc_flags(devkit, *flags))
    process.wait_for(lambda text: "\nepoch 2 step" in text)
    os.killpg(process.pid, signal.SIGTERM)
    status, text = process.wait()
    assert status == 1, text
    assert "--resume r" in last_line(text)
    assert (tmp_path / "r" / "last.pt").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(call_script, devkit, monkeypatch):
    opened = Path.open

    def full(self, mode="r", *arguments, **keywords):
        return opened(Path("/dev/full") if self.suffix == ".pt" else self, mode, *arguments)

    monkeypatch.setattr(Path, "open", full)
    status, _, err = call_script("main_BCE", *voc_flags(devkit, "--output_dir", "r"))
    assert status == 1
    assert "no space left on the disk of r/last.pt" in err


def test_ctrl_c_stores_the_run_and_says_how_to_go_on(tmp_path, monkeypatch):
    """In a process of its own, as from a terminal, whose output goes to a file."""
    monkeypatch.chdir(tmp_path)
    flags = ["--dataset", "digits", *SMALL, "--output_dir", "r", "--print_freq", "1"]
    process = ForkedScript("main_CoNeS", *flags)
    process.wait_for(lambda text: "step 3/" in text)
    os.kill(process.pid, signal.SIGINT)
    status, text = process.wait()
    assert status == 1
    assert "interrupted in epoch 1 after step" in text
    assert last_line(text).endswith("python main_CoNeS.py --resume r")
    assert torch.load(tmp_path / "r" / "last.pt", weights_only=True)["step"] >= 3


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
def test_the_authors_commands_run_on_real_photos(script, flags, call_script, shared, tmp_path):
    *flags, folder = flags.split()
    small = "--img_size 224 --batch_size 16 --model resnet10t --weights none --total_epoch 1"
    flags += ["--path_images", shared / folder, *small.split(), "--output_dir", "r"]
    assert call_script(script, *flags)[0] == 0
    assert json.loads((tmp_path / "r" / "result.json").read_text())["mAP"] > 0


@pytest.mark.parametrize("recipe", ["posterior", "paper"])
def test_a_few_epochs_on_patches_of_colour_beat_chance(recipe, call_script, tmp_path):
    make_photos(tmp_path / "photos")
    flags = "--dataset files --labels photos/labels.csv --partial_rate 0.3 --output_dir r"
    flags += " --img_size 16 --batch_size 6 --lr 0.05 --warmup_epoch 1 --total_epoch 10 --seed 3"
    flags += f" --recipe {recipe}"
    assert call_script("main_CoNeS", *SMALL, *flags.split())[0] == 0
    chance = 100 * label_file.load("photos/labels.csv")["test"].targets.mean()
    assert json.loads((tmp_path / "r" / "result.json").read_text())["mAP"] > chance + 10


@pytest.mark.slow
def test_one_short_epoch_on_digits_beats_chance(call_script, tmp_path):
    flags = "--dataset digits --model test_resnet --total_epoch 3 --output_dir r".split()
    assert call_script("main_CoNeS", *flags)[0] == 0
    chance = 100 * digits.load("test").targets.mean()
    assert json.loads((tmp_path / "r" / "result.json").read_text())["mAP"] > chance + 2
