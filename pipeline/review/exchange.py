"""A review for other tools, and what people decided in them: Label Studio, FiftyOne, cleanlab.

docs/review.md says how each is used. Their files are written and read as these tools document
them; none of them is needed here. `make other-tools` has them judged by the tools' own packages.

    label-studio.json, label-studio.xml   tasks with a prediction each, and the labelling interface
    fiftyone.json                         a dataset whose samples have "labels", Classifications
    cleanlab-labels.json                  each photo's labels as a list of columns
    cleanlab-pred_probs.npy               (P, C) float32, the classifier's probabilities
"""

import functools
import json
import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from pipeline.data.images import ImageFiles
from pipeline.data.lists.names import LONE_SURROGATE
from pipeline.review.decisions import FORMAT, Content, Record, check_content, malformed
from pipeline.review.reviewed_run import Photos
from utils.errors import UserError
from utils.files import atomic_path

VERIFIED, TRUE, FALSE = "verified", "true", "false"  # tags in FiftyOne
FIELD = "fiftyone.core.fields."


@dataclass(frozen=True)
class Judged:
    """The result of a review of P photos and C classes.

    photos: that were reviewed. hashes: P texts, the first 16 hex digits of the SHA-256 of each
    photo's bytes. key: names the review. probability: (P, C) float in [0, 1], that a candidate is
    true, 0 elsewhere. kept: (P, C) in {0, 1}, the candidates that stay. scores: (P, C) float32 in
    [0, 1], the classifier's, of all labels.
    """

    photos: Photos
    hashes: Sequence[str]
    key: str
    probability: np.ndarray
    kept: np.ndarray
    scores: np.ndarray

    @functools.cached_property
    def files(self) -> dict[int, str]:
        """See `shown_files`."""
        return shown_files(self.photos)

    def names(self, row: int, labels: np.ndarray) -> list[str]:
        """Names of the labels of a photo in `labels`, (P, C) in {0, 1}."""
        return [self.photos.data.classes[column] for column in np.flatnonzero(labels[row])]


def shown_files(photos: Photos) -> dict[int, str]:
    """Row to absolute path of the photos that other tools can show: those whose path is UTF-8.

    Of another FiftyOne takes no photo at all, and Label Studio lists no task of the project.
    """
    images, ids = photos.data.images, photos.data.ids
    assert isinstance(images, ImageFiles)
    paths = {row: os.path.abspath(images.path(row)) for row in range(len(images))}
    return {row: p for row, p in paths.items() if not LONE_SURROGATE.search(p + ids[row])}


def check_export(tools: Sequence[str], photos: Photos) -> None:
    """Refuse tools that show photos where these are no files, or of no name that they take.

    Raises:
        UserError: so it is.
    """
    if not set(tools) - {"cleanlab"}:
        return
    if not isinstance(photos.data.images, ImageFiles):
        raise UserError("--export to a tool that shows photos needs files: this data set has none")
    if not shown_files(photos):
        raise UserError(
            "--export to a tool that shows photos needs paths in UTF-8, but found none: rename "
            "their folder"
        )


def export(tools: Sequence[str], folder: Path, judged: Judged) -> list[Path]:
    """Write a review for each of `tools`, names of EXPORTS; returns the files.

    Raises:
        UserError: see `check_export`.
    """
    check_export(tools, judged.photos)
    if set(tools) - {"cleanlab"}:
        left_out = len(judged.photos.data) - len(judged.files)
        if left_out:
            print(f"left out            {left_out} photos whose path is no UTF-8; cleanlab has all")
    return [path for tool in tools for path in EXPORTS[tool](folder, judged)]


def to_label_studio(folder: Path, judged: Judged) -> list[Path]:
    """Tasks, each with a prediction: the labels kept, and the lowest probability of a candidate.

    Label Studio serves photos of a storage, a folder in its root and not the root itself: the root
    is where the folder lies that holds them all.
    """
    files, ids = judged.files, judged.photos.data.ids
    root = os.path.dirname(os.path.commonpath([os.path.dirname(file) for file in files.values()]))
    tasks, storages = [], set()
    for row, file in files.items():
        found = judged.photos.found[row] == 1
        place = os.path.relpath(file, root)
        storages.add(os.path.join(root, place.split(os.sep)[0]))
        data = {"image": f"/data/local-files/?d={quote(place)}", "path": ids[row]}
        result = {"from_name": "labels", "to_name": "image", "type": "choices"}
        prediction = {
            "model_version": judged.key,
            "score": rounded(judged.probability[row][found].min(initial=1)),
            "result": [result | {"value": {"choices": judged.names(row, judged.kept)}}],
        }
        data["sha256"] = judged.hashes[row]
        tasks.append({"data": data, "predictions": [prediction]})
    choices = "".join(f"    <Choice value={quoteattr(c)}/>\n" for c in judged.photos.data.classes)
    interface = (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="labels" toName="image" choice="multiple">\n{choices}'
        "  </Choices>\n</View>\n"
    )
    print(
        "Label Studio        LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={shlex.quote(root)} label-studio"
    )
    for storage in sorted(storages):
        print(f"local files         {storage}")
    return [
        write_text(folder / "label-studio.json", json.dumps(tasks)),
        write_text(folder / "label-studio.xml", interface),
    ]


def to_fiftyone(folder: Path, judged: Judged) -> list[Path]:
    """A dataset for fiftyone.Dataset.from_json: of each label its probability and decision."""
    data = judged.photos.data
    samples = []
    for row, file in judged.files.items():
        labels = [
            {
                "_cls": "Classification",
                "label": data.classes[column],
                "confidence": rounded(judged.probability[row, column]),
                "tags": ["kept" if judged.kept[row, column] else "dropped"],
            }
            for column in np.flatnonzero(judged.photos.found[row]).tolist()
        ]
        samples.append(
            {
                "filepath": file,
                "tags": ["train" if row < judged.photos.trained else "test"],
                "image_id": data.ids[row],
                "sha256": judged.hashes[row],
                "labels": {"_cls": "Classifications", "classifications": labels},
            }
        )
    fields = dict.fromkeys(("image_id", "sha256"), f"{FIELD}StringField")
    of_labels = f"{FIELD}EmbeddedDocumentField(fiftyone.core.labels.Classifications)"
    dataset = {
        "name": f"review-{judged.key[:8]}",
        "media_type": "image",
        "sample_fields": fields | {"labels": of_labels},
        "classes": {"labels": data.classes},
        "samples": samples,
    }
    return [write_text(folder / "fiftyone.json", json.dumps(dataset))]


def to_cleanlab(folder: Path, judged: Judged) -> list[Path]:
    """Labels as lists of columns, and pred_probs, for cleanlab.multilabel_classification."""
    labels = [np.flatnonzero(row).tolist() for row in judged.photos.found]
    place = folder / "cleanlab-pred_probs.npy"
    with atomic_path(place) as temporary:
        np.save(temporary, judged.scores)
    return [write_text(folder / "cleanlab-labels.json", json.dumps(labels)), place]


EXPORTS = {"label-studio": to_label_studio, "fiftyone": to_fiftyone, "cleanlab": to_cleanlab}


def rounded(probability: Any) -> float:
    return round(float(probability), 4)


def write_text(path: Path, text: str) -> Path:
    """Write `text`, and return where."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
    return path


def as_content(found: Any, path: str, photos: Photos, hashes: Sequence[str]) -> Content:
    """Decisions of people, from a review.json or a file of one of these tools.

    Args:
        found: content of the file.
        path: of the file; its time is when decisions without one of their own were made.
        photos, hashes: of the run, in whose order the lists of cleanlab are.

    Raises:
        UserError: it is none of these, or damaged.
    """
    seconds = time.gmtime(os.stat(path).st_mtime)
    head = {"by": "", "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", seconds)}
    try:
        if isinstance(found, dict) and "samples" in found:
            records = list(of_fiftyone(found["samples"], head | {"by": "FiftyOne"}))
        elif isinstance(found, list) and all(isinstance(each, list) for each in found):
            records = list(of_cleanlab(found, head | {"by": "cleanlab"}, photos, hashes))
        elif isinstance(found, list):
            records = list(of_label_studio(found))
        else:
            return check_content(found, path)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise malformed(path, f"{type(error).__name__}: {error}") from error
    kinds: dict[str, list[Record]] = {"verified": [], "decisions": []}
    for record in records:
        kinds["verified" if "true_labels" in record else "decisions"].append(record)
    return check_content({"format": FORMAT} | kinds, path)


def of_label_studio(tasks: list[Any]) -> Iterator[Record]:
    """A verified photo for each annotation that was submitted: what is chosen is true."""
    for task in tasks:
        place = {name: task["data"][name] for name in ("path", "sha256")}
        for annotation in task.get("annotations", []):
            if annotation.get("was_cancelled"):
                continue
            who = annotation.get("completed_by")
            if isinstance(who, dict):
                who = who.get("email") or who.get("id")
            chosen = [
                label
                for part in annotation["result"]
                if part["type"] == "choices"
                for label in part["value"]["choices"]
            ]
            at = annotation.get("updated_at") or annotation["created_at"]
            yield place | {
                "true_labels": chosen,
                "by": "Label Studio" if who is None else f"Label Studio {who}",
                "at": in_utc(at),
            }


def in_utc(time: str) -> str:
    """A time as records have it.

    >>> in_utc("2026-11-29T01:02:03.500000+02:00"), in_utc("2026-11-29T01:02:03Z")
    ('2026-11-28T23:02:03.500000Z', '2026-11-29T01:02:03Z')
    """
    if time.endswith("Z"):
        return time
    padded = re.sub(r"\.\d+", lambda found: found[0][:7].ljust(7, "0"), time)  # as 3.10 needs
    moment = datetime.fromisoformat(padded)
    if moment.tzinfo is None:
        raise ValueError(f"the time {time}, without its zone")
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def of_fiftyone(samples: list[Any], head: Record) -> Iterator[Record]:
    """Read what tags say: of labels "true" and "false", of samples "verified".

    The labels of a verified sample are true, but for those with the tag "false".
    """
    for sample in samples:
        place = head | {"path": sample["image_id"], "sha256": sample["sha256"]}
        labels = (sample.get("labels") or {}).get("classifications", [])
        if VERIFIED in sample.get("tags", []):
            true = [label["label"] for label in labels if FALSE not in label.get("tags", [])]
            yield place | {"true_labels": true}
            continue
        for label in labels:
            tags = label.get("tags", [])
            if (TRUE in tags) != (FALSE in tags):
                yield place | {"label": label["label"], "true": TRUE in tags}


def of_cleanlab(
    labels: list[list[int]], head: Record, photos: Photos, hashes: Sequence[str]
) -> Iterator[Record]:
    """A decision for each label that differs from what was found.

    Raises:
        ValueError: the lists are of another number of photos, or hold what is no class.
    """
    data = photos.data
    if len(labels) not in (photos.trained, len(data)):
        raise ValueError(f"{len(labels)} lists, where the run has {len(data)} photos")
    for row, columns in enumerate(labels):
        now = np.zeros(len(data.classes), np.uint8)
        now[np.array(columns, np.uint32)] = 1  # no -1, which would be the last class
        for column in np.flatnonzero(now != photos.found[row]).tolist():
            place = {"path": data.ids[row], "sha256": hashes[row]}
            yield head | place | {"label": data.classes[column], "true": bool(now[column])}
