"""The content of each column of a list: by its usual name, or as --columns says."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from utils.errors import UserError

# By `key_of`; the first that a list has counts, so that its others are passed over.
USUAL = {
    "path": (
        "path filepath file filename fname imagepath image imagename imagefile img photo imageid"
    ),
    "labels": "labels tags label tag classes categories keywords class category labelname",
    "split": "split set subset partition isvalid istest",
    "true_labels": "truelabels",
    "verified": "verified",
}
OPTIONAL = list(USUAL)[2:]
NO_CLASS = re.compile(r"(unnamed\d*|index|id)?")  # columns that pandas and others add
TRUE, FALSE, MINUS = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}, {"-1", "-1.0"}


class Columns(NamedTuple):
    """The columns of a list, by number.

    of: what is in columns that hold one thing, such as path. classes: those that hold 0 or 1 of
    one class each, where no column holds the labels. others: those that are passed over.
    """

    of: Mapping[str, int]
    classes: tuple[int, ...] = ()
    others: tuple[int, ...] = ()


def key_of(name: str) -> str:
    """A column's name without case, spaces, _ and -."""
    return re.sub(r"[\s_\-]", "", name).casefold()


def find_columns(names: Sequence[str], given: Mapping[str, str]) -> Columns | None:
    """The columns that hold one thing, whatever their values; None where paths or labels lack.

    Where no column holds the labels, all that are left may be of a class each.

    Args:
        names: of the list's columns.
        given: names by what they hold, as --columns says.
    """
    stripped, keys = [name.strip() for name in names], [key_of(name) for name in names]
    found, classes = {}, []
    for what, name in given.items():
        if name in stripped:
            found[what] = stripped.index(name)
        elif what == "labels":
            wanted = set(several(given))
            classes = [place for place, name in enumerate(stripped) if name in wanted]
    taken = {*found.values(), *classes}
    for what in (what for what in USUAL if what not in given):
        for key in USUAL[what].split():
            places = [place for place, other in enumerate(keys) if other == key]
            places = [place for place in places if place not in taken]
            if len(places) > 1:
                return None
            if places:
                found[what] = places[0]
                break
    if any(what not in found and not (what == "labels" and classes) for what in given):
        return None
    left = [place for place in range(len(names)) if place not in found.values()]
    if "labels" not in found and not classes:
        classes = [place for place in left if not NO_CLASS.fullmatch(keys[place].strip(":"))]
    if "path" not in found or not ("labels" in found or classes):
        return None
    others = sorted({*left} - {*classes})
    return Columns(found, tuple(classes), tuple(others))


def several(given: Mapping[str, str]) -> list[str]:
    """The columns of classes that --columns labels=sea,sand names."""
    return [name.strip() for name in given.get("labels", "").split(",")]


def classes_of(
    path: str,
    names: Sequence[str],
    columns: Columns,
    rows: Iterator[Sequence[Any]],
    given: Mapping[str, str],
) -> Columns:
    """Keep those columns that may be of a class and hold 0 and 1 alone.

    Raises:
        UserError: none does, or they hold -1 too, which some write for false and others for
            uncertain.
    """
    tokens: dict[int, set[str]] = {place: set() for place in columns.classes}
    for row in rows:
        for place, found in tokens.items():
            if len(found) < 8:
                found.add(token_of(row[place]))
    known = TRUE | FALSE | MINUS | {""}
    classes = [place for place, found in tokens.items() if found <= known and found - {""}]
    minus = any(tokens[place] & MINUS for place in classes)
    if minus and any(tokens[place] & FALSE for place in classes):
        raise UserError(
            f"{path}: expected columns path and labels, or one of 0 and 1 for each class, but "
            "found -1, 0 and 1; correct it, or give --columns"
        )
    if not classes or ("labels" in given and len(classes) < len(columns.classes)):
        place = next(place for place in columns.classes if place not in classes)
        value = min(tokens[place] - known, default="")
        remedy = "" if "labels" in given else ", or give --columns labels=NAME"
        raise UserError(
            f"{path}: expected a column called labels, or one of 0 and 1 for each class, but "
            f"{names[place][:40]!r} holds {value!r}: correct it{remedy}"
        )
    others = {*columns.others, *columns.classes} - set(classes)
    return columns._replace(classes=tuple(classes), others=tuple(sorted(others)))


def token_of(value: Any) -> str:
    return str(value).strip().lower()[:10]
