"""Folders as lists: one for each class, in one for each split or not, or with tables.

These are the trees that Hugging Face's imagefolder reads, and its data sets as Parquet files.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.data.decoding import SUFFIXES
from pipeline.data.lists import binary
from pipeline.data.lists.names import clean_names
from pipeline.data.lists.reading import Listing, Reading, Understood, short
from pipeline.data.lists.table import SPLIT_NAMES, Row
from utils.errors import UserError

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def folder_list(path: Path, reading: Reading, read: Callable[[Path], Listing]) -> Listing:
    """The images in a folder, by the tables there or by the folders that they lie in.

    Args:
        path: of the folder.
        reading: what the user says of it.
        read: reads a table.

    Raises:
        UserError: there is neither, or a table is malformed.
    """
    if tables := tables_in(path):
        return joined(path, {file: (split, read(file)) for file, split in tables.items()})
    inner, splits = inner_folders(path)
    if reading.columns or reading.separator:
        raise UserError(f"--columns and --separator are for tables: leave them out with {path}")
    if not splits or len(splits) < len(inner):
        splits = [""]
    files = {
        (split, name): images_in(path / split / name)
        for split in splits
        for name in names_in(path / split)
        if (path / split / name).is_dir()
    }
    if not any(files.values()):
        raise UserError(
            f"no label file {path}: give a .csv, .jsonl or COCO .json file, or a folder that holds "
            "folders of photos, one for each class"
        )

    def rows() -> Iterator[Row]:
        for (split, name), images in files.items():
            for image in images:
                place = os.path.join(split, name, image)
                yield Row(str(path / place), place, clean_names([name], reading.rename), split)

    classes = clean_names({name for (_, name), images in files.items() if images}, reading.rename)
    astray = sum(
        is_image(path / split / name) for split in splits for name in names_in(path / split)
    )
    notes = [f"{astray} images in no class's folder passed over"] if astray else []
    deep = [os.path.join(*folder, image) for folder, images in files.items() for image in images]
    deep = [place for place in deep if os.path.dirname(place).count(os.sep) > bool(splits[0])]
    if deep:
        notes.append(
            f"{len(deep)} images lie deeper, and get the first folder's label ({short(deep[0])})"
        )
    form = f"a folder for each of {len(set(classes))} classes"
    if splits != [""]:
        form += f" in {', '.join(splits)}"
    return Listing(Understood(form, notes=tuple(notes)), rows, sorted(set(classes)))


def inner_folders(path: Path) -> tuple[list[str], list[str]]:
    """The names of the folders in a folder, and of those that are named as a split is."""
    inner = [name for name in names_in(path) if (path / name).is_dir()]
    return inner, [name for name in inner if name.lower() in SPLIT_NAMES]


def tables_in(path: Path) -> dict[Path, str]:
    """The files that list what is in a folder, each with the split that its place or name says.

    They are metadata, in the folder or in each of those of its splits; or else Parquet files, there
    or in `data/`, such as train-00000-of-00002.parquet.
    """
    for places in ([""], inner_folders(path)[1]):
        found = {place: metadata_in(path / place) for place in places}
        if found and all(found.values()):
            return {file: place for place, file in found.items() if file}
    for folder in (path, path / "data"):
        if files := sorted(folder.glob("[!.]*.parquet")):
            begin = {file: re.split(r"[-_.]", file.name)[0].lower() for file in files}
            return {file: word if word in SPLIT_NAMES else "" for file, word in begin.items()}
    return {}


def metadata_in(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def joined(path: Path, listings: dict[Path, tuple[str, Listing]]) -> Listing:
    """One list of those of several files, whose paths start from the files' folders."""
    prefixes = {file: os.path.relpath(photo_folder(file), path) for file in listings}

    def rows() -> Iterator[Row]:
        for file, (split, listing) in listings.items():
            for row in listing.rows():
                place = os.path.normpath(os.path.join(prefixes[file], row.path))
                yield row._replace(path=place, split=row.split or split)

    names = [os.path.relpath(file, path) for file in listings]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    understood = next(iter(listings.values()))[1].understood
    understood = understood._replace(form=f"{names[0]}{more}: {understood.form}")
    classes = [listing.classes for _, listing in listings.values()]
    known = sorted({name for each in classes for name in each or ()})
    return Listing(understood, rows, None if None in classes else known)


def photo_folder(file: Path) -> Path:
    """The folder that a table's paths start from."""
    return binary.images_folder(file) or file.parent


def names_in(folder: Path) -> list[str]:
    """List what lies in a folder, without what systems hide there."""
    hidden = (".", "__MACOSX")
    return sorted(name for name in os.listdir(folder) if not name.startswith(hidden))


def images_in(folder: Path) -> list[str]:
    """Images in a folder and its folders, as paths from there."""
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        images = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        found += [os.path.relpath(image, folder) for image in images if is_image(image)]
    return found


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()
