"""Lists as text: CSV with commas, semicolons or tabs, and JSON lines."""

import contextlib
import csv
import json
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.data.decoding import SUFFIXES
from pipeline.data.lists.columns import OPTIONAL, USUAL, find_columns
from pipeline.data.lists.names import encoding_of
from utils.errors import UserError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Columns of which objects have few each; of large lists, as many for each value.
SMALL, KEYS_A_CELL = 1 << 22, 64
ABSENT: Any = object()  # the value of a key that an object lacks


class Records(NamedTuple):
    """A list before its columns are understood.

    form: in words. names: of its columns. read: gives each row's place in the file and its values,
    in the order of names: texts, lists of texts, ABSENT, or whatever else stands there.
    """

    form: str
    names: list[str]
    read: Callable[[], Iterator[tuple[str, Sequence[Any]]]]


def delimited(path: Path, given: Mapping[str, str]) -> Records:
    """The records of a CSV file, whose delimiter is the one by which its header is understood.

    Raises:
        UserError: its header is understood by none.
    """
    filled = ((number, line) for number, line in enumerate(read_lines(path), 1) if line.strip())
    first, line = next(filled, (1, ""))
    if line.strip().lower() in ("sep=,", "sep=;", "sep="):  # of Excel; what it says is found anyway
        first += 1
    headers = {}
    for sign in DELIMITERS:
        with contextlib.suppress(UserError):  # quotes that end elsewhere than before this sign
            headers[sign] = header(path, sign, first)
    fit = [sign for sign, names in headers.items() if find_columns(names, given)]
    if not fit:
        raise not_understood(path, header(path, ",", first), given)
    sign = max(fit, key=lambda sign: len(headers[sign]))
    names = headers[sign]

    def read() -> Iterator[tuple[str, list[str]]]:
        lines = read_cells(path, sign, first)
        next(lines)
        for where, cells in lines:
            if not any(map(str.strip, cells)):
                continue
            if len(cells) < len(names) or any(map(str.strip, cells[len(names) :])):
                raise UserError(
                    f"{where}: expected {len(names)} columns, but found {len(cells)}: join "
                    f"labels by | and quote what holds a {DELIMITERS[sign][:-1]}"
                )
            yield where, cells

    return Records(f"CSV with {DELIMITERS[sign]}", names, read)


def not_understood(path: Path, names: Sequence[str], given: Mapping[str, str]) -> UserError:
    missing = [f"{what}={name}" for what, name in given.items() if name not in names]
    if missing:
        return UserError(
            f"--columns {missing[0][:80]}: {path} has no such column; it begins with "
            f"{','.join(names)[:100]!r}"
        )
    if any(Path(name).suffix.lower() in SUFFIXES for name in names):
        return UserError(
            f"{path} must begin with a line of its columns' names, such as path,labels, but begins "
            f"with {','.join(names)[:100]!r}: put one above"
        )
    return UserError(
        f"{path} must begin with the columns path,labels and may have {','.join(OPTIONAL)}, or "
        f"--columns must say which hold them, but begins with {','.join(names)[:100]!r}"
    )


def header(path: Path, delimiter: str, first: int) -> list[str]:
    return [name.strip() for name in next(read_cells(path, delimiter, first), ("", []))[1]]


def read_lines(path: Path) -> Iterator[str]:
    with path.open(encoding=encoding_of(path), newline="") as file:
        yield from file


def read_cells(path: Path, delimiter: str, first: int) -> Iterator[tuple[str, list[str]]]:
    """Read the cells of a CSV file's rows from line `first` on, each with the line it ends on."""
    with path.open(encoding=encoding_of(path), newline="") as file:
        for _ in range(first - 1):
            next(file)
        # A space before a quote would else make the quote a part of the cell.
        lines = csv.reader(file, strict=True, delimiter=delimiter, skipinitialspace=True)
        row = first  # its line: a quote that is not closed takes in those that follow
        try:
            for cells in lines:
                yield f"{path}, line {first - 1 + lines.line_num}", cells
                row = first + lines.line_num
        except csv.Error as error:
            remedy = "close every quote, and double those inside a cell"
            if "NUL" in str(error):  # what Python 3.10 says; later ones read it
                remedy = "write the file anew as UTF-8 text"
            raise UserError(
                f"{path}, line {row}: expected comma-separated values, but found: {error}; {remedy}"
            ) from error


def json_lines(path: Path, given: Mapping[str, str]) -> Records:
    """The records of a JSON-lines file; their columns are all keys of its objects.

    Raises:
        UserError: a line is no object, or no key holds paths or labels.
    """
    keys: dict[str, None] = {}
    cells = 0
    for number, (where, found) in enumerate(read_objects(path), 1):
        keys |= dict.fromkeys(found)
        cells += len(found)
        if number * len(keys) > max(SMALL, KEYS_A_CELL * cells):
            raise UserError(
                f"{where}: expected objects with the same keys, but found {len(keys)} keys so far; "
                "give labels as a list under one key"
            )
        if number == 1 and find_columns(list(found), given) is None:
            raise UserError(
                f"{where}: expected an object with path and labels, but found "
                f"{json.dumps(found, ensure_ascii=False)[:80]!r}"
            )
    names = list(keys)

    def read() -> Iterator[tuple[str, list[Any]]]:
        for where, found in read_objects(path):
            yield where, [found.get(name, ABSENT) for name in names]

    return Records("JSON lines", names or list(USUAL), read)


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file, each with its line; empty lines are skipped."""
    with path.open(encoding=encoding_of(path)) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                found: Any = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: expected a JSON object, but found {error}") from error
            if not isinstance(found, dict):
                raise UserError(
                    f"{where}: expected an object with path and labels, but found "
                    f"{reprlib.repr(line.strip())}"
                )
            yield where, found
