"""Decisions of people in reviews: read, merged, and carried over to the photos of a run.

A review.json of the format review-2 holds records of two kinds: one of "verified" says of a photo
which of all labels are true, one of "decisions" says it of a single label. Each names the photo by
path and bytes, and who said it when. What the program alone has decided is in none of them.

Of one person the latest record counts, and the latest with "settles". Of several who differ none
wins, until a record that settles it does: till then the label is disputed.
"""

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.verified import Verified
from utils.errors import UserError
from utils.terminal import one_line

FORMAT, REVIEW_1 = "review-2", "review-1"
KINDS = ("verified", "decisions")
HASH = re.compile(r"([0-9a-f]{16})?")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

Record = dict[str, Any]
Content = dict[str, Any]
Place = tuple[str, str]  # path and hash of a photo


def read_json(path: str) -> Any:
    """Read what a page or another tool exported.

    Raises:
        UserError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise malformed(path, f"no JSON, or a part of it ({error})") from error


def malformed(path: str, found: object) -> UserError:
    return UserError(
        f"{path} must be the review.json that review.html exports, or what Label Studio, FiftyOne "
        f"or cleanlab made of an --export, but found: {one_line(str(found), 100)}; export it again"
    )


def read_kept(
    content: Any, path: str, key: str, expected: Sequence[tuple[str, str]], trained: int
) -> np.ndarray:
    """Read which candidates are kept, from a review.json of the format review-1.

    Args:
        content: of the file.
        path: of the file, as messages name it.
        key: of the review.
        expected: image and class of the M candidates of all photos.
        trained: how many of these, the first, are of training images: pages may show these alone.

    Returns:
        (M,) bool; candidates that the file does not hold are kept.

    Raises:
        UserError: the file is damaged, or of another review.
    """
    try:
        found = content["key"]
        decisions = [(name, label, keep) for name, label, keep in content["decisions"]]
        if not all(isinstance(keep, bool) for *_, keep in decisions):
            raise ValueError("a decision that is neither true nor false")
    except (ValueError, KeyError, TypeError) as error:
        raise malformed(path, error) from error
    number = len(decisions) if len(decisions) in (trained, len(expected)) else trained
    if found != key or [pair[:2] for pair in decisions] != list(expected[:number]):
        raise UserError(
            f"{path} is of another review than this run's: expected key {key} and its "
            f"{number} candidates, but found {one_line(str(found), 40)} and {len(decisions)}; "
            "give the run that was reviewed"
        )
    kept = np.ones(len(expected), bool)
    kept[:number] = [keep for *_, keep in decisions]
    return kept


def check_content(content: Any, path: str) -> Content:
    """The content of a review.json of the format review-2, its records alone.

    Raises:
        UserError: it is of another format, or a record is damaged.
    """
    if not isinstance(content, dict):
        raise malformed(path, f"a {type(content).__name__}")
    if content.get("format") == REVIEW_1:
        raise UserError(
            f"{path} is of the format {REVIEW_1}, which does not tell what a person decided: give "
            "it to --apply, alone, or import it in the page and export again"
        )
    if content.get("format") != FORMAT:
        raise malformed(path, f"format {content.get('format')!r}")
    result: Content = {"format": FORMAT}
    for name in ("key", "by"):
        result[name] = content.get(name, "")
        if not isinstance(result[name], str):
            raise malformed(path, f"{name} {result[name]!r}")
    for kind in KINDS:
        records = content.get(kind, [])
        if not isinstance(records, list):
            raise malformed(path, f"{kind} that is no list")
        result[kind] = [checked(record, kind, path) for record in records]
    return result


def checked(record: Any, kind: str, path: str) -> Record:
    """One record, with its known parts alone."""

    def text(value: Any) -> bool:
        return isinstance(value, str)

    def texts(value: Any) -> bool:
        return isinstance(value, list) and all(map(text, value))

    def flag(value: Any) -> bool:
        return isinstance(value, bool)

    def time(value: Any) -> bool:
        with contextlib.suppress(ValueError):  # the 30th of February
            found = text(value) and MOMENT.fullmatch(value)
            return bool(found and datetime.fromisoformat(value[:19]))
        return False

    tests = {
        "path": text,
        "sha256": lambda value: text(value) and HASH.fullmatch(value),
        "by": text,
        "at": time,
    }
    tests |= {"true_labels": texts} if kind == "verified" else {"label": text, "true": flag}
    if not isinstance(record, dict):
        raise malformed(path, f"{record!r} among {kind}")
    for name, holds in tests.items():
        if name not in record or not holds(record[name]):
            raise malformed(path, f"{name} {record.get(name)!r} among {kind}")
    found = {name: record[name] for name in tests}
    if kind == "verified":
        found["true_labels"] = sorted(set(record["true_labels"]))
    if not flag(record.get("settles", False)):
        raise malformed(path, f"settles {record['settles']!r} among {kind}")
    return found | ({"settles": True} if record.get("settles") else {})


def merge(contents: Iterable[Content]) -> Content:
    """One content of several: of each person the latest record of a photo or label.

    The order of files, and how often one is given, do not matter: a record is left out only for
    a later one of the same person; one that settles only for one that does too. key and by are
    those that all files share, else empty.
    """
    latest: dict[str, dict[tuple, Record]] = {kind: {} for kind in KINDS}
    shared: dict[str, set[str]] = {"key": set(), "by": set()}
    for content in contents:
        for name, values in shared.items():
            values.add(content[name])
        for kind, found in latest.items():
            for record in content[kind]:
                whose = (*whose_photo(record), record.get("label"))
                if whose not in found or rank(found[whose]) < rank(record):
                    found[whose] = record
    verified, decisions = latest.values()
    for whose, record in list(decisions.items()):
        whole = verified.get((*whose[:-1], None))
        if whole is not None and moment(record) <= moment(whole):
            del decisions[whose]
    result: Content = {"format": FORMAT}
    result |= {name: min(values) if len(values) == 1 else "" for name, values in shared.items()}
    for kind, found in latest.items():
        result[kind] = [found[whose] for whose in sorted(found, key=str)]
    return result | {"disputes": disputes(result)}


def whose_photo(record: Record) -> tuple:
    """Photo and person of a record, and whether it settles."""
    return record["path"], record["sha256"], record["by"], "settles" in record


def moment(record: Record) -> str:
    """The time of a record, as texts that sort by it.

    >>> moment({"at": "2026-11-29T01:02:03.500Z"}), moment({"at": "2026-11-29T01:02:03.000Z"})
    ('2026-11-29T01:02:03.5', '2026-11-29T01:02:03')
    """
    whole, _, part = record["at"].removesuffix("Z").partition(".")
    return f"{whole}.{part}".rstrip("0").rstrip(".") if part else whole


def rank(record: Record) -> tuple[str, str]:
    """The order of one person's records; of the same moment, any order that is always the same."""
    return moment(record), json.dumps(record, sort_keys=True)


class Opinion(NamedTuple):
    """People's opinion on a photo.

    whole: somebody has said it of every label; those that are not named are false. answers: label
    to whether it is true. disputed: label to the names of those who differ.
    """

    whole: bool
    answers: dict[str, bool]
    disputed: dict[str, list[str]]


class Vote(NamedTuple):
    """One person's word on a label."""

    moment: str
    by: str
    true: bool
    settles: bool


def opinions(content: Content) -> dict[Place, Opinion]:
    """The opinion on each photo in a merged content."""
    of_photo: dict[Place, list[Record]] = defaultdict(list)
    for kind in KINDS:
        for record in content[kind]:
            of_photo[record["path"], record["sha256"]].append(record)
    return {place: opinion(records) for place, records in of_photo.items()}


def opinion(records: list[Record]) -> Opinion:
    """The opinion in the records of one photo."""
    whole = [record for record in records if "true_labels" in record]
    single: dict[str, dict[tuple, Record]] = defaultdict(dict)
    for record in records:
        if "label" in record:
            single[record["label"]][whose_photo(record)] = record
    labels = {label for record in whole for label in record["true_labels"]}
    answers, disputed = {}, {}
    for label in sorted(labels | single.keys()):
        own = single.get(label, {})
        votes = [
            Vote(moment(r), r["by"], label in r["true_labels"], "settles" in r)
            for r in whole
            if whose_photo(r) not in own  # which are later, or merging had left them out
        ]
        votes += [Vote(moment(r), r["by"], r["true"], "settles" in r) for r in own.values()]
        last = max((vote for vote in votes if vote.settles), default=None)
        if last is not None:
            votes = [last, *(vote for vote in votes if vote.moment > last.moment)]
        if len({vote.true for vote in votes}) == 1:
            answers[label] = votes[0].true
        else:
            disputed[label] = sorted({vote.by for vote in votes})
    return Opinion(bool(whole), answers, disputed)


def disputes(content: Content) -> list[Record]:
    """The labels on which people differ."""
    return [
        {"path": path, "sha256": sha256, "label": label, "by": names}
        for (path, sha256), found in opinions(content).items()
        for label, names in found.disputed.items()
    ]


class Carried(NamedTuple):
    """Decisions on the N photos and C classes of a run.

    content: the records of these photos, in their order, of the format review-2.
    hashes: N texts, the first 16 hex digits of the SHA-256 of each photo's bytes.
    decided: (N, C) int8, 1 true, 0 false, -1 where nobody has decided or people differ.
    verified: (N,) bool: of every label it is known whether it is true.
    changed, gone: paths of records whose photo has other bytes now, or is not there.
    unknown: path and label of decisions on what is no class here.
    no_candidate: path and label of decisions that a label is false which is no candidate now.
    """

    content: Content
    hashes: Sequence[str]
    decided: np.ndarray
    verified: np.ndarray
    changed: list[str]
    gone: list[str]
    unknown: list[tuple[str, str]]
    no_candidate: list[tuple[str, str]]

    def part(self, rows: slice, paths: Sequence[str]) -> "Carried":
        """The decisions on some of the photos, of which `paths` are the image ids."""
        here = set(paths)
        content = self.content | {
            kind: [record for record in self.content[kind] if record["path"] in here]
            for kind in (*KINDS, "disputes")
        }
        return self._replace(
            hashes=self.hashes[rows],
            decided=self.decided[rows],
            verified=self.verified[rows],
            content=content,
        )

    def as_verified(self) -> Verified | None:
        """The verified photos and their truth; None where there are none."""
        rows = np.flatnonzero(self.verified)
        return Verified(rows, (self.decided[rows] == 1).astype(np.uint8)) if len(rows) else None

    def applied(self, found: np.ndarray, dropped: np.ndarray | None = None) -> np.ndarray:
        """Candidates (N, C) with the decisions on single labels; verified photos as found.

        Args:
            found: (N, C) uint8, candidates as found.
            dropped: (N, C) bool, what the program drops where nobody has decided; None: nothing.
        """
        result = found.copy()
        if dropped is not None:
            result[dropped] = 0
        people = self.decided >= 0
        result[people] = self.decided[people]
        result[self.verified] = found[self.verified]
        return result


def carry(
    content: Content,
    paths: Sequence[str],
    hashes: Sequence[str],
    classes: Sequence[str],
    found: np.ndarray,
) -> Carried:
    """Find the photos of a merged content among those of a run.

    Args:
        content: from `merge`.
        paths: N image ids.
        hashes: N texts, the first 16 hex digits of the SHA-256 of each photo's bytes.
        classes: C names.
        found: (N, C) in {0, 1}, its candidates.
    """
    rows = {path: row for row, path in enumerate(paths)}
    columns = {name: column for column, name in enumerate(classes)}
    changed, gone, unknown = set(), set(), set()
    here: Content = {"format": FORMAT, "key": content["key"], "by": content["by"]}
    for kind in KINDS:
        here[kind] = []
        for record in content[kind]:
            path = record["path"]
            if path not in rows:
                gone.add(path)
            elif record["sha256"] not in ("", hashes[rows[path]]):
                changed.add(path)
            else:
                labels = record.get("true_labels", [record.get("label")])
                unknown |= {(path, label) for label in labels if label not in columns}
                if kind == "verified":
                    known = [label for label in labels if label in columns]
                    record = record | {"true_labels": known}
                elif labels[0] not in columns:
                    continue
                here[kind].append(record | {"sha256": hashes[rows[path]]})
    here = merge([here])
    for kind in (*KINDS, "disputes"):
        here[kind].sort(key=lambda r: (rows[r["path"]], columns.get(r.get("label", ""), -1)))
    decided = np.full(found.shape, -1, np.int8)
    verified = np.zeros(len(found), bool)
    no_candidate = []
    for (path, _), each in opinions(here).items():
        row = rows[path]
        verified[row] = each.whole and not each.disputed
        if each.whole:
            decided[row] = 0
        for label, true in each.answers.items():
            decided[row, columns[label]] = true
            if not true and not each.whole and not found[row, columns[label]]:
                no_candidate.append((path, label))
        for label in each.disputed:
            decided[row, columns[label]] = -1
    lost = sorted(changed), sorted(gone), sorted(unknown), sorted(no_candidate)
    return Carried(here, hashes, decided, verified, *lost)


LISTED = 5  # of what is lost, on the terminal; decisions.json has all


def describe(carried: Carried) -> dict[str, Any]:
    """Summarise what was taken over and what was not, JSON-ready."""
    single = (carried.decided >= 0) & ~carried.verified[:, None]
    return {
        "verified": int(carried.verified.sum()),
        "decisions": len(carried.content["decisions"]),
        "photos_with_decisions": int(single.any(axis=1).sum()),
        "disputes": [
            [record["path"], record["label"], *record["by"]]
            for record in carried.content["disputes"]
        ],
        "changed": carried.changed,
        "gone": carried.gone,
        "unknown": [list(pair) for pair in carried.unknown],
        "no_candidate": [list(pair) for pair in carried.no_candidate],
    }


def format_carried(described: dict[str, Any]) -> list[str]:
    """Lines that say what `describe` found."""
    lines = [
        f"{'decisions':<20}{described['verified']} photos verified, {described['decisions']} "
        f"decisions on single labels of {described['photos_with_decisions']} others"
    ]
    meanings = {
        "disputes": "labels on which people differ, left as found till one settles them",
        "changed": "photos that have other bytes now: what was decided on them is left out",
        "gone": "photos that are not there any more",
        "unknown": "labels that are no class here",
        "no_candidate": "labels decided to be false that are no candidates any more",
    }
    for name, meaning in meanings.items():
        found = described[name]
        if not found:
            continue
        lines.append(f"{name.replace('_', ' '):<20}{len(found)} {meaning}")
        for each in found[:LISTED]:
            parts = [each] if isinstance(each, str) else each
            lines.append(f"{'':<20}{one_line('  '.join(parts))}")
        if len(found) > LISTED:
            lines.append(f"{'':<20}and {len(found) - LISTED} more, see decisions.json")
    return lines
