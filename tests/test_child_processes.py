"""ChildProcesses that are slow to end: what ends them, and what does not."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from utils.comparison.child_processes import ChildProcesses

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("ready", flush=True)
for _ in range(600):
    time.sleep(1)
"""


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def children():
    children = ChildProcesses()
    yield children
    children.terminate(at_once=True)


@pytest.fixture
def call(children, tmp_path):
    """Start a child that goes on when it is asked to end: its log, and what `call` has returned."""
    log, returned = tmp_path / "log", []
    command = [sys.executable, "-c", STUBBORN]
    thread = threading.Thread(
        target=lambda: returned.append(children.call(command, {}, log)), daemon=True
    )
    thread.start()
    wait_for(lambda: log.exists() and "ready" in log.read_text())
    return log, returned


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ctrl_c_ends_at_once_and_the_first_does_not(first, children, call, capfd):
    log, returned = call
    with children.until_signalled():
        children.terminate()  # as the budget does
        os.kill(os.getpid(), first)
        wait_for(lambda: "asked" in log.read_text())
        assert returned == []
        assert "Ctrl-C again ends it at once" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGINT)
        if first == signal.SIGTERM:  # of which any number ask
            assert returned == []
            os.kill(os.getpid(), signal.SIGINT)
        wait_for(lambda: returned)
    assert returned == [False]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_a_terminal_that_is_gone_ends_at_once(number, children, call):
    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    with children.until_signalled():
        os.kill(os.getpid(), number)
        wait_for(lambda: call[1])
    signal.signal(number, before)
    assert call[1] == [False]


def test_under_nohup_a_closed_terminal_ends_nothing(children):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with children.until_signalled():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN
    assert not children.stopped


def test_a_signal_that_comes_while_a_child_is_started_ends_it(children, tmp_path, monkeypatch):
    start = subprocess.Popen

    def interrupted(*arguments, **named):
        process = start(*arguments, **named)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with children.until_signalled():
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        assert not children.call(command, {}, tmp_path / "log")


def test_once_stopped_nothing_is_started(children, tmp_path):
    children.terminate()
    assert not children.call([sys.executable, "-c", ""], {}, tmp_path / "log")
    assert (tmp_path / "log").read_text() == ""
