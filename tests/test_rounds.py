"""A round of review: from what people decided to the next run, without training one."""

import csv
import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import review
from pipeline.data import label_file
from pipeline.data.candidates import Origin, write_candidates
from pipeline.data.verified import Verified
from pipeline.review.apply import read_decided
from pipeline.review.reviewed_run import ReviewedRun
from pipeline.review.to_verify import list_to_verify, write_list_to_verify
from tests.helpers import refused
from utils.options.training import TrainingOptions


def options(**changes):
    given = {"script": "main_real", "dataset": "files", "partial_rate": 0.0}
    return TrainingOptions(**given | changes)


def run_of(folder, splits, given):
    """A run in `folder`/r on the splits of a list."""
    candidates = (splits["train"].targets == 1).astype(np.uint8)
    path = folder / "r"
    path.mkdir(exist_ok=True)
    return ReviewedRun(path, given, splits["train"], splits["test"], candidates, "0f" * 16)


def write_photos(folder, names):
    for number, name in enumerate(names):
        (folder / name).write_bytes(b"photo %d" % number)


def listed_run(folder, text, **changes):
    """A run on a list of this text, whose photos are there."""
    (folder / "list.csv").write_text(text)
    given = options(labels=str(folder / "list.csv"), **changes)
    reading = label_file.reading_of(given)
    write_photos(folder, label_file.read_table(folder / "list.csv", reading=reading).paths)
    splits = label_file.load(given.labels, seed=given.seed, reading=reading)
    return run_of(folder, splits, given)


def test_test_photos_are_found_in_a_list_read_as_the_run_read_it(tmp_path):
    (tmp_path / "names.csv").write_text("SEA,sea\n")
    rows = ["file name;path;labels;my tags;split"]
    rows += [f"{k}.jpg;x;junk;{'SEA,sky' if k % 2 else 'sky'};" for k in range(10)]
    run = listed_run(
        tmp_path,
        "\n".join(rows),
        columns=["path=file name", "labels=my tags"],
        separator="comma",
        rename=str(tmp_path / "names.csv"),
    )
    photos = run.photos(None)
    assert photos.data.classes == ["sea", "sky"]
    odd = [int(Path(name).stem) % 2 for name in photos.data.ids]
    assert photos.found.tolist() == [[each, 1] for each in odd]
    assert len(run.test) > 0


def test_a_run_whose_checkpoint_is_gone_is_judged_otherwise_and_says_so(tmp_path, capsys):
    rows = [f"{number}.jpg,{'sea|sky' if number % 2 else 'sky'}" for number in range(10)]
    given = {"recipe": "posterior", "targets": "neighbours", "freeze": True}
    run = listed_run(tmp_path, "\n".join(["path,labels", *rows]), **given)
    stored = torch.rand(int(run.candidates.sum()))
    torch.save({"method": {"confidence": {"values": stored}}}, run.path / "last.pt")
    assert torch.equal(torch.from_numpy(run.targets.values[run.candidates == 1]), stored)
    assert capsys.readouterr().err == ""
    (run.path / "last.pt").write_bytes(b"damaged")
    other = dataclasses.replace(run)
    assert other.targets is None
    assert "last.pt is missing or not of this run, which holds how" in capsys.readouterr().err


def test_decisions_on_the_photos_of_another_run_are_refused(tmp_path, capsys):
    run = listed_run(tmp_path, "path,labels\n" + "".join(f"{n}.jpg,sea\n" for n in range(10)))
    record = {"path": "x.jpg", "sha256": "", "label": "sea", "true": False}
    record |= {"by": "Ann", "at": "2026-11-29T01:02:03Z"}
    content = {"format": "review-2", "key": "0", "by": "Ann", "verified": []}
    for name in ("x.jpg", "1.jpg"):
        text = json.dumps(content | {"decisions": [record | {"path": name}]})
        (tmp_path / f"{name}.json").write_text(text)
    with refused("x.jpg.json: expected decisions on photos of .*, but found none .*: check"):
        read_decided(run, tmp_path, [str(tmp_path / "x.jpg.json")])
    paths = [str(tmp_path / f"{name}.json") for name in ("x.jpg", "1.jpg")]
    _, carried = read_decided(run, tmp_path, paths)
    assert (carried.gone, len(carried.content["decisions"])) == (["x.jpg"], 1)


def test_a_list_to_verify_is_taken_by_the_flags_that_are_advised(tmp_path, capsys):
    (tmp_path / "names.csv").write_text("SEA,sea\n")
    rows = ["photo;my tags", *(f"{k}.jpg;{'SEA,sky' if k % 2 else 'sky'}" for k in range(10))]
    told = {"columns": ["path=photo", "labels=my tags"], "separator": ","}
    told["rename"] = str(tmp_path / "names.csv")
    run = listed_run(tmp_path, "\n".join(rows), **told)
    write_list_to_verify(run, tmp_path, np.array([0, 1]), None)
    advice = capsys.readouterr().out
    assert advice.endswith("leave out --columns and --separator and --rename\n")
    words = shlex.split(advice.partition("train with ")[2].partition(" in place")[0])
    flags = dict(zip(words[::2], words[1::2]))
    table = label_file.read_table(
        Path(flags["--labels"]), label_file.read_classes(flags["--classes"])
    )
    assert (table.classes, set(table.paths)) == (["sea", "sky"], {f"{k}.jpg" for k in range(10)})
    assert table.targets.sum(axis=0).tolist() == [5, 10]
    assert flags["--path_images"] == str(tmp_path)
    with refused("--separator is comma, but labels are joined by |, as in 'sea|sky'"):
        label_file.read_table(Path(flags["--labels"]), reading=label_file.Reading({}, ","))


def test_a_list_to_verify_has_the_runs_candidates_and_what_is_verified_already(tmp_path, capsys):
    rows = [f"{k}.jpg,sea|sky,{'test' if k > 7 else 'train'}" for k in range(10)]
    array = tmp_path / "reviewed.npy"
    changes = {"verified": 2, "noise_file": str(array), "partial_rate": None}
    run = listed_run(tmp_path, "\n".join(["path,labels,split", *rows]), **changes)
    run.candidates[:2] = [1, 0]
    write_candidates(array, run.candidates, run.train, Origin("files", 0.0, 0, "reviewed"))
    known = Verified(np.array([1, 9]), np.array([[0, 1], [0, 0]], np.uint8))
    write_list_to_verify(run, tmp_path, np.array([2]), known)
    assert capsys.readouterr().out.endswith("leave out --noise_file and --verified\n")
    with open(tmp_path / "verify.csv", newline="") as file:
        now = [tuple(row.values()) for row in csv.DictReader(file)]
    assert now[:3] == [
        ("2.jpg", "sea|sky", "train", "sea|sky", "no"),
        ("0.jpg", "sea", "train", "", ""),
        ("1.jpg", "sea", "train", "sky", "yes"),
    ]
    assert now[-1] == ("9.jpg", "sea|sky", "test", "|", "yes")
    # A list cannot hold the candidates to which noise was added.
    noisy = options(script="main_CoNeS", labels=run.options.labels, partial_rate=0.3)
    assert list_to_verify(dataclasses.replace(run, options=noisy), tmp_path) is None


def test_a_run_whose_verified_photos_were_drawn_goes_on_with_those_of_the_new_list(tmp_path):
    given = options(labels="p/list.csv", verified=5)
    files = [tmp_path / "reviewed.npy", tmp_path / "reviewed.csv"]
    assert review.on_files(given, files, tmp_path / "new").verified is None
    assert review.on_files(given, files[:1], tmp_path / "new").verified == 5  # and the file's


def test_tools_that_show_photos_are_refused_before_anything_is_done(tmp_path):
    run = listed_run(tmp_path, "path,labels,split\na.jpg,sea,train\nb.jpg,sky,train")
    asked = review.Options(load_from="r", export=["fiftyone"])
    assert review.check_review(asked, run).trained == 2
    in_memory = dataclasses.replace(run.train, images=torch.zeros(2, 3, 8, 8))
    with refused("needs files: this data set has none"):
        review.check_review(asked, dataclasses.replace(run, train=in_memory))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("run", "run-round2"),
        ("run-round2", "run-round3"),
        ("my-roundtrip", "my-roundtrip-round2"),
        ("a-round2-round9", "a-round2-round10"),
        (".", "here-round2"),
    ],
)
def test_the_next_round_has_the_next_number(name, expected, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert review.next_round(Path(name)).name == expected
