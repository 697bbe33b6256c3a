"""Pickles that nobody vouches for. How the released form is read: test_candidates.py."""

import builtins
import os
import pickle
import pickletools
import struct
import time

import numpy as np
import pytest

from pipeline.data import pickled as module
from pipeline.data.pickled import unpickle_labels
from tests.helpers import Call, with_peak

CANDIDATES = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]], np.uint8)


def pickled(content, protocol=4):
    """The pickle in np.save(content)."""
    wrapped = np.empty((), object)
    wrapped[()] = content
    return pickle.dumps(wrapped, protocol)


def refusal(content):
    try:
        unpickle_labels(content)
    except Exception as error:  # of any kind: the caller says it in one line
        return str(error)
    return pytest.fail("it was read")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nested", [False, True])
def test_no_code_runs(tmp_path, protocol, nested):
    marker = tmp_path / "executed"
    touch = f"open({str(marker)!r}, 'w')"
    calls = [
        Call(os.system, f"touch {marker}"),
        Call(builtins.eval, touch),
        Call(builtins.exec, touch),
        Call(builtins.getattr, np.ndarray, "tofile"),
        Call(np.save, str(marker), CANDIDATES),
        Call(np.ndarray.tofile, CANDIDATES, str(marker)),
    ]
    for call in calls:
        content = {"partial_labels": CANDIDATES, "more": [call]} if nested else call
        assert "asks for" in refusal(pickled(content, protocol))
        refusal(pickle.dumps(content, protocol))
        assert not marker.exists()


def test_the_calls_above_would_run_under_a_trusting_reader(tmp_path):
    # Guards the test of no_code_runs: its payload does what it says.
    marker = tmp_path / "executed"
    pickle.loads(pickled(Call(builtins.eval, f"open({str(marker)!r}, 'w').close()")))
    assert marker.exists()


def test_bytes_forged_as_pointers_are_not_followed():
    # numpy trusts the flags of a pickled object type: where they are cleared, its arrays take
    # bytes for their content, which then are pointers; np.load and print end in a crash.
    head, _ = pickle.dumps(np.array([[None, None]], object), 3).split(b"]")
    forged = head.replace(b"K?", b"K\x00") + b"C\x10" + b"A" * 16 + b"tb."
    opcodes = [opcode.name for opcode, _, _ in pickletools.genops(forged)]
    assert opcodes[-4:] == ["SHORT_BINBYTES", "TUPLE", "BUILD", "STOP"]
    refusal(forged)


PAIR_OF_ITSELF = b"2\x86"  # DUP, TUPLE2: each pair doubles what a hash must visit


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x04Nr\xff\xff\xff\x7f.",  # memo index 2 ** 31 - 1: 16 GiB of pointers
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",  # bytes longer than memory
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x04}N" + PAIR_OF_ITSELF * 100 + b"Ns.",
        b"\x80\x04" + b"(" * 100_000 + b".",
        b"\x80\x04)" + b"\x85" * 1_000_000 + b".",
        b"cnumpy\nndarray\n((I1000000\nI1000000\nI1000000\ntS'u1'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I99999999999\ntS'b'\ntR.",
    ],
)
def test_bombs_are_refused_without_their_memory(bomb):
    assert with_peak(refusal, bomb)[1] < 50 * 2**20


def test_sides_of_a_million_digits_are_neither_multiplied_nor_printed():
    class Forged:
        def __reduce__(self):
            state = (1, (2**16_000_000, -(2**16_000_000)), np.dtype("u1"), False, b"1")
            return *CANDIDATES.__reduce__()[:2], state

    began = time.monotonic()
    assert "a shape beyond 64 bits" in refusal(pickled({"partial_labels": Forged()}))
    assert time.monotonic() - began < 10


def test_the_opcode_limits_leave_room_for_every_protocol():
    for protocol in range(6):
        content = pickled({"partial_labels": np.ones((300, 81), int)}, protocol)
        opcodes = [opcode.name for opcode, _, _ in pickletools.genops(content)]
        assert len(opcodes) < module.MAX_OPCODES / 2
        assert sum("GET" in name for name in opcodes) < module.MAX_COPIES / 2
