"""Writing files so that a crash, a full disk or Ctrl-C never leaves half of one."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
