import errno
import json
import multiprocessing
import os
import time

import pytest

from utils import distributed, files
from utils.errors import UserError, exit_status


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("name", ["caf\udce9.jpg", "é 猫.jpg", 'a"\\.jpg'])
def test_json_keeps_any_file_name(name, tmp_path):
    files.write_json(tmp_path / "a.json", {name: [name]})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == {name: [name]}
    assert "猫" not in name or "猫" in text


def test_missing_folders_are_made_and_the_suffix_is_kept(tmp_path):
    with files.atomic_path(tmp_path / "x" / "y" / "voc07_0.1.npy") as temporary:
        assert temporary.suffix == ".npy"
        temporary.write_text("content")
    assert (tmp_path / "x" / "y" / "voc07_0.1.npy").read_text() == "content"


def test_a_full_disk_names_the_file(tmp_path, capsys):
    @exit_status
    def main():
        with files.atomic_path(tmp_path / "last.pt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    assert main() == 1
    assert f"no space left on the disk of {tmp_path / 'last.pt'}" in capsys.readouterr().err


def test_an_error_removes_the_folders_that_were_made_for_it(tmp_path):
    def write():
        with files.atomic_path(tmp_path / "a" / "b" / "c.txt") as path:
            path.write_text("half")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        write()
    assert not list(tmp_path.iterdir())


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, files.atomic_path(tmp_path / "c.txt"):
        (tmp_path / "other" / "d.txt").write_text("")
    assert caught.value.filename == str(tmp_path / "other" / "d.txt")


def test_a_place_below_a_file_is_refused_before_work_goes_into_it(tmp_path):
    (tmp_path / "file").touch()
    files.check_writable(tmp_path / "a" / "b" / "c.txt", "--output")
    with pytest.raises(UserError, match="^--output .*/file/b/c.txt cannot be made: .*/file is a f"):
        files.check_writable(tmp_path / "file" / "b" / "c.txt", "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_to_nothing_is_named_before_work_goes_into_it(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for path in (tmp_path / "link", tmp_path / "link" / "run"):
        with pytest.raises(UserError, match="link links to .*gone, which is not there: make that"):
            files.check_output_dir(path)


def test_a_new_file_replaces_none(tmp_path):
    files.check_new_file(tmp_path / "new" / "a.npy", "--output")
    (tmp_path / "a.npy").touch()
    with pytest.raises(UserError, match="^--output .*a.npy exists: give another name, or move it "):
        files.check_new_file(tmp_path / "a.npy", "--output")


def test_a_folder_of_one_s_own_may_lie_in_one_of_others(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: own in (path, *path.parents))
    files.check_output_dir(own)
    files.check_output_dir(own / "new")
    with pytest.raises(UserError, match="^--cam .*/maps needs .*, which you may not write to: gi"):
        files.check_output_dir(tmp_path / "maps", "--cam")


def test_a_file_has_one_writer_at_a_time_also_in_a_folder_that_is_claimed(tmp_path, monkeypatch):
    """As a run's candidates in the folder of a comparison."""
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    path = tmp_path / "new" / "a.npy"
    with files.claimed(tmp_path), files.one_writer(path):
        with pytest.raises(UserError, match="another process writes to"), files.one_writer(path):
            pass
        with files.one_writer(tmp_path / "b.npy"):
            pass
    assert not list(tmp_path.iterdir())


def test_a_folder_is_claimed_by_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    with files.claimed(tmp_path), pytest.raises(UserError, match="another process writes to"):
        files.lock(tmp_path)
    with files.claimed(tmp_path):
        pass


def test_other_processes_of_a_run_wait_until_the_first_has_claimed(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "broadcast", waits.append)
    held = files.lock(tmp_path)  # by the first
    with files.claimed(tmp_path):
        assert len(waits) == 1
    os.close(held)


def test_a_claim_ends_with_its_block_though_a_forked_process_lives_on(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    with files.claimed(tmp_path):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[600])
        child.start()
    with files.claimed(tmp_path):
        assert child.is_alive()
    child.kill()
    child.join()


def test_who_comes_while_a_claim_ends_waits_for_it(tmp_path, monkeypatch):
    """Such as the user who resumes a run whose loader processes have not noticed its end."""
    held = files.lock(tmp_path)
    waits = []

    def let_go(seconds):
        waits.append(seconds)
        os.close(held)

    monkeypatch.setattr(files.time, "sleep", let_go)
    with files.claimed(tmp_path):
        assert len(waits) == 1


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
    calls = []

    def refuse(*arguments):
        calls.append(arguments)
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with files.claimed(tmp_path):
        assert len(calls) == 1


def test_a_name_of_250_bytes_is_written(tmp_path):
    path = tmp_path / ("\u732b" * 82 + ".npy")
    with files.atomic_path(path) as temporary:
        assert temporary.suffix == ".npy"
        temporary.write_text("content")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_folder_in_which_a_process_was_killed_is_filled_again(tmp_path):
    folder = tmp_path / "maps"
    (folder / "b").mkdir(parents=True)
    for name in (files.MARK, "a.png", "b/c.png", "b/.123.part.d.png"):
        (folder / name).touch()
    with pytest.raises(UserError, match="maps is not empty"):  # to fill otherwise
        files.check_output_dir(folder)
    files.check_output_dir(folder, marked=True)
    with files.filled(folder):
        assert not (folder / "b" / ".123.part.d.png").exists()
        (folder / "a.png").write_text("new")
    names = sorted(path.name for path in folder.rglob("*"))
    assert names == ["a.png", "b", "c.png"]
    with pytest.raises(UserError, match="maps is not empty: give a new or empty --cam"):
        files.check_output_dir(folder, "--cam")


def test_a_folder_with_nothing_but_temporary_files_is_new(tmp_path):
    (tmp_path / ".123.part.config.json").touch()
    files.check_output_dir(tmp_path)
    (tmp_path / ".2024.txt").touch()
    with pytest.raises(UserError, match="is not empty"):
        files.check_output_dir(tmp_path)


def test_on_an_error_nothing_of_a_folder_is_left(tmp_path):
    def fill():
        with files.filled(tmp_path / "new" / "p"):
            (tmp_path / "new" / "p" / "a.png").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert not list(tmp_path.iterdir())


def test_on_an_error_an_empty_folder_and_a_link_to_it_are_left_empty(tmp_path):
    def fill():
        with files.filled(tmp_path / "link"):
            (tmp_path / "own" / "b").mkdir()
            (tmp_path / "own" / "b" / "c.png").touch()
            (tmp_path / "own" / "d").symlink_to(tmp_path / "other")
            raise KeyboardInterrupt

    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "a.txt").touch()
    (tmp_path / "link").symlink_to("own")
    with pytest.raises(KeyboardInterrupt):
        fill()
    assert not list((tmp_path / "link").iterdir())
    assert (tmp_path / "other" / "a.txt").exists()


def test_on_an_error_what_others_have_put_where_a_process_was_killed_is_left(tmp_path):
    def fill():
        with files.filled(tmp_path):
            raise KeyboardInterrupt

    (tmp_path / files.MARK).touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(KeyboardInterrupt):
        fill()
    assert (tmp_path / "notes.txt").exists()
    files.check_output_dir(tmp_path, marked=True)  # may still be filled again


def test_a_folder_is_filled_by_one_at_a_time_and_others_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SECONDS_TO_CLAIM", 0)
    with files.filled(tmp_path):
        (tmp_path / "a.png").touch()
        with pytest.raises(UserError, match="another process writes to"), files.filled(tmp_path):
            pass
    with pytest.raises(UserError, match="is not empty"), files.filled(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
