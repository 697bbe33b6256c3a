"""Writing files so that neither a crash nor a second process leaves half of one."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils import distributed
from utils.errors import UserError

# The loader processes of a run that was killed notice it, and let go of its folder, after 5.
SECONDS_TO_CLAIM = 15
SECONDS_LEFT = 3600  # no writer pauses so long
LEFTOVERS = ".[0-9]*.part.*"  # temporary files, named by process
MARK = ".unfinished"  # of a folder that is being filled


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it when the block succeeds.

    On any error the temporary file is removed and an older `path` stays as it was. Folders that
    are missing on the way to `path` are made, and on an error removed again. The temporary name
    keeps the suffix, since writers such as np.save add their own where it is missing, and is
    shorter than a long one.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.part.{path.name[-50:]}")
    with made(path.parent):
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())  # else a machine's crash could leave the new name empty
            os.replace(temporary, path)
        except BaseException as error:
            # Writes to an open file fail without naming it.
            if isinstance(error, OSError) and error.filename in (None, str(temporary)):
                error.filename = str(path)
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder; on an error it, and those on the way, are removed where they were missing."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for place in missing:
            with contextlib.suppress(OSError):  # something else is in it by now
                place.rmdir()
        raise


def remove_leftovers(folder: Path, seconds: float = 0, below: bool = False) -> None:
    """Remove what writers left in a folder that were killed.

    Args:
        seconds: of temporary files that old alone: where others may write at the same time.
        below: in its subfolders too.
    """
    for path in (folder.rglob if below else folder.glob)(LEFTOVERS):
        with contextlib.suppress(OSError):  # another was first, or it is not ours to remove
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON, all or nothing."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        # File names that are no UTF-8 hold surrogates, whose escapes JSON has in common.
        temporary.write_text(text, "utf-8", errors="backslashreplace")


def check_output_dir(path: Path, flag: str = "--output_dir", marked: bool = False) -> None:
    """Refuse a folder that holds something: what is written would overwrite it or mix with it.

    Temporary files are nothing, and with `marked` a folder that `filled` has left marked, too.

    Raises:
        UserError: it does, is a file, or cannot be made.
    """
    if os.path.exists(path) and not path.is_dir():
        raise UserError(f"{flag} {path} is a file: give a new folder")
    check_writable(path, flag)
    if (path / "config.json").exists():
        raise UserError(
            f"{path} already holds a run: give a new {flag}; the --resume of a training script "
            "trains it further"
        )
    if holds_something(path) and not (marked and (path / MARK).exists()):
        raise UserError(f"{path} is not empty: give a new or empty {flag}")


def holds_something(folder: Path) -> bool:
    """Tell whether it is a folder with something else in it than temporary files."""
    if not folder.is_dir():
        return False
    return not all(path.match(LEFTOVERS) and path.is_file() for path in folder.iterdir())


def check_new_file(path: Path, flag: str) -> None:
    """Refuse a file that exists, or that cannot be written, before work goes into it.

    Raises:
        UserError: it does, or cannot.
    """
    if os.path.exists(path):
        raise UserError(f"{flag} {path} exists: give another name, or move it away")
    check_writable(path, flag)


def check_writable(path: Path, flag: str) -> None:
    """Refuse a folder, or a new file, that cannot be written, before work goes into it.

    Raises:
        UserError: what there is of the way to it ends in a file, or in a folder of others.
    """
    whole = path.absolute()
    nearest = next(place for place in (whole, *whole.parents) if os.path.lexists(place))
    if not nearest.exists():
        raise UserError(
            f"{flag} {path} cannot be made: {nearest} links to {os.readlink(nearest)}, which is "
            "not there: make that, or give another place"
        )
    if not nearest.is_dir():
        raise UserError(f"{flag} {path} cannot be made: {nearest} is a file: give another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"{flag} {path} needs {nearest}, which you may not write to: give another place"
        )


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs on this machine from writing to a folder; they must claim it too.

    The folder exists. Of a run's processes the first claims it, and the others wait for that. The
    claim ends with the block, or with the process.

    Raises:
        UserError: another process has claimed it.
    """
    descriptor = lock(folder) if distributed.rank() == 0 else None
    distributed.broadcast(None)
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):  # as in `lock`
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # of copies in forked processes too
            os.close(descriptor)


@contextlib.contextmanager
def filled(folder: Path, flag: str = "--output_dir") -> Iterator[None]:
    """Fill a folder that is new or empty: on an error it is so again.

    A process that is killed leaves it marked, so that the same command may fill it again; an error
    then leaves it as it is, since by now it may hold files of others.

    Raises:
        UserError: it holds something, or another process fills it.
    """
    with made(folder), claimed(folder):
        check_output_dir(folder, flag, marked=True)
        remove_leftovers(folder, below=True)
        again = (folder / MARK).exists()
        try:
            (folder / MARK).touch()
            yield
            (folder / MARK).unlink(missing_ok=True)
        except BaseException:
            if not again:
                clear(folder)
            raise


def clear(folder: Path) -> None:
    """Remove what a folder holds, its mark last; the folder, or link to one, stays."""
    with contextlib.suppress(OSError):  # it stays marked
        for path in sorted(folder.iterdir(), key=lambda path: path.name == MARK):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """Keep other processes that write the same file from the block, which may find it written.

    A mark beside it is locked and not the folder, which a comparison has claimed while its runs
    write there.

    Raises:
        UserError: another holds on to it.
    """
    folder = next(place for place in path.absolute().parents if place.is_dir())
    mark = folder / f".0.{path.name[-50:]}.lock"
    while True:
        mark.touch()
        with contextlib.suppress(FileNotFoundError):  # removed by the last writer: make another
            descriptor = lock(mark)
            if mark.exists() and os.path.samestat(os.fstat(descriptor), mark.stat()):
                break
            os.close(descriptor)
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)
        os.close(descriptor)


def lock(folder: Path) -> int:
    """A descriptor of the folder or file, locked, unless its file system knows no locks.

    Raises:
        UserError: another process has it locked, and still has after SECONDS_TO_CLAIM.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    began, said = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            waited = time.monotonic() - began
            if waited > SECONDS_TO_CLAIM:
                os.close(descriptor)
                raise UserError(
                    f"another process writes to {folder}: wait until it has ended, or stop it"
                ) from None
            if waited > 1 and not said:
                print(f"waiting for another process that writes to {folder}", file=sys.stderr)
                said = True
            time.sleep(0.2)
        except OSError:
            return descriptor
