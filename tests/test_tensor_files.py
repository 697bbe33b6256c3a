"""Files of tensors that have changed since they were written, or do harm when read."""

import pickle
import zipfile

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import with_peak
from utils import tensor_files

STATE = {
    "trunk.weight": torch.arange(300, dtype=torch.float32).view(3, 100),
    "trunk.count": torch.tensor(7),
    "head.weight": torch.arange(40, dtype=torch.bfloat16),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.safetensors").write_bytes(tensor_files.safetensors_bytes(STATE))
    torch.save({"classifier": STATE, "epoch": 3}, folder / "last.pt")
    return folder


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_what_was_written_is_read(files):
    assert same(tensor_files.load(files / "a.safetensors"), STATE)
    for mmap in (False, True):
        found = tensor_files.load(files / "last.pt", mmap=mmap)
        assert same(found["classifier"], STATE)
        assert found["epoch"] == 3


def test_safetensors_of_others_have_no_digest(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / "b.safetensors")
    assert same(tensor_files.load(tmp_path / "b.safetensors"), STATE)


@given(data=st.data())
@pytest.mark.parametrize("name", ["a.safetensors", "last.pt"])
def test_a_flipped_bit_never_changes_what_is_read(files, name, data):
    content = bytearray((files / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = files / f"flipped-{name}"
    path.write_bytes(content)
    try:
        found = tensor_files.load(path)
    except Exception:
        return
    assert same(found["classifier"] if name == "last.pt" else found, STATE)


def test_a_pickle_that_asks_for_memory_is_refused_before_it_gets_any(tmp_path):
    text = pickle.PROTO + b"\x02" + pickle.GLOBAL + b"builtins\nbytearray\n"
    text += pickle.LONG4 + (5).to_bytes(4, "little") + (2**30).to_bytes(5, "little")
    with zipfile.ZipFile(tmp_path / "last.pt", "w") as archive:
        archive.writestr("last/data.pkl", text + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP)
        archive.writestr("last/version", "3\n")

    def refused():
        with pytest.raises(ValueError, match="it holds something else"):
            tensor_files.load(tmp_path / "last.pt")

    assert with_peak(refused)[1] < 2**24


def test_what_a_checkpoint_holds_is_taken_up_where_it_fits():
    table = torch.zeros(2, 3)
    tensor_files.copy_stored(table, torch.ones(2, 3, dtype=torch.float64))
    assert table.sum() == 6
    for stored in (torch.ones(1, 3), torch.tensor(5.0), 0.5, None, 10**400):
        with pytest.raises(ValueError, match=r"else than a tensor of \(2, 3\)"):
            tensor_files.copy_stored(table, stored)
    assert tensor_files.stored_count(3) == 3
    for stored in (None, True, -1, 0.5, 10**400, torch.tensor(3)):
        with pytest.raises(ValueError, match="instead of a count"):
            tensor_files.stored_count(stored)
