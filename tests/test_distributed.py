import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import decoder
from tests.helpers import ForkedScript, in_processes, read_json, read_records
from utils import distributed

ROOT = Path(__file__).resolve().parents[1]
# No batch norm: its statistics would be those of a process's own images.
# The precision is given, since a busy machine could choose another for each of two runs.
FLAGS = (
    "--dataset voc07 --model test_convnext --weights none --img_size 32 --batch_size 4 --amp off"
)


def torchrun(processes, script, *flags):
    """Start `script` in several processes; stdout and stderr come together."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    command += ["--standalone", str(ROOT / f"{script}.py"), *map(str, flags)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def forked_torchrun(processes, script, *flags):
    """Launch as `torchrun` does, with copies of this process."""
    return ForkedScript(script, *flags, launch=in_processes(processes))


def wait_for(path):
    for _ in range(1800):
        if Path(path).exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {path}")


def method_state(folder):
    return torch.load(Path(folder) / "last.pt", weights_only=True)["method"]


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_follow_each_other_and_differ_by_one_at_most(count, processes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "_joined", processes)
        shares = [distributed.shard(count, process) for process in range(processes)]
    assert [thing for share in shares for thing in share] == list(range(count))
    assert len(shares[0]) - len(shares[-1]) in (0, 1)


@pytest.mark.parametrize(
    ("processes", "recipe"),
    [
        (2, "posterior"),
        (3, "paper --clusters 2"),
        (2, "posterior --targets neighbours --verified 3"),
        (2, "posterior --targets neighbours --verified 3 --freeze"),
    ],
)
def test_several_processes_train_and_score_as_one(processes, recipe, run_script, devkit):
    # Three processes have unequal shares of four images, and one has no test images.
    flags = [*FLAGS.split(), "--path_images", devkit, "--lr", 0.05, "--recipe", *recipe.split()]
    flags += ["--total_epoch", 3, "--warmup_epoch", 0]
    run_script("main_CoNeS", *flags, "--output_dir", "one")
    shutil.rmtree("features", ignore_errors=True)  # the others compute them too
    status, text = forked_torchrun(processes, "main_CoNeS", *flags, "--output_dir", "many").wait()
    assert status == 0, text
    assert text.count("last epoch") == 1
    assert read_json("many/config.json")["processes"] == processes
    for one, other in zip(read_records("one"), read_records("many"), strict=True):
        assert other == pytest.approx(one, abs=1e-4)
    torch.testing.assert_close(method_state("many"), method_state("one"), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("loss", ["pml-cd", "bce"])
def test_a_decoder_trains_in_several_processes_as_in_one(loss, run_script, devkit, monkeypatch):
    """With its prototypes, which only one loss reaches; and without what each process drops out."""
    monkeypatch.setattr(decoder, "DROPOUT", 0.0)
    flags = [*FLAGS.split(), "--path_images", devkit, "--loss", loss, "--head", "decoder"]
    flags += ["--total_epoch", 3, "--warmup_epoch", 0, "--lr", 1e-4, "--lr_head", 1e-4]
    run_script("main_BCE", *flags, "--output_dir", "one")
    status, text = forked_torchrun(2, "main_BCE", *flags, "--output_dir", "many").wait()
    assert status == 0, text
    losses = [[line["train_loss"] for line in read_records(name)] for name in ("one", "many")]
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)
    torch.testing.assert_close(method_state("many"), method_state("one"), atol=2e-3, rtol=0)


def test_all_processes_score_with_the_statistics_that_are_stored(run_script, devkit):
    """Of batch norm, which each process takes of its own images."""
    flags = [*FLAGS.replace("convnext", "resnet").split(), "--path_images", devkit]
    flags += ["--lr", 0.05, "--total_epoch", 1, "--warmup_epoch", 0, "--output_dir", "many"]
    status, text = forked_torchrun(2, "main_BCE", *flags).wait()
    assert status == 0, text
    run_script("val --load_from many --output_dir v")
    stored = read_json("v/evaluation.json")
    assert read_records("many")[-1]["mAP"] == pytest.approx(stored["mAP"], abs=1e-6)


@pytest.mark.parametrize(
    "found",  # before the first epoch, after it
    [pytest.param("config.json", marks=pytest.mark.slow), "last.pt"],
)
def test_a_killed_process_takes_the_others_along_and_one_goes_on(found, run_script, devkit):
    """With torchrun itself, whose way to end the others is its own."""
    flags = [*FLAGS.split(), "--path_images", devkit, "--total_epoch", 1000]
    many = torchrun(2, "main_CoNeS", *flags, "--output_dir", "killed")
    wait_for(f"killed/{found}")
    children = Path(f"/proc/{many.pid}/task/{many.pid}/children").read_text().split()
    for child in children:
        if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    text = many.communicate(timeout=300)[0]
    assert many.returncode == 1
    assert "error: another process of the run has ended; go on with: torchrun" in text

    epochs = len(read_records("killed")) if Path("killed/metrics.jsonl").exists() else 0
    run_script("main_CoNeS --resume killed --total_epoch", epochs + 1)
    assert [line["epoch"] for line in read_records("killed")] == list(range(1, epochs + 2))


def test_a_stopped_run_is_stored_and_goes_on(run_script, devkit, monkeypatch):
    monkeypatch.setattr(distributed, "SECONDS_FOR_FIRST", 5)
    flags = [*FLAGS.split(), "--path_images", devkit]
    flags_of_many = [*flags, "--total_epoch", 1000, "--output_dir", "stopped"]
    many = forked_torchrun(2, "main_CoNeS", *flags_of_many)
    wait_for("stopped/last.pt")
    os.kill(many.pid, signal.SIGTERM)
    _, text = many.wait()
    assert text.count("error: interrupted in epoch") == 1
    assert "and stored; go on with: torchrun --nproc_per_node=2 main_CoNeS.py --resume" in text
    epochs = len(read_records("stopped")) + 1
    run_script("main_CoNeS --resume stopped --total_epoch", epochs)
    run_script("main_CoNeS", *flags, "--total_epoch", epochs, "--output_dir", "whole")
    for one, other in zip(read_records("whole"), read_records("stopped"), strict=True):
        assert other == pytest.approx(one, abs=1e-4)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("val --load_from r", "only training runs in several processes: start this with python"),
        ("main_BCE --dataset digits --sync_bn --device cpu", "--sync_bn needs CUDA: leave it out"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(command, message, assert_refused, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert_refused(message, command)


def test_a_mistake_is_reported_by_one_process(devkit, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "SECONDS_FOR_FIRST", 5)
    monkeypatch.chdir(tmp_path)
    flags = [*FLAGS.split(), "--path_images", devkit, "--batch_size", 1]
    status, text = forked_torchrun(2, "main_BCE", *flags).wait()
    assert status == 1
    assert text.count("error: 2 processes need as many images a step, but found 1") == 1
