"""The way from what people decided to labels to train on."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.data.candidates import REVIEW_MARK, check_candidates, read_candidates
from pipeline.data.verified import Verified, joined
from pipeline.review.decisions import (
    KINDS,
    REVIEW_1,
    Carried,
    Content,
    carry,
    check_content,
    describe,
    format_carried,
    merge,
    read_json,
    read_kept,
)
from pipeline.review.exchange import as_content
from pipeline.review.label_files import labels_of, write_kept
from pipeline.review.reviewed_run import Photos, ReviewedRun, open_folder
from pipeline.review.scan import entries_of
from utils.errors import UserError
from utils.files import atomic_path

DECISIONS = "decisions.json"  # in the folder of a review: what people decided, merged
REVIEWED = "reviewed"  # begins the names of what `apply` writes there
LIST = {"by": "list", "at": "1970-01-01T00:00:00Z"}  # who has verified what the list calls so


def read_decided(run: ReviewedRun, folder: Path, paths: Sequence[str]) -> tuple[Content, Carried]:
    """Read what people decided, in files and by what was applied in the folder of a review before.

    Args:
        run: that was reviewed.
        folder: of its review.
        paths: files of the page, or of other tools.

    Raises:
        UserError: a file is damaged, or all is decided of other photos.
    """
    before = decided_before(folder)
    content, carried = found = carry_to(run, run.photos(None), [*paths, *before])
    if any(map(content.get, KINDS)) and not any(map(carried.content.get, KINDS)):
        raise UserError(
            f"{', '.join(paths)}: expected decisions on photos of {run.path}, but found none "
            "of its photos and classes as they are: check --load_from"
        )
    for path in before:
        if not any(map(without_list(check_content(read_json(path), path)).get, KINDS)):
            continue
        print(f"earlier             {path} counts too: move it away to apply the files given alone")
    return found


def apply(
    run: ReviewedRun, folder: Path, content: Content, carried: Carried, with_drops: bool
) -> list[Path]:
    """Write the labels that follow from what people decided, and their decisions, merged.

    Args:
        run: that was reviewed.
        folder: of its review.
        content, carried: from `read_decided`.
        with_drops: leave out what the review dropped, where nobody has decided.

    Returns:
        the files to train on, <folder>/reviewed.*.

    Raises:
        UserError: `with_drops`, and there is no review of the run as it is now.
    """
    photos = run.photos(None)
    dropped = dropped_by_program(run, photos, folder) if with_drops else None
    labels = run.as_found_where_verified(carried.applied(photos.found, dropped), photos)
    print(f"labels              {labels.sum()}, where {photos.found.sum()} were found")
    open_folder(folder, run, applies=True)
    files = write_reviewed(folder, run, photos, labels, all_verified(run, carried))
    write_decisions(folder, content, carried)
    return files


def apply_review_1(run: ReviewedRun, folder: Path, path: str) -> list[Path]:
    """Write the labels that a page of the format review-1 kept; returns the files to train on.

    Raises:
        UserError: the file is damaged, or of another review.
    """
    photos = run.photos(None)
    entries, ids, classes = entries_of(photos.found), photos.data.ids, photos.data.classes
    expected = [(ids[r], classes[c]) for r, c in zip(entries.rows, entries.columns)]
    trained = int(entries.starts[photos.trained])
    kept = read_kept(read_json(path), path, run.key, expected, trained)
    print(f"kept                {kept.sum()} of {len(kept)} candidates")
    open_folder(folder, run, applies=True)
    labels = run.as_found_where_verified(entries.matrix(kept, photos.found.shape), photos)
    return write_reviewed(folder, run, photos, labels, run.verified)


def is_review_1(paths: Sequence[str]) -> bool:
    """Tell whether it is a single file of the format review-1."""
    found = read_json(paths[0]) if len(paths) == 1 else None
    return isinstance(found, dict) and found.get("format") == REVIEW_1


def carry_to(run: ReviewedRun, photos: Photos, paths: Sequence[str]) -> tuple[Content, Carried]:
    """Read and merge what people decided, and find the photos; prints what is taken over."""
    data, hashes = photos.data, run.hashes(photos)
    files = [as_content(read_json(path), path, photos, hashes) for path in paths]
    content = merge(without_list(file) for file in files)
    carried = carry(content, data.ids, hashes, data.classes, photos.found)
    applied = dropped_before(run)
    left = [pair for pair in carried.no_candidate if pair not in applied]
    carried = carried._replace(no_candidate=left)
    if content["verified"] or content["decisions"]:
        print("\n".join(format_carried(describe(carried))))
    return content, carried


def decided_before(folder: Path) -> list[str]:
    """The file of what was decided in earlier reviews in a folder, if there is one."""
    path = folder / DECISIONS
    return [str(path)] if path.exists() else []


def dropped_before(run: ReviewedRun) -> set[tuple[str, str]]:
    """Path and label of decisions that the labels a run was trained on follow already."""
    source = Path(str(run.options.noise_file or run.options.labels))
    if not source.name.startswith(REVIEWED):
        return set()
    return {
        (record["path"], record["label"])
        for path in decided_before(source.parent)
        for record in check_content(read_json(path), path)["decisions"]
        if not record["true"]
    }


def with_list(run: ReviewedRun, photos: Photos, carried: Carried) -> Content:
    """Decisions of people, and where none of them has verified a photo, of the run's list.

    The page shows both. The list is no person: `without_list` leaves its word out again.
    """
    content = carried.content
    if run.verified is None or not photos.trained:
        return content
    data, classes = photos.data, np.array(photos.data.classes, object)
    told = {record["path"] for record in content["verified"]}
    of_list = [
        LIST
        | {"path": data.ids[row], "sha256": carried.hashes[row]}
        | {"true_labels": sorted(classes[truth == 1])}
        for row, truth in zip(run.verified.rows.tolist(), run.verified.truth)
        if data.ids[row] not in told
    ]
    return content | {"verified": [*content["verified"], *of_list]}


def without_list(content: Content) -> Content:
    """Decisions of people, without what `with_list` has added."""
    verified = [r for r in content["verified"] if {"by": r["by"], "at": r["at"]} != LIST]
    return content | {"verified": verified}


def all_verified(run: ReviewedRun, carried: Carried) -> Verified | None:
    """The photos that people have verified, and those the run knew, corrected by people's word."""
    known = run.verified
    if known is not None:
        people = carried.decided[known.rows]
        known = known._replace(truth=np.where(people < 0, known.truth, people).astype(np.uint8))
    return joined(known, carried.as_verified())


def write_decisions(folder: Path, content: Content, carried: Carried) -> None:
    """Write what people decided, for the next review in this folder."""
    with atomic_path(folder / DECISIONS) as temporary:
        told = content | {"taken_over": describe(carried)}
        temporary.write_text(json.dumps(told, indent=1) + "\n", "ascii")


def dropped_by_program(run: ReviewedRun, photos: Photos, folder: Path) -> np.ndarray:
    """The labels (P, C) bool that the review in `folder` dropped; none of test photos.

    Raises:
        UserError: there is no review of the run as it is now.
    """
    path, mark = folder / "cleaned.npy", folder / REVIEW_MARK
    if not path.exists() or not mark.exists() or mark.read_text("utf-8").strip() != run.key:
        raise UserError(
            f"--with_drops takes what a review of this run has dropped, but {folder} holds none: "
            "review it first"
        )
    cleaned, metadata = read_candidates(path)
    check_candidates(cleaned, metadata, run.train, path, None)
    dropped = np.zeros(photos.found.shape, bool)
    dropped[: photos.trained] = cleaned < run.candidates
    return dropped


def write_reviewed(
    folder: Path, run: ReviewedRun, photos: Photos, labels: np.ndarray, verified: Verified | None
) -> list[Path]:
    """Write reviewed.*: training labels, and in a list those of test photos too.

    Args:
        folder: to write to.
        run: that was reviewed.
        photos: all of it.
        labels: (P, C) in {0, 1}; of verified photos as found.
        verified: of these photos, those that the run knew among them; None where there are none.
    """
    n, data = photos.trained, photos.data
    changed = (labels != photos.found).any(axis=1)
    of_training, true = None, {}
    if verified is not None:
        changed[verified.rows] = True
        inside = verified.rows < n
        if inside.any():
            of_training = Verified(verified.rows[inside], verified.truth[inside])
        names = [data.ids[row] for row in verified.rows[~inside].tolist()]
        true = labels_of(names, data.classes, verified.truth[~inside])
    rows = n + np.flatnonzero(changed[n:])
    kept = labels_of([data.ids[row] for row in rows.tolist()], data.classes, labels[rows])
    stem = folder / REVIEWED
    return write_kept(stem, run.options, run.train, labels[:n], of_training, (kept, true))
