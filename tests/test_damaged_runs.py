"""Runs whose files somebody changed by hand: refused in a line, or of no consequence."""

import contextlib
import importlib
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import DEEP, changed, places
from tests.helpers import fuzz
from tests.kept_runs import trunk  # noqa: F401 - registers the trunk of the kept runs

KEPT = Path(__file__).parent / "kept_runs"
SCRIPTS = {"posterior": "main_CoNeS", "paper": "main_CoNeS", "forward": "main_BCE"}
VALUES = [
    *[None, True, 0, -1, 0.5, 2**31, 10**400, 1e308, float("nan"), float("inf")],
    *["", "x", "\x00\x1b[31m", "9" * 400, [], [1], {}, {"a": 1}],
]
TENSORS = [torch.zeros(0), torch.zeros(3, 5), torch.full((2,), torch.nan), torch.tensor(-5)]


def damage(folder, data):
    """Change one value of one file, or its bytes."""
    name = data.draw(st.sampled_from(["config.json", "last.pt", "metrics.jsonl"]))
    path = folder / name
    if data.draw(st.booleans()) and data.draw(st.booleans()):
        content = path.read_bytes()
        path.write_bytes(data.draw(st.sampled_from([b"", DEEP, content[: len(content) // 2]])))
    elif name == "last.pt":
        content = torch.load(path, weights_only=True)
        place = data.draw(st.sampled_from(sorted(places(content), key=str)))
        torch.save(changed(content, place, data.draw(st.sampled_from(VALUES + TENSORS))), path)
    else:
        first, *rest = (
            path.read_text().splitlines() if name == "metrics.jsonl" else [path.read_text()]
        )
        content = json.loads(first)
        place = data.draw(st.sampled_from(sorted(places(content), key=str)))
        first = json.dumps(changed(content, place, data.draw(st.sampled_from(VALUES))))
        path.write_text("\n".join([first, *rest]) + "\n")


def call(command):
    """Exit status and what was printed to stderr; a traceback is raised."""
    script, *words = command
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(printed):
        patch.setattr(sys, "argv", [f"{script}.py", *words])
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                return importlib.import_module(script).main(), printed.getvalue()
            except SystemExit as ended:
                return ended.code, printed.getvalue()


def check(folder, data):
    name = data.draw(st.sampled_from(sorted(SCRIPTS)))
    for part, source in (("r", name), ("photos", "photos")):
        shutil.rmtree(folder / part, ignore_errors=True)
        shutil.copytree(KEPT / source, folder / part)
    damage(folder / "r", data)
    commands = [(SCRIPTS[name], "--resume", "r", "--total_epoch", "3"), ("val", "--load_from", "r")]
    commands.append(("review", "--load_from", "r"))
    status, printed = call(data.draw(st.sampled_from(commands)))
    assert status in (0, 1, 2)
    if status:
        assert printed.strip().splitlines()[-1].startswith("error: ")


@fuzz(25)
@given(data=st.data())
def test_a_changed_file_of_a_run_gives_no_traceback(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    check(tmp_path, data)


@pytest.mark.slow
@fuzz(1000)
@given(data=st.data())
def test_many_changed_files_of_runs_give_no_traceback(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    check(tmp_path, data)
