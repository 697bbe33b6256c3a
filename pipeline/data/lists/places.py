"""Files of a list whose paths are written otherwise than the disk has them."""

import contextlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.data.decoding import SUFFIXES
from pipeline.data.images import exist, list_files

TRIED = 100  # names, to find the folders that may be put in front
Names = dict[str, list[str]]  # of a folder, by how they are compared


def locate(folder: str | Path, names: Sequence[str]) -> list[str]:
    """The N names as the files are called, each as it was where no file, or more than one, fits.

    A file fits if only these differ: \\ for /, upper and lower case, composed and decomposed
    accents, and a suffix that the list leaves out. Where no name is found at all, folders that all
    names begin with are taken off, as of a list from another machine, or else the one folder within
    `folder` that has more than half of them is put in front. No two names get one file.

    Raises:
        UserError: there is no `folder`.
    """
    there = exist(folder, names)
    lost = [row for row in range(len(names)) if not there[row]]
    listings: dict[str, list[Names]] = {}
    places = {row: parts_of(names[row]) for row in lost}
    fits = {row: fit(str(folder), parts, listings) for row, parts in places.items()}
    if len(lost) == len(names) and not any(fits.values()):
        fits = fit_elsewhere(str(folder), places, listings)
    taken = Counter(filter(None, fits.values()))
    taken.update(os.path.normpath(names[row]) for row in range(len(names)) if there[row])
    return [
        file if (file := fits.get(row)) and taken[file] == 1 else name
        for row, name in enumerate(names)
    ]


def fit_elsewhere(
    folder: str, places: Mapping[int, list[str]], listings: dict[str, list[Names]]
) -> dict[int, str | None]:
    """The files that names fit, by row, if first folders are taken off or one is put in front."""

    def most(cut: int = 0, front: Sequence[str] = ()) -> dict[int, str | None]:
        found = {r: fit(folder, [*front, *ps[cut:]], listings) for r, ps in places.items()}
        return found if 2 * sum(map(bool, found.values())) > len(found) else {}

    lowest, highest = min(places.values())[:-1], max(places.values())[:-1]
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(lowest, highest))
    for cut in range(1, len(list(shared)) + 1):
        if found := most(cut):
            return found
    first = list(places.values())[:TRIED]
    inner = [
        name
        for name in list_files(folder)
        if not name.startswith(".")
        and any(fit(folder, [name, *parts], listings) for parts in first)
    ]
    return most(front=inner) if len(inner) == 1 else {}


def parts_of(name: str) -> list[str]:
    """Folders and name of a path, written for Windows or for others."""
    parts = list(filter(None, name.replace("\\", "/").split("/")))
    return ["/", *parts] if name.startswith("/") else parts


def fit(folder: str, parts: Sequence[str], listings: dict[str, list[Names]]) -> str | None:
    """The one file below `folder` that a path fits, as a path from there; None if there is none.

    Args:
        folder: to start from.
        parts: of the path.
        listings: of the folders looked at so far.
    """
    found = ""
    for number, part in enumerate(parts):
        if part in ("/", ".", ".."):
            found = os.path.join(found, part)
            continue
        place = os.path.join(folder, found)
        if place not in listings:
            listings[place] = list_by_ways(place)
        ways = WAYS if number == len(parts) - 1 else WAYS[:-1]  # a folder has no suffix
        same = (listings[place][n].get(how(part) or "", []) for n, (how, _) in enumerate(ways))
        names = next(filter(None, same), [])
        if len(names) != 1:
            return None
        found = os.path.join(found, names[0])
    return found or None


def list_by_ways(folder: str) -> list[Names]:
    """List what lies in a folder, by each way to compare names; nothing where it cannot be read."""
    names: set[str] = set()
    with contextlib.suppress(OSError, ValueError):
        names = list_files(folder)
    listings: list[Names] = [{} for _ in WAYS]
    for listing, (_, how) in zip(listings, WAYS):
        for name in sorted(names):
            listing.setdefault(how(name), []).append(name)
    return listings


def composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def caseless(name: str) -> str:
    return composed(composed(name).casefold())


def without_suffix(name: str) -> str | None:
    """A listed name that leaves out the suffix of a photo, caseless; None of one that has it."""
    return None if os.path.splitext(name)[1].lower() in SUFFIXES else caseless(name)


def stem(name: str) -> str:
    """A photo's name without its suffix, caseless; other names whole."""
    base, suffix = os.path.splitext(name)
    return caseless(base if suffix.lower() in SUFFIXES else name)


# Each a form of what is listed, and one of what lies in a folder, which are to be equal.
WAYS: tuple[tuple[Callable[[str], str | None], Callable[[str], str]], ...] = (
    (str, str),
    (composed, composed),
    (caseless, caseless),
    (without_suffix, stem),
)
