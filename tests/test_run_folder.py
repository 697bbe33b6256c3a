import json
import shutil
import sys

import pytest
import torch

from tests.helpers import read_json
from utils.errors import UserError
from utils.run_folder import RunFolder

OPTIONS = {"script": "main_CoNeS", "dataset": "digits", "lr": 0.1}
DATA = {"fingerprint": "abc", "train_images": 3}


def record(epoch, score):
    return {"epoch": epoch, "train_loss": 1.0 / epoch, "lr": 0.1, "mAP": score}


def save(run, epoch, score):
    run.save_epoch(record(epoch, score), {"epoch": epoch + 1}, {"w": torch.full((2,), epoch)})


def test_the_folder_holds_what_is_promised(tmp_path):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    for epoch, score in [(1, 50.0), (2, 70.0), (3, 60.0)]:
        save(run, epoch, score)
    result = run.finish()
    names = {path.name for path in run.path.iterdir() if not path.name.startswith("events")}
    expected = "config.json metrics.jsonl result.json last.pt model.safetensors curves.png"
    assert names == set(expected.split())
    assert any(path.name.startswith("events") for path in run.path.iterdir())
    assert result["mAP"] == 60.0
    assert result["best_on_test"] == {"epoch": 2, "mAP": 70.0}
    assert read_json(run.path / "result.json") == result
    config = read_json(run.path / "config.json")
    assert config["options"] == OPTIONS
    assert config["data"] == DATA
    assert config["versions"]["torch"] == torch.__version__
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_a_run_without_a_defined_map_still_finishes(tmp_path):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    save(run, 1, None)
    assert run.finish()["best_on_test"] == {"epoch": 1, "mAP": None}


def test_existing_folders_are_not_touched(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(UserError, match="is not empty"):
        RunFolder.create(tmp_path / "photos", OPTIONS, DATA)
    RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    remedy = "give a new --output_dir; the --resume of a training script trains it further"
    with pytest.raises(UserError, match=f"already holds a run: {remedy}"):
        RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    with pytest.raises(UserError, match="is a file"):
        RunFolder.create(tmp_path / "photos" / "a.jpg", OPTIONS, DATA)


def test_lines_ahead_of_the_checkpoint_are_dropped(tmp_path):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    save(run, 1, 50.0)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record(2, 99.0)) + "\n")
    again, state = RunFolder.reopen(str(run.path), OPTIONS, DATA)
    assert state["epoch"] == 2
    save(again, 2, 60.0)
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["mAP"] for line in lines] == [50.0, 60.0]


@pytest.mark.parametrize("lost", ["moved", "removed"])
def test_a_folder_that_is_gone_gets_no_successor(tmp_path, lost):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    save(run, 1, 50.0)
    run.path.rename(tmp_path / "elsewhere") if lost == "moved" else shutil.rmtree(run.path)
    for store in (lambda: save(run, 2, 60.0), lambda: run.save_checkpoint({}), run.finish):
        with pytest.raises(UserError, match="run was moved or removed while its run trained"):
            store()
    assert not run.path.exists()
    if lost == "moved":
        assert RunFolder.reopen(str(tmp_path / "elsewhere"), OPTIONS, DATA)[1]["epoch"] == 2


def test_what_a_killed_save_left_is_removed_by_the_next_start(tmp_path):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    save(run, 1, 50.0)
    (run.path / ".123.part.last.pt").touch()
    (run.path / ".hidden").touch()
    RunFolder.reopen(str(run.path), OPTIONS, DATA)
    assert not (run.path / ".123.part.last.pt").exists()
    assert (run.path / ".hidden").exists()


def test_a_run_that_was_killed_as_it_began_is_begun_again(tmp_path):
    (tmp_path / ".123.part.config.json").touch()
    RunFolder.create(tmp_path, OPTIONS, DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_changed_data_and_damaged_checkpoints_are_refused(tmp_path):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    assert RunFolder.reopen(str(run.path), OPTIONS, DATA)[1] is None
    save(run, 1, 50.0)
    with pytest.raises(UserError, match=r"the data of .* changed .*\(fingerprint\)"):
        RunFolder.reopen(str(run.path), OPTIONS, DATA | {"fingerprint": "other"})
    content = (run.path / "last.pt").read_bytes()
    (run.path / "last.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is damaged and cannot be resumed from"):
        RunFolder.reopen(str(run.path), OPTIONS, DATA)


def test_a_finished_run_without_its_checkpoint_is_not_begun_anew(tmp_path):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    (run.path / "result.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"is finished, but last\.pt, from which it would go on, is gone"
    ):
        RunFolder.reopen(str(run.path), OPTIONS, DATA)


@pytest.mark.parametrize("wrong", [{"lr": None}, {"train_loss": 10**400}, {"mAP": "x"}])
def test_a_history_that_cannot_be_drawn_is_refused(wrong, tmp_path):
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    run.save_epoch(record(1, 50.0) | wrong, {"epoch": 2}, {})
    with pytest.raises(UserError, match="is damaged and cannot be resumed from"):
        RunFolder.reopen(str(run.path), OPTIONS, DATA)


@pytest.mark.parametrize("error", [AttributeError("no version"), TypeError("two\nlines")])
def test_a_tensorboard_that_cannot_be_imported_is_said_once(error, tmp_path, monkeypatch, capsys):
    class Broken:
        def find_spec(self, name, *rest):
            if name == "tensorboard":
                raise error

    for name in [name for name in sys.modules if "tensorboard" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    run = RunFolder.create(tmp_path / "run", OPTIONS, DATA)
    for epoch in (1, 2, 3):
        save(run, epoch, 50.0)
    run.finish()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no TensorBoard events: it cannot be used (")
    assert not list(run.path.glob("events*"))
