"""Kinds of values: what a flag takes, and what a stored run may hold."""

import argparse
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.options import kinds


@given(st.floats())
def test_a_value_is_taken_where_it_lies_in_its_range(value):
    ranges = {
        kinds.SHARE: 0 <= value <= 1,
        kinds.RATE: 0 <= value <= 0.99,
        kinds.POSITIVE: 0 < value <= 1e9,
        kinds.NOT_NEGATIVE: 0 <= value <= 1e9,
    }
    for kind, inside in ranges.items():
        assert kind.holds(value) == inside
        if inside:
            assert kind.parse(repr(value)) == value
        else:
            with pytest.raises(argparse.ArgumentTypeError):
                kind.parse(repr(value))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (kinds.COUNT, "0", "expected a whole number of at least 1, but got 0"),
        (kinds.COUNT, "2.0", "expected a whole number, but got '2.0'"),
        (kinds.NATURAL, "-1", "expected a whole number of at least 0, but got -1"),
        (kinds.POSITIVE, "0", "expected a number above 0 and at most 1e+09, but got 0"),
        (kinds.RATE, "", "expected a number, but got ''"),
        (kinds.SIDE, "8", "expected a whole number of at least 16 and at most 16384, but got 8"),
        (kinds.Choice((1, 2)), "3", "expected one of 1, 2, but got '3'"),
    ],
)
def test_a_refusal_says_what_was_expected(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        kind.parse(text)


def test_of_alternatives_the_first_is_taken(capsys):
    assert kinds.COUNT.parse("224/448") == 224
    assert capsys.readouterr().err == "224/448 lists alternatives: taking the first, 224\n"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (kinds.COUNT, [1, 2**40], [0, 10**400, 1.0, True, "1", None, [1]]),
        (kinds.SHARE, [0, 1, 0.5], [True, "0.5", 1.5, 10**400, float("nan")]),
        (kinds.SIDE, [16, 2**14], [15, 2**14 + 1]),
        (kinds.TEXT, ["", "x"], ["x\0", 1, None, ["x"]]),
        (kinds.SWITCH, [True, False], [0, 1, "true", None]),
        (kinds.Choice(("gap", "csra")), ["gap"], ["GAP", 1, None]),
        (kinds.Choice((1, 2)), [1], [True, "1", 3]),
        (kinds.Names({}), ["x"], [1, None]),
    ],
)
def test_a_stored_value_is_of_its_kind_or_not(kind, good, bad):
    assert all(kind.holds(value) for value in good)
    assert not any(kind.holds(value) for value in bad)


def test_a_former_name_is_read_as_the_present_one():
    kind = kinds.Names({"gain": "variance_weight"})
    assert [kind.parse(name) for name in ("gain", "offset")] == ["variance_weight", "offset"]
