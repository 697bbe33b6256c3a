"""Folders as lists: one for each class, in one for each split or not, or with metadata files.

These are the trees that Hugging Face's imagefolder reads.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.data.decoding import SUFFIXES
from pipeline.data.lists.names import clean_names
from pipeline.data.lists.reading import Listing, Reading, Understood
from pipeline.data.lists.table import SPLIT_NAMES, Row
from utils.errors import UserError

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def folder_list(path: Path, reading: Reading, read: Callable[[Path], Listing]) -> Listing:
    """The images in a folder, by the metadata there or by the folders that they lie in.

    Args:
        path: of the folder.
        reading: what the user says of it.
        read: reads a metadata file.

    Raises:
        UserError: there is neither, or a metadata file is malformed.
    """
    inner = [name for name in names_in(path) if (path / name).is_dir()]
    splits = [name for name in inner if name.lower() in SPLIT_NAMES]
    for places in ([""], splits):
        found = {place: metadata_in(path / place) for place in places}
        if found and all(found.values()):
            return joined({place: read(file) for place, file in found.items() if file})
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
    notes = (f"{astray} images in no class's folder passed over",) if astray else ()
    form = f"a folder for each of {len(set(classes))} classes"
    if splits != [""]:
        form += f" in {', '.join(splits)}"
    return Listing(Understood(form, notes=notes), rows, sorted(set(classes)))


def metadata_in(folder: Path) -> Path | None:
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def joined(listings: dict[str, Listing]) -> Listing:
    """One list of those of several splits, by name, whose paths start from the splits' folders."""

    def rows() -> Iterator[Row]:
        for split, listing in listings.items():
            for row in listing.rows():
                yield row._replace(path=os.path.join(split, row.path), split=row.split or split)

    understood = next(iter(listings.values())).understood
    where = f" in {', '.join(listings)}" if listings.keys() != {""} else ""
    understood = understood._replace(form=f"metadata{where}, {understood.form}")
    classes = [listing.classes for listing in listings.values()]
    known = sorted({name for each in classes for name in each or ()})
    return Listing(understood, rows, None if None in classes else known)


def names_in(folder: Path) -> list[str]:
    """What lies in a folder, without what systems hide there."""
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
