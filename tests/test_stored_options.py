"""What a run keeps of its options, and what may change when it goes on."""

import json

import pytest

from tests.helpers import read_json
from utils.errors import UserError
from utils.options.command_line import parse_options
from utils.options.stored import read_config, run_options, to_store


def parse(*argv, script="main_CoNeS"):
    return parse_options(script, argv)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "mse"),
        ("noise_rate", "x"),
        ("noise_rate", 1),
        ("recipe", "best"),
        ("ablate", [1]),
        ("batch_size", -1),
        ("batch_size", True),
        ("lr", float("nan")),
        ("lr", 10**400),
        ("seed", None),
        ("labels", 3),
        ("ablate", "scale"),
    ],
)
def test_a_stored_option_changed_by_hand_is_refused(name, value, tmp_path):
    options = to_store(parse("--dataset", "digits", script="main_BCE")) | {name: value}
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    with pytest.raises(UserError, match=f"has no usable {name}"):
        read_config(str(tmp_path))


def test_a_run_from_before_a_part_was_renamed_is_read_by_its_new_name(tmp_path):
    options = to_store(parse("--dataset", "digits", "--recipe", "posterior"))
    options["ablate"] = ["company", "gain"]
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    stored = read_config(str(tmp_path))["options"]
    assert run_options(stored, tmp_path).ablate == ["context_prior", "variance_weight"]
    assert parse("--resume", str(tmp_path), "--ablate", "company", "gain")


@pytest.mark.parametrize(
    ("name", "value"), [("script", "main"), ("script", []), ("dataset", "mine"), ("dataset", None)]
)
def test_a_run_of_another_version_is_read_for_its_weights_alone(name, value, tmp_path):
    options = to_store(parse("--dataset", "digits")) | {name: value}
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    stored = read_config(str(tmp_path))["options"]
    assert stored[name] == value
    with pytest.raises(UserError, match=f"its config.json has no usable {name}"):
        run_options(stored, tmp_path)


def test_a_run_that_lacks_options_is_reviewed_but_not_resumed(tmp_path):
    options = to_store(parse("--dataset", "digits", "--lr", "0.2"))
    del options["sync_bn"]
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    found = run_options(read_config(str(tmp_path))["options"], tmp_path)
    assert (found.sync_bn, found.lr) == (False, 0.2)
    with pytest.raises(UserError, match="has no usable sync_bn"):
        parse("--resume", str(tmp_path))


def test_a_run_keeps_the_options_of_its_script_and_no_others():
    cones, baseline = (
        to_store(parse("--dataset", "digits", script=name)) for name in ("main_CoNeS", "main_BCE")
    )
    assert cones.keys() - baseline.keys() >= {"recipe", "tau", "ablate"}
    assert baseline.keys() - cones.keys() == {"loss"}
    assert not {"resume", "cutmix"} & (cones.keys() | baseline.keys())


def test_a_resumed_run_keeps_the_precision_that_auto_chose(tmp_path):
    options = to_store(parse("--dataset", "digits")) | {"amp": "bf16"}
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    assert parse("--resume", str(tmp_path), "--amp", "auto").amp == "bf16"


@pytest.fixture
def stored_run(tmp_path):
    options = to_store(parse("--dataset", "digits", "--lr", "0.05"))
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    return tmp_path


def test_resume_takes_the_run_s_options(stored_run):
    options = parse("--resume", str(stored_run), "--total_epoch", "99", "--lr", "0.05")
    assert (options.lr, options.total_epoch, options.dataset) == (0.05, 99, "digits")
    assert options.output_dir == str(stored_run)


def test_a_run_from_before_randaugment_goes_on_without(stored_run):
    config = read_json(stored_run / "config.json")
    del config["options"]["randaugment"]
    (stored_run / "config.json").write_text(json.dumps(config))
    assert parse("--resume", str(stored_run)).randaugment is False
    with pytest.raises(UserError, match="--randaugment True differs from the False"):
        parse("--resume", str(stored_run), "--randaugment")


def test_a_resumed_run_is_told_where_its_data_have_moved(tmp_path):
    labels = tmp_path / "l.csv"
    labels.touch()
    options = to_store(
        parse("--dataset", "files", "--labels", str(labels), "--partial_rate", "0.1")
    )
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    assert parse("--resume", str(tmp_path), "--labels", "b/l.csv").labels == "b/l.csv"
    assert parse("--resume", str(tmp_path), "--path_images", "photos").path_images == "photos"
    with pytest.raises(UserError, match="--classes c.txt differs from the None"):
        parse("--resume", str(tmp_path), "--classes", "c.txt")


def test_the_cache_of_a_resumed_run_may_lie_elsewhere(tmp_path):
    options = to_store(parse("--dataset", "digits", "--cache", "job1"))
    (tmp_path / "config.json").write_text(json.dumps({"options": options, "data": {}}))
    assert parse("--resume", str(tmp_path), "--cache", "job2").cache == "job2"


def test_resume_refuses_other_options_another_script_and_no_run(stored_run, tmp_path):
    with pytest.raises(UserError, match=r"--lr 0.1 differs from the 0.05"):
        parse("--resume", str(stored_run), "--lr", "0.1")
    with pytest.raises(UserError, match=r"--output_dir elsewhere differs from the"):
        parse("--resume", str(stored_run), "--output_dir", "elsewhere")
    with pytest.raises(UserError, match=r"a run of main_CoNeS.py"):
        parse("--resume", str(stored_run), script="main_BCE")
    with pytest.raises(UserError, match="is no run: expected a readable"):
        parse("--resume", str(tmp_path / "nothing"))
