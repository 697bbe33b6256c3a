import json
import shutil

import numpy as np
import pytest
from PIL import Image

import make_candidates
from pipeline.data import digits, label_file
from pipeline.data.candidates import (
    array_sha256,
    check_candidates,
    ids_sha256,
    read_candidates,
    realised_rate,
)
from pipeline.data.noise import uniform_noise
from tests.helpers import SMALL, call_in

CLASSES = ["cat", "dog", "hen", "owl"]
TRAIN, TEST = 120, 20
RATES = {"owl": 0.6, "cat": 0.0, "dog": 0.1, "hen": 0.3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Small images in a list; cats and dogs appear together, as do hens and owls."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows = ["path,labels,split"]
    for number in range(TRAIN + TEST):
        pair = [CLASSES[:2], CLASSES[2:]][number % 2]
        shown = [pair, pair[:1], pair[1:], []][min(generator.integers(7), 3)]
        pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'|'.join(shown)},{'train' if number < TRAIN else 'test'}")
    (folder / "photos.csv").write_text("\n".join(rows))
    (folder / "reversed.txt").write_text("\n".join(CLASSES[::-1]))
    (folder / "rates.json").write_text(json.dumps(RATES), "utf-8-sig")  # as Windows saves it
    return folder


@pytest.fixture(scope="module")
def trained(photos):
    """The folder of a finished run on the photos."""
    call_in(photos, "main_BCE", *files(photos).split(), *SMALL, "--output_dir", "run")
    return photos / "run"


def files(photos):
    return f"--dataset files --labels {photos}/photos.csv"


def make(photos, flags):
    return f"make_candidates {files(photos)} {flags}"


def noise_flags(noise, photos, request):
    """Flags of a noise model; a run is trained only where it is needed."""
    if noise == "class":
        return f"--noise class --class_rates {photos}/rates.json"
    trained = f" --load_from {request.getfixturevalue('trained')}" if noise == "instance" else ""
    return f"--noise {noise} --partial_rate 0.2{trained}"


# What is written


@pytest.mark.parametrize(
    ("noise", "name", "rate"),
    [
        ("uniform", "files_0.2", 0.2),
        ("class", "files_class", None),
        ("cooccurrence", "files_cooccurrence_0.2", 0.2),
        ("instance", "files_instance_0.2", 0.2),
    ],
)
def test_a_file_fits_the_training_images_and_says_what_it_holds(
    run_script, photos, request, tmp_path, noise, name, rate
):
    flags = noise_flags(noise, photos, request)
    out, err = run_script(make(photos, f"{flags} --seed 3"))
    assert err == ""
    path = tmp_path / "pre-processed-data" / f"{name}.npy"
    candidates, metadata = read_candidates(path)
    data = label_file.load(photos / "photos.csv")["train"]
    check_candidates(candidates, metadata, data, path, rate, "files")
    realised = realised_rate(candidates, data.targets)
    origin = {"dataset": "files", "split": "train", "rate": rate, "seed": 3, "model": noise}
    of_data = {"classes": CLASSES, "ids_sha256": ids_sha256(data.ids), "realised_rate": realised}
    assert metadata == origin | of_data | {"array_sha256": array_sha256(candidates)}
    # About 330 labels are not true.
    assert realised == pytest.approx(rate or np.mean(list(RATES.values())), abs=0.07)
    *_, whole, names = out.splitlines()
    assert whole == (
        f"{TRAIN} images, {candidates.sum() / TRAIN:.2f} candidates an image, realised rate "
        f"{realised:.4f}, 100% of true labels covered"
    )
    assert names == f"pre-processed-data/{name}.npy and pre-processed-data/{name}.json"
    assert sorted(path.parent.iterdir()) == [path.with_name(f"{name}.json"), path]


@pytest.mark.parametrize("noise", ["uniform", "class", "cooccurrence", "instance"])
def test_a_seed_fixes_the_file(run_script, photos, request, tmp_path, noise):
    flags = noise_flags(noise, photos, request)
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run_script(make(photos, f"{flags} --seed {seed} --output new/{name}.npy"))
    first, second, other = (
        [(tmp_path / "new" / f"{name}.{suffix}").read_bytes() for suffix in ("npy", "json")]
        for name in "abc"
    )
    assert first == second
    assert first[0] != other[0]


def test_uniform_digits_are_those_that_training_makes(run_script, tmp_path):
    out, _ = run_script("make_candidates --dataset digits --partial_rate 0.1 --seed 2")
    candidates, _ = read_candidates(tmp_path / "pre-processed-data" / "digits_0.1.npy")
    targets = digits.load("train").targets
    np.testing.assert_array_equal(candidates, uniform_noise(targets, 0.1, 2))
    assert "realised rate 0.10" in out


def test_the_table_gives_each_class_its_counts_and_rate(run_script, photos, tmp_path):
    out, _ = run_script(make(photos, f"--noise class --class_rates {photos}/rates.json"))
    candidates, _ = read_candidates(tmp_path / "pre-processed-data" / "files_class.npy")
    targets = label_file.load(photos / "photos.csv")["train"].targets
    header, *rows = out.splitlines()[:5]
    assert header.split() == ["class", "true", "candidates", "realised", "rate"]
    assert {len(row) for row in rows} == {len(header)}
    for column, (name, row) in enumerate(zip(CLASSES, rows)):
        rate = candidates[targets[:, column] == 0, column].mean()
        counts = [str(labels[:, column].sum()) for labels in (targets, candidates)]
        assert row.split() == [name, *counts, f"{rate:.4f}"]
        # The rates stand in the file in another order.
        assert rate == pytest.approx(RATES[name], abs=0.14)


def test_class_noise_without_rates_of_its_own_spreads_them_by_seed(run_script, photos, tmp_path):
    targets = label_file.load(photos / "photos.csv")["train"].targets
    flags, found = "--noise class --partial_rate 0.4", []
    for seed in range(8):
        run_script(make(photos, f"{flags} --seed {seed} --output {seed}.npy"))
        candidates, metadata = read_candidates(tmp_path / f"{seed}.npy")
        assert (metadata["rate"], metadata["model"]) == (0.4, "class")
        found.append([candidates[targets[:, c] == 0, c].mean() for c in range(len(CLASSES))])
    assert np.sort(found).mean(axis=0) == pytest.approx([0.1, 0.3, 0.5, 0.7], abs=0.06)
    assert len(np.unique(np.argsort(found), axis=0)) > 2


def test_cooccurrence_noise_adds_the_partner(run_script, photos, tmp_path):
    run_script(make(photos, "--noise cooccurrence --partial_rate 0.2 --output n.npy"))
    candidates, _ = read_candidates(tmp_path / "n.npy")
    targets = label_file.load(photos / "photos.csv")["train"].targets
    one = targets.sum(axis=1) == 1
    partners = targets[one][:, [1, 0, 3, 2]] == 1
    added = candidates[one] & (1 - targets[one])
    assert added[partners].mean() > 0.5
    assert added[~partners].sum() == 0


def test_instance_noise_adds_what_the_run_takes_for_true(run_script, photos, tmp_path, monkeypatch):
    targets = label_file.load(photos / "photos.csv")["train"].targets
    taken = np.random.default_rng(1).random(targets.shape) < 0.5
    scores = np.where(taken, 20, -20).astype(np.float32)
    asked, take = [], "scores_by_classifier"
    monkeypatch.setattr(make_candidates, take, lambda options, _: asked.append(options) or scores)
    (tmp_path / "r").mkdir()
    run_script(make(photos, "--noise instance --partial_rate 0.4 --load_from r --output n.npy"))
    candidates, _ = read_candidates(tmp_path / "n.npy")
    assert [options.load_from for options in asked] == ["r"]
    assert candidates[taken].mean() > 0.75
    np.testing.assert_array_equal(candidates[~taken], targets[~taken])


def test_the_device_of_instance_noise_is_that_of_the_classifier(assert_refused, photos, trained):
    command = make(photos, "--partial_rate 0.2 --device tpu --output n.npy")
    assert_refused("--device belongs to --noise instance", command, status=2)
    command += f" --noise instance --load_from {trained}"
    assert_refused("--device tpu cannot be used here", command)


def test_training_takes_the_written_file(run_script, assert_refused, photos):
    run_script(make(photos, "--partial_rate 0.3 --seed 4 --output n.npy"))
    command = f"main_BCE {files(photos)} --noise_file n.npy {' '.join(SMALL)}"
    out, _ = run_script(f"{command} --output_dir r")
    assert "candidates: n.npy (from file, seed 4, not --seed 0" in out
    message = "n.json says rate 0.3, but 0.2 is asked for"
    assert_refused(message, f"{command} --partial_rate 0.2")


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "give --partial_rate, or"),
        ("--noise cooccurrence", "give --partial_rate, or"),
        ("--noise class --class_rates rates.json --partial_rate 0.1", "instead of it"),
        ("--noise class", "for --noise class, --class_rates"),
        ("--partial_rate 0.1 --class_rates rates.json", "--class_rates belongs to --noise class"),
        ("--noise class --partial_rate 0.6", "--noise class needs rates of at most 0.5"),
        ("--noise instance --load_from run", "give --partial_rate, or"),
        ("--partial_rate 1", "expected a number of at least 0 and at most 0.99, but got 1"),
        ("--partial_rate 0.1 --seed -1", "--seed: expected a whole number of at least 0"),
        ("--noise gaussian", "expected one of uniform, class, cooccurrence, instance"),
    ],
)
def test_flags_that_do_not_belong_together_exit_with_2(assert_refused, tmp_path, flags, message):
    # Before any file is looked for, for there is no such list.
    command = f"make_candidates --dataset files --labels no.csv {flags}"
    assert_refused(message, command, status=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist: give JSON, {class name: rate}"),
        ("", "cannot be read: "),
        ("[" * 100_000, "cannot be read: "),
        (b"\xff", "cannot be read: "),
        ("[0.1, 0.2, 0.3, 0.4]", "a rate for each of the 4 classes, but differs in 'cat', 'dog'"),
        (RATES | {"ant": 0.1}, "a rate for each of the 4 classes, but differs in 'ant'"),
        ({"cat": 0.1, "dog": 0.2, "owl\n": 0}, "but differs in 'hen', 'owl', 'owl\\n'"),
        (RATES | {"hen": 1}, "expected a rate in [0, 1) for hen: 1"),
        (RATES | {"hen": float("nan")}, "expected a rate in [0, 1) for hen: nan"),
        (RATES | {"hen": "0.1\n"}, "expected a rate in [0, 1) for hen: '0.1\\n'"),
        (RATES | {"hen": False}, "expected a rate in [0, 1) for hen: False"),
        (RATES | {"hen": None}, "expected a rate in [0, 1) for hen: None"),
    ],
)
def test_wrong_class_rates_are_refused_in_one_line(
    assert_refused, photos, tmp_path, content, message
):
    path = tmp_path / "rates.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    err = assert_refused(message, make(photos, "--noise class --class_rates rates.json"))
    assert err.startswith("error: --class_rates rates.json")
    assert not (tmp_path / "pre-processed-data").exists()


@pytest.mark.parametrize("name", ["noise", "noise.json", "pre-processed-data/", "files_0.1"])
def test_an_output_that_is_no_npy_is_refused_before_any_work(assert_refused, tmp_path, name):
    command = "make_candidates --dataset files --labels no.csv --partial_rate 0.1 --output"
    assert_refused("expected a name that ends with .npy", command, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("labels.npy", "labels.json is something else: give another name"),
        ("labels.json/n.npy", "--output labels.json/n.npy cannot be made: "),
    ],
)
def test_an_output_does_not_replace_other_files(assert_refused, photos, tmp_path, output, message):
    (tmp_path / "labels.json").write_text('{"images": []}')
    assert_refused(message, make(photos, f"--partial_rate 0.2 --output {output}"))
    assert (tmp_path / "labels.json").read_text() == '{"images": []}'


def test_a_rate_that_the_noise_cannot_reach_is_refused(assert_refused, photos):
    # Of the labels beside a cat or dog, no hen or owl ever is one.
    message = "--partial_rate cannot be had by cooccurrence noise: Expected a rate of at most"
    assert_refused(message, make(photos, "--noise cooccurrence --partial_rate 0.9"))


def test_a_run_that_does_not_fit_is_refused(assert_refused, photos, trained, tmp_path):
    flags = "--noise instance --partial_rate 0.2 --load_from"
    command = make(photos, f"--classes {photos}/reversed.txt {flags} {trained}")
    message = "was trained on other classes than files has, or in another order"
    assert_refused(message, command)
    command = f"make_candidates --dataset digits {flags} {trained}"
    assert_refused("scores 4 classes, but digits has 10", command)
    (tmp_path / "begun").mkdir()
    shutil.copy(trained / "config.json", "begun")
    for place in (photos, "begun"):
        message = f"{place} holds neither model.safetensors nor last.pt"
        assert_refused(message, make(photos, f"{flags} {place}"))
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_an_existing_file_is_never_overwritten(run_script, assert_refused, photos, tmp_path):
    command = make(photos, "--partial_rate 0.2 --output a.npy")
    run_script(command)
    before = (tmp_path / "a.npy").read_bytes()
    message = "--output a.npy exists: give another name, or move it away"
    assert_refused(message, f"{command} --seed 5")
    assert (tmp_path / "a.npy").read_bytes() == before


def test_a_share_of_the_true_labels_may_be_left_out(run_script, photos):
    run_script(make(photos, "--partial_rate 0.2 --missing 0.5"))
    name = "pre-processed-data/files_0.2_missing_0.5.npy"
    candidates, metadata = read_candidates(name)
    data = label_file.load(photos / "photos.csv")["train"]
    check_candidates(candidates, metadata, data, name, 0.2, "files")
    true = data.targets == 1
    assert 0.6 < candidates[true].mean() < 0.95  # no image's last is
    assert (candidates.max(axis=1) >= true.any(axis=1)).all()
    flags = f"{files(photos)} --noise_file {name} --output_dir r {' '.join(SMALL)}"
    run_script(f"main_BCE {flags}")
