"""Visual Genome with 256 classes: those of its 108,077 photos that show one, split 7 to 3.

    VG                               <- root
        formatted_train_images.npy   (N,) file names, such as "VG_100K/1.jpg"
        formatted_train_labels.npy   (N, 256) in {0, 1}
        formatted_val_images.npy, formatted_val_labels.npy: the test split
        vg256.json                   {class: [object names]}, in the order of the classes
        objects.json                 of Visual Genome v1.2
        VG_100K                      1.jpg ...: the photos of both archives, in one folder

objects.json is read only where no formatted file is there yet: it and vg256.json give all four.
Without vg256.json classes have numbers for names.
Source: https://homes.cs.washington.edu/~ranjay/visualgenome/api.html
"""

import contextlib
import functools
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.arrays import read_array
from pipeline.data.images import open_images
from pipeline.data.labelled import LabelledImages, Split
from utils.errors import UserError
from utils.files import atomic_path

PARTS = {"train": "train", "test": "val"}
ADJECTIVES = frozenset(
    "white black blue green red brown yellow small large silver wooden orange gray grey metal pink "
    "tall long dark".split()
)
REMEDY = (
    "download it again, or delete the four formatted files to have them made from objects.json "
    "and vg256.json"
)
PLACE = (
    "--path_images must be the folder VG, with the four formatted .npy files, or with objects.json "
    "and vg256.json to make them from"
)


def load(root: str | Path, split: Split, allow_missing: bool = False) -> LabelledImages:
    """One split of VG-256, in the order of the formatted files; ids are the file names.

    The formatted files are made first where `root` has none of the four.

    Args:
        root: the folder VG.
        split: train, or test, which is called val in the names of files.
        allow_missing: leave out images without a file.

    Raises:
        UserError: a file or an image is missing, or a file is malformed.
    """
    root = Path(root)
    paths = formatted_paths(root)
    if not any(path.exists() for path in paths.values()):
        print(f"making the four formatted files in {root} from objects.json, once", file=sys.stderr)
        make_formatted(root)
    images_path, labels_path = (paths[PARTS[split], content] for content in ("images", "labels"))
    names, targets = _read_names(images_path), _read_targets(labels_path)
    if len(names) != len(targets):
        raise UserError(
            f"{labels_path} must have a row for each of the {len(names)} images of "
            f"{images_path.name}, but has {len(targets)}; {REMEDY}"
        )
    classes = [f"class_{column:03}" for column in range(targets.shape[1])]
    if (root / "vg256.json").exists():
        classes = list(read_categories(root / "vg256.json"))
    if len(classes) != targets.shape[1]:
        raise UserError(
            f"{labels_path} must have a column for each of the {len(classes)} classes of "
            f"vg256.json, but has {targets.shape[1]}; {REMEDY}"
        )
    return open_images(root, names, classes, targets, allow_missing=allow_missing)


def formatted_paths(root: Path) -> dict[tuple[str, str], Path]:
    """The four formatted files, by part (train, val) and content (images, labels)."""
    return {
        (part, content): root / f"formatted_{part}_{content}.npy"
        for part in PARTS.values()
        for content in ("images", "labels")
    }


def make_formatted(root: Path) -> None:
    """Write the four formatted files, as the authors' script does, all or none.

    Images are ordered by id; which go to which part is drawn, the same on every machine.

    Raises:
        UserError: a JSON file is missing or malformed, or fewer than two images show a class.
        OSError: the files cannot be written.
    """
    categories = read_categories(root / "vg256.json")
    columns = {name: column for column, names in enumerate(categories.values()) for name in names}
    shown = read_objects(root / "objects.json", columns)
    if len(shown) < 2:
        raise UserError(
            f"{root / 'objects.json'} must hold two images or more with an object of vg256.json, "
            f"but has {len(shown)}; download both again"
        )
    names = np.array([f"VG_100K/{image}.jpg" for image in sorted(shown)])
    labels = np.zeros((len(names), len(categories)), np.uint8)
    for row, image in enumerate(sorted(shown)):
        labels[row, list(shown[image])] = 1
    # The legacy generator, whose stream numpy has frozen, is the one behind the published split.
    order = np.random.RandomState(1).permutation(len(names))
    cut = len(names) - round(0.3 * len(names))
    rows = {"train": np.sort(order[:cut]), "val": np.sort(order[cut:])}
    with contextlib.ExitStack() as stack:
        for (part, content), path in formatted_paths(root).items():
            array = names[rows[part]] if content == "images" else labels[rows[part]].astype(float)
            with open(stack.enter_context(atomic_path(path)), "wb") as file:
                np.save(file, array, allow_pickle=False)


def read_categories(path: Path) -> dict[str, list[str]]:
    """The object names of each class.

    Raises:
        UserError: the file is missing or malformed.
    """
    try:
        categories = json.loads(path.read_text("utf-8"))
        if not isinstance(categories, dict) or not all(map(_is_texts, categories.values())):
            raise ValueError("JSON of another form")
        if not categories:
            raise ValueError("no class")
    except OSError as error:
        raise _cannot_read(path, error, PLACE) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} must hold {{class: [object names]}}, but found: {error}; download it again"
        ) from error
    return categories


def read_objects(path: Path, columns: Mapping[str, int]) -> dict[int, set[int]]:
    """Columns of the classes that each image shows, by image id, where it shows any.

    Args:
        path: of objects.json.
        columns: the column of an object's name, as `clean_name` gives it.

    Raises:
        UserError: the file is missing or malformed.
    """

    @functools.cache
    def find(name: str) -> frozenset[int]:
        cleaned = clean_name(name)
        return frozenset([columns[cleaned]] if cleaned in columns else [])

    def shrink(item: dict[str, Any]) -> Any:
        # As the parser meets each object: kept whole, the 3.8 million would take gigabytes.
        # No JSON parses to a frozenset by itself, so it marks an object that was well formed.
        if "names" not in item or not _is_texts(item["names"]):
            return item
        return find(item["names"][0]) if item["names"] else frozenset()

    shown: dict[int, set[int]] = {}
    try:
        with open(path, encoding="utf-8") as file:
            entries = json.load(file, object_hook=shrink)
        if not isinstance(entries, list):
            raise ValueError("no list")
        for number, entry in enumerate(entries, 1):
            image, objects = _check_entry(number, entry)
            found = frozenset().union(*objects)
            if found:
                shown.setdefault(image, set()).update(found)
    except OSError as error:
        raise _cannot_read(path, error, PLACE) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} must hold [{{image_id: number, objects: [{{names: [name, ...]}}, ...]}}, "
            f"...], but found: {error}; download objects.json of Visual Genome v1.2 again"
        ) from error
    return shown


def clean_name(name: str) -> str:
    """An object's name as vg256.json writes it: a noun without colour, size or material.

    >>> clean_name(" Tall  wooden Table. "), clean_name("hot dog"), clean_name("orange")
    ('table', 'hot dog', 'orange')
    """
    name = name.lower().strip().removesuffix(".").strip()
    *adjectives, noun = name.split() or [""]
    return noun if ADJECTIVES.issuperset(adjectives) else name


def _is_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(text, str) for text in found)


def _check_entry(number: int, entry: Any) -> tuple[int, list[frozenset[int]]]:
    """Image id and objects of an entry of objects.json, after its objects were shrunk."""
    match entry:
        case {"image_id": image, "objects": list(objects)} if type(image) is int:
            if all(isinstance(item, frozenset) for item in objects):
                return image, objects
    raise ValueError(f"another form in entry {number}")


def _read_names(path: Path) -> list[str]:
    """The file names of one part."""
    with _refuse_array(path, "an (N,) array of file names"):
        names = read_array(path, "U", 1).tolist()
        odd = [name for name in names if not name.isprintable() or not name]
        if odd:
            raise ValueError(f"the name {ascii(odd[0])[:80]}")
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise ValueError(f"{name} {count} times")
        return names


def _read_targets(path: Path) -> np.ndarray:
    """The targets (N, C) int8 in {0, 1} of one part."""
    with _refuse_array(path, "an (N, C) array of 0 and 1"):
        labels = read_array(path, "iuf", 2)
        wrong = (labels != 0) & (labels != 1)  # before the cast, under which 256 would pass as 0
        if wrong.any():
            raise ValueError(f"{wrong.sum()} other values, first {labels[wrong][0]}")
        return labels.astype(np.int8)


@contextlib.contextmanager
def _refuse_array(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever goes wrong with an array into one line."""
    try:
        yield
    except OSError as error:
        raise _cannot_read(path, error, REMEDY) from error
    except Exception as error:  # parsers of headers raise of any kind
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"{path} must hold {expected}, but found: {reason}; {REMEDY}") from error


def _cannot_read(path: Path, error: OSError, remedy: str) -> UserError:
    return UserError(f"expected {path}, but found: {error.strerror}; {remedy}")
