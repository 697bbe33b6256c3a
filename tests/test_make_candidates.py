import json

import numpy as np
import pytest
from PIL import Image

import make_candidates
from pipeline.data import digits, label_file
from pipeline.data.candidates import check_candidates, ids_sha256, read_candidates, realised_rate
from pipeline.data.noise import uniform_noise
from tests.helpers import SMALL, call_in, last_line

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
    call_in(photos, "main_BCE", *files(photos), *SMALL, "--output_dir", "run")
    return photos / "run"


@pytest.fixture
def call(call_script):
    """Call make_candidates.py, or another script: (status, stdout, stderr)."""

    def call(*flags, script="make_candidates"):
        return call_script(script, *flags)

    return call


def files(photos):
    return ["--dataset", "files", "--labels", str(photos / "photos.csv")]


def noise_flags(noise, photos, request):
    """Flags of a noise model; a run is trained only where it is needed."""
    if noise == "class":
        return ["--noise", noise, "--class_rates", photos / "rates.json"]
    flags = ["--noise", noise, "--partial_rate", "0.2"]
    return flags + (["--load_from", request.getfixturevalue("trained")] * (noise == "instance"))


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
    call, photos, request, tmp_path, noise, name, rate
):
    status, out, err = call(*files(photos), *noise_flags(noise, photos, request), "--seed", "3")
    assert (status, err) == (0, "")
    path = tmp_path / "pre-processed-data" / f"{name}.npy"
    candidates, metadata = read_candidates(path)
    data = label_file.load(photos / "photos.csv")["train"]
    check_candidates(candidates, metadata, data, path, rate, "files")
    realised = realised_rate(candidates, data.targets)
    assert metadata == {
        "dataset": "files",
        "split": "train",
        "rate": rate,
        "seed": 3,
        "model": noise,
        "classes": CLASSES,
        "ids_sha256": ids_sha256(data.ids),
        "realised_rate": realised,
    }
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
def test_a_seed_fixes_the_file(call, photos, request, tmp_path, noise):
    flags = [*files(photos), *noise_flags(noise, photos, request)]
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert call(*flags, "--seed", seed, "--output", f"new/{name}.npy")[0] == 0
    first, second, other = (
        [(tmp_path / "new" / f"{name}.{suffix}").read_bytes() for suffix in ("npy", "json")]
        for name in "abc"
    )
    assert first == second
    assert first[0] != other[0]


def test_uniform_digits_are_those_that_training_makes(call, tmp_path):
    status, out, _ = call("--dataset", "digits", "--partial_rate", "0.1", "--seed", "2")
    assert status == 0
    candidates, _ = read_candidates(tmp_path / "pre-processed-data" / "digits_0.1.npy")
    targets = digits.load("train").targets
    np.testing.assert_array_equal(candidates, uniform_noise(targets, 0.1, 2))
    assert "realised rate 0.10" in out


def test_the_table_gives_each_class_its_counts_and_rate(call, photos, tmp_path):
    _, out, _ = call(*files(photos), "--noise", "class", "--class_rates", photos / "rates.json")
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


def test_class_noise_without_rates_of_its_own_spreads_them_by_seed(call, photos, tmp_path):
    targets = label_file.load(photos / "photos.csv")["train"].targets
    flags = [*files(photos), "--noise", "class", "--partial_rate", "0.4"]
    found = []
    for seed in range(8):
        assert call(*flags, "--seed", seed, "--output", f"{seed}.npy")[0] == 0
        candidates, metadata = read_candidates(tmp_path / f"{seed}.npy")
        assert (metadata["rate"], metadata["model"]) == (0.4, "class")
        found.append([candidates[targets[:, c] == 0, c].mean() for c in range(len(CLASSES))])
    assert np.sort(found).mean(axis=0) == pytest.approx([0.1, 0.3, 0.5, 0.7], abs=0.06)
    assert len(np.unique(np.argsort(found), axis=0)) > 2


def test_cooccurrence_noise_adds_the_partner(call, photos, tmp_path):
    flags = ["--noise", "cooccurrence", "--partial_rate", "0.2"]
    assert call(*files(photos), *flags)[0] == 0
    path = tmp_path / "pre-processed-data" / "files_cooccurrence_0.2.npy"
    candidates, _ = read_candidates(path)
    targets = label_file.load(photos / "photos.csv")["train"].targets
    one = targets.sum(axis=1) == 1
    partners = targets[one][:, [1, 0, 3, 2]] == 1
    added = candidates[one] & (1 - targets[one])
    assert added[partners].mean() > 0.5
    assert added[~partners].sum() == 0


def test_instance_noise_adds_what_the_run_takes_for_true(call, photos, tmp_path, monkeypatch):
    targets = label_file.load(photos / "photos.csv")["train"].targets
    taken = np.random.default_rng(1).random(targets.shape) < 0.5
    scores = np.where(taken, 20, -20).astype(np.float32)
    asked = []
    take = "scores_by_classifier"
    monkeypatch.setattr(make_candidates, take, lambda options, _: asked.append(options) or scores)
    (tmp_path / "r").mkdir()
    flags = "--noise instance --partial_rate 0.4 --load_from r".split()
    assert call(*files(photos), *flags, "--output", "n.npy")[0] == 0
    candidates, _ = read_candidates(tmp_path / "n.npy")
    assert [options.load_from for options in asked] == ["r"]
    assert candidates[taken].mean() > 0.75
    np.testing.assert_array_equal(candidates[~taken], targets[~taken])


def test_the_device_of_instance_noise_is_that_of_the_classifier(call, photos, trained):
    flags = [*files(photos), "--partial_rate", "0.2", "--device", "tpu", "--output", "n.npy"]
    status, _, err = call(*flags)
    assert (status, "--device belongs to --noise instance" in err) == (2, True)
    status, _, err = call(*flags, "--noise", "instance", "--load_from", trained)
    assert (status, "--device tpu cannot be used here" in err) == (1, True)


def test_training_takes_the_written_file(call, photos):
    assert call(*files(photos), "--partial_rate", "0.3", "--seed", "4", "--output", "n.npy")[0] == 0
    flags = [*files(photos), *SMALL, "--output_dir", "r", "--noise_file", "n.npy"]
    status, out, _ = call(*flags, script="main_BCE")
    assert status == 0
    assert "candidates: n.npy (from file, seed 4, not --seed 0" in out
    status, _, err = call(*flags[:-4], "--partial_rate", "0.2", *flags[-2:], script="main_BCE")
    assert status == 1
    assert "n.json says rate 0.3, but 0.2 is asked for" in last_line(err)


# What is refused


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "give --partial_rate, or"),
        ("--noise cooccurrence", "give --partial_rate, or"),
        ("--noise class --class_rates rates.json --partial_rate 0.1", "instead of it"),
        ("--noise class", "for --noise class, --class_rates"),
        ("--partial_rate 0.1 --class_rates rates.json", "--class_rates belongs to --noise class"),
        ("--noise instance --partial_rate 0.1", "--noise instance and --load_from belong together"),
        ("--noise instance --load_from run", "give --partial_rate, or"),
        ("--partial_rate 0.1 --load_from run", "--noise instance and --load_from belong together"),
        ("--partial_rate 1", "expected a number of at least 0 and at most 0.99, but got 1"),
        ("--partial_rate 0.1 --seed -1", "--seed: expected a whole number of at least 0"),
        ("--noise gaussian", "expected one of uniform, class, cooccurrence, instance"),
    ],
)
def test_flags_that_do_not_belong_together_exit_with_2(call, tmp_path, flags, message):
    # Before any file is looked for, for there is no such list.
    status, _, err = call("--dataset", "files", "--labels", "no.csv", *flags.split())
    assert status == 2
    assert message in last_line(err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist: give JSON, {class name: rate}"),
        ("", "cannot be read: "),
        ("{", "cannot be read: "),
        ("[" * 100_000, "cannot be read: "),
        (b"\xff", "cannot be read: "),
        ("[0.1, 0.2, 0.3, 0.4]", "a rate for each of the 4 classes, but differs in 'cat', 'dog'"),
        (RATES | {"ant": 0.1}, "a rate for each of the 4 classes, but differs in 'ant'"),
        ({"cat": 0.1, "dog": 0.2, "owl\n": 0}, "but differs in 'hen', 'owl', 'owl\\n'"),
        (RATES | {"hen": 1}, "expected a rate in [0, 1) for hen: 1"),
        (RATES | {"hen": -0.1}, "expected a rate in [0, 1) for hen: -0.1"),
        (RATES | {"hen": float("nan")}, "expected a rate in [0, 1) for hen: nan"),
        (RATES | {"hen": "0.1\n"}, "expected a rate in [0, 1) for hen: '0.1\\n'"),
        (RATES | {"hen": False}, "expected a rate in [0, 1) for hen: False"),
        (RATES | {"hen": None}, "expected a rate in [0, 1) for hen: None"),
    ],
)
def test_wrong_class_rates_are_refused_in_one_line(call, photos, tmp_path, content, message):
    path = tmp_path / "rates.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    flags = [*files(photos), "--noise", "class", "--class_rates", "rates.json"]
    status, _, err = call(*flags)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("error: --class_rates rates.json")
    assert message in err
    assert not (tmp_path / "pre-processed-data").exists()


@pytest.mark.parametrize("name", ["noise", "noise.json", "pre-processed-data/", "files_0.1"])
def test_an_output_that_is_no_npy_is_refused_before_any_work(call, tmp_path, name):
    flags = ["--dataset", "files", "--labels", "no.csv", "--partial_rate", "0.1", "--output", name]
    status, _, err = call(*flags)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "expected a name that ends with .npy" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("labels.npy", "labels.json is something else: give another name"),
        ("labels.json/n.npy", "--output labels.json/n.npy cannot be made: "),
    ],
)
def test_an_output_does_not_replace_other_files(call, photos, tmp_path, output, message):
    (tmp_path / "labels.json").write_text('{"images": []}')
    status, _, err = call(*files(photos), "--partial_rate", "0.2", "--output", output)
    assert (status, len(err.splitlines())) == (1, 1)
    assert message in err
    assert (tmp_path / "labels.json").read_text() == '{"images": []}'


def test_a_rate_that_the_noise_cannot_reach_is_refused(call, photos):
    # Of the labels beside a cat or dog, no hen or owl ever is one.
    status, _, err = call(*files(photos), "--noise", "cooccurrence", "--partial_rate", "0.9")
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "--partial_rate cannot be had by cooccurrence noise: Expected a rate of at most" in err


def test_class_rates_that_would_reach_1_are_refused(call, photos):
    status, _, err = call(*files(photos), "--noise", "class", "--partial_rate", "0.6")
    assert status == 2
    assert "--noise class needs rates of at most 0.5" in err


def test_a_run_on_other_classes_or_in_another_order_is_refused(call, photos, trained, tmp_path):
    flags = ["--noise", "instance", "--partial_rate", "0.2", "--load_from"]
    listing = ["--classes", photos / "reversed.txt"]
    status, _, err = call(*files(photos), *listing, *flags, trained)
    assert status == 1
    assert "was trained on other classes than files has, or in another order" in err
    status, _, err = call("--dataset", "digits", *flags, trained)
    assert status == 1
    assert "scores 4 classes, but digits has 10" in err
    status, _, err = call(*files(photos), *flags, photos)
    assert status == 1
    assert "holds neither model.safetensors nor last.pt" in err
    assert not list(tmp_path.iterdir())


def test_a_run_without_weights_is_refused_in_one_line(call, photos, trained, tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_bytes((trained / "config.json").read_bytes())
    flags = ["--noise", "instance", "--partial_rate", "0.2", "--load_from", "begun"]
    status, _, err = call(*files(photos), *flags)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "begun holds neither model.safetensors nor last.pt" in err


def test_an_existing_file_is_never_overwritten(call, photos, tmp_path):
    flags = [*files(photos), "--partial_rate", "0.2", "--output", "a.npy"]
    assert call(*flags)[0] == 0
    before = (tmp_path / "a.npy").read_bytes()
    status, _, err = call(*flags, "--seed", "5")
    assert status == 1
    assert last_line(err) == "error: --output a.npy exists: give another name, or move it away"
    assert (tmp_path / "a.npy").read_bytes() == before
