import json
import sys

import pytest

import compare
from utils.errors import UserError

FLAGS = "--model test_resnet --total_epoch 1 --batch_size 64"


def test_table_shows_mean_and_standard_deviation_of_the_seeds():
    scores = {("bce", 0.1, 0): 80.0, ("bce", 0.1, 1): 82.0}
    scores |= {("bce", 0.4, 0): 60.0, ("bce", 0.4, 1): 60.0}
    assert compare.markdown_table(scores, ["bce"], [0.1, 0.4], [0, 1]).splitlines() == [
        "| method | rate 0.1 | rate 0.4 |",
        "|---|---|---|",
        "| bce | 81.0 ± 1.4 | 60.0 ± 0.0 |",
    ]


def test_one_seed_has_no_spread():
    table = compare.markdown_table({("paper", 0.2, 5): 71.26}, ["paper"], [0.2], [5])
    assert table.splitlines()[-1] == "| paper | 71.3 |"


@pytest.fixture
def call(monkeypatch, tmp_path, capfd):
    def call(*flags):
        argv = ["compare.py", *"--methods clean bce --seeds 1 --rates 0.4".split()]
        argv += ["--output_dir", str(tmp_path / "c"), *flags, "--", *FLAGS.split()]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr("signal.signal", lambda *_: None)
        return compare.main(), *capfd.readouterr()

    return call


@pytest.mark.slow
def test_runs_are_made_once_and_summed_up(call, tmp_path):
    status, out, _ = call()
    assert status == 0
    folders = ["bce-rate0.4-seed1", "clean-seed1"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        *folders,
        "compare.json",
        "table.md",
    ]
    score = json.loads((tmp_path / "c" / "clean-seed1" / "result.json").read_text())["mAP"]
    table = (tmp_path / "c" / "table.md").read_text()
    assert f"| clean | {score:.1f} |" in table
    assert table in out
    model = tmp_path / "c" / folders[0] / "model.safetensors"
    changed = model.stat().st_mtime_ns
    assert call()[0] == 0
    assert model.stat().st_mtime_ns == changed


def test_runs_of_other_settings_are_not_mixed(tmp_path):
    settings = {"dataset": "digits", "flags": ["--total_epoch", "1"]}
    compare.check_settings(tmp_path, settings)
    compare.check_settings(tmp_path, settings)
    with pytest.raises(UserError, match="holds runs with .*--total_epoch.* is asked for: give"):
        compare.check_settings(tmp_path, settings | {"flags": []})


@pytest.mark.parametrize("flag", ["--seed", "--partial_rate=0.3", "--output_dir"])
def test_what_is_compared_cannot_be_set_for_all(flag, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare.py", "--", flag, "3"])
    with pytest.raises(SystemExit) as caught:
        compare.main()
    assert caught.value.code == 2
    assert f"{flag.split('=')[0]} is set for every run" in capsys.readouterr().err


def test_a_run_that_fails_ends_it_with_where(call):
    status, _, err = call("--dataset", "coco")
    assert status == 1
    assert "--path_images is needed" in err
    assert "clean-seed1, see above; when that is mended, the same command goes on" in err
