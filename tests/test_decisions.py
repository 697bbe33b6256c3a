"""Decisions of people: read, merged, carried over."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.review.decisions import (
    carry,
    check_content,
    describe,
    disputes,
    format_carried,
    merge,
    opinions,
    read_json,
)
from tests.helpers import refused

CLASSES = ["dog", "sea", "sky"]


def at(second):
    return f"2026-11-29T01:{second // 60:02}:{second % 60:02}Z"


def label(path, name, true, by="Ann", second=0, **more):
    head = {"path": path, "sha256": "0" * 16, "by": by, "at": at(second)}
    return head | {"label": name, "true": true} | more


def whole(path, names, by="Ann", second=0, **more):
    head = {"path": path, "sha256": "0" * 16, "by": by, "at": at(second)}
    return head | {"true_labels": list(names)} | more


def content(*records, **more):
    kinds = {"verified": [], "decisions": []}
    for record in records:
        kinds["verified" if "true_labels" in record else "decisions"].append(record)
    return check_content({"format": "review-2", "key": "", "by": ""} | kinds | more, "f")


def carried(*records, paths=("a", "b"), found=None, hashes=None):
    found = np.ones((len(paths), 3), np.uint8) if found is None else found
    return carry(merge([content(*records)]), paths, hashes or ["0" * 16] * 2, CLASSES, found)


@st.composite
def records(draw):
    """A record of few photos, people, labels and moments, so that they meet."""
    path, by = draw(st.sampled_from("ab")), draw(st.sampled_from(["Ann", "Ben", ""]))
    more = {"settles": True} if draw(st.integers(0, 4)) == 0 else {}
    second = draw(st.integers(0, 3))
    if draw(st.booleans()):
        names = draw(st.sets(st.sampled_from(CLASSES)))
        return whole(path, names, by, second, **more)
    return label(path, draw(st.sampled_from(CLASSES)), draw(st.booleans()), by, second, **more)


contents = st.lists(records(), max_size=6).map(lambda found: content(*found))


@given(contents, contents, contents)
def test_merging_is_commutative_associative_and_idempotent(a, b, c):
    assert merge([a, b]) == merge([b, a])
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([c, b, a])
    assert merge([a, a]) == merge([a]) == merge([merge([a])])
    assert merge([merge([a, b]), a]) == merge([a, b])


@given(contents, contents)
def test_nothing_is_lost_but_for_a_later_word_of_the_same_person(a, b):
    merged = merge([a, b])
    for kind in ("verified", "decisions"):
        for record in a[kind] + b[kind]:
            later = [
                other
                for other in merged["verified"] + merged["decisions"]
                if (other["path"], other["by"]) == (record["path"], record["by"])
                and other["at"] >= record["at"]
                and ("settles" in other) == ("settles" in record)
                and ("true_labels" in other or other["label"] == record.get("label"))
            ]
            assert later


def two_reviewers():
    """Files of 500 photos each, 50 in common, of which ten in dispute."""
    files = []
    for by, first in (("Ann", 0), ("Ben", 450)):
        found = []
        for photo in range(first, first + 500):
            names = ["dog"] if photo % 2 else ["sea", "sky"]
            if by == "Ben" and 450 <= photo < 460:
                names = [*names, "sky"] if photo % 2 else ["sea"]
            found.append(whole(f"{photo:04}.jpg", names, by, photo % 100))
        files.append(content(*found, by=by))
    return files


def test_two_reviewers_files_are_merged_and_their_disputes_are_shown():
    ann, ben = two_reviewers()
    merged = merge([ann, ben])
    assert merged == merge([ben, ann])
    assert len(merged["verified"]) == 1000
    assert all(record in merged["verified"] for record in ann["verified"] + ben["verified"])
    paths = [f"{photo:04}.jpg" for photo in range(950)]
    expected = [
        {"path": path, "sha256": "0" * 16, "label": "sky", "by": ["Ann", "Ben"]}
        for path in paths[450:460]
    ]
    assert merged["disputes"] == expected
    found = np.ones((950, 3), np.uint8)
    taken = carry(merged, paths, ["0" * 16] * 950, CLASSES, found)
    assert np.flatnonzero(~taken.verified).tolist() == list(range(450, 460))
    applied = taken.applied(found)
    assert (applied[taken.verified] == 1).all()  # as found, their truth is apart
    assert (applied[450:460, 2] == 1).all()  # disputed: as found
    assert (applied[450:460, :2] == [[1 - p % 2, p % 2] for p in range(1, 11)]).all()
    truth = taken.as_verified()
    assert (truth.truth[truth.rows == 3] == [1, 0, 0]).all()
    assert (truth.truth[truth.rows == 948] == [0, 1, 1]).all()
    assert "10 labels on which people differ" in "\n".join(format_carried(describe(taken)))


def test_a_dispute_ends_when_one_person_settles_it():
    ann, ben = label("a", "dog", True), label("a", "dog", False, "Ben", 1)
    assert [d["by"] for d in disputes(content(ann, ben))] == [["Ann", "Ben"]]
    settled = label("a", "dog", True, "Cem", 2, settles=True)
    found = opinions(merge([content(ann, ben, settled)]))["a", "0" * 16]
    assert (found.answers, found.disputed) == ({"dog": True}, {})
    again = label("a", "dog", False, "Ben", 3)
    assert disputes(merge([content(ann, ben, settled, again)]))[0]["by"] == ["Ben", "Cem"]


def test_who_has_settled_a_dispute_may_verify_the_photo_later():
    ben, settled = label("a", "dog", False, "Ben"), label("a", "dog", True, second=1, settles=True)
    taken = carried(ben, settled, whole("a", ["dog"], second=2))
    assert taken.verified[0]
    assert taken.decided[0].tolist() == [1, 0, 0]


def test_of_one_person_the_latest_word_counts_also_on_a_verified_photo():
    early, late = label("a", "dog", False, second=1), label("a", "dog", True, second=5)
    verified = whole("a", ["sea"], second=3)
    merged = merge([content(early, late, verified)])
    assert merged["decisions"] == [late]
    taken = carried(early, late, verified)
    assert taken.verified.tolist() == [True, False]
    assert taken.decided[0].tolist() == [1, 1, 0]


def test_who_verifies_a_photo_also_says_which_labels_are_false():
    ben = label("a", "sky", True, "Ben")
    taken = carried(whole("a", ["sea"]), ben)
    assert not taken.verified[0]
    assert taken.decided[0].tolist() == [0, 1, -1]


def test_photos_are_known_by_path_and_bytes():
    found = np.array([[1, 1, 0], [1, 0, 0]], np.uint8)
    other = label("b", "dog", False) | {"sha256": "1" * 16}
    nameless = label("a", "dog", False) | {"sha256": ""}
    gone = label("c", "dog", False)
    dropped, added = label("a", "sky", False), label("b", "sea", True)
    strange = label("a", "cat", True)
    taken = carried(other, nameless, gone, dropped, added, strange, found=found)
    assert taken.decided.tolist() == [[0, -1, 0], [-1, 1, -1]]
    assert (taken.changed, taken.gone) == (["b"], ["c"])
    assert (taken.unknown, taken.no_candidate) == ([("a", "cat")], [("a", "sky")])
    assert taken.applied(found).tolist() == [[0, 1, 0], [1, 1, 0]]
    assert {record["sha256"] for record in taken.content["decisions"]} == {"0" * 16}
    dropped = np.array([[0, 1, 0], [1, 0, 0]], bool)
    assert taken.applied(found, dropped).tolist() == [[0, 0, 0], [0, 1, 0]]


def test_what_is_carried_comes_in_the_order_of_the_photos_and_is_carried_again():
    taken = carried(label("b", "sky", True), label("b", "dog", True), whole("a", ["sea"]))
    assert [r["label"] for r in taken.content["decisions"]] == ["dog", "sky"]
    again = carry(taken.content, ["a", "b"], ["0" * 16] * 2, CLASSES, np.ones((2, 3), np.uint8))
    assert again.content == taken.content
    assert (again.decided == taken.decided).all()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "review-3"}, "format 'review-3'"),
        ({"format": "review-1"}, "review-1, which does not tell what a person decided"),
        ({"by": 3}, "by 3"),
        ({"verified": {}}, "verified that is no list"),
        ({"decisions": [3]}, "3 among decisions"),
        ({"decisions": [label("a", "dog", 1)]}, "true 1 among"),
        ({"decisions": [label("a", 5, True)]}, "label 5 among"),
        ({"decisions": [label("a", "dog", True) | {"at": "now\n"}]}, "at 'now"),
        (
            {"decisions": [label("a", "dog", True) | {"at": "2026-02-30T01:02:03Z"}]},
            "at '2026-02-3",
        ),
        ({"decisions": [label("a", "dog", True) | {"sha256": "XY"}]}, "sha256 'XY'"),
        ({"verified": [whole("a", ["dog"]) | {"true_labels": ["dog", 2]}]}, "true_labels"),
        ({"verified": [whole("a", ["dog"]) | {"settles": "yes"}]}, "settles 'yes'"),
        ({"decisions": [{"path": "a"}]}, "sha256 None"),
    ],
)
def test_a_damaged_file_is_refused_in_a_line(changes, match):
    with refused(match):
        check_content({"format": "review-2", "key": "", "by": ""} | changes, "f.json")


@given(st.binary(max_size=40))
def test_what_is_no_json_is_refused_in_a_line(tmp_path_factory, found):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(found)
    try:
        json.loads(found.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        with refused("must be the review.json"):
            read_json(str(path))
    else:
        with refused("must be the review.json"):
            check_content(read_json(str(path)), str(path))
