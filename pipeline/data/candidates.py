"""Candidate label sets and the files that keep them.

Two formats are read. Ours is a plain uint8 (N, C) array with a JSON beside it that says what
it belongs to. The one the method's authors released is np.save of a dict
{'partial_labels': int (N, C)}, thus a pickle (`pipeline.data.pickled`).
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.arrays import read_array
from pipeline.data.labelled import LabelledImages
from pipeline.data.noise import uniform_noise
from pipeline.data.pickled import LABEL_KINDS, unpickle_labels
from pipeline.data.verified import Verified
from utils.errors import UserError
from utils.files import atomic_path, one_writer, write_json
from utils.terminal import warn

REVIEWED = "reviewed"  # the noise model of labels that were cleaned: they may lack true ones
REVIEW_MARK = ".review"  # a file in the folder of a review
REMEDY = "check --dataset and --path_images, or give another file; make_candidates.py makes one"


def realised_rate(candidates: np.ndarray, targets: np.ndarray) -> float:
    """Share of the labels not true that are candidates; 0 when every label is true.

    >>> realised_rate(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, -1]]))
    0.3333333333333333
    """
    others = targets != 1
    return float(candidates[others].mean()) if others.any() else 0.0


def ids_sha256(ids: Iterable[str]) -> str:
    """Fingerprint of image ids in their order: SHA-256, in hex, of the ids joined by newlines."""
    return hashlib.sha256("\n".join(ids).encode("utf-8", "surrogateescape")).hexdigest()


def array_sha256(candidates: np.ndarray) -> str:
    """Fingerprint of candidates (N, C) in {0, 1}."""
    return hashlib.sha256(np.packbits(candidates).tobytes()).hexdigest()


def default_path(dataset: str, rate: float, ids: Iterable[str]) -> Path:
    """Path of the candidates of these images: pre-processed-data/<dataset>_<rate>.npy.

    Where that file is known to belong to other images, for example to the whole data set while
    these are a part of it, a file named after the ids stands in for it, and a warning says so.
    """
    path = Path("pre-processed-data") / f"{dataset}_{rate:g}.npy"
    metadata = _read_metadata(metadata_path(path)) if path.exists() else None
    fingerprint = ids_sha256(ids)
    if metadata is None or metadata.get("ids_sha256") == fingerprint:
        return path
    other = path.with_name(f"{path.stem}-{fingerprint[:8]}.npy")
    warn(f"{path} belongs to other images than these: using {other}")
    return other


def load_or_make(
    path: str | Path, data: LabelledImages, *, dataset: str, rate: float | None, seed: int
) -> np.ndarray:
    """Candidates of a training split: those of the file, else uniform noise, which is saved.

    A file wins over `seed`, as in the authors' code. Prints one line that says what happened.

    Args:
        path: of the .npy.
        data: the training split.
        dataset: its name, which the file must give too.
        rate: of the noise; None admits any that the file was made with, and needs the file.
        seed: of the noise that is made.

    Returns:
        (N, C) uint8 in {0, 1}.

    Raises:
        UserError: the file cannot be read or belongs to something else.
    """
    path = Path(path)
    origin = None
    if rate is not None and not path.exists():
        with one_writer(path):
            if not path.exists():  # by now another may have made it, with another seed
                candidates = make(path, data, Origin(dataset, rate, seed, "uniform"))
                origin = f"generated with seed {seed} and saved"
    if origin is None:
        candidates, metadata = read_candidates(path)
        candidates = completed(candidates, metadata, data, path, dataset)
        check_candidates(candidates, metadata, data, path, rate, dataset=dataset)
        if (metadata or {}).get("model") == REVIEWED:
            print(f"candidates: {path} (reviewed labels)")
            return candidates
        file_seed = "unknown" if metadata is None else _one_line(metadata.get("seed"))
        origin = f"from file, seed {file_seed}"
        if metadata is not None and metadata.get("seed") != seed:
            origin += f", not --seed {seed}: move it away to have another made"
    print(
        f"candidates: {path} ({origin}), realised rate "
        f"{realised_rate(candidates, data.targets):.4f}"
    )
    return candidates


def make(path: Path, data: LabelledImages, origin: "Origin") -> np.ndarray:
    """Draw uniform noise, and save it."""
    if (path.parent / REVIEW_MARK).exists():
        raise UserError(f"no file {path}: this folder holds what review.py writes; check its name")
    candidates = uniform_noise(data.targets, origin.rate or 0, origin.seed)
    write_candidates(path, candidates, data, origin)
    return candidates


class Origin(NamedTuple):
    """The origin of candidates, as the JSON beside them keeps it.

    dataset: its name. rate: of the noise, where one number says it. seed: of the draw. model: of
    the noise, e.g. "uniform". missing: share of true labels left out.
    """

    dataset: str
    rate: float | None
    seed: int
    model: str
    missing: float = 0.0


def write_candidates(
    path: str | Path,
    candidates: np.ndarray,
    data: LabelledImages,
    origin: Origin,
    verified: Verified | None = None,
) -> None:
    """Save candidates as a plain uint8 array, and beside it a JSON of what they belong to.

    Args:
        path: of the array; the JSON has the same name, .json in place of .npy.
        candidates: (N, C) in {0, 1}.
        data: the training images they are of.
        origin: of the candidates.
        verified: images whose labels are known; the JSON keeps them as rows with the columns of
            their true labels.

    Raises:
        UserError: the JSON would replace another file.
    """
    check_metadata_path(path)
    known = {name: value for name, value in origin._asdict().items() if name != "missing" or value}
    metadata = known | {
        "split": "train",
        "classes": list(data.classes),
        "ids_sha256": ids_sha256(data.ids),
        "realised_rate": realised_rate(candidates, data.targets),
        "array_sha256": array_sha256(candidates),
    }
    if verified is not None:
        true = [np.flatnonzero(row).tolist() for row in verified.truth]
        metadata["verified"] = [list(pair) for pair in zip(verified.rows.tolist(), true)]
    # In this order a crash leaves an array without JSON at worst, never with another's.
    metadata_path(path).unlink(missing_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, candidates.astype(np.uint8), allow_pickle=False)
    try:
        write_json(metadata_path(path), metadata)
    except BaseException:
        Path(path).unlink()  # without it, nobody knows what the array belongs to
        raise


def check_metadata_path(path: str | Path) -> None:
    """Refuse to write candidates where the JSON beside them would replace something else.

    Raises:
        UserError: there is a file of its name, which holds no candidates' metadata.
    """
    beside = metadata_path(path)
    try:
        replaceable = "ids_sha256" in json.loads(beside.read_text("utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, RecursionError):
        replaceable = False
    if not replaceable:
        raise UserError(
            f"candidates at {path} need a JSON of that name beside them, but {beside} is something "
            "else: give another name, or move it away"
        )


def metadata_path(path: str | Path) -> Path:
    """The JSON beside a candidate file.

    >>> metadata_path("voc07_0.1.npy").name, metadata_path("voc07_0.1").name
    ('voc07_0.1.json', 'voc07_0.1.json')
    """
    path = Path(path)  # with_suffix would take the .1 of a rate for a suffix
    return path.with_name(path.name.removesuffix(".npy") + ".json")


def read_candidates(path: str | Path) -> tuple[np.ndarray, dict[str, Any] | None]:
    """Read a candidate file of either format, without running code from it.

    Returns:
        (N, C) uint8 in {0, 1}, and the content of the JSON beside it, None where there is none.

    Raises:
        UserError: a file is missing, malformed, or holds values other than 0 and 1.
    """
    path = Path(path)
    try:
        labels = read_array(path, LABEL_KINDS, 2, unpickle_labels)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; check its name") from error
    except Exception as error:  # parsers of headers and pickles raise of any kind
        raise UserError(
            f"{path} is not a candidate file: expected an (N, C) array of integers, or a pickled "
            f"dict of one under 'partial_labels', but found {_one_line(error)}; give another "
            "file, or download it again"
        ) from error
    if labels.dtype.kind == "b":
        labels = labels.view(np.uint8)  # a forged boolean may hold any byte
    _check_binary(labels, path)  # before the cast, under which 256 would pass as 0
    if not labels.flags.writeable or labels.dtype != np.uint8:
        labels = labels.astype(np.uint8)
    return labels, _read_metadata(metadata_path(path))


def read_verified(path: str | Path, shape: tuple[int, ...]) -> Verified | None:
    """The images that the JSON beside a candidate file calls verified; None where there are none.

    Args:
        path: of the candidate file.
        shape: (N, C) of its candidates.

    Raises:
        UserError: the JSON is damaged.
    """
    beside = metadata_path(path)
    pairs = (_read_metadata(beside) or {}).get("verified", [])
    try:
        rows = np.array([row for row, _ in pairs], np.int64)
        truth = np.zeros((len(rows), shape[1]), np.uint8)
        for place, (_, columns) in enumerate(pairs):
            truth[place, np.array(columns, np.uint32)] = 1  # no -1, which would be the last class
        if (np.diff(rows, prepend=-1) <= 0).any() or (rows >= shape[0]).any():
            raise ValueError("rows that do not rise, or are of no image")
    except (TypeError, ValueError, OverflowError, IndexError) as error:
        raise UserError(
            f"{beside} must list verified images as rows with the columns of their true labels, "
            f"but found {_one_line(error)}; make it anew by review.py --apply"
        ) from error
    return Verified(rows, truth) if len(rows) else None


def completed(
    candidates: np.ndarray,
    metadata: dict[str, Any] | None,
    data: LabelledImages,
    path: str | Path,
    dataset: str,
) -> np.ndarray:
    """Candidates with those of the first image, which the authors' files of NUS-WIDE lack.

    Args: as `check_candidates` takes them.
    """
    if dataset != "nuswide" or metadata is not None or len(candidates) != len(data) - 1:
        return candidates
    warn(f"{path} lacks the first image, as the authors' reader does: taking its labels")
    return np.concatenate([(data.targets[:1] == 1).astype(np.uint8), candidates])


def check_candidates(
    candidates: np.ndarray,
    metadata: dict[str, Any] | None,
    data: LabelledImages,
    path: str | Path,
    rate: float | None,
    dataset: str | None = None,
) -> None:
    """Refuse candidates that do not belong to `data`.

    Args:
        candidates: as read from `path`.
        metadata: as read from beside `path`; None checks the array alone.
        data: the training split.
        rate: the noise rate asked for; None admits any.
        dataset: the name asked for; None admits any.

    Raises:
        UserError: other shape; values other than 0 and 1; metadata of another data set, class
            list, image list or rate; or a row that leaves out a true label of its image, which
            only reviewed labels may, and those that were made so.
    """
    if candidates.shape != data.targets.shape:
        raise UserError(
            f"{path} has shape {candidates.shape}, but the split has {len(data)} images and "
            f"{len(data.classes)} classes; {REMEDY}"
        )
    _check_binary(candidates, path)
    if metadata is not None:
        _check_metadata(metadata, data, metadata_path(path), rate, dataset)
        _check_array(metadata, candidates, data, path)
    missed = (data.targets == 1) & (candidates == 0)
    meant = metadata is not None and (metadata.get("model") == REVIEWED or metadata.get("missing"))
    if missed.any() and not meant:
        row, column = np.argwhere(missed)[0]
        raise UserError(
            f"{path} must hold every true label, but leaves out {missed.sum()} of "
            f"{(data.targets == 1).sum()}, first '{data.classes[column]}' of image "
            f"{data.ids[row]}; {REMEDY}"
        )


def _check_binary(labels: np.ndarray, path: str | Path) -> None:
    if labels.size and not 0 <= labels.min() <= labels.max() <= 1:
        wrong = (labels != 0) & (labels != 1)
        raise UserError(
            f"{path} must hold only 0 and 1, but {wrong.sum()} values differ, first "
            f"{labels[wrong][0]}; give another file, or download it again"
        )


def _check_metadata(
    metadata: dict[str, Any],
    data: LabelledImages,
    path: Path,
    rate: float | None,
    dataset: str | None,
) -> None:
    asked = {"dataset": dataset, "rate": rate}
    for key, expected in asked.items():
        found = metadata.get(key)
        if expected is not None and found != expected:
            raise UserError(
                f"{path} says {key} {_one_line(found)}, but {expected} is asked for; check "
                "--dataset and --partial_rate, or give another file"
            )
    if metadata.get("classes") != list(data.classes):
        raise UserError(f"{path} lists other classes than the {len(data.classes)} here; {REMEDY}")
    if metadata.get("ids_sha256") != ids_sha256(data.ids):
        raise UserError(
            f"{path} belongs to other images, or another order, than the {len(data)} here; {REMEDY}"
        )


def _check_array(
    metadata: dict[str, Any], candidates: np.ndarray, data: LabelledImages, path: str | Path
) -> None:
    """Refuse another array under the name of ours, such as the authors' of the same data set."""
    own = metadata.get("array_sha256", array_sha256(candidates)) == array_sha256(candidates)
    if "array_sha256" not in metadata:  # of older versions
        found, told = realised_rate(candidates, data.targets), metadata.get("realised_rate")
        own = not isinstance(told, float) or abs(found - told) < 1e-9
    if not own:
        raise UserError(
            f"{metadata_path(path)} was written with other candidates than {path} holds: move it "
            "away if the array is the right one, else bring back its own"
        )


def _read_metadata(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        metadata = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        metadata = error
    if not isinstance(metadata, dict):
        raise UserError(
            f"{path} must be a JSON object, but found {_one_line(metadata)}; move it away, "
            "with its array if that is to be made anew"
        )
    return metadata


def _one_line(found: Any) -> str:
    first_line = str(found).split("\n")[0]  # numpy's second one advises to trust the file
    return " ".join(first_line.split())[:200] or type(found).__name__
