import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared():
    """The folder of data files that are kept beside the repository and not in it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Call a script as the shell would, in an empty folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(script, *flags):
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, flags)])
        try:
            status = importlib.import_module(script).main()
        except SystemExit as caught:
            status = caught.code
        return status, *capsys.readouterr()

    return call
