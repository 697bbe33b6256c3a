"""What a review leaves in files: every candidate with its probability, and the labels kept."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import candidates as candidate_files
from pipeline.data import label_file
from pipeline.data.labelled import LabelledImages
from pipeline.data.training_data import noise_was_added
from pipeline.review.scan import Entries
from utils.errors import UserError
from utils.files import atomic_path
from utils.options.training import TrainingOptions

TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


def write_table(
    path: Path, data: LabelledImages, entries: Entries, probability: np.ndarray, kept: np.ndarray
) -> None:
    """A CSV file of all M candidates: path (the image's id), candidate, probability, decision.

    A spreadsheet would run a cell that begins like a formula: such a cell gets an apostrophe in
    front, which makes it text.
    """
    with atomic_path(path) as temporary, temporary.open("w", **TEXT) as file:
        # Quoted throughout: some spreadsheets part cells at semicolons.
        table = csv.writer(file, quoting=csv.QUOTE_ALL)
        table.writerow(["path", "candidate", "probability", "decision"])
        classes = [as_text(name) for name in data.classes]
        for row, column, p, keep in zip(*entries[1:], probability, kept):
            decision = "kept" if keep else "dropped"
            table.writerow([as_text(data.ids[row]), classes[column], f"{p:.4f}", decision])


def as_text(cell: str) -> str:
    """`cell` as a spreadsheet shows it and does not run it.

    >>> as_text("=1+1"), as_text("sea")
    ("'=1+1", 'sea')
    """
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def write_kept(
    stem: Path, options: TrainingOptions, data: LabelledImages, candidates: np.ndarray
) -> list[Path]:
    """The candidates kept, to train on: as a candidate file, and in the form of a label file.

    The latter where the candidates came in one: not with noise that the run has added.

    Args:
        stem: of the files' names: <stem>.npy with its .json, and for --dataset files <stem>.csv,
            .jsonl or .json (a COCO file), <stem>-coco.json.
        options: of the run.
        data: its training images.
        candidates: (N, C) in {0, 1}, those kept.

    Returns:
        the files to train on. Beside the label file stands <stem>-classes.txt for --classes: a
        class of which no label is left would not be known from it.
    """
    array = stem.with_name(f"{stem.name}.npy")
    candidate_files.write_candidates(
        array,
        candidates,
        data,
        candidate_files.Origin(
            options.dataset, options.partial_rate, options.seed, candidate_files.REVIEWED
        ),
    )
    if options.dataset != "files" or noise_was_added(options):
        return [array]
    kept = {
        name: [data.classes[column] for column in np.flatnonzero(row)]
        for name, row in zip(data.ids, candidates)
    }
    source = Path(str(options.labels))
    suffix = source.suffix.lower()
    path = stem.with_name(f"{stem.name}{'-coco' if suffix == '.json' else ''}{suffix}")
    write_labels(path, source, options.classes, options.seed, kept)
    with atomic_path(stem.with_name(f"{stem.name}-classes.txt")) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in data.classes), "utf-8")
    return [array, path]


def write_labels(
    path: Path, source: Path, classes: str | None, seed: int, kept: dict[str, list[str]]
) -> None:
    """The label file `source` with other labels for the images in `kept`, in its own form.

    Every image gets its split, so that training divides them as before.

    Args:
        classes: file of class names, as --classes.
        seed: of the division of images without a split.
        kept: labels by path, as `label_file` names images.
    """
    table = label_file.read_table(
        source, None if classes is None else label_file.read_classes(classes)
    )
    splits = dict(
        zip(table.paths, np.where(label_file.divide(table, seed), "test", "train").tolist())
    )
    with atomic_path(path) as temporary, temporary.open("w", **TEXT) as file:
        if path.suffix == ".json":
            content = json.loads(source.read_text("utf-8-sig"))
            json.dump(relabel_coco(content, table, splits, kept), file, ensure_ascii=True)
        elif path.suffix == ".csv":
            write_csv(file, relabelled(label_file.read_csv(source), splits, kept))
        else:
            write_json_lines(file, relabelled(label_file.read_json_lines(source), splits, kept))


def relabelled(
    rows: Iterable[label_file.Row], splits: dict[str, str], kept: dict[str, list[str]]
) -> Iterator[label_file.Row]:
    for row in rows:
        name = label_file.normalised(row.path)
        yield row._replace(labels=kept.get(name, row.labels), split=splits[name])


def write_csv(file: Any, rows: Iterable[label_file.Row]) -> None:
    """Rows as CSV, with a column verified where one of them says something."""
    rows = list(rows)
    table = csv.writer(file)
    names = ["path", "labels", "split", "true_labels", "verified"]
    columns = len(names) if any(row.verified for row in rows) else len(names) - 1
    table.writerow(names[:columns])
    for row in rows:
        true = "" if row.true_labels is None else "|".join(row.true_labels) or "|"
        cells = [row.path, "|".join(row.labels), row.split, true, row.verified]
        table.writerow(cells[:columns])


def write_json_lines(file: Any, rows: Iterable[label_file.Row]) -> None:
    for row in rows:
        record: dict[str, Any] = {"path": row.path, "labels": row.labels, "split": row.split}
        if row.true_labels is not None:
            record["true_labels"] = row.true_labels
        if row.verified:
            record["verified"] = row.verified
        file.write(json.dumps(record) + "\n")


def write_to_verify(
    path: Path, options: TrainingOptions, data: LabelledImages, number: int
) -> None:
    """A run's label file with `number` training images first, for a person to verify.

    They are drawn at random: any choice by what the program believes would tell the noise of the
    chosen alone. Their true_labels begin as their labels, and verified as no.

    Args:
        path: to write to.
        options: of the run.
        data: its training images.
        number: of images; those that are verified already are none of them.

    Raises:
        UserError: there are fewer, or the list is a COCO file.
    """
    source = Path(str(options.labels))
    if options.dataset != "files" or source.suffix.lower() == ".json":
        raise UserError(
            "--verify writes a list of your own images, as CSV or JSON lines: the run was trained "
            f"on {'a COCO file' if options.dataset == 'files' else options.dataset}"
        )
    done = np.zeros(len(data), bool) if data.verified is None else data.verified
    left = np.flatnonzero(~done)
    if number > len(left):
        raise UserError(f"--verify {number}: {len(left)} training images are not verified yet")
    chosen = np.random.default_rng([options.seed, 2]).permutation(left)[:number]
    asked = {data.ids[row] for row in chosen.tolist()}
    names = None if options.classes is None else label_file.read_classes(options.classes)
    table = label_file.read_table(source, names)
    test = label_file.divide(table, options.seed)
    splits = dict(zip(table.paths, np.where(test, "test", "train").tolist()))
    is_csv = source.suffix.lower() == ".csv"
    read = label_file.read_csv if is_csv else label_file.read_json_lines
    first, rest = [], []
    for row in relabelled(read(source), splits, {}):
        if label_file.normalised(row.path) in asked:
            true = row.labels if row.true_labels is None else row.true_labels
            first.append(row._replace(true_labels=true, verified="no"))
        else:
            rest.append(row)
    with atomic_path(path) as temporary, temporary.open("w", **TEXT) as file:
        (write_csv if is_csv else write_json_lines)(file, [*first, *rest])


def relabel_coco(
    content: dict[str, Any],
    table: label_file.Table,
    splits: dict[str, str],
    kept: dict[str, list[str]],
) -> dict[str, Any]:
    """A COCO file's content with annotations of the kept labels alone, for images in `kept`.

    A label that was added as noise and kept has no annotation: it gets one without a box.
    """
    names = {
        image["id"]: label_file.normalised(str(image["file_name"])) for image in content["images"]
    }
    # Of these the annotations are the truth.
    known = {names[image["id"]] for image in content["images"] if "candidates" in image}
    of_known = {name: labels for name, labels in kept.items() if name in known}
    kept = {name: labels for name, labels in kept.items() if name not in known}
    categories = {item["id"]: str(item["name"]).strip() for item in content["categories"]}
    new = [name for name in table.classes if name not in categories.values()]
    categories |= dict(enumerate(new, max(categories, default=0) + 1))
    left = {(name, label) for name, labels in kept.items() for label in labels}
    annotations = []
    for item in content["annotations"]:
        name, label = names[item["image_id"]], categories[item["category_id"]]
        if name not in kept or label in kept[name]:
            annotations.append(item)
            left.discard((name, label))
    image_ids = {name: number for number, name in names.items()}
    category_ids = {label: number for number, label in categories.items()}
    free = max((item["id"] for item in annotations if isinstance(item["id"], int)), default=0) + 1
    for number, (name, label) in enumerate(sorted(left), free):
        ids = {"id": number, "image_id": image_ids[name], "category_id": category_ids[label]}
        annotations.append(ids | {"bbox": [0, 0, 0, 0], "area": 0, "iscrowd": 0})
    images = [image | {"split": splits[names[image["id"]]]} for image in content["images"]]
    for image in images:
        if names[image["id"]] in of_known:
            image["candidates"] = [category_ids[label] for label in of_known[names[image["id"]]]]
    added = [{"id": number, "name": name} for number, name in categories.items() if name in new]
    parts = {"images": images, "annotations": annotations}
    return content | parts | {"categories": [*content["categories"], *added]}


def read_decisions(
    path: str, key: str, names: Sequence[str], classes: list[str], entries: Entries
) -> np.ndarray:
    """Read what review.html exported: which of the M candidates are kept.

    Args:
        path: of the review.json.
        key: of the review.
        names: N image ids.
        classes, entries: its classes and candidates.

    Returns:
        (M,) bool.

    Raises:
        UserError: the file cannot be read, or is of another review.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}")
        if content.get("format") != "review-1":
            raise ValueError(f"format {content.get('format')!r}")
        found = content["key"]
        decisions = [(name, label, keep) for name, label, keep in content["decisions"]]
        if not all(isinstance(keep, bool) for *_, keep in decisions):
            raise ValueError("a decision that is neither true nor false")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} must be the review.json that review.html exports, but found: "
            f"{str(error)[:100]}; export it again"
        ) from error
    expected = [(names[r], classes[c]) for r, c in zip(entries.rows, entries.columns)]
    if found != key or [pair[:2] for pair in decisions] != expected:
        raise UserError(
            f"{path} is of another review than this run's: expected key {key} and its "
            f"{len(expected)} candidates, but found {str(found)[:40]} and {len(decisions)}; give "
            "the run that was reviewed"
        )
    return np.array([keep for *_, keep in decisions], bool)
