"""The comparison from the shell's side, mostly with stand-ins for the training scripts."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import compare
from tests.helpers import last_line, read_json
from tests.kept_runs.make import make_photos
from utils import files
from utils.comparison import grid
from utils.comparison.definitions import definitions
from utils.comparison.statistics import Run
from utils.options.command_line import parse_options
from utils.options.training import SCRIPTS

# Trains in no time, or PAUSE seconds: writes what a run leaves behind, or, with a --beta of 0,
# breaks off before the end.
TRAIN = """
import argparse, json, os, pathlib, signal, sys, time
parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("dataset", "seed", "partial_rate", "noise_file", "recipe", "head", "loss", "labels",
             "noise_rate", "num_cls", "weights", "amp", "device", "beta", "lam", "output_dir",
             "resume", "verified"):
    parser.add_argument("--" + name)
options = parser.parse_args()
folder = pathlib.Path(options.output_dir or options.resume)
folder.mkdir(exist_ok=options.resume is not None)
with open(folder.parent / "calls.txt", "a") as calls:
    calls.write(json.dumps([sys.argv[1:], os.environ.get("OMP_NUM_THREADS")]) + "\\n")
config = {"options": {"total_epoch": 2, "device": "cpu", "workers": 3}}
config["options"]["amp"] = options.amp or "bf16"
(folder / "config.json").write_text(json.dumps(config))
def store(*_):
    (folder / "stored").write_text("")
    sys.exit(1)
signal.signal(signal.SIGINT, store)
signal.signal(signal.SIGTERM, store)
print("training", flush=True)
time.sleep(float(os.environ.get("PAUSE", 0)))
if options.beta == "0":
    sys.exit("the disk is full")
lines = [{"epoch": epoch, "seconds": 1.5} for epoch in (1, 2)]
(folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
score = 90 - 50 * float(options.partial_rate or 0) + float(options.seed)
result = lines[-1] | {"mAP": score, "CF1": 70.0, "best_on_test": {"epoch": 1, "mAP": 99.0}}
(folder / "result.json").write_text(json.dumps(result))
"""
JUDGE = """
import argparse, json, pathlib
parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--candidates", action="store_true", required=True)
for name in ("load_from", "split", "device", "workers", "output_dir"):
    parser.add_argument("--" + name, required=True)
options = parser.parse_args()
assert options.workers == "3"  # those of the run that is judged
pathlib.Path(options.output_dir).mkdir()
evaluation = {"candidate_AP": 55.5, "candidates": 9}
pathlib.Path(options.output_dir, "evaluation.json").write_text(json.dumps(evaluation))
print("judged")
"""
MAKE = """
import json, os, pathlib, sys, time
time.sleep(float(os.environ.get("PAUSE", 0)))
path = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
path.write_text("")
with open(path.parent / "made.txt", "a") as made:
    made.write(json.dumps(sys.argv[1:]) + "\\n")
"""


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Stand-ins for training and evaluation, in their own folder."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in SCRIPTS:
        (folder / f"{name}.py").write_text(TRAIN)
    (folder / "val.py").write_text(JUDGE)
    (folder / "make_candidates.py").write_text(MAKE)
    monkeypatch.setattr(grid, "SCRIPTS", folder)
    return folder


@pytest.fixture
def call(monkeypatch, tmp_path, capfd):
    """compare.py in the folder c: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*flags):
        monkeypatch.setattr(sys, "argv", ["compare.py", "--output_dir", "c", *flags])
        try:
            status = compare.main()
        except SystemExit as caught:
            status = caught.code
        return status, *capfd.readouterr()

    return call


@pytest.fixture
def ok(call):
    """compare.py, which must succeed: its stdout."""

    def ok(*flags):
        status, out, err = call(*flags)
        assert (status, err) == (0, "")
        return out

    return ok


@pytest.fixture
def assert_refused(call):
    """compare.py, which must end with a status and with `message` in its last line."""

    def refused(message, *flags, status=1):
        found, _, err = call(*flags)
        assert found == status, err
        assert message in last_line(err)

    return refused


def calls(tmp_path):
    """The command lines of the trainings, in order, and their OMP_NUM_THREADS."""
    return [json.loads(line) for line in (tmp_path / "c" / "calls.txt").read_text().splitlines()]


def records(tmp_path):
    with (tmp_path / "c" / "results.csv").open() as file:
        return list(csv.DictReader(file))


WORSE = "worse=main_CoNeS.py --beta 0"
FOUR = "--methods clean bce --seeds 1 2 --rates 0.1 0.4".split()
TWO = "--methods clean bce --seeds 1 --rates 0.1".split()


def test_every_run_is_made_once_and_summed_up(ok, scripts, tmp_path):
    out = ok(*FOUR)
    names = [f"bce-rate{rate}-seed{seed}" for rate in (0.1, 0.4) for seed in (1, 2)]
    names += ["clean-seed1", "clean-seed2"]
    files = ["calls.txt", "compare.json", "comparison.png", "results.csv", "table.md"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted([*names, *files])
    table = (tmp_path / "c" / "table.md").read_text()
    assert "| clean | 91.5 ± 0.7 | 91.5 ± 0.7 |" in table
    assert "| bce | 86.5 ± 0.7 | 71.5 ± 0.7 |" in table
    assert table in out
    assert "bce-rate0.4-seed2: mAP 72.0, " in out
    assert "6 of 6 runs finished" in out
    assert ok(*FOUR) == f"\n{table}\n{tmp_path / 'c' / 'table.md'}\n"
    assert len(calls(tmp_path)) == 6


def test_rows_with_verified_images_follow_and_are_drawn(ok, scripts, tmp_path):
    out = ok(*FOUR, "--verified", "20", "0.5")
    assert "| bce-verified20 |" in out
    assert "clean-verified" not in out
    with_images = [line for line, *_ in calls(tmp_path) if "--verified" in line]
    counts = [line[line.index("--verified") + 1] for line in with_images]
    assert sorted(counts) == ["0.5"] * 4 + ["20"] * 4
    assert (tmp_path / "c" / "verified.png").exists()


def test_losses_that_need_verified_images_have_no_row_without(ok, scripts):
    out = ok("--methods", "bce", "gold", "--rates", "0.2", "--seeds", "0", "--verified", "20")
    rows = [line.split(" | ")[0] for line in out.splitlines() if line.startswith("| ")]
    assert rows[1:4] == ["| bce", "| bce-verified20", "| gold-verified20"]


def test_losses_that_need_verified_images_are_refused_without(assert_refused, scripts, tmp_path):
    row = "--methods bce gold --rates 0.2 --seeds 0".split()
    assert_refused("gold needs verified images: give --verified N", *row)
    assert not (tmp_path / "c" / "compare.json").exists()


def test_a_list_with_verified_images_has_no_rows_without(assert_refused, scripts, tmp_path):
    rows = ["path,labels,split,true_labels,verified", "b.png,sea,test,,"]
    rows += [f"{i}.png,sea,train,sea,{'yes' if i < 2 else ''}" for i in range(4)]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    for name in ("b", *range(4)):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    row = "--dataset files --methods bce --rates 0.2 --seeds 0 --verified 3 --".split()
    message = "l.csv has 2 verified images of its own, which the rows without a number would know"
    assert_refused(message, *row, "--labels", str(tmp_path / "l.csv"))


def test_the_plot_over_verified_images_has_these_losses_too():
    given = "--methods clean bce gold --verified 1000000 50 --rates 0.2 --seeds 0"
    options = compare.parse_options(given.split())
    scores = {
        Run(name, 0.2, 0): float(place) for place, name in enumerate(options.methods, start=80)
    }
    assert compare.verified_panels(options, scores) == {
        "rate 0.2": {
            "clean": [(at, 80.0, None) for at in ("0", "1000000", "50")],
            "bce": [("0", 81.0, None), ("1000000", 82.0, None), ("50", 84.0, None)],
            "gold": [("1000000", 83.0, None), ("50", 85.0, None)],
        }
    }
    flags = definitions({}, options.verified)["gold-verified1000000"]
    assert flags[-2:] == ["--verified", "1000000"]


def test_the_csv_has_all_metrics_and_the_seconds_of_all_epochs(ok, scripts, tmp_path):
    ok(*FOUR)
    lines = records(tmp_path)
    assert [(line["method"], line["rate"], line["seed"]) for line in lines] == [
        ("clean", "", "1"),
        ("clean", "", "2"),
        *(("bce", rate, seed) for rate in ("0.1", "0.4") for seed in "12"),
    ]
    line = {"method": "bce", "rate": "0.1", "seed": "1", "epoch": "2", "seconds": "3.0"}
    assert lines[2] == line | {"mAP": "86.0", "CF1": "70.0", "candidate_AP": "55.5"}
    assert lines[0]["candidate_AP"] == ""  # clean labels have no false candidates


def test_a_broken_run_is_resumed_and_a_judged_one_not_judged_again(call, scripts, tmp_path):
    call(*FOUR)
    judged = tmp_path / "c" / "bce-rate0.1-seed2" / "train" / "evaluation.json"
    changed = judged.stat().st_mtime_ns
    (tmp_path / "c" / "bce-rate0.1-seed1" / "result.json").unlink()
    assert call(*FOUR)[0] == 0
    command = calls(tmp_path)[-1][0]
    assert len(calls(tmp_path)) == 7
    assert command[-2:] == ["--resume", str(tmp_path / "c" / "bce-rate0.1-seed1")]
    assert judged.stat().st_mtime_ns == changed


def test_runs_come_seed_by_seed_and_rate_by_rate(call, scripts, tmp_path):
    call(*FOUR)
    order = [Path(command[-1]).name for command, _ in calls(tmp_path)]
    first = ["clean-seed1", "bce-rate0.1-seed1", "bce-rate0.4-seed1"]
    assert order == [*first, *(name.replace("seed1", "seed2") for name in first)]


def test_all_runs_take_the_precision_that_the_first_chose(call, scripts, tmp_path):
    call(*FOUR, "--jobs", "2")
    first, *others = (command for command, _ in calls(tmp_path))
    assert "--amp" not in first
    assert [command[command.index("--amp") + 1] for command in others] == ["bf16"] * len(others)


def test_each_method_gets_its_flags_and_the_rate_where_it_asks_for_it(ok, scripts, tmp_path):
    (tmp_path / "a.csv").touch()
    flags = "--dataset files --methods paper bce-forward-known asl --rates 0 0.2 --seeds 3"
    shared = "-- --labels a.csv --head csra --amp off"
    ok(*flags.split(), "--add", "real=main_real.py --head gap", *shared.split())
    found = {Path(command[-1]).name: command for command, _ in calls(tmp_path)}
    common = "--dataset files --seed 3 --labels a.csv --head csra --amp off"
    noise = tmp_path / "c" / "candidates-rate0.2-seed3.npy"
    at = f"{common} --partial_rate 0.2 --noise_file {noise}"
    for name, flags in {
        "paper-rate0.2-seed3": f"{at} --recipe paper",
        "bce-forward-known-rate0.2-seed3": f"{at} --loss bce-forward --noise_rate 0.2",
        "asl-rate0.2-seed3": f"{at} --loss asl",
        "real-seed3": f"{common} --head gap",
    }.items():
        assert found[name] == [*flags.split(), "--output_dir", str(tmp_path / "c" / name)]
    assert "bce-forward-known-rate0-seed3" in found
    assert len(found) == 7


def test_other_noise_is_made_once_for_all_methods(ok, assert_refused, scripts, tmp_path):
    flags = "--noise cooccurrence --methods clean bce asl --rates 0.2 --seeds 0 1 --jobs 2".split()
    ok(*flags, "--", *"--head gap --num_cls=10 --lam 0".split())
    lines = (tmp_path / "c" / "made.txt").read_text().splitlines()
    made = {command[command.index("--seed") + 1]: command for command in map(json.loads, lines)}
    assert (len(lines), sorted(made)) == (2, ["0", "1"])
    noise = str(tmp_path / "c" / "candidates-rate0.2-seed1.npy")
    common = "--dataset digits --noise cooccurrence --partial_rate 0.2 --seed 1"
    assert made["1"] == [*common.split(), "--output", noise, "--num_cls", "10"]
    for command, _ in calls(tmp_path):
        assert ("--noise_file" in command) == ("clean" not in command[-1])
    assert_refused("holds runs with", *flags[2:], "--", "--num_cls=10")


def test_labels_may_be_missing_too(ok, assert_refused, scripts, tmp_path):
    flags = "--methods clean bce --rates 0.2 --seeds 0".split()
    ok(*flags, "--missing", "0.25")
    made = json.loads((tmp_path / "c" / "made.txt").read_text())
    assert made[-2:] == ["--missing", "0.25"]
    assert_refused("--missing 0.25", *flags)


def test_a_partial_table_is_there_when_a_run_fails(call, scripts, tmp_path):
    status, _, err = call(*FOUR, "--add", WORSE)
    assert status == 1
    place = tmp_path / "c" / "worse-rate0.1-seed1"
    assert err.splitlines() == [
        "the disk is full",
        f"error: stopped at {place}, see above; when that is mended, the same command goes on "
        "there, or, if you delete that folder, begins it anew",
    ]
    table = (tmp_path / "c" / "table.md").read_text()
    assert "| clean | 91.0 (1 of 2) | 91.0 (1 of 2) |" in table
    assert "| bce | 86.0 (1 of 2) | - |" in table
    assert "| worse | - | - |" in table
    assert (tmp_path / "c" / "comparison.png").exists()


def test_jobs_share_the_cores_and_write_logs(call, scripts, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setenv("PAUSE", "1")
    status, out, _ = call(*FOUR, "--jobs", "3")
    assert status == 0
    assert [line.endswith(" starts") for line in out.splitlines()[:4]] == [True, True, True, False]
    assert {threads for _, threads in calls(tmp_path)} == {"2"}
    assert "training" not in out.splitlines()
    assert (tmp_path / "c" / "bce-rate0.1-seed1.log").read_text() == "training\njudged\n"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    (tmp_path / "c" / "clean-seed1" / "result.json").unlink()
    assert call(*FOUR, "--jobs", "3")[0] == 0
    assert calls(tmp_path)[-1][1] == "5"


def test_after_a_failure_what_runs_ends_and_nothing_starts(
    assert_refused, scripts, tmp_path, monkeypatch
):
    monkeypatch.setenv("PAUSE", "0.5")
    flags = "--methods bce --rates 0.1 --seeds 0 1 2 --jobs 2".split()
    log = tmp_path / "c" / "worse-rate0.1-seed0.log"
    # A long path is cut from the middle of the line.
    assert_refused("worse-rate0.1-seed0 (the", *flags, "--add", WORSE)
    assert log.read_text().endswith("the disk is full\n")
    assert records(tmp_path)[0]["seed"] == "0"
    assert len(calls(tmp_path)) <= 3


def test_when_the_budget_is_over_what_runs_is_stored(ok, scripts, tmp_path, monkeypatch):
    monkeypatch.setenv("PAUSE", "60")
    out = ok(*FOUR, "--budget", "0.05")
    assert (tmp_path / "c" / "clean-seed1" / "stored").exists()
    left = "the budget of 0.05 minutes is over: 6 of 6 runs are left; the same command goes on"
    assert last_line(out) == f"{left} with them"
    assert not (tmp_path / "c" / "table.md").exists()
    ok(*FOUR, "--budget", "0.05")
    assert "--resume" in calls(tmp_path)[1][0]


def test_after_the_budget_the_same_command_goes_on(ok, scripts, tmp_path, monkeypatch):
    monkeypatch.setenv("PAUSE", "1.2")
    flags = [*FOUR, "--budget", "0.07"]  # 4.2 seconds
    out = ok(*flags)
    finished = len(records(tmp_path))
    assert 1 <= finished <= 3
    # One that ends as the budget does is stored, but not counted.
    left = f"[{6 - finished}{7 - finished}]"
    assert re.search(f"over: {left} of 6 runs are left, about 1 min left; the same", out)
    assert "| clean | 91.0 (1 of 2) |" in out
    ok(*flags)
    assert len(records(tmp_path)) > finished


def test_an_end_before_the_scoring_keeps_the_map(call, ok, scripts, tmp_path):
    """As a budget's, or here a signal's to the comparison."""
    judge = (scripts / "val.py").read_text()
    stop = "import os, time; os.kill(os.getppid(), 15); time.sleep(60)"
    (scripts / "val.py").write_text(stop)
    status, _, err = call(*TWO)
    assert status == 143
    assert "stopped with 1 runs left" in err
    (row,) = [row for row in records(tmp_path) if row["method"] == "bce"]
    assert (row["mAP"] != "", row["candidate_AP"]) == (True, "")
    (scripts / "val.py").write_text(judge)
    trained = len(calls(tmp_path))
    ok(*TWO)
    (judged,) = [row for row in records(tmp_path) if row["method"] == "bce"]
    assert (judged["mAP"], judged["candidate_AP"] != "") == (row["mAP"], True)
    assert len(calls(tmp_path)) == trained


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_children_and_the_same_command_goes_on(number, scripts, tmp_path):
    script = (
        "import signal, sys; from pathlib import Path\n"
        "import compare; from utils.comparison import grid\n"
        f"signal.signal({number:d}, signal.SIG_IGN)  # as in a script's background jobs\n"
        f"grid.SCRIPTS = Path({str(scripts)!r})\nsys.exit(compare.main())"
    )
    flags = [*FOUR, "--output_dir", str(tmp_path / "c"), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *flags],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(compare.__file__).parent,
        env=os.environ | {"PAUSE": "60"},
    )
    logs = [tmp_path / "c" / f"{name}.log" for name in ("clean-seed1", "bce-rate0.1-seed1")]
    deadline = time.monotonic() + 60
    try:
        while not all(log.exists() and log.read_text() for log in logs):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert err.strip().splitlines()[-1] == (
        "error: stopped with 6 runs left; the same command goes on with them"
    )
    assert all(log.with_suffix("").joinpath("stored").exists() for log in logs)
    assert len(calls(tmp_path)) == 2


def test_runs_of_other_settings_are_not_mixed(ok, assert_refused, scripts, tmp_path):
    ok(*TWO)
    message = "c holds runs with no --lam, but --lam 0.2 is asked for: give the same"
    assert_refused(message, *TWO, "--", "--lam", "0.2")
    (tmp_path / "a.csv").touch()
    flags = "--dataset files -- --labels a.csv".split()
    assert_refused("holds runs with --dataset digits, no --labels", *TWO, *flags)
    ok(*TWO, "--add", "gap=main_CoNeS.py --head gap")
    ok(*TWO)  # leaves the definition in
    message = "holds runs of gap as 'main_CoNeS.py --head gap', but 'main_CoNeS.py --head csra' is "
    other = "main_CoNeS.py --head csra"
    assert_refused(f"{message}asked for: give it another name", *TWO, "--add", f"gap={other}")
    ok(*TWO, "--add", f"gap-2={other}")


def test_flags_may_be_written_otherwise(ok, assert_refused, scripts):
    more = ["--add", "gap=main_CoNeS.py --recipe paper --head=gap"]
    ok(*TWO, *more, "--", *"--lam 0.2 --num_cls=10".split())
    more = ["--add", "gap=main_CoNeS.py --head gap --recipe=paper"]
    ok(*TWO, *more, "--", *"--num_cls 10 --lam=0.2".split())
    message = "with --noise uniform, --num_cls 10, but --noise class, --num_cls 9 is asked"
    assert_refused(message, *TWO, *"--noise class -- --num_cls 9 --lam 0.2".split())


def test_runs_on_other_labels_are_not_mixed(ok, assert_refused, scripts, tmp_path):
    (tmp_path / "a.csv").write_text("path,labels")
    flags = [*TWO, *"--dataset files -- --labels a.csv".split()]
    ok(*flags)
    ok(*flags)
    (tmp_path / "a.csv").write_text("path,labels,split")
    assert_refused("error: a.csv is not what it was for the runs in", *flags)


def test_a_judging_that_broke_off_is_done_again(ok, scripts, tmp_path):
    ok(*TWO)
    judged = tmp_path / "c" / "bce-rate0.1-seed1" / "train"
    (judged / "evaluation.json").rename(judged / ".evaluation.1.json")
    ok(*TWO)
    assert [path.name for path in judged.iterdir()] == ["evaluation.json"]


def test_what_is_in_a_folder_that_is_no_comparison_is_not_touched(
    assert_refused, scripts, tmp_path
):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "table.md").write_text("notes")
    assert_refused("c is not empty: give a new or empty --output_dir", *FOUR)
    assert [path.read_text() for path in (tmp_path / "c").iterdir()] == ["notes"]


@pytest.mark.parametrize(
    "content",
    [
        '{"dataset": "dig',
        "[]",
        "{}",
        '{"dataset": "digits", "flags": 3}',
        '{"dataset": "digits", "flags": [3]}',
        '{"dataset": "digits", "flags": [], "noise": 3}',
        '{"dataset": "digits", "flags": [], "added": {"gap": null}}',
    ],
)
def test_settings_that_cannot_be_read_are_not_replaced(content, assert_refused, scripts, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "compare.json").write_text(content)
    assert_refused("compare.json is damaged: bring it back, or give another", *FOUR)


@pytest.mark.parametrize(
    "before",
    [
        {"dataset": "voc07", "flags": ["--lr", "1"], "added": {"gap": ["main_BCE.py"]}},
        {"dataset": "digits", "flags": []},  # as earlier versions stored it
    ],
)
def test_flags_that_made_no_run_bind_nobody(before, ok, scripts, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "compare.json").write_text(json.dumps(before))
    ok(*TWO)
    ok(*TWO, "--add", "gap=main_CoNeS.py --head gap")


def test_what_is_finished_is_summed_up_whatever_its_flags(ok, scripts, monkeypatch):
    flags = [*TWO, "--add", "gap=main_CoNeS.py --head gap"]
    ok(*flags)
    monkeypatch.setattr(grid, "parse_options", lambda *_: 1 / 0)  # as if --head were no more
    ok(*flags)


@pytest.mark.parametrize(
    "flag",
    ["--seed", "--partial_rate=0.3", "--output_dir", "--loss", "--noise_rate=0.1", "--ablate"],
)
def test_what_is_compared_cannot_be_set_for_all(flag, assert_refused):
    message = f"{flag.split('=')[0]} is set for every run"
    assert_refused(message, "--", flag, "3", status=2)


BY_RUN = "--noise instance --load_from run --methods bce --rates 0.2 --seeds 0".split()
BY_OTHER = ["other" if word == "run" else word for word in BY_RUN]


@pytest.fixture
def trained(tmp_path):
    """Folders of two runs, without any weights."""
    for name in ("run", "other"):
        (tmp_path / name).mkdir()
    return tmp_path / "run"


def test_a_trained_run_draws_the_noise_of_instances(ok, assert_refused, trained, scripts, tmp_path):
    ok(*BY_RUN)
    made = read_json(tmp_path, "c", "made.txt")
    assert made[made.index("--noise") + 1] == "instance"
    assert made[made.index("--load_from") + 1] == str(trained)
    assert "--device" not in made
    ok(*BY_RUN, "--output_dir", "d", "--", "--device", "cpu")
    assert read_json(tmp_path, "d", "made.txt")[-2:] == ["--device", "cpu"]
    (trained / "model.safetensors").write_text("trained further")
    ok(*BY_RUN)  # the folder held no weights
    (trained / "model.safetensors").write_text("and further")
    assert_refused("/run is not what it was", *BY_RUN)
    assert_refused("holds runs with", *BY_OTHER)


def test_candidates_of_another_run_are_not_taken(assert_refused, trained, scripts):
    """Those of the first rate were made, those of the second could not be."""
    (scripts / "make_candidates.py").write_text(f"{MAKE}\nassert '0.4' not in sys.argv\n")
    assert_refused("", *BY_RUN, "--rates", "0.2", "0.4")
    assert_refused("/other is asked for", *BY_OTHER, "--rates", "0.2", "0.4")


def test_what_goes_on_needs_no_input_of_its_start(ok, trained, scripts, tmp_path):
    (tmp_path / "w.pth").touch()
    flags = [*BY_RUN, "--", "--weights", "w.pth"]
    ok(*flags)
    trained.rmdir()
    (tmp_path / "w.pth").unlink()
    (tmp_path / "c" / "bce-rate0.2-seed0" / "result.json").unlink()
    ok(*flags)


def test_the_budget_may_end_while_candidates_are_made(ok, scripts, monkeypatch):
    monkeypatch.setenv("PAUSE", "60")
    flags = "--noise class --methods clean bce --rates 0.2 --seeds 0 --budget 0.02".split()
    making, over = ok(*flags).splitlines()
    assert making == "making candidates-rate0.2-seed0.npy"
    left = "2 of 2 runs are left; the same command goes on with them"
    assert over == f"the budget of 0.02 minutes is over: {left}"


def test_candidates_that_cannot_be_made_are_said_before_any_run(call, scripts, tmp_path):
    (scripts / "make_candidates.py").write_text("import sys; sys.exit('no such class')")
    status, _, err = call(*"--noise class --methods clean bce --rates 0.2 --seeds 0".split())
    assert status == 1
    noise = tmp_path / "c" / "candidates-rate0.2-seed0.npy"
    assert err.splitlines() == [
        "no such class",
        f"error: no {noise} could be made, see above; when that is mended, the same command "
        "goes on there",
    ]
    assert not (tmp_path / "c" / "calls.txt").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dataset files -- --labels no.csv".split(), r"\S+ \(main_BCE.py\): --labels no.csv"),
        (["--", "--weights", "no.csv"], r"\S+ \(main_BCE.py\): --weights no.csv"),
        (["--add", "b=main_BCE.py --load_from no.csv"], r"b \(main_BCE.py\): --load_from no.csv"),
        (["--noise", "instance", "--load_from", "nowhere"], "--load_from nowhere"),
    ],
)
def test_files_that_are_not_there_are_said_before_any_run(flags, message, call, scripts, tmp_path):
    status, _, err = call(*FOUR, *flags)
    assert status == 1
    assert re.fullmatch(rf"error: {message} does not exist: give .*\n", err)
    assert not (tmp_path / "c").exists()


def test_a_folder_serves_one_comparison_at_a_time(
    ok, assert_refused, scripts, tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    (tmp_path / "c").mkdir()
    with files.claimed(tmp_path / "c"):
        message = f"another process writes to {tmp_path / 'c'}: wait until it has ended, or stop it"
        assert_refused(message, *TWO)
    ok(*TWO)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--methods", "papre"], "--methods papre is none of clean bce"),
        (["--reference", "asl"], "--reference asl is none of clean bce released"),
        (["--add", "a b=main_BCE.py"], 'expected NAME="SCRIPT FLAGS"'),
        (["--add", "a"], 'expected NAME="SCRIPT FLAGS"'),
        (["--add", "../a=main_BCE.py"], 'expected NAME="SCRIPT FLAGS"'),
        (["--add", "a=val.py"], "a: expected one of main_CoNeS.py, main_real.py, main_BCE.py"),
        (["--add", "a=main_BCE.py --seed 3"], "a: --seed is set for every run, leave it out"),
        (["--add", "a=main_BCE.py --partial_rate=0"], "a: --partial_rate is set for every run"),
        (["--add", "a=main_BCE.py 'x"], "a: No closing quotation"),
        (["--add", "Paper=main_BCE.py"], "Paper is a method already"),
        (["--add", "a-seed1=main_BCE.py"], "a name without -rate and -seed, but got a-seed1"),
        (["--add", "a=main_BCE.py", "--add", "A=main_BCE.py"], "--add A is given twice"),
        (["--jobs", "0"], "of at least 1"),
        (["--budget", "0"], "above 0"),
        (["--noise", "class", "--rates", "0.1", "0.6"], "--noise class needs rates of at most 0.5"),
        (["digits"], "unrecognized arguments: digits"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_written(flags, message, assert_refused, tmp_path):
    assert_refused(message, *flags, status=2)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("methods", "reference"),
    [("clean posterior paper", "posterior"), ("paper bce", "paper"), ("clean bce", "bce")],
)
def test_the_reference_is_the_best_known_method(methods, reference):
    flags = ["--methods", *methods.split()]
    assert compare.parse_options(flags).reference == reference
    first = methods.split()[0]
    assert compare.parse_options([*flags, "--reference", first]).reference == first


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--", "--typo"], "clean (main_BCE.py): unrecognized arguments: --typo"),
        (["--", "--img_size", "32/64", "--typo"], "clean (main_BCE.py): unrecognized"),
        (["--", "--ty\npo", "3"], "clean (main_BCE.py): unrecognized arguments: --ty po 3"),
        (["--", "--tau", "0.3"], "clean (main_BCE.py): unrecognized arguments: --tau 0.3"),
        (["--add", "a=main_CoNeS.py --mu 2"], "a (main_CoNeS.py): argument --mu: expected a"),
        (["--add", "a=main_BCE.py --lr {rate}", "--rates", "0", "0.2"], "a (main_BCE.py): arg"),
        (["--add", "a=main_BCE.py --lr {rate}", "--rates", "0.2", "0"], "a (main_BCE.py): arg"),
        (["--add", "a=main_real.py"], "a (main_real.py): argument --dataset: expected one"),
        (["--dataset", "coco"], "clean (main_BCE.py): --path_images is needed"),
        (["--dataset", "cocoa"], "clean (main_BCE.py): argument --dataset: expected one"),
    ],
)
def test_what_a_script_would_refuse_is_refused_before_any_run(
    flags, message, assert_refused, scripts, tmp_path
):
    assert_refused(f"error: {message}", *FOUR, *flags, status=2)
    assert not (tmp_path / "c").exists()


def test_help_may_be_asked_for_the_scripts(call, scripts, tmp_path):
    status, out, _ = call(*FOUR, "--", "--help")
    assert (status, out.splitlines()[0]) == (0, "usage: main_BCE.py [-h]")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("method", compare.METHODS)
def test_every_method_is_a_command_line_of_its_script(method):
    script, *flags = compare.METHODS[method]
    words = [flag.replace("{rate}", "0.1") for flag in flags]
    options = parse_options(script.removesuffix(".py"), ["--dataset", "digits", *words])
    for flag, word in zip(words[::2], words[1::2]):
        assert word in str(getattr(options, flag.removeprefix("--")))


def test_added_methods_are_rows_and_may_be_placed():
    flags = ["--add", "x=main_BCE.py", "--add", "y=main_BCE.py"]
    assert compare.parse_options(["--methods", "bce", *flags]).methods == ["bce", "x", "y"]
    assert compare.parse_options(["--methods", "y", "bce", *flags]).methods == ["y", "bce", "x"]


def test_rates_that_are_written_alike_are_one():
    assert compare.parse_options("--rates 0.1 0.10000001 0".split()).rates == [0.1, 0.0]


def test_a_run_and_its_judging_by_the_scripts_themselves(call, tmp_path):
    make_photos(tmp_path / "photos")
    flags = (
        "--dataset files --methods bce --seeds 1 --rates 0.4 -- --labels photos/labels.csv "
        "--model test_resnet --weights none --img_size 32 --total_epoch 1 --workers 0"
    )
    status, _, err = call(*flags.split())
    assert status == 0, err
    [line] = records(tmp_path)
    folder = tmp_path / "c" / "bce-rate0.4-seed1"
    assert float(line["mAP"]) == read_json(folder, "result.json")["mAP"]
    judged = read_json(folder, "train", "evaluation.json")
    assert 0 < judged["true_candidates"] < judged["candidates"]
    assert float(line["candidate_AP"]) == judged["candidate_AP"]
