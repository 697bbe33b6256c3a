"""The way from a list in any form to its rows, and to a line that says what was understood."""

import functools
import reprlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.data.lists.columns import OPTIONAL, TRUE, Columns, classes_of, find_columns, token_of
from pipeline.data.lists.delimited import ABSENT, Records, not_understood
from pipeline.data.lists.names import Rename, clean_names, one_form
from pipeline.data.lists.separators import LIST, PIPE, find_separator, name_of, split
from pipeline.data.lists.table import YES_OR_NO, Row
from utils.errors import UserError
from utils.terminal import one_line

short = functools.partial(one_line, longest=60)  # names in messages
SHOWN = 5  # columns that are passed over
EXPECTED = {
    "path": "a text",
    "labels": "a list of texts",
    "split": "train or test, or left out",
    "true_labels": "a list of texts, or left out",
    "verified": "yes or no, or left out",
}


class Reading(NamedTuple):
    """A user's word on a list: see --columns, --separator and --rename.

    columns: names of columns by what they hold. separator: of labels; None: to be found. rename:
    of classes.
    """

    columns: Mapping[str, str] = {}
    separator: str | None = None
    rename: Rename = Rename({})


class Understood(NamedTuple):
    """The way a list was read.

    form: in words. columns: names of those that hold one thing, by what they hold. separator: of
    labels; None where none is needed. classes: columns that hold one class each. others: names of
    columns that are passed over. notes: what else there is to say.
    """

    form: str
    columns: Mapping[str, str] = {}
    separator: str | None = None
    classes: int = 0
    others: Sequence[str] = ()
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say what was understood, in one line of a few hundred characters at most."""
        parts = [self.form]
        parts += [
            f"{what} from {short(name)}" for what, name in self.columns.items() if what != name
        ]
        if self.classes:
            parts.append(f"{self.classes} columns of 0 and 1, one for each class")
        if self.separator == "list":
            parts.append("labels in lists of quoted texts")
        elif self.separator is not None:
            parts.append(f"labels joined by {name_of(self.separator)}")
        if self.others:
            more = ", ..." if len(self.others) > SHOWN else ""
            names = ", ".join(map(short, self.others[:SHOWN]))
            parts.append(f"{len(self.others)} other columns passed over ({names}{more})")
        return "; ".join([*parts, *self.notes])


class Listing(NamedTuple):
    """A list that is understood.

    rows: gives them, anew at each call. classes: names, of lists that name their classes.
    """

    understood: Understood
    rows: Callable[[], Iterator[Row]]
    classes: list[str] | None = None


def understand(
    path: Path, records: Records, reading: Reading, known: Collection[str] = ()
) -> Listing:
    """Find columns and separator of a list that is a table.

    Args:
        path: of the list.
        records: from a reader of its form.
        reading: what the user says of it.
        known: names of the classes, where the user gives them.

    Raises:
        UserError: a column is missing, or the separator is not certain.
    """
    columns = find_columns(records.names, reading.columns)
    if columns is None:
        raise not_understood(path, records.names, reading.columns)
    names = [name.strip() for name in records.names]
    if "labels" in columns.of:
        classes = None
        separator = reading.separator
        if separator is None:
            cells, piped = count_cells(records, columns)
            old = {*known, *reading.rename.names} if known else ()
            separator = find_separator(str(path), cells, piped, old) if cells else None
        elif separator not in (PIPE, LIST):
            refuse_pipes(path, records, columns, separator)
    else:
        values = (row for _, row in records.read())
        columns = classes_of(str(path), names, columns, values, reading.columns)
        separator = None
        classes = sorted(set(clean_names((names[c] for c in columns.classes), reading.rename)))
    understood = Understood(
        records.form,
        {what: names[place] for what, place in columns.of.items()},
        separator,
        len(columns.classes),
        [names[place] for place in columns.others if names[place]],
    )

    def rows() -> Iterator[Row]:
        for where, values in records.read():
            yield row_of(where, values, names, columns, separator or PIPE, reading.rename)

    return Listing(understood, rows, classes)


def texts_of_labels(records: Records, columns: Columns) -> Iterator[str]:
    """The cells of labels that are texts."""
    places = [columns.of[what] for what in ("labels", "true_labels") if what in columns.of]
    for _, values in records.read():
        yield from (values[place] for place in places if isinstance(values[place], str))


def refuse_pipes(path: Path, records: Records, columns: Columns, separator: str) -> None:
    """Refuse a list that joins by | though another separator is given.

    Raises:
        UserError: what | parts in a label is a label elsewhere, or a part of another.
    """
    labels = {
        one_form(p) for cell in texts_of_labels(records, columns) for p in split(cell, separator)
    }
    joined = {
        label: {one_form(part) for part in label.split(PIPE)} for label in labels if PIPE in label
    }
    parts = Counter(part for found in joined.values() for part in found)
    for label, found in joined.items():
        if any(part in labels or parts[part] > 1 for part in found if part):
            raise UserError(
                f"{path}: --separator is {name_of(separator)}, but labels are joined by |, as in "
                f"{short(label)!r}: leave --separator out, or write names without |"
            )


def count_cells(records: Records, columns: Columns) -> tuple[Counter[str], bool]:
    """Count the texts in the columns of labels, parted at |, and tell whether there was |."""
    cells: Counter[str] = Counter()
    piped = False
    for cell in texts_of_labels(records, columns):
        if PIPE in cell and cell.strip() != PIPE:
            piped = True
            cells.update(filter(None, map(one_form, cell.split(PIPE))))
        else:
            cells[one_form(cell)] += 1
    return cells, piped


def row_of(
    where: str,
    values: Sequence[Any],
    names: Sequence[str],
    columns: Columns,
    separator: str,
    rename: Rename,
) -> Row:
    """The row of a table's values.

    Raises:
        UserError: one is of another kind than its column holds.
    """
    found: dict[str, Any] = {}
    for what, place in columns.of.items():
        value = values[place]
        if value is ABSENT or (value is None and what in OPTIONAL):
            if what not in OPTIONAL:
                raise UserError(f"{where}: expected an object with path and labels, but found none")
            continue
        if what == "verified" and isinstance(value, bool):
            value = "yes" if value else "no"
        of_texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if not isinstance(value, str) and not (what.endswith("labels") and of_texts):
            raise UserError(
                f"{where}: expected {what} to be {EXPECTED[what]}, but found {reprlib.repr(value)}"
            )
        if what.endswith("labels"):
            if what == "true_labels" and isinstance(value, str) and not value.strip():
                continue
            try:
                parts = split(value, separator) if isinstance(value, str) else value
            except ValueError as error:
                raise UserError(
                    f"{where}: expected a list of quoted texts, but found {value[:60]!r}; correct "
                    "it, or give another --separator"
                ) from error
            value = clean_names(parts, rename)
        if what == "split" and names[place].casefold().startswith("is"):
            value = split_of(where, value)
        found[what] = value
    if columns.classes:
        ones = [place for place in columns.classes if token_of(values[place]) in TRUE]
        found["labels"] = clean_names((names[place] for place in ones), rename)
    return Row(where, **found)


def split_of(where: str, value: str) -> str:
    """The split that a column such as is_valid says."""
    answer = value.strip().lower()
    if answer not in YES_OR_NO or not answer:
        raise UserError(f"{where}: expected yes or no for a test image, but found {value[:80]!r}")
    return "test" if YES_OR_NO[answer] else "train"
