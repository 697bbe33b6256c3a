"""Runs that are killed, in short; `make torture` is the long form."""

import pytest

from pipeline.data import digits
from tests.torture import CASES, torture


@pytest.mark.parametrize("name", [*CASES][:4])
def test_a_run_that_is_killed_and_resumed_equals_an_unbroken_one(name, tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "SCENES", {"train": 500, "test": 100})
    found, _ = torture(tmp_path, name, kills=2, seed=1)
    assert len(found) == 2
