import importlib
import os
import sys
from pathlib import Path

# Before any library reads it: tests run side by side, and the processes that they start with them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from tests import helpers
from tests.kept_runs import trunk  # noqa: F401 - registers its model

# A busy machine is slow, which is no failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One process more than cores: those of the browser's and the signals' tests mostly wait."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave all tests of the browser to one process."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def shared():
    """The folder of data files that are kept beside the repository and not in it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def small_page_path(tmp_path_factory):
    """A review page on disk, for tests that leave its files as they are."""
    return helpers.write_small_page(tmp_path_factory.mktemp("page"))


@pytest.fixture
def open_page(browser, small_page_path):
    """Open a review page; the small one, unless a path is given. See helpers.page_opener."""
    with helpers.page_opener(browser, small_page_path) as call:
        yield call


@pytest.fixture
def tab(open_page):
    return open_page()


@pytest.fixture
def call_script(monkeypatch, tmp_path, capsys):
    """Call a script as the shell would, in an empty folder: (status, stdout, stderr).

    The first argument is the script's name, and any flags that can be split at spaces.
    """
    monkeypatch.chdir(tmp_path)

    def call(command, *flags):
        script, *words = command.split()
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *words, *map(str, flags)])
        try:
            status = importlib.import_module(script).main()
        except SystemExit as caught:
            status = caught.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def run_script(call_script):
    """Call a script that must succeed: (stdout, stderr)."""

    def call(command, *flags):
        status, out, err = call_script(command, *flags)
        assert status == 0, err
        return out, err

    return call


@pytest.fixture
def assert_refused(call_script):
    """Call a script that must end with a status, and with `message` in its one line of error."""

    def refused(message, command, *flags, status=1):
        found, _, err = call_script(command, *flags)
        assert found == status, err
        assert message in helpers.last_line(err)
        assert helpers.last_line(err).startswith("error: ")
        assert "Traceback" not in err
        return err

    return refused


@pytest.fixture
def devkit(tmp_path):
    """VOCdevkit with eight photos to train on and twenty to test."""
    return helpers.write_devkit(tmp_path / "VOCdevkit")
