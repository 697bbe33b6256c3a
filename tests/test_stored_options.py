"""The options that a run keeps, and those that may change when it goes on."""

import json

import pytest

from tests.helpers import refused
from utils.options.command_line import parse_options
from utils.options.stored import read_config, run_options, to_store


def parse(*argv, script="main_CoNeS"):
    return parse_options(script, argv)


def store(folder, *argv, of="main_CoNeS", without=(), **changes):
    """A run on digits by a command line, whose options were changed; returns its folder."""
    options = to_store(parse("--dataset", "digits", *argv, script=of)) | changes
    kept = {name: value for name, value in options.items() if name not in without}
    (folder / "config.json").write_text(json.dumps({"options": kept, "data": {}}))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "mse"),
        ("noise_rate", 1),
        ("recipe", "best"),
        ("ablate", [1]),
        ("batch_size", -1),
        ("batch_size", True),
        ("lr", 10**400),
        ("seed", None),
        ("labels", 3),
        ("ablate", "scale"),
    ],
)
def test_a_stored_option_changed_by_hand_is_refused(name, value, tmp_path):
    folder = store(tmp_path, of="main_BCE", **{name: value})
    with refused(f"has no usable {name}"):
        read_config(folder)


def test_a_run_from_before_a_part_was_renamed_is_read_by_its_new_name(tmp_path):
    folder = store(tmp_path, "--recipe", "posterior", ablate=["company", "gain"])
    stored = read_config(folder)["options"]
    assert run_options(stored, tmp_path).ablate == ["context_prior", "variance_weight"]
    assert parse("--resume", folder, "--ablate", "company", "gain")


@pytest.mark.parametrize(
    ("name", "value"), [("script", "main"), ("script", []), ("dataset", "mine"), ("dataset", None)]
)
def test_a_run_of_another_version_is_read_for_its_weights_alone(name, value, tmp_path):
    stored = read_config(store(tmp_path, **{name: value}))["options"]
    assert stored[name] == value
    with refused(f"its config.json has no usable {name}"):
        run_options(stored, tmp_path)


def test_a_run_that_lacks_options_is_reviewed_but_not_resumed(tmp_path):
    folder = store(tmp_path, "--lr", "0.2", without=["sync_bn"])
    found = run_options(read_config(folder)["options"], tmp_path)
    assert (found.sync_bn, found.lr) == (False, 0.2)
    with refused("has no usable sync_bn"):
        parse("--resume", folder)


def test_a_run_keeps_the_options_of_its_script_and_no_others():
    cones, baseline = (
        to_store(parse("--dataset", "digits", script=name)) for name in ("main_CoNeS", "main_BCE")
    )
    assert cones.keys() - baseline.keys() >= {"recipe", "tau", "ablate"}
    assert baseline.keys() - cones.keys() == {"loss"}
    assert not {"resume", "cutmix"} & (cones.keys() | baseline.keys())


def test_a_resumed_run_keeps_the_precision_that_auto_chose(tmp_path):
    assert parse("--resume", store(tmp_path, amp="bf16"), "--amp", "auto").amp == "bf16"


def test_resume_takes_the_run_s_options(tmp_path):
    folder = store(tmp_path, "--lr", "0.05")
    options = parse("--resume", folder, "--total_epoch", "99", "--lr", "0.05")
    assert (options.lr, options.total_epoch, options.dataset) == (0.05, 99, "digits")
    assert options.output_dir == folder


def test_a_run_from_before_randaugment_goes_on_without(tmp_path):
    folder = store(tmp_path, without=["randaugment"])
    assert parse("--resume", folder).randaugment is False
    with refused("--randaugment True differs from the False"):
        parse("--resume", folder, "--randaugment")


def test_a_resumed_run_is_told_where_its_data_have_moved(tmp_path):
    (tmp_path / "l.csv").touch()
    labels = ["--dataset", "files", "--labels", str(tmp_path / "l.csv"), "--partial_rate", "0.1"]
    folder = store(tmp_path, *labels, "--cache", "job1")
    for name in ("labels", "path_images", "cache"):
        assert getattr(parse("--resume", folder, f"--{name}", "elsewhere"), name) == "elsewhere"
    with refused("--classes c.txt differs from the None"):
        parse("--resume", folder, "--classes", "c.txt")


def test_resume_refuses_other_options_another_script_and_no_run(tmp_path):
    folder = store(tmp_path, "--lr", "0.05")
    with refused(r"--lr 0.1 differs from the 0.05"):
        parse("--resume", folder, "--lr", "0.1")
    with refused(r"--output_dir elsewhere differs from the"):
        parse("--resume", folder, "--output_dir", "elsewhere")
    with refused(r"a run of main_CoNeS.py"):
        parse("--resume", folder, script="main_BCE")
    with refused("is no run: expected a readable"):
        parse("--resume", str(tmp_path / "nothing"))
