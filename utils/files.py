"""Writing files so that neither a crash nor a second process leaves half of one."""

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from utils import distributed
from utils.errors import UserError

# The loader processes of a run that was killed notice it, and let go of its folder, after 5.
SECONDS_TO_CLAIM = 15


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it when the block succeeds.

    On any error the temporary file is removed and an older `path` stays as it was. Folders that
    are missing on the way to `path` are made, and on an error removed again. The temporary name
    keeps the suffix, since writers such as np.save add their own where it is missing.
    """
    path = Path(path)
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        # Writes to an open file fail without naming it.
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)
        temporary.unlink(missing_ok=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # something else is in it by now
                folder.rmdir()
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON, all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other runs from writing to a folder that exists; they must claim it too.

    Of the processes of a run the first claims it. The claim ends with it at the latest. Where the
    file system knows no claims, as some network ones, all goes on without.

    Raises:
        UserError: another process has claimed it.
    """
    if distributed.rank() > 0:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + SECONDS_TO_CLAIM
        while not try_to_lock(descriptor):
            if time.monotonic() > deadline:
                raise UserError(
                    f"another process writes to {folder}: wait until it has ended, or stop it"
                )
            time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def try_to_lock(descriptor: int) -> bool:
    """Whether no other process has locked the open file or folder; this one then has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
