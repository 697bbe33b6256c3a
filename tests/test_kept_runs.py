"""Runs of an earlier version go on: evaluated, reviewed and resumed, with its numbers."""

import json
import shutil
from typing import Any

import pytest

from tests.kept_runs import make

EXPECTED = json.loads((make.HERE / "expected.json").read_text("utf-8"))


def close_to(value: Any) -> Any:
    """A value equal but for the last digits, in which machines differ."""
    if isinstance(value, dict):
        return {key: close_to(item) for key, item in value.items()}
    if isinstance(value, list):
        return [close_to(item) for item in value]
    return pytest.approx(value, rel=1e-3, abs=2e-4) if isinstance(value, float) else value


@pytest.mark.parametrize("name", make.RUNS)
def test_a_kept_run_is_evaluated_reviewed_and_resumed_to_the_same_numbers(name, tmp_path):
    for folder in ("photos", name):
        shutil.copytree(make.HERE / folder, tmp_path / folder)
    with make.inside(tmp_path):
        found = make.outcome(name)
    known = EXPECTED[name]["resumed"]  # a metric that was added since is none of its
    found["resumed"] = [
        {key: line[key] for key in before} for line, before in zip(found["resumed"], known)
    ]
    assert found == close_to(EXPECTED[name])
