"""review.py from the shell's side."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from pipeline.data import label_file
from pipeline.data.candidates import read_candidates
from pipeline.review import folds, scan
from tests.helpers import SMALL, call_in, downloads, read_json
from utils.files import LEFTOVERS

CLASSES = ["=sum(1)", "boat", "sea"]


def write_photos(folder):
    """Forty photos in p; of the first thirty, to train on, half carry a false label."""
    generator = np.random.default_rng(0)
    (folder / "p").mkdir()
    for i in range(40):
        pixels = generator.integers(0, 256, (30, 45, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "p" / f"{i}.png")


def write_csv(path, split=True):
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "labels", "split", "true_labels"])
        for i in range(40):
            true, false = CLASSES[i % 3], CLASSES[(i + 1) % 3]
            labels = f"{true}|{false}" if i % 2 and i < 30 else true
            table.writerow([f"{i}.png", labels, ["train", "test"][i >= 30] if split else "", true])


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_photos(folder)
    write_csv(folder / "p" / "labels.csv")
    flags = ["--dataset", "files", "--labels", "p/labels.csv", *SMALL, "--output_dir", "r"]
    call_in(folder, "main_real", *flags)
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """A finished run in r."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return "r"


@pytest.fixture(scope="module")
def reviewed_once(trained_once, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviewed")
    shutil.copytree(trained_once, folder, dirs_exist_ok=True)
    call_in(folder, "review", "--load_from", "r", "--budget", 7)
    return folder


@pytest.fixture
def reviewed(reviewed_once, tmp_path):
    """A finished run in r, and its review, in which seven candidates are dropped."""
    shutil.copytree(reviewed_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "r" / "review"


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_candidate_is_listed_and_the_kept_ones_are_labels(run_script, trained, tmp_path):
    out, _ = run_script("review --load_from r --budget 7")
    folder = tmp_path / "r" / "review"
    everything = rows(folder / "labels.csv")
    assert len(everything) == 55  # with one of each of ten test photos, which come last
    found = everything[:45]
    assert sum(row["decision"] == "dropped" for row in found) == 7
    assert {int(row["path"][:2]) for row in everything[45:]} == set(range(30, 40))
    assert {row["candidate"] for row in found} == {"'=sum(1)", "boat", "sea"}
    summary = read_json(folder / "summary.json")
    assert (summary["images"], summary["candidates"], summary["dropped"]) == (30, 45, 7)
    assert (summary["test"]["images"], summary["test"]["candidates"]) == (10, 10)
    assert 0 <= summary["precision"] <= 1  # true_labels are there to judge by
    kept = {(r["path"], r["candidate"].lstrip("'")) for r in found if r["decision"] == "kept"}
    table = label_file.read_table(folder / "cleaned.csv", CLASSES)
    entries = zip(*np.nonzero(table.targets))
    assert {(table.paths[i], CLASSES[c]) for i, c in entries if table.splits[i] == 0} == kept
    original = label_file.read_table(tmp_path / "p" / "labels.csv", CLASSES)
    assert np.array_equal(table.targets[table.splits == 1], original.targets[table.splits == 1])
    assert np.array_equal(table.true_targets, original.true_targets)
    candidates, metadata = read_candidates(folder / "cleaned.npy")
    assert (candidates.sum(), metadata["model"]) == (38, "reviewed")
    assert (folder / "review.html").exists()
    assert len(list((folder / "thumbs").rglob("*.jpg"))) == 40
    assert "--labels" in out


@pytest.mark.parametrize("form", ["labels", "array"])
def test_what_is_kept_can_be_trained_on(form, run_script, reviewed, tmp_path):
    flags = ["--dataset", "files", *SMALL, "--output_dir", "again"]
    if form == "labels":
        flags += ["--labels", "r/review/cleaned.csv", "--path_images", "p"]
        flags += ["--classes", "r/review/cleaned-classes.txt"]
    else:
        flags += ["--labels", "p/labels.csv", "--noise_file", "r/review/cleaned.npy"]
    run_script("main_real", *flags)
    data = read_json(tmp_path / "again" / "config.json")["data"]
    assert (data["train_images"], data["test_images"], data["classes"]) == (30, 10, CLASSES)
    assert data["candidates_per_image"] == round(38 / 30, 4)
    run_script("main_real --resume again --total_epoch 3")


def test_a_division_by_seed_stays_as_it_was(run_script, tmp_path):
    write_photos(tmp_path)
    write_csv(tmp_path / "p" / "labels.csv", split=False)
    flags = ["--dataset", "files", "--labels", "p/labels.csv", "--seed", 5, *SMALL]
    run_script("main_real", *flags, "--output_dir", "r")
    run_script("review --load_from r")
    before = label_file.load("p/labels.csv", seed=5)
    after = label_file.load("r/review/cleaned.csv", "p", "r/review/cleaned-classes.txt", seed=0)
    for split in ("train", "test"):
        assert list(before[split].ids) == list(after[split].ids)


def test_noise_that_was_added_is_found_in_the_form_it_had(run_script, devkit, tmp_path):
    flags = ["--dataset", "voc07", "--path_images", devkit, "--partial_rate", 0.4, *SMALL]
    run_script("main_CoNeS", *flags, "--recipe", "posterior", "--output_dir", "r")
    run_script("review --load_from r --precision 0.5")
    assert read_json(tmp_path / "r" / "review" / "summary.json")["recall"] is not None
    noise = ["--noise_file", "r/review/cleaned.npy", "--output_dir", "again"]
    run_script("main_CoNeS", *flags, *noise)
    assert not (tmp_path / "r" / "review" / "cleaned.csv").exists()


def exported(folder, flip):
    """review.json of the page in `folder`, with the decisions on some candidates turned."""
    key = (folder / "review-data.js").read_text().split('"key":')[1].split('"')[1]
    decisions = [
        [row["path"], row["candidate"].lstrip("'"), (row["decision"] == "kept") != (i in flip)]
        for i, row in enumerate(rows(folder / "labels.csv"))
    ]
    return {"format": "review-1", "key": key, "decisions": decisions}


@pytest.mark.parametrize("photos", ["training", "all"])
def test_what_a_page_of_the_former_format_exports_is_applied(
    photos, run_script, reviewed, tmp_path
):
    content = exported(reviewed, flip={0, 1, 2})
    if photos == "training":  # which pages showed alone
        content["decisions"] = content["decisions"][:45]
    (tmp_path / "review.json").write_text(json.dumps(content))
    out, _ = run_script("review --load_from r --apply review.json")
    keep = sum(keep for *_, keep in content["decisions"][:45])
    assert f"{keep + 10} of 55 candidates" in out
    assert read_candidates(reviewed / "reviewed.npy")[0].sum() == keep
    table = label_file.read_table(reviewed / "reviewed.csv", CLASSES)
    assert table.targets[table.splits == 0].sum() == keep


def test_from_the_run_through_a_browser_to_labels(run_script, reviewed, tmp_path, browser):
    """Nothing between is made up: the page is opened, a label decided, exported, applied."""
    tab = browser.new_page()
    tab.goto((reviewed / "review.html").as_uri())
    chip = tab.locator('#grid .chip[aria-pressed="true"]').first
    entry = int(chip.get_attribute("data-entry"))
    chip.click()
    saved = downloads(tab)
    tab.close()
    (tmp_path / "review.json").write_bytes(saved["review.json"])
    run_script("review --load_from r --apply review.json")
    applied = read_candidates(reviewed / "reviewed.npy")[0]
    candidates = label_file.load("p/labels.csv")["train"].targets
    changed = np.argwhere(applied != candidates)
    assert changed.tolist() == [np.argwhere(candidates)[entry].tolist()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "0"}, "is of another review than this run's"),
        ({"format": "x"}, "must be the review.json that review.html exports"),
        ({"decisions": [["0.png", "boat"]]}, "must be the review.json"),
        ({"decisions": [["0.png", "boat", "false"]]}, "neither true nor false"),
        ({"decisions": []}, "its 45 candidates, but found"),
        (None, "--apply review.json does not exist: give review.json"),
    ],
)
def test_another_file_is_not_applied(change, message, assert_refused, reviewed, tmp_path):
    if change is not None:
        content = exported(reviewed, flip=()) | change
        (tmp_path / "review.json").write_text(json.dumps(content))
    assert_refused(message, "review --load_from r --apply review.json")
    assert not (reviewed / "reviewed.npy").exists()


def test_folds_judge_images_by_models_that_did_not_see_them(
    run_script, trained, tmp_path, monkeypatch
):
    run_script("review --load_from r --output_dir whole")
    flags = ["--load_from", "r", "--output_dir", "f", "--folds", 2]
    calls = []

    def spy(owner, name):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a: calls.append((name, a)) or original(*a))

    spy(scan.Scan, "add")
    spy(folds, "train_on")
    run_script("review", *flags)
    *calls, (_, (_, _, tested, *_)) = calls  # test photos by the run's own
    assert tested.tolist() == list(range(30, 40))
    for (fitted, (_, train, test, *_)), (added, (_, _, held, *_)) in zip(calls[::2], calls[1::2]):
        assert (fitted, added) == ("train_on", "add")
        assert set(test.ids) == {f"{row}.png" for row in held}
        assert not set(train.ids) & set(test.ids)
        assert len(train) + len(test) == 30
    assert len(calls) == 4
    first, _ = sorted((tmp_path / "f" / "folds").iterdir())
    config = read_json(first / "config.json")
    assert (config["data"]["train_images"], config["data"]["test_images"]) == (15, 15)
    assert config["options"]["total_epoch"] == 2
    names = "path", "candidate"
    both = [rows(tmp_path / name / "labels.csv") for name in ("whole", "f")]
    assert [[r[n] for n in names] for r in both[0]] == [[r[n] for n in names] for r in both[1]]
    assert [r["probability"] for r in both[0]] != [r["probability"] for r in both[1]]
    stored = (first / "model.safetensors").stat().st_mtime_ns
    before = (tmp_path / "f" / "labels.csv").read_bytes()
    (tmp_path / "f" / "labels.csv").unlink()
    run_script("review", *flags)
    assert (first / "model.safetensors").stat().st_mtime_ns == stored
    assert (tmp_path / "f" / "labels.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--load_from nowhere", "nowhere does not exist: give a run's folder"),
        ("--load_from r --folds 16", "--folds 16: expected 15 at most"),
        ("--load_from r --output_dir p", "p exists and holds no review of this run"),
        ("--load_from r/model.safetensors --labels gone.csv", "--labels gone.csv does not exist"),
    ],
)
def test_what_cannot_be_reviewed_is_said_in_a_line(
    flags, message, assert_refused, trained, tmp_path
):
    assert_refused(message, f"review {flags}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features", "p", "r"]
    assert (tmp_path / "p" / "labels.csv").read_text().startswith("path,labels,")


@pytest.mark.parametrize("place", ["r", "r/model.safetensors"])
def test_a_run_without_its_last_checkpoint_is_reviewed(place, run_script, trained, tmp_path):
    (tmp_path / "r" / "last.pt").unlink()
    run_script("review --load_from", place)
    assert (tmp_path / "r" / "review" / "review.html").exists()


def test_folds_of_a_run_that_began_with_another_s_weights_would_not_be_out_of_sample(
    run_script, assert_refused, trained
):
    flags = "--dataset files --labels p/labels.csv --model kept_trunk --img_size 32"
    run_script(f"main_real {flags} --total_epoch 1 --load_from r --output_dir s")
    message = "s was started from r, which may have"
    assert_refused(message, "review --load_from s --folds 2")
    run_script("review --load_from s")


def test_the_weights_that_are_named_are_those_that_look(run_script, trained):
    """An interrupted epoch leaves last.pt ahead of model.safetensors."""
    run_script("review --load_from r --output_dir whole")
    state = torch.load("r/last.pt", weights_only=True)
    for name, weight in state["classifier"].items():
        if name.startswith("head.") and weight.is_floating_point():
            weight.neg_()
    torch.save(state, "r/last.pt")
    run_script("review --load_from r/last.pt --output_dir last")
    whole, last = (rows(f"{name}/labels.csv") for name in ("whole", "last"))
    assert [r["probability"] for r in whole] != [r["probability"] for r in last]


def test_folds_of_another_run_are_not_taken(run_script, assert_refused, trained):
    flags = "--dataset files --labels p/labels.csv --loss focal --partial_rate 0 --output_dir s"
    run_script(f"main_BCE {flags}", *SMALL)
    run_script("review --load_from r --folds 2 --output_dir f")
    before = Path("f/labels.csv").read_bytes()
    message = "f exists and holds no review of this run"
    assert_refused(message, "review --load_from s --folds 2 --output_dir f")
    assert Path("f/labels.csv").read_bytes() == before


def test_a_run_that_was_trained_on_is_reviewed_anew(run_script, trained, tmp_path):
    run_script("review --load_from r --folds 2")
    run_script("main_real --resume r --total_epoch 3")
    run_script("review --load_from r --folds 2")
    assert len(list((tmp_path / "r" / "review" / "folds").iterdir())) == 4


def test_a_review_that_was_killed_is_made_again(run_script, trained):
    """As it began, and among thumbnails: temporary files are removed."""
    Path("v").mkdir()
    Path("v/.123.part..review").touch()
    run_script("review --load_from r --output_dir v")
    Path("v/thumbs/0/.123.part.1.jpg").touch()
    run_script("review --load_from r --output_dir v")
    assert not list(Path("v").rglob(LEFTOVERS))
    assert Path("v/review.html").exists()


def test_a_review_that_is_not_there_is_not_made_of_noise(assert_refused, reviewed):
    flags = "--dataset files --labels p/labels.csv --noise_file r/review/reviewed.npy"
    message = "reviewed.npy: this folder holds what review.py writes"
    assert_refused(message, f"main_BCE {flags} --partial_rate 0.1", *SMALL)
    assert not (reviewed / "reviewed.npy").exists()


def test_weights_alone_are_no_run(assert_refused, trained):
    shutil.copy("r/model.safetensors", "w.safetensors")
    assert_refused("w.safetensors is no run", "review --load_from w.safetensors")


def test_moved_photos_are_found(run_script, assert_refused, trained):
    Path("p").rename("q")
    assert_refused("", "review --load_from r")
    run_script("review --load_from r --labels q/labels.csv")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "--load_from is needed: a run's folder; review.py --help"),
        ("--load_from r --budget 3 --threshold 0.2", ""),
        ("--load_from r --folds 1", ""),
        ("--load_from r --apply f --budget 3", ""),
    ],
)
def test_bad_usage(flags, message, assert_refused):
    assert_refused(message, f"review {flags}", status=2)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_photos_to_verify_are_drawn_verified_and_trained_with(
    run_script, assert_refused, trained, tmp_path, form
):
    if form == "jsonl":
        with open("p/labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        fields = [{"path": r["path"], "labels": r["labels"].split("|")} for r in rows]
        parts = [row | {"split": r["split"]} for row, r in zip(fields, rows)]
        (tmp_path / "p/list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in parts))
        flags = ["--dataset", "files", "--labels", "p/list.jsonl", *SMALL, "--output_dir", "j"]
        run_script("main_real", *flags)
    folder = "r" if form == "csv" else "j"
    out, _ = run_script(f"review --load_from {folder} --verify 5")
    path = tmp_path / folder / "review" / f"verify.{form}"
    assert str(path.relative_to(tmp_path)) in out
    lines = path.read_text().splitlines()
    first = lines[1:6] if form == "csv" else lines[:5]
    assert all("no" in line for line in first)
    run_script(f"review --load_from {folder}")  # in the same folder
    before = path.read_text()
    assert_refused("move it away, to keep", f"review --load_from {folder} --verify 5")
    assert path.read_text() == before
    assert path.read_text().count("no") == 5 + 0
    path.write_text(path.read_text().replace(",no", ",yes").replace('"no"', "true"))
    flags = ["--dataset", "files", "--labels", path, "--path_images", "p", *SMALL]
    at = flags.index("--weights")
    flags[at : at + 2] = ["--load_from", folder, "--no-freeze"]
    run_script("main_real", *flags, "--output_dir", "again")
    config = json.loads((tmp_path / "again/config.json").read_text())
    assert config["data"]["verified"] == 5
    assert config["options"]["targets"] == "neighbours"  # of a trunk that is trained too
    run_script("review --load_from again")
    summary = json.loads((tmp_path / "again/review/summary.json").read_text())
    assert summary["noise"]["verified"] == 5
    of_list = ["--dataset", "files", "--labels", path, "--path_images", "p"]
    out, _ = run_script("check_data", *of_list, "--load_from", "again")
    assert "again, of the candidates it was trained on:" in out
    cleaned = label_file.read_table(tmp_path / f"again/review/cleaned.{form}")
    assert cleaned.verified.sum() == 5  # and stays so


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ("--verify 31", 1, "30 training images are not verified yet"),
        ("--verify 5 --apply p/labels.csv", 2, "--apply reviews nothing"),
        ("--verify 5 --split test", 2, "--verify asks for training photos"),
        ("--verify 0", 2, "a whole number of at least 1"),
    ],
)
def test_a_list_to_verify_that_cannot_be_made_is_refused(
    flags, status, message, assert_refused, trained
):
    assert_refused(message, f"review --load_from r {flags}", status=status)


def decided(path, label, true, by="Ann", at="2026-11-29T01:02:03Z", **more):
    """A record of one label, of a photo in p."""
    digest = hashlib.sha256(Path("p", path).read_bytes()).hexdigest()[:16]
    return {"path": path, "sha256": digest, "label": label, "true": true, "by": by, "at": at} | more


def verified(path, *labels, **more):
    record = decided(path, "", True, **more)
    return {k: v for k, v in record.items() if k not in ("label", "true")} | {"true_labels": labels}


def write_review(path, records):
    kinds = {"verified": [], "decisions": []}
    for record in records:
        kinds["verified" if "true_labels" in record else "decisions"].append(record)
    Path(path).write_text(json.dumps({"format": "review-2", "key": "0", "by": "Ann"} | kinds))


def labels_of(path):
    return {row["path"]: row for row in rows(path)}


def test_decisions_become_labels_and_verified_photos_that_training_knows(
    run_script, reviewed, tmp_path
):
    """Photo 1 has a false label and misses a true one; 31 and 32 are test photos."""
    found = labels_of("p/labels.csv")
    write_review("a.json", [verified("1.png", "boat"), verified("31.png", "boat", "sea")])
    of_ann = [decided("3.png", "=sum(1)", False), decided("0.png", "sea", True)]
    of_ann += [decided("5.png", "sea", False), decided("32.png", "boat", True)]
    write_review("b.json", of_ann)
    write_review("c.json", [decided("5.png", "sea", True, "Ben")])
    out, _ = run_script("review --load_from r --apply a.json b.json c.json")
    assert "2 photos verified" in out
    assert "5.png  sea  Ann  Ben" in out
    now = labels_of("r/review/reviewed.csv")

    def tags(row):
        return set(filter(None, row["labels"].split("|")))

    changed = {path for path in now if tags(now[path]) != tags(found[path])}
    assert changed == {"0.png", "3.png", "32.png"}
    assert now["0.png"]["labels"] == "|=sum(1)|sea"
    assert [path for path in now if now[path]["verified"]] == ["1.png", "31.png"]
    assert [now[p]["true_labels"] for p in ("1.png", "31.png")] == ["boat", "boat|sea"]
    candidates, metadata = read_candidates("r/review/reviewed.npy")
    assert metadata["verified"] == [[1, [1]]]
    assert candidates[1].sum() == 2  # as found
    flags = ["--dataset", "files", "--labels", "p/labels.csv", *SMALL]
    flags += ["--noise_file", "r/review/reviewed.npy", "--output_dir", "by_file"]
    run_script("main_real", *flags)
    assert read_json("by_file/config.json")["data"]["verified"] == 1
    run_script("review --load_from by_file --split train")  # finds them again
    assert read_json("by_file/review/summary.json")["noise"]["verified"] == 1
    run_script("review --load_from r --apply a.json b.json c.json --with_drops")
    dropped = read_candidates("r/review/reviewed.npy")[0]
    cleaned = read_candidates("r/review/cleaned.npy")[0]
    assert (dropped[1] == candidates[1]).all()
    others = np.setdiff1d(np.arange(30), [0, 1, 3, 5])
    assert (dropped[others] == cleaned[others]).all()


def test_a_round_applies_trains_and_reviews_with_what_was_decided(
    run_script, assert_refused, reviewed, tmp_path
):
    records = [verified("1.png", "boat"), decided("3.png", "=sum(1)", False)]
    write_review(
        "review.json", [*records, verified("31.png", "boat"), decided("0.png", "sea", True)]
    )
    out, _ = run_script("review --load_from r --again review.json --budget 3")
    new = tmp_path / "r-round2"
    config = read_json(new / "config.json")
    assert (config["data"]["verified"], config["data"]["train_images"]) == (1, 30)
    before = read_json("r/config.json")["options"]
    kept = ("recipe", "model", "img_size", "seed", "targets", "lr_head", "total_epoch")
    assert [config["options"][name] for name in kept] == [before[name] for name in kept]
    summary = read_json(new / "review/summary.json")
    assert summary["decisions"]["verified"] == 2
    assert summary["decisions"]["no_candidate"] == []  # it was dropped by the review before
    assert summary["dropped"] == 3
    # The next round begins with what is decided, without naming a file; another photo is changed.
    Image.new("RGB", (20, 20)).save("p/0.png")
    write_review("more.json", [verified("5.png", "sea")])
    out, _ = run_script("review --load_from r-round2 --verify 2 --decisions more.json")
    assert "1 photos that have other bytes now" in out
    listed = labels_of(new / "review/verify.csv")
    assert [listed[name]["verified"] for name in ("1.png", "5.png", "31.png")] == ["yes"] * 3
    assert read_json(new / "review/summary.json")["decisions"]["changed"] == ["0.png"]
    assert_refused(
        "r-round2 already holds a run",
        "review --load_from r --again review.json --output_dir r-round2",
    )


def test_a_round_of_a_data_set_without_a_list_goes_by_the_candidate_file(
    run_script, assert_refused, devkit, tmp_path
):
    torch.save(timm.create_model("kept_trunk").state_dict(), "trunk.pth")
    flags = ["--dataset", "voc07", "--path_images", devkit, "--partial_rate", 0.4, *SMALL]
    flags[flags.index("none")] = "trunk.pth"
    run_script("main_CoNeS", *flags, "--recipe", "posterior", "--output_dir", "r")
    assert read_json("r/config.json")["options"]["targets"] == "classifier"
    photo = devkit / "VOC2007/JPEGImages/000003.jpg"
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()[:16]
    head = {"path": "000003", "sha256": digest, "by": "Ann", "at": "2026-11-29T01:02:03Z"}
    write_review("review.json", [head | {"true_labels": ["cat", "dog"]}])
    run_script("review --load_from r --again review.json")
    new = read_json("r-round2/config.json")
    assert new["options"]["noise_file"] == "r/review/reviewed.npy"
    assert new["data"]["verified"] == 1
    assert new["options"]["targets"] == "neighbours"  # the default where images are verified
    run_script("main_CoNeS --resume r-round2 --total_epoch 3")
    message = "--split all: the labels of the run's test images are true ones"
    assert_refused(message, "review --load_from r --split all")
    # What cannot be is refused before the training.
    for flags, found in (
        ("--split all", message),
        ("--folds 5", "--folds 5: expected 4 at most"),
        ("--verify 8", "--verify 8: 7 training images are not verified yet"),
    ):
        assert_refused(found, f"review --load_from r --again review.json {flags}")
    assert not Path("r-round3").exists()


@pytest.mark.parametrize(("split", "listed", "first"), [("train", 45, 0), ("test", 10, 30)])
def test_a_split_can_be_asked_for(split, listed, first, run_script, trained, tmp_path):
    run_script(f"review --load_from r --split {split}")
    found = rows("r/review/labels.csv")
    assert (len(found), found[0]["path"]) == (listed, f"{first}.png")
    assert Path("r/review/cleaned.npy").exists() == (split == "train")


def test_a_review_goes_to_other_tools_and_comes_back(run_script, trained, tmp_path):
    run_script("review --load_from r --export label-studio fiftyone cleanlab")
    labels = read_json("r/review/cleanlab-labels.json")
    assert len(labels) == len(np.load("r/review/cleanlab-pred_probs.npy")) == 40
    labels[0], labels[31] = [2], [0, 1, 2]
    Path("labels.json").write_text(json.dumps(labels))
    tasks = read_json("r/review/label-studio.json")
    choices = {"from_name": "labels", "type": "choices", "value": {"choices": ["boat"]}}
    done = {"result": [choices], "completed_by": 1, "created_at": "2026-11-29T01:02:03.5Z"}
    tasks[1]["annotations"] = [done]
    Path("tasks.json").write_text(json.dumps(tasks))
    dataset = read_json("r/review/fiftyone.json")
    dataset["samples"][2]["tags"].append("verified")
    Path("dataset.json").write_text(json.dumps(dataset))
    out, _ = run_script("review --load_from r --apply labels.json tasks.json dataset.json")
    assert "2 photos verified, 4 decisions on single labels of 2 others" in out
    now = labels_of("r/review/reviewed.csv")
    assert (now["0.png"]["labels"], now["31.png"]["labels"]) == ("sea", "|=sum(1)|boat|sea")
    assert (now["1.png"]["true_labels"], now["2.png"]["verified"]) == ("boat", "yes")


def test_a_round_of_a_file_that_holds_no_decision_trains_and_reviews(run_script, trained):
    write_review("review.json", [])
    run_script("review --load_from r --again review.json --split train")
    told = read_json("r-round2/review/decisions.json")
    assert (told["verified"], told["decisions"]) == ([], [])
    assert labels_of("r/review/reviewed.csv")["1.png"]["labels"] == "boat|sea"
    out, _ = run_script("review --load_from r --apply review.json")
    assert "counts too" not in out


def test_drops_are_those_of_a_review(assert_refused, trained, tmp_path):
    write_review("review.json", [])
    message = "--with_drops takes what a review of this run has dropped"
    assert_refused(message, "review --load_from r --apply review.json --with_drops")


def test_a_list_wholly_for_training_is_trained_on_and_reviewed(
    run_script, assert_refused, tmp_path
):
    write_photos(tmp_path)
    write_csv(tmp_path / "p" / "labels.csv")
    text = Path("p/labels.csv").read_text()
    Path("p/labels.csv").write_text(text.replace(",test,", ",train,"))
    data = ["--dataset", "files", "--labels", "p/labels.csv"]
    for number, more in enumerate(
        (["--cache", "c"], ["--no-freeze", "--recipe", "paper", "--cache", "c"])
    ):
        folder = f"r{number}"
        out, _ = run_script("main_real", *data, *SMALL, *more, "--output_dir", folder)
        assert "no image of the list is in test: there is no mAP" in out
        assert read_json(folder, "result.json")["mAP"] is None
        run_script(f"main_real --resume {folder} --total_epoch 3")
        run_script(f"review --load_from {folder}")
        assert len(rows(f"{folder}/review/labels.csv")) == 55
    run_script("check_data", *data)
    run_script("val --load_from r0 --split train --candidates --output_dir v")
    assert_refused("must name images to test, but none is in test", "val --load_from r0")
    message = "--split test: the labels of the run's test images are of no image"
    assert_refused(message, "review --load_from r0 --split test")
