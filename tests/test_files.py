import errno
import json

import pytest

from utils.errors import UserError, exit_status
from utils.files import atomic_path, write_json


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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserError("expected a, found b"), "error: expected a, found b"),
        (KeyboardInterrupt(), "error: interrupted"),
        (RuntimeError("CUDA out of memory. Tried"), "error: out of memory: lower --batch_size"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.txt"), "error: No such file: x.txt"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_line_and_status_1(error, text, capsys):
    @exit_status
    def main():
        raise error

    assert main() == 1
    captured = capsys.readouterr().err
    assert captured.startswith(text)
    assert captured.count("\n") == 1


def test_a_full_disk_names_the_file(tmp_path, capsys):
    @exit_status
    def main():
        with atomic_path(tmp_path / "last.pt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    assert main() == 1
    assert f"no space left on the disk of {tmp_path / 'last.pt'}" in capsys.readouterr().err


def test_errors_of_the_program_itself_keep_their_traceback():
    @exit_status
    def main():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        main()


def test_success_is_status_0():
    assert exit_status(lambda: None)() == 0


def test_a_worker_s_traceback_is_cut_to_the_message():
    wrapped = (
        "Caught UserError in worker 0.\nTraceback:\n  line\nutils.errors.UserError: bad image\n"
    )
    assert str(UserError(wrapped)) == "bad image"
