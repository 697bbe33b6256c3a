import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.data import candidates as module
from pipeline.data import voc
from pipeline.data.candidates import (
    Origin,
    check_candidates,
    ids_sha256,
    load_or_make,
    read_candidates,
    realised_rate,
    write_candidates,
)
from pipeline.data.labelled import LabelledImages
from pipeline.data.noise import uniform_noise
from utils.errors import UserError

# The folder is shared by a test's examples, each of which writes its own files anew.
fuzz = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
label_arrays = arrays(
    np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(0, 1)
)
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
    write_candidates(path, CANDIDATES, data, Origin("voc07", rate, seed, "uniform"))
    return path.with_name(path.name.removesuffix(".npy") + ".json")


def released(labels, protocol=4):
    """The bytes of np.save({'partial_labels': labels}), by any pickle protocol."""
    return object_npy({"partial_labels": labels}, protocol)


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


# Noise


@given(
    arrays(np.int8, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.integers(-1, 1)),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**63),
)
@fuzz
def test_noise_keeps_every_true_label_and_its_argument(targets, rate, seed):
    before = targets.copy()
    candidates = uniform_noise(targets, rate, seed)
    assert candidates.dtype == np.uint8
    assert set(np.unique(candidates)) <= {0, 1}
    assert (candidates[targets == 1] == 1).all()
    np.testing.assert_array_equal(targets, before)
    np.testing.assert_array_equal(candidates, uniform_noise(targets, rate, seed))


def test_noise_of_a_seed_is_pinned():
    # The stream of PCG64(0) opens with 0.637, 0.270, 0.041, 0.017, 0.813, 0.913.
    expected = [[0, 1, 1], [1, 0, 1]]
    targets = np.array([[0, 0, 0], [-1, 0, 1]], np.int8)
    np.testing.assert_array_equal(uniform_noise(targets, 0.3, 0), expected)


def test_difficult_labels_are_flipped_as_often_as_negatives():
    targets = np.repeat(np.array([[1, 0, -1, 0]], np.int8), 50_000, axis=0)
    share = uniform_noise(targets, 0.2, 5).mean(axis=0)
    np.testing.assert_allclose(share, [1, 0.2, 0.2, 0.2], atol=0.006)  # over 3 sigma


def test_no_noise_leaves_the_true_labels():
    targets = np.array([[1, 0, -1]], np.int8)
    np.testing.assert_array_equal(uniform_noise(targets, 0.0, 0), [[1, 0, 0]])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0, float("nan")])
def test_rates_outside_zero_to_one_are_refused(rate):
    with pytest.raises(ValueError, match=r"rate in \[0, 1\) but got"):
        uniform_noise(np.zeros((1, 2), np.int8), rate, 0)


def test_realised_rate_counts_difficult_labels_and_not_true_ones():
    assert realised_rate(np.array([[1, 1, 0, 1]]), np.array([[1, 0, 0, -1]])) == 2 / 3
    assert realised_rate(np.ones((2, 2)), np.ones((2, 2))) == 0


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
    write_candidates(path, labels, data, Origin("set", 0.1, 4, "uniform"))
    candidates, metadata = read_candidates(path)
    assert candidates.dtype == np.uint8
    np.testing.assert_array_equal(candidates, labels)
    assert metadata == {
        "dataset": "set",
        "split": "train",
        "rate": 0.1,
        "seed": 4,
        "model": "uniform",
        "classes": classes,
        "ids_sha256": ids_sha256(ids),
        "realised_rate": labels.mean(),
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set_0.1", "set_0.1.json"]


def test_a_large_plain_file_is_mapped_and_read_alike(path, data, monkeypatch):
    write(path, data)
    read, _ = read_candidates(path)
    monkeypatch.setattr("pipeline.data.arrays.MAPPED_BYTES", 0)
    mapped, _ = read_candidates(path)
    np.testing.assert_array_equal(mapped, read)
    assert isinstance(mapped.base, memoryview | np.ndarray)
    assert read.base is None
    mapped[0] = 1  # in memory alone
    np.testing.assert_array_equal(read_candidates(path)[0], read)


def test_the_written_array_needs_no_pickle(path, data):
    write(path, data)
    plain = np.load(path, allow_pickle=False)
    assert plain.dtype == np.uint8
    np.testing.assert_array_equal(plain, CANDIDATES)


def test_a_crash_between_both_files_leaves_no_json_of_another_array(path, data, monkeypatch):
    sidecar = write(path, data, seed=3)
    monkeypatch.setattr(module, "write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(path, data, seed=4)
    assert path.exists()
    assert not sidecar.exists()


@given(
    label_arrays,
    st.sampled_from(["?", "u1", "i1", "<i2", ">i4", "<i8", "<u8"]),
    st.sampled_from("CF"),
    st.integers(0, 5),
)
@fuzz
def test_the_released_form_is_read_whatever_protocol_and_type(path, labels, dtype, order, protocol):
    for content in (
        released(labels.astype(dtype, order=order), protocol),
        # numpy 1 names the same functions numpy.core; lengths count in protocols 4 and up.
        released(labels.astype(dtype, order=order), min(protocol, 3)).replace(
            b"._core.", b".core."
        ),
    ):
        path.write_bytes(content)
        candidates, metadata = read_candidates(path)
        assert candidates.dtype == np.uint8
        assert metadata is None
        np.testing.assert_array_equal(candidates, labels)


@given(label_arrays, st.sampled_from("CF"), st.booleans())
@fuzz
def test_plain_arrays_of_other_integers_are_read(path, labels, order, as_bool):
    np.save(path, labels.astype(bool if as_bool else ">i8", order=order))
    np.testing.assert_array_equal(read_candidates(path)[0], labels)


# Malformed files


@pytest.mark.parametrize("form", ["plain", "released"])
def test_a_file_truncated_anywhere_is_refused(path, form):
    plain = io.BytesIO()
    np.save(plain, CANDIDATES)
    content = plain.getvalue() if form == "plain" else released(CANDIDATES.astype(int))
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
        (b"one two three\n" * 50, "no .npy file, it begins with b'one two '"),
        (npy_header("|u1", (10**9, 10**9)), "0 bytes for shape (1000000000, 1000000000)"),
        (npy_header("|u1", (-2, -2)) + bytes(4), "shape (-2, -2)"),
        (npy_header("|u1", (2, 2)) + bytes(5), "5 bytes for shape (2, 2)"),
        (npy_header("|u1", (4,)) + bytes(4), "shape (4,)"),
        (npy_header("<f4", (2, 2)) + bytes(16), "shape (2, 2) of float32"),
        (npy_header("<U1", (2, 2)) + bytes(16), "shape (2, 2) of <U1"),
        (npy_header("|u1", (2, 2), version=2)[:8] + b"\xff\xff\xff\xff{}", "header"),
        (npy_header("|u1", (2, 2), version=3) + bytes(4), "version (3, 0)"),
        (b"\x93NUMPY\x01\x00\x14\x00__import__('os').x()\n", "found"),
        (b"\x93NUMPY\x01\x00\x40\x1f" + b"-" * 7999 + b"1", "found"),
        (npy_header("|u1", (1,) * 3330), "large"),
        (npy_header("|u1", (1,) * 5000), "array header"),
        (released(CANDIDATES.astype(float)), "shape (3, 4) of float64"),
        (released(CANDIDATES[0]), "shape (4,)"),
        (released(CANDIDATES.astype(object)), "values of type"),
        (released(CANDIDATES.tolist()), "something else"),
        (object_npy({"labels": CANDIDATES}), "something else"),
        (object_npy([CANDIDATES]), "something else"),
        (object_npy(print), "asks for"),
        (npy_header("|O", ()) + b"\x80\x04" + b"(" * 1000 + b".", "too intricate"),
        (npy_header("|O", ()) + pickle.dumps({"partial_labels": CANDIDATES}), "something else"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(path, content, found):
    assert found in refusal(path, content)


@pytest.mark.parametrize("form", ["plain", "released"])
@pytest.mark.parametrize("wrong", [2, -1, 256, 2**40])
def test_values_other_than_zero_and_one_are_refused(path, form, wrong):
    labels = CANDIDATES.astype(np.int64)
    labels[1, 3] = wrong
    plain = io.BytesIO()
    np.save(plain, labels)
    content = plain.getvalue() if form == "plain" else released(labels)
    assert f"1 values differ, first {wrong};" in refusal(path, content)


def test_a_forged_boolean_is_refused(path):
    refusal(path, npy_header("|b1", (2, 2)) + b"\x00\x01\x02\x01")


def test_a_missing_file_and_a_folder_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_candidates(tmp_path / "nothing.npy")
    with pytest.raises(UserError, match="cannot be read"):
        read_candidates(tmp_path)


# What belongs together


def checked(data, path, candidates=CANDIDATES, rate=0.1, dataset="voc07"):
    _, metadata = read_candidates(path)
    check_candidates(candidates, metadata, data, path, rate, dataset)


def test_matching_files_pass(path, data):
    write(path, data)
    checked(data, path)
    checked(data, path, rate=None, dataset=None)


def test_another_shape_is_named_with_a_remedy(path, data):
    write(path, data)
    expected = (
        r"0.1.npy has shape \(2, 4\), but the split has 3 images and 4 classes; check --dataset"
    )
    with pytest.raises(UserError, match=expected):
        checked(data, path, CANDIDATES[:2])


def test_unread_arrays_are_checked_for_zeros_and_ones(path, data):
    with pytest.raises(UserError, match="12 values differ, first 2"):
        check_candidates(np.full((3, 4), 2), None, data, path, None)


def test_a_true_label_left_out_is_named_with_class_and_image(path, data):
    candidates = CANDIDATES.copy()
    candidates[1, 2] = candidates[2, 3] = 0
    with pytest.raises(UserError, match="leaves out 2 of 4, first 'hen' of image 2;"):
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


def test_a_missing_file_is_made_once_and_then_used(path, data, capsys):
    made = load_or_make(path, data, dataset="voc07", rate=0.4, seed=1)
    assert "generated with seed 1 and saved" in capsys.readouterr().out
    np.testing.assert_array_equal(made, uniform_noise(data.targets, 0.4, 1))
    read = load_or_make(path, data, dataset="voc07", rate=0.4, seed=1)
    line = capsys.readouterr().out
    np.testing.assert_array_equal(read, made)
    assert line.count("\n") == 1
    assert f"{path} (from file, seed 1), realised rate" in line


def test_the_file_wins_over_the_seed_and_says_so(path, data, capsys):
    made = load_or_make(path, data, dataset="voc07", rate=0.4, seed=1)
    capsys.readouterr()
    read = load_or_make(path, data, dataset="voc07", rate=0.4, seed=2)
    np.testing.assert_array_equal(read, made)
    assert "seed 1, not --seed 2: move it away to have another made" in capsys.readouterr().out


@pytest.mark.parametrize("content", ['{"images": []}', "[1]", "7", "{", "ids_sha256"])
def test_a_json_that_is_something_else_is_not_replaced(path, data, content):
    path.with_suffix(".json").write_text(content)
    with pytest.raises(UserError, match=r"voc07_0.1.json is something else: give another name"):
        load_or_make(path, data, dataset="voc07", rate=0.4, seed=1)
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
    with pytest.raises(UserError, match="says rate 0.1, but 0.4"):
        load_or_make(path, data, dataset="voc07", rate=0.4, seed=3)
    with pytest.raises(UserError, match="says dataset voc07, but coco"):
        load_or_make(path, data, dataset="coco", rate=0.1, seed=3)
    assert path.read_bytes() == before


def test_a_released_file_is_used_with_its_seed_unknown(path, data, capsys):
    path.write_bytes(released(CANDIDATES.astype(np.int32)))
    read = load_or_make(path, data, dataset="voc07", rate=0.1, seed=0)
    np.testing.assert_array_equal(read, CANDIDATES)
    # 4 labels are true and 2 of the other 8 are candidates.
    assert "seed unknown), realised rate 0.2500" in capsys.readouterr().out


def test_the_genuine_released_file_covers_every_positive(shared, capsys):
    folder = shared / "voc2007-lists"
    names = sorted(p.name.removesuffix("_trainval.txt") for p in folder.glob("Main/*_trainval.txt"))
    ids = np.loadtxt(folder / "Main" / "trainval.txt", dtype=str)
    marks = [np.loadtxt(folder / "Main" / f"{c}_trainval.txt", dtype=int)[:, 1] for c in names]
    # The lists' 1, 0 (difficult), -1 are the targets' 1, -1, 0.
    targets = np.select([np.equal(marks, 1), np.equal(marks, 0)], [1, -1], 0).T.astype(np.int8)
    data = LabelledImages([], names, targets, ids)
    candidates = load_or_make(folder / "voc07_0.1.npy", data, dataset="voc07", rate=0.1, seed=0)
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
