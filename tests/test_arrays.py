import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pipeline.data.arrays import read_array
from tests import helpers
from tests.helpers import damaged, with_peak

fuzz = helpers.fuzz(60)
KINDS = ["?", "u1", ">i4", "<i8", "<f4", "<U3"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.npy"


@fuzz
@given(
    st.sampled_from(KINDS).flatmap(lambda kind: arrays(kind, array_shapes(max_dims=3))),
    st.sampled_from("CF"),
    st.sampled_from([(1, 0), (2, 0)]),
)
def test_what_numpy_wrote_is_read(path, array, order, version):
    array = np.asarray(array, order=order)
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version)
    found = read_array(path, array.dtype.kind, array.ndim)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_large_file_is_mapped(path, monkeypatch):
    np.save(path, np.arange(6).reshape(2, 3))
    monkeypatch.setattr("pipeline.data.arrays.MAPPED_BYTES", 0)
    found = read_array(path, "i", 2)
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 4, 5]])
    found[:] = 7  # in memory alone
    assert np.load(path).max() == 5


@pytest.mark.parametrize(
    ("kinds", "sides"), [("f", 2), ("iu", 1), ("iu", 3)], ids=["kind", "fewer", "more"]
)
def test_another_kind_or_number_of_sides_is_refused(path, kinds, sides):
    np.save(path, np.ones((2, 3), int))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) of int64"):
        read_array(path, kinds, sides)


def test_a_pickle_is_read_by_who_knows_how_or_not_at_all(path):
    np.save(path, np.array(None, object), allow_pickle=True)
    with pytest.raises(ValueError, match="of object"):
        read_array(path, "iu", 0)
    assert read_array(path, "iu", 2, unpickle=lambda content: content[-1:]) == b"."


@pytest.mark.parametrize(
    ("descr", "shape", "content"),
    [
        ("<U0", (2**31,), b""),
        ("<U13", (2**31,), b"VG"),
        ("<f8", (2**31, 3), bytes(24)),
        ("<f8", (2**64, 3), bytes(24)),
        ("<f8", (-1, -3), bytes(24)),
        ("<f8", (0, 3), b""),
    ],
    ids=["no size", "texts", "numbers", "beyond 64 bits", "negative", "empty"],
)
def test_a_forged_header_does_not_cost_memory(path, descr, shape, content):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    path.write_bytes(start + header + content)

    def read():
        with pytest.raises(ValueError, match="shape|itemsize|one plain array"):
            read_array(path, "Uf", len(shape))

    assert with_peak(read)[1] < 1e6


@fuzz
@given(helpers.cuts(400, st.sampled_from([0, 1, 8, 10_000]), st.binary(max_size=8), count=1))
def test_a_damaged_file_is_refused_or_gives_what_was_asked_for(path, damage):
    np.save(path, np.ones((4, 5)))
    path.write_bytes(damaged(path.read_bytes(), damage))
    try:
        found = read_array(path, "f", 2)
    except MemoryError:
        raise
    except Exception:
        return
    assert (found.ndim, found.dtype.kind) == (2, "f")
