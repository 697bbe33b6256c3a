import contextlib
import io
import json
import pickle
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.data import candidates as module
from pipeline.data import voc
from pipeline.data.candidates import (
    Origin,
    check_candidates,
    completed,
    ids_sha256,
    read_candidates,
)
from pipeline.data.labelled import LabelledImages
from pipeline.data.noise import uniform_noise
from tests import helpers
from tests.helpers import refused
from utils.errors import UserError

fuzz = helpers.fuzz(60)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 5))
label_arrays = arrays(np.uint8, shapes, elements=st.integers(0, 1))
CANDIDATES = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]], np.uint8)


@pytest.fixture
def data():
    targets = np.array([[1, 0, 0, 0], [0, 1, 1, -1], [-1, 0, 0, 1]], np.int8)
    images = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
    return LabelledImages(images, ["cat", "dog", "hen", "owl"], targets, np.array(["1", "2", "7"]))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "voc07_0.1.npy"


def write(path, data, rate=0.1, seed=3):
    module.write_candidates(path, CANDIDATES, data, Origin("voc07", rate, seed, "uniform"))
    return path.with_name(path.name.removesuffix(".npy") + ".json")


def load_or_make(path, data, dataset="voc07", rate=0.4, seed=1):
    return module.load_or_make(path, data, dataset=dataset, rate=rate, seed=seed)


def released(labels, protocol=4):
    """The bytes of np.save({'partial_labels': labels}), by any pickle protocol."""
    return object_npy({"partial_labels": labels}, protocol)


def plain(labels):
    content = io.BytesIO()
    np.save(content, labels)
    return content.getvalue()


def object_npy(content, protocol=4):
    wrapped = np.empty((), object)
    wrapped[()] = content
    return npy_header("|O", ()) + pickle.dumps(wrapped, protocol)


def npy_header(descr, shape, version=1):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def refusal(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_candidates(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_realised_rate_counts_difficult_labels_and_not_true_ones():
    assert module.realised_rate(np.array([[1, 1, 0, 1]]), np.array([[1, 0, 0, -1]])) == 2 / 3
    assert module.realised_rate(np.ones((2, 2)), np.ones((2, 2))) == 0


def test_the_fingerprint_depends_on_order():
    # printf "a\nb" | sha256sum
    assert ids_sha256(["a", "b"]).startswith("7e18f737311b")
    assert ids_sha256(np.array(["a", "b"])) == ids_sha256(["a", "b"]) != ids_sha256(["b", "a"])


# Reading what was written


@given(label_arrays)
@fuzz
def test_what_was_written_is_read(tmp_path, labels):
    path = tmp_path / "set_0.1"  # a name whose last part is no suffix
    ids = np.arange(len(labels)).astype(str)
    classes = [f"class {c}" for c in range(labels.shape[1])]
    data = LabelledImages([], classes, np.zeros_like(labels), ids)
    module.write_candidates(path, labels, data, Origin("set", 0.1, 4, "uniform"))
    candidates, metadata = read_candidates(path)
    assert candidates.dtype == np.load(path, allow_pickle=False).dtype == np.uint8
    np.testing.assert_array_equal(candidates, labels)
    origin = {"dataset": "set", "split": "train", "rate": 0.1, "seed": 4, "model": "uniform"}
    of_data = {"classes": classes, "ids_sha256": ids_sha256(ids), "realised_rate": labels.mean()}
    assert metadata == origin | of_data | {"array_sha256": module.array_sha256(labels)}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set_0.1", "set_0.1.json"]


@pytest.mark.parametrize("kept", ["array_sha256", "realised_rate"])
def test_another_array_beside_our_json_is_refused(path, data, kept):
    """Such as the authors' file of the same data set and rate, or, by its rate alone, of older
    versions.
    """
    sidecar = write(path, data, rate=0.4)
    metadata = json.loads(sidecar.read_text())
    del metadata[{"array_sha256": "realised_rate", "realised_rate": "array_sha256"}[kept]]
    sidecar.write_text(json.dumps(metadata))
    load_or_make(path, data)
    other = CANDIDATES.copy()
    other[0, 2] = 1
    path.write_bytes(released(other.astype(int)))
    with refused("voc07_0.1.json was written with other candidates than .*npy holds: move it away"):
        load_or_make(path, data)
    sidecar.unlink()
    np.testing.assert_array_equal(load_or_make(path, data), other)


def test_a_file_of_nuswide_without_the_first_image_is_read(path, data, capsys):
    """As the authors' reader of NUS-WIDE makes it, which takes the first image for the header."""
    path.write_bytes(released(CANDIDATES[1:].astype(int)))
    found = load_or_make(path, data, dataset="nuswide")
    np.testing.assert_array_equal(found, np.concatenate([data.targets[:1], CANDIDATES[1:]]))
    assert "lacks the first image, as the authors' reader does" in capsys.readouterr().err
    pair = read_candidates(path)
    np.testing.assert_array_equal(completed(*pair, data, path, "nuswide"), found)
    assert len(completed(*pair, data, path, "files")) == len(data) - 1
    with pytest.raises(UserError, match="has shape"):
        load_or_make(path, data)


def test_a_failure_between_both_files_leaves_neither(path, data, monkeypatch):
    """An array of which nobody knows what it belongs to would be in the way of the next try."""
    sidecar = write(path, data, seed=3)
    monkeypatch.setattr(module, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(path, data, seed=4)
    assert not path.exists()
    assert not sidecar.exists()


KINDS = st.sampled_from(["?", "u1", "i1", "<i2", ">i4", "<i8", "<u8"])


@given(label_arrays, KINDS, st.sampled_from("CF"), st.integers(0, 5))
@fuzz
def test_both_forms_are_read_whatever_protocol_and_type(path, labels, dtype, order, protocol):
    array = labels.astype(dtype, order=order)
    # numpy 1 names the same functions numpy.core; lengths count in protocols 4 and up.
    by_numpy_1 = released(array, min(protocol, 3)).replace(b"._core.", b".core.")
    for content in (plain(array), released(array, protocol), by_numpy_1):
        path.write_bytes(content)
        candidates, metadata = read_candidates(path)
        assert candidates.dtype == np.uint8
        assert metadata is None
        np.testing.assert_array_equal(candidates, labels)


# Malformed files


FORMS = {"plain": plain, "released": released}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_truncated_anywhere_is_refused(path, form):
    content = FORMS[form](CANDIDATES.astype(int))
    for length in range(len(content)):
        refusal(path, content[:length])


@given(st.data())
@settings(fuzz, max_examples=300)
def test_a_corrupt_file_gives_zeros_and_ones_or_a_user_error(path, data):
    content = bytearray(released(CANDIDATES.astype(int), data.draw(st.integers(0, 5))))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        candidates, _ = read_candidates(path)
    except UserError:
        return
    assert candidates.ndim == 2
    assert set(np.unique(candidates)) <= {0, 1}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no .npy file, it begins with b''"),
        (npy_header("|u1", (10**9, 10**9)), "0 bytes for shape (1000000000, 1000000000)"),
        (npy_header("|u1", (2, 2)) + bytes(5), "5 bytes for shape (2, 2)"),
        (npy_header("|u1", (4,)) + bytes(4), "shape (4,)"),
        (npy_header("<f4", (2, 2)) + bytes(16), "shape (2, 2) of float32"),
        (npy_header("<U1", (2, 2)) + bytes(16), "shape (2, 2) of <U1"),
        (npy_header("|u1", (2, 2), version=2)[:8] + b"\xff\xff\xff\xff{}", "header"),
        (npy_header("|u1", (2, 2), version=3) + bytes(4), "version (3, 0)"),
        (b"\x93NUMPY\x01\x00\x14\x00__import__('os').x()\n", "found"),
        (b"\x93NUMPY\x01\x00\x40\x1f" + b"-" * 7999 + b"1", "found"),
        (npy_header("|b1", (2, 2)) + b"\x00\x01\x02\x01", ""),
        (npy_header("|u1", (1,) * 3330), "large"),
        (npy_header("|u1", (1,) * 5000), "header of something else"),
        (released(CANDIDATES.astype(float)), "shape (3, 4) of float64"),
        (released(CANDIDATES[0]), "shape (4,)"),
        (released(CANDIDATES.astype(object)), "values of type"),
        (released(CANDIDATES.tolist()), "something else"),
        (object_npy({"labels": CANDIDATES}), "something else"),
        (object_npy(print), "asks for"),
        (npy_header("|O", ()) + b"\x80\x04" + b"(" * 1000 + b".", "too intricate"),
        (npy_header("|O", ()) + pickle.dumps({"partial_labels": CANDIDATES}), "something else"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(path, content, found):
    assert found in refusal(path, content)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrong", [2, -1, 256, 2**40])
def test_values_other_than_zero_and_one_are_refused(path, form, wrong):
    labels = CANDIDATES.astype(np.int64)
    labels[1, 3] = wrong
    assert f"1 values differ, first {wrong};" in refusal(path, FORMS[form](labels))


def test_a_missing_file_and_a_folder_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_candidates(tmp_path / "nothing.npy")
    with pytest.raises(UserError, match="cannot be read"):
        read_candidates(tmp_path)


# What belongs together


def checked(data, path, rate=0.1, dataset="voc07"):
    check_candidates(*read_candidates(path), data, path, rate, dataset)


@pytest.mark.parametrize(
    ("candidates", "found"),
    [
        (CANDIDATES[:2], r".1.npy has shape \(2, 4\), but the split has 3 images and 4 classes; "),
        (np.full((3, 4), 2), "12 values differ, first 2"),
        (CANDIDATES * [[1] * 4, [1, 1, 0, 1], [1, 1, 1, 0]], "leaves out 2 of 4, first 'hen' of i"),
    ],
    ids=["shape", "values", "true labels"],
)
def test_candidates_that_do_not_fit_are_refused(path, data, candidates, found):
    with refused(found):
        check_candidates(candidates, None, data, path, None)


def test_difficult_labels_need_no_candidate(path, data):
    check_candidates((data.targets == 1).astype(np.uint8), None, data, path, None)


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("dataset", "coco", "says dataset coco, but voc07"),
        ("rate", 0.2, "says rate 0.2, but 0.1"),
        ("rate", "a\nb", "says rate a, but 0.1"),
        ("classes", ["dog", "cat", "hen", "owl"], "other classes"),
        ("classes", None, "other classes"),
        ("ids_sha256", "0" * 64, "other images, or another order"),
    ],
)
def test_metadata_of_something_else_is_refused(path, data, key, value, found):
    sidecar = write(path, data)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {key: value}))
    with pytest.raises(UserError, match=found):
        checked(data, path)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000]
)
def test_a_broken_json_is_refused(path, data, text):
    write(path, data).write_bytes(text)
    with pytest.raises(UserError, match="must be a JSON object"):
        read_candidates(path)


def test_an_empty_json_object_belongs_to_nothing(path, data):
    write(path, data).write_text("{}")
    with pytest.raises(UserError, match="says dataset None"):
        checked(data, path)


# Reading or making


def test_a_missing_file_is_made_once_and_wins_over_another_seed(path, data, capsys):
    made = load_or_make(path, data)
    assert "generated with seed 1 and saved" in capsys.readouterr().out
    np.testing.assert_array_equal(made, uniform_noise(data.targets, 0.4, 1))
    np.testing.assert_array_equal(load_or_make(path, data), made)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert f"{path} (from file, seed 1), realised rate" in line
    np.testing.assert_array_equal(load_or_make(path, data, seed=2), made)
    assert "seed 1, not --seed 2: move it away to have another made" in capsys.readouterr().out


def test_of_two_who_make_a_file_at_once_both_train_on_the_same(path, data, monkeypatch):
    meeting = threading.Barrier(2)

    def slow_noise(*arguments):
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.5)  # for the other to find no file either
        return uniform_noise(*arguments)

    monkeypatch.setattr(module, "uniform_noise", slow_noise)
    with ThreadPoolExecutor() as threads:
        made = list(threads.map(lambda seed: load_or_make(path, data, seed=seed), [1, 2]))
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("content", ['{"images": []}', "[1]", "7", "{", "ids_sha256"])
def test_a_json_that_is_something_else_is_not_replaced(path, data, content):
    path.with_suffix(".json").write_text(content)
    with refused(r"voc07_0.1.json is something else: give another name"):
        load_or_make(path, data)
    assert [file.name for file in path.parent.iterdir()] == ["voc07_0.1.json"]
    assert path.with_suffix(".json").read_text() == content


def test_a_json_without_its_array_is_replaced(path, data):
    write(path, data)
    path.unlink()
    write(path, data, seed=4)
    assert read_candidates(path)[1]["seed"] == 4


def test_a_file_that_belongs_elsewhere_is_neither_used_nor_replaced(path, data):
    write(path, data)
    before = path.read_bytes()
    with refused("says rate 0.1, but 0.4"):
        load_or_make(path, data)
    with refused("says dataset voc07, but coco"):
        load_or_make(path, data, dataset="coco", rate=0.1)
    assert path.read_bytes() == before


def test_a_released_file_is_used_with_its_seed_unknown(path, data, capsys):
    path.write_bytes(released(CANDIDATES.astype(np.int32)))
    np.testing.assert_array_equal(load_or_make(path, data, rate=0.1), CANDIDATES)
    # 4 labels are true and 2 of the other 8 are candidates.
    assert "seed unknown), realised rate 0.2500" in capsys.readouterr().out


def test_the_genuine_released_file_covers_every_positive(shared, capsys):
    folder = shared / "voc2007-lists"
    ids, targets = voc.read_labels(folder / "Main", folder / "Main", "train")
    data = LabelledImages([], voc.CLASSES, targets, ids)
    candidates = load_or_make(folder / "voc07_0.1.npy", data, rate=0.1)
    assert candidates.shape == (5011, 20)
    assert candidates[targets == 1].all()
    assert candidates[targets == 0].mean() == pytest.approx(0.1, abs=0.003)
    assert candidates[targets == -1].sum() == 66  # of 607: difficult counts as negative
    assert "realised rate 0.1001" in capsys.readouterr().out


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4])
def test_the_shipped_files_are_what_their_seed_draws_from_the_genuine_lists(shared, rate):
    lists = shared / "voc2007-lists" / "Main"
    ids, targets = voc.read_labels(lists, lists, "train")
    path = Path(module.__file__).parents[2] / "pre-processed-data" / f"voc07_{rate}.npy"
    candidates, metadata = read_candidates(path)
    data = LabelledImages([], voc.CLASSES, targets, ids)
    check_candidates(candidates, metadata, data, path, rate, dataset="voc07")
    np.testing.assert_array_equal(candidates, uniform_noise(targets, rate, metadata["seed"]))


def test_a_default_file_of_other_images_is_left_alone(data, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    whole = module.default_path("voc07", 0.1, data.ids)
    assert whole == Path("pre-processed-data/voc07_0.1.npy")
    write(whole, data)
    assert module.default_path("voc07", 0.1, data.ids) == whole
    assert capsys.readouterr().err == ""
    part = module.default_path("voc07", 0.1, list(data.ids)[:2])
    assert part.name.startswith("voc07_0.1-")
    assert module.default_path("voc07", 0.1, list(data.ids)[:2]) == part
    assert f"belongs to other images than these: using {part}" in capsys.readouterr().err
