import errno
import json
import os
import threading

import pytest

from utils import distributed, files
from utils.errors import UserError, exit_status
from utils.files import atomic_path, claimed, write_json


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_missing_folders_are_made_and_the_suffix_is_kept(tmp_path):
    with atomic_path(tmp_path / "x" / "y" / "voc07_0.1.npy") as temporary:
        assert temporary.suffix == ".npy"
        temporary.write_text("content")
    assert (tmp_path / "x" / "y" / "voc07_0.1.npy").read_text() == "content"


def test_a_full_disk_names_the_file(tmp_path, capsys):
    @exit_status
    def main():
        with atomic_path(tmp_path / "last.pt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    assert main() == 1
    assert f"no space left on the disk of {tmp_path / 'last.pt'}" in capsys.readouterr().err


def test_an_error_removes_the_folders_that_were_made_for_it(tmp_path):
    def write():
        with atomic_path(tmp_path / "a" / "b" / "c.txt") as path:
            path.write_text("half")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        write()
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "c.txt"):
        (tmp_path / "other" / "d.txt").write_text("")
    assert caught.value.filename == str(tmp_path / "other" / "d.txt")


def test_a_folder_is_claimed_by_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    with claimed(tmp_path):
        with pytest.raises(UserError, match="another process writes to"), claimed(tmp_path):
            pass
        monkeypatch.setattr(distributed, "rank", lambda: 1)  # the first claims it for all
        with claimed(tmp_path):
            pass
    monkeypatch.undo()
    with claimed(tmp_path):
        pass


def test_who_comes_while_a_claim_ends_waits_for_it(tmp_path):
    """Such as the user who resumes a run whose loader processes have not noticed its end."""
    held = os.open(tmp_path, os.O_RDONLY)
    assert files.try_to_lock(held)
    threading.Timer(0.5, os.close, [held]).start()
    with claimed(tmp_path):
        pass


def test_a_file_system_without_claims_is_no_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with claimed(tmp_path):
        pass
