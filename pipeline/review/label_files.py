"""The files that a review leaves: every candidate with its probability, and the labels kept."""

import csv
import itertools
import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import candidates as candidate_files
from pipeline.data import coco, label_file
from pipeline.data.labelled import LabelledImages
from pipeline.data.lists.folders import images_in
from pipeline.data.lists.names import LONE_SURROGATE, Rename, one_form
from pipeline.data.training_data import noise_was_added
from pipeline.data.verified import Verified
from pipeline.review.scan import Entries
from utils.files import atomic_path
from utils.options.training import TrainingOptions
from utils.spreadsheets import as_text, joined_cell, path_cell

Labels = dict[str, list[str]]  # of images, by path as `label_file` names them
TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


def write_table(
    path: Path, data: LabelledImages, entries: Entries, probability: np.ndarray, kept: np.ndarray
) -> None:
    """A CSV file of all M candidates: path (the image's id), candidate, probability, decision.

    A cell that is like a formula gets an apostrophe in front, see `utils.spreadsheets`.
    """
    with atomic_path(path) as temporary, temporary.open("w", **TEXT) as file:
        # Quoted throughout: some spreadsheets part cells at semicolons.
        table = csv.writer(file, quoting=csv.QUOTE_ALL)
        table.writerow(["path", "candidate", "probability", "decision"])
        classes = [as_text(name) for name in data.classes]
        for row, column, p, keep in zip(*entries[1:], probability, kept):
            decision = "kept" if keep else "dropped"
            table.writerow([as_text(data.ids[row]), classes[column], f"{p:.4f}", decision])


def write_kept(
    stem: Path,
    options: TrainingOptions,
    data: LabelledImages,
    candidates: np.ndarray,
    verified: Verified | None = None,
    others: tuple[Labels, Labels] = ({}, {}),
) -> list[Path]:
    """The candidates kept, to train on: as a candidate file, and in the form of a label file.

    The latter where the candidates came in one: not with noise that the run has added.

    Args:
        stem: of the files' names: <stem>.npy with its .json, and for --dataset files <stem>.csv,
            .jsonl or .json (a COCO file), <stem>-coco.json.
        options: of the run.
        data: its training images.
        candidates: (N, C) in {0, 1}, those kept.
        verified: training images whose labels are known, which both files say.
        others: labels, and true labels of verified ones, of other images of the list.

    Returns:
        the files to train on. Beside the label file stands <stem>-classes.txt for --classes: a
        class of which no label is left would not be known from it.
    """
    array = stem.with_name(f"{stem.name}.npy")
    origin = candidate_files.Origin(
        options.dataset, options.partial_rate, options.seed, candidate_files.REVIEWED
    )
    candidate_files.write_candidates(array, candidates, data, origin, verified)
    if not has_list(options):
        return [array]
    kept = others[0] | labels_of(data.ids, data.classes, candidates)
    true = others[1]
    if verified is not None:
        names = [data.ids[row] for row in verified.rows.tolist()]
        true = true | labels_of(names, data.classes, verified.truth)
    suffix = written_suffix(Path(str(options.labels)), data.classes)
    path = stem.with_name(f"{stem.name}{'-coco' if suffix == '.json' else ''}{suffix}")
    write_labels(path, options, kept, true)
    write_classes(classes_beside(array), data.classes)
    return [array, path]


def write_classes(path: Path, classes: Sequence[str]) -> None:
    """Write names of classes for --classes."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in classes), "utf-8")


def classes_beside(path: Path) -> Path:
    """The file of classes that is written beside <stem>.npy or a list."""
    return path.with_name(f"{path.stem}-classes.txt")


def place_of_images(options: TrainingOptions) -> str:
    """The folder that the paths of a run's list start from."""
    return str(label_file.image_folder(Path(str(options.labels)), options.path_images))


def flags_of_list(options: TrainingOptions, path: Path, classes: Path) -> str:
    """The flags that train on a run's list written anew, and which of the run's to leave out.

    Args:
        options: of the run.
        path: of the list.
        classes: the file of its classes.
    """
    flags = ["--labels", str(path), "--path_images", place_of_images(options)]
    flags += ["--classes", str(classes), *(["--allow_missing"] if options.allow_missing else [])]
    named = ("columns", "separator", "rename", "noise_file", "verified")  # the list has these
    left = [f"--{name}" for name in named if getattr(options, name) is not None]
    without = f", and leave out {' and '.join(left)}" if left else ""
    return f"{shlex.join(flags)} in place of the run's{without}"


def has_list(options: TrainingOptions) -> bool:
    """Tell whether a run's candidates are labels as found in a list, or kept of these."""
    return options.dataset == "files" and not noise_was_added(options)


def labels_of(names: Iterable[str], classes: list[str], labels: np.ndarray) -> Labels:
    """Class names of each image's labels (N, C) in {0, 1}, by the image's name."""
    return {
        name: [classes[column] for column in np.flatnonzero(row)]
        for name, row in zip(names, labels)
    }


def written_suffix(source: Path, classes: Sequence[str]) -> str:
    """The suffix of a list written anew: of its own form, or CSV, or JSON lines where CSV fails.

    CSV cannot hold | in a label, nor the name of a file that is no UTF-8.
    """
    suffix = source.suffix.lower()
    if suffix in (".json", ".jsonl", ".ndjson"):
        return suffix
    files = images_in(source) if source.is_dir() else []  # in what is text a name is UTF-8
    in_utf8 = not LONE_SURROGATE.search("".join(files))
    in_csv = in_utf8 and suffix != ".parquet" and not any("|" in name for name in classes)
    return ".csv" if in_csv else ".jsonl"


def write_labels(path: Path, options: TrainingOptions, kept: Labels, true: Labels) -> None:
    """A run's list with other labels for the images in `kept`, in the form of `path`'s suffix.

    Every image gets its split, so that training divides them as before.

    Args:
        options: of the run: where its list is and how it is read.
        kept: labels.
        true: true labels of the images that are verified now, which are in `kept` too.
    """
    source, reading = Path(str(options.labels)), label_file.reading_of(options)
    rows, table = read_list(options)
    splits = splits_of(table, options.seed)
    with atomic_path(path) as temporary, temporary.open("w", **TEXT) as file:
        if path.suffix == ".json":
            content = rename_coco(json.loads(source.read_text("utf-8-sig")), reading.rename)
            json.dump(relabel_coco(content, table, splits, kept, true), file, ensure_ascii=True)
        else:
            writer = write_csv if path.suffix == ".csv" else write_json_lines
            writer(file, relabelled(rows, splits, kept, true))


def read_list(options: TrainingOptions) -> tuple[Iterable[label_file.Row], label_file.Table]:
    """The rows of a run's list, and all that is in them."""
    source, reading = Path(str(options.labels)), label_file.reading_of(options)
    classes = None if options.classes is None else label_file.read_classes(options.classes)
    rows = label_file.read_rows(source, reading, classes)
    return rows, label_file.read_table(source, classes, reading)


def splits_of(table: label_file.Table, seed: int) -> dict[str, str]:
    """The split of each image of a list, by path."""
    test = label_file.divide(table, seed)
    return dict(zip(table.paths, np.where(test, "test", "train").tolist()))


def relabelled(
    rows: Iterable[label_file.Row], splits: dict[str, str], kept: Labels, true: Labels
) -> Iterator[label_file.Row]:
    for row in rows:
        name = label_file.normalised(row.path)
        row = row._replace(labels=kept.get(name, row.labels), split=splits[name])
        yield row._replace(true_labels=true[name], verified="yes") if name in true else row


def write_csv(file: Any, rows: Iterable[label_file.Row]) -> None:
    """Rows as CSV, with a column verified where one of them says something.

    No cell begins like a formula, and each is read as the row has it.
    """
    rows = list(rows)
    table = csv.writer(file, quoting=csv.QUOTE_ALL)  # as in `write_table`
    names = ["path", "labels", "split", "true_labels", "verified"]
    columns = len(names) if any(row.verified for row in rows) else len(names) - 1
    table.writerow(names[:columns])
    for row in rows:
        true = "" if row.true_labels is None else joined(row.true_labels) or "|"
        cells = [path_cell(row.path), joined(row.labels), row.split, true, row.verified]
        table.writerow(cells[:columns])


def joined(labels: list[str]) -> str:
    return joined_cell(labels, labels)


def write_json_lines(file: Any, rows: Iterable[label_file.Row]) -> None:
    for row in rows:
        record: dict[str, Any] = {"path": row.path, "labels": row.labels, "split": row.split}
        if row.true_labels is not None:
            record["true_labels"] = row.true_labels
        if row.verified:
            record["verified"] = row.verified
        file.write(json.dumps(record) + "\n")


def rename_coco(content: dict[str, Any], rename: Rename) -> dict[str, Any]:
    """A COCO file's content with its categories, and what refers to them, as `rename` has them."""
    categories: dict[str, dict[str, Any]] = {}  # by their new names
    ids: dict[str, Any] = {}  # new ones by the old; None of a category that is dropped
    for item in content["categories"]:
        name = rename(one_form(str(item["name"])))
        if name:
            categories.setdefault(name, item | {"name": name})
        ids[coco.identity(item["id"])] = categories[name]["id"] if name else None

    def new(old: Any) -> Any:
        return ids[coco.identity(old)]

    annotations = [i | {"category_id": new(i["category_id"])} for i in content["annotations"]]
    images = [dict(image) for image in content["images"]]
    for image in images:
        if "candidates" in image:
            found = dict.fromkeys(map(new, image["candidates"]))
            image["candidates"] = [number for number in found if number is not None]
    return content | {
        "categories": list(categories.values()),
        "annotations": [item for item in annotations if item["category_id"] is not None],
        "images": images,
    }


def relabel_coco(
    content: dict[str, Any],
    table: label_file.Table,
    splits: dict[str, str],
    kept: Labels,
    true: Labels,
) -> dict[str, Any]:
    """A COCO file's content with annotations of the kept labels alone, for images in `kept`.

    Of an image in `true`, or one whose annotations are the truth already, these are the true
    labels, and "candidates" the kept ones. A label that has no annotation gets one without a box.
    """
    names = {
        coco.identity(image["id"]): label_file.normalised(str(image["file_name"]))
        for image in content["images"]
    }
    # Of these the annotations are the truth.
    known = {
        names[coco.identity(image["id"])]
        for image in content["images"]
        if image.get("candidates") is not None
    }
    known |= set(true)
    of_known = {name: labels for name, labels in kept.items() if name in known}
    kept = {name: labels for name, labels in kept.items() if name not in known} | true
    categories = {
        coco.identity(item["id"]): one_form(str(item["name"])) for item in content["categories"]
    }
    category_ids = {one_form(str(item["name"])): item["id"] for item in content["categories"]}
    new = [name for name in table.classes if name not in category_ids]
    category_ids |= dict(zip(new, itertools.count(free_number(content["categories"]))))
    left = {(name, label) for name, labels in kept.items() for label in labels}
    annotations = []
    for item in content["annotations"]:
        name = names[coco.identity(item["image_id"])]
        label = categories[coco.identity(item["category_id"])]
        if name not in kept or label in kept[name]:
            annotations.append(item)
            left.discard((name, label))
    image_ids = {names[coco.identity(i["id"])]: i["id"] for i in content["images"]}
    for number, (name, label) in enumerate(sorted(left), free_number(annotations)):
        ids = {"id": number, "image_id": image_ids[name], "category_id": category_ids[label]}
        annotations.append(ids | {"bbox": [0, 0, 0, 0], "area": 0, "iscrowd": 0})
    images = [
        image | {"split": splits[names[coco.identity(image["id"])]]} for image in content["images"]
    ]
    for image in images:
        name = names[coco.identity(image["id"])]
        if name in of_known:
            image["candidates"] = [category_ids[label] for label in of_known[name]]
        if name in true:
            image["verified"] = True
    added = [{"id": category_ids[name], "name": name} for name in new]
    parts = {"images": images, "annotations": annotations}
    return content | parts | {"categories": [*content["categories"], *added]}


def free_number(items: list[dict[str, Any]]) -> int:
    """A number above the ids of `items` that are numbers, also as texts."""
    ids = [str(item["id"]) for item in items]
    return max((int(name) for name in ids if name.isascii() and name.isdecimal()), default=0) + 1
