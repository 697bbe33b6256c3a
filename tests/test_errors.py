import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from utils import distributed
from utils.errors import UserError, exit_status
from utils.progress import interruptible

OUT_OF_MEMORY = "error: out of memory: train with a lower --batch_size, or give --device cpu"


def status_of(error, trains=False):
    def main():
        raise error

    return exit_status(main, trains)()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("expected A, found B: do C"), "error: expected A, found B: do C"),
        (
            OSError(errno.ENOSPC, "No space left on device", "r/last.pt"),
            "error: no space left on the disk of r/last.pt: free some and repeat",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "r"), "error: Permission denied: r"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), OUT_OF_MEMORY),
        (MemoryError("Unable to allocate 9 TiB"), OUT_OF_MEMORY),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "error: a loader process was killed, perhaps because the memory was full: give fewer "
            "--workers, and the command again",
        ),
        (UserError("no file a\nb\x1b[2J"), "error: no file a\\nb\\x1b[2J"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_status_1(error, line, capsys):
    assert status_of(error, trains=True) == 1
    assert capsys.readouterr().err == line + "\n"


def test_where_nothing_is_trained_a_batch_size_would_not_help(capsys):
    assert status_of(RuntimeError("CUDA out of memory.")) == 1
    assert capsys.readouterr().err == "error: out of memory: free some, or give --device cpu\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), OSError("a bug")])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error), match="a bug"):
        status_of(error)


def test_a_finished_script_has_status_0():
    assert exit_status(lambda: None)() == 0


def start(folder, *lines, stdin=None):
    """A process whose main, between exit_status and the imports it needs, has these lines."""
    program = ["import sys, time", "from utils.errors import exit_status"]
    program += ["from utils.files import atomic_path", "def main():"]
    program += [f"    {line}" for line in lines] + ["sys.exit(exit_status(main)())"]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(program)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_seen_enough_gets_no_traceback(lines, tmp_path):
    lines = ["input()", f"for _ in range({lines}): print('a line')"]
    process = start(tmp_path, *lines, stdin=subprocess.PIPE)
    process.stdout.close()
    _, err = process.communicate("go on\n", timeout=60)
    assert (process.returncode, err) == (1, "")


def test_another_broken_pipe_keeps_its_traceback():
    with pytest.raises(BrokenPipeError):
        status_of(BrokenPipeError())


def test_an_error_of_a_loader_worker_is_unwrapped_to_its_message():
    wrapped = "Caught UserError in worker 0.\nTraceback ...\nutils.errors.UserError: the file\n"
    assert str(UserError(wrapped)) == "the file"


def test_a_second_process_shows_its_traceback_after_the_first_has_had_its_say(capfd, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(distributed, "SECONDS_FOR_FIRST", 0)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # put back after the test
    with pytest.raises(RuntimeError):
        status_of(RuntimeError("CUDA error"))
    assert sys.stderr is sys.__stderr__


def test_a_terminated_script_leaves_no_half_of_a_file(tmp_path):
    process = start(
        tmp_path,
        "with atomic_path('new/file.npy') as temporary:",
        "    temporary.write_text('half')",
        "    print('begun', flush=True)",
        "    time.sleep(60)",
    )
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    assert process.communicate()[1] == ""
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_signal_ends_has_the_status_of_a_shell(number, capsys):
    def main():
        with interruptible() as stop:
            os.kill(os.getpid(), number)
            if stop():
                raise UserError("interrupted; go on")

    assert exit_status(main)() == 128 + number
    assert capsys.readouterr().err == "error: interrupted; go on\n"
    assert status_of(KeyboardInterrupt()) == 130
    assert status_of(UserError("not of a signal")) == 1
