"""Names of classes: in one form, given in a file, and renamed by one."""

import codecs
import contextlib
import csv
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from utils.errors import UserError

LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # of a file name that is no UTF-8


class Rename:
    """New names of classes, and which of them were asked for.

    Args:
        names: by the names that a list has; an empty one drops the label.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names, self.used = names, set[str]()

    def __call__(self, name: str) -> str:
        if name in self.names:
            self.used.add(name)
        return self.names.get(name, name)

    def unused(self) -> list[str]:
        """Names that no list has had so far."""
        return [name for name in self.names if name not in self.used]


def clean_names(names: Iterable[str], rename: Rename) -> list[str]:
    """Names in one Unicode form, without spaces round them, as `rename` has them.

    Empty ones, and those renamed to nothing, are left out.
    """
    return [name for name in map(rename, map(one_form, names)) if name]


@functools.lru_cache(4096)  # of the few names that a long list repeats
def one_form(name: str) -> str:
    """A name without spaces round it, and of the forms that look alike that of composed accents."""
    return unicodedata.normalize("NFC", name.strip()).strip()


def is_line(text: str, errors: str = "strict") -> bool:
    """Tell whether `text` can stand on a line of a UTF-8 file, with `errors` as in str.encode.

    >>> is_line("sea"), is_line(""), is_line("sea\\nsand"), is_line("\\ud800")
    (True, False, False, False)
    """
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
    return text.splitlines() == [text] and "\0" not in text


def encoding_of(path: str | Path) -> str:
    """The encoding of a text: UTF-16 where its first bytes say so, as in Excel's; else UTF-8."""
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    with Path(path).open("rb") as file:
        return "utf-16" if file.read(2) in marks else "utf-8-sig"


def read_classes(path: str | Path) -> list[str]:
    """Class names, one a line; empty lines are skipped.

    Raises:
        UserError: the file cannot be read, is empty, or repeats a name.
    """
    classes = [one_form(line) for line in read_text(path, "class list").splitlines()]
    classes = [name for name in classes if name]
    repeated = next((name for name, count in Counter(classes).items() if count > 1), None)
    if repeated or not classes:
        found = f"'{repeated}' twice" if repeated else "none"
        raise UserError(f"class list {path} must name every class once, but names {found}")
    return classes


def read_rename(path: str | Path) -> Rename:
    """New names of classes, a line each: the old name and the new one, or nothing in its place.

    Columns are parted by comma, semicolon or tab. All are renamed at once.

    Raises:
        UserError: the file cannot be read, a line has not two cells, or what a name becomes is not
            clear.
    """
    lines = [line for line in read_text(path, "--rename").splitlines() if line.strip()]
    pairs = None
    with contextlib.suppress(csv.Error):  # a cell beyond its limit
        tables = ([*csv.reader(lines, delimiter=sign)] for sign in ",;\t")
        pairs = next((table for table in tables if all(len(row) == 2 for row in table)), None)
    if not pairs:
        raise UserError(
            f"--rename {path}: expected a line for each name, old,new or old, to drop it; quote "
            "names that hold a comma"
        )
    names: dict[str, str] = {}
    for old, new in (map(one_form, pair) for pair in pairs):
        if not old or names.get(old, new) != new or (new and not is_line(new)):
            raise UserError(f"--rename {path}: expected one new name of {old[:80]!r}")
        names[old] = new
    again = [new for new in names.values() if names.get(new, new) != new]
    if again:
        raise UserError(f"--rename {path}: {again[0][:80]!r} is a new name, and renamed itself")
    return Rename(names)


def read_text(path: str | Path, what: str) -> str:
    """The text of a small file; `what` names it in errors."""
    try:
        return Path(path).read_text(encoding_of(path))
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise UserError(f"{what} {path} cannot be read: {error}; save it as UTF-8") from error
