"""Disks that are too small, in short; `make full-disk` is the long form."""

import subprocess
from pathlib import Path

import pytest

from tests import full_disk

DISK = ["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs"]


@pytest.fixture
def root(tmp_path):
    """Skip where no disk can be mounted."""
    place = tmp_path / "probe"
    place.mkdir()
    if subprocess.run([*DISK, place], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("names", [["training", "candidate file"], ["predictions", "review"]])
@pytest.mark.usefixtures("root")
def test_a_command_on_a_full_disk_says_so_and_goes_on_where_there_is_room(
    names, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    full_disk.prepare()
    for name in names:
        assert full_disk.try_sizes(name, 3) == (3, 2)
        assert not Path("disk").exists()
