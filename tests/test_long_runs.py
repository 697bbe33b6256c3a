"""Long runs: what a training takes of the machine does not grow with its epochs."""

import os
import time
from pathlib import Path

import pytest

from tests.helpers import ForkedScript
from tests.kept_runs import trunk  # noqa: F401 - registers the small trunk
from tests.kept_runs.make import DATA, SHORT, make_photos


def usage(pid):
    """KiB of memory, open files and threads of a process and its children."""
    tasks = Path(f"/proc/{pid}/task")
    children = " ".join((task / "children").read_text() for task in tasks.iterdir()).split()
    found = []
    for process in (str(pid), *sorted(children)):
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
        )
        files = len(os.listdir(f"/proc/{process}/fd"))
        found.append((int(status["VmRSS"].split()[0]), files, int(status["Threads"])))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["--recipe paper --clusters 2", "--recipe posterior --freeze"])
def test_memory_files_and_threads_are_flat_over_two_hundred_epochs(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"))
    words = (
        f"{DATA} --partial_rate 0.3 --noise_file c.npy {SHORT} --output_dir run --total_epoch 200"
    )
    script = ForkedScript("main_CoNeS", *words.split(), *flags.split(), "--workers", "1")
    seen = {}
    while 190 not in seen:
        ended, _ = os.waitpid(script.pid, os.WNOHANG)
        assert not ended, Path(script.printed.name).read_text()
        metrics = Path("run/metrics.jsonl")
        epoch = len(metrics.read_text().splitlines()) if metrics.exists() else 0
        for mark in (50, 190):
            if epoch >= mark and mark not in seen:
                seen[mark] = usage(script.pid)
        time.sleep(0.02)
    status, printed = script.wait()
    assert status == 0, printed
    print(seen)
    assert len(seen[50]) == len(seen[190])
    for then, now in zip(seen[50], seen[190]):
        assert now[0] - then[0] < 16 * 1024
        assert now[1] == then[1]
        assert abs(now[2] - then[2]) <= 2  # some live but for a moment
