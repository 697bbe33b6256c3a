"""The review page in a browser: decisions of one or more people are exported and imported."""

import csv
import io
import json

import numpy as np
import pytest

from pipeline.review.decisions import carry, check_content, merge
from pipeline.review.page import write_page
from tests.helpers import (
    PAGE_CANDIDATES,
    PAGE_CLASSES,
    PAGE_PATHS,
    SUSPICIOUS_FIRST,
    card,
    cards,
    chip,
    downloads,
    give_name,
    is_kept,
    page_opener,
    progress,
    small_page,
    verify,
    wait_for_cards,
)

AT = "2026-11-29T01:02:03Z"


def record(image, **more):
    return {"path": PAGE_PATHS[image], "by": "Ben", "at": AT} | more


def verified(image, *columns, **more):
    return record(image, true_labels=[PAGE_CLASSES[column] for column in columns], **more)


def decided(image, column, value, **more):
    return record(image, **({"label": PAGE_CLASSES[column], "true": value} | more))


def review(verified=(), decisions=()):
    return {"format": "review-2", "key": "00ff", "verified": verified, "decisions": decisions}


def import_files(tab, folder, *contents):
    """Import files of these contents; return what the page says of it."""
    files = []
    for number, content in enumerate(contents):
        files.append(folder / f"{number}.json")
        files[-1].write_text(content if isinstance(content, str) else json.dumps(content))
    tab.evaluate("() => { document.getElementById('status').textContent = ''; }")
    tab.set_input_files("#import-file", files)
    if tab.evaluate("localStorage.getItem('review-name')") is None:
        give_name(tab, "Ann")
    tab.wait_for_function(
        """() => document.getElementById('status').textContent.includes('Imported')
            || !document.getElementById('warning').hidden"""
    )
    return tab.locator("#status").inner_text()


def exported_review(tab):
    return json.loads(downloads(tab)["review.json"])


def known(review):
    """Each label that somebody decided: (path, label, value, by, settles)."""
    return {
        (r["path"], r["label"], r["true"], r["by"], r.get("settles", False))
        for r in review["decisions"]
    } | {
        (r["path"], label, True, r["by"], False)
        for r in review["verified"]
        for label in r["true_labels"]
    }


# ---------------------------------------------------------------- export


@pytest.fixture(scope="module")
def exported(browser, small_page_path):
    """The files of a page on which a label of image 9 is decided, and image 4 verified."""
    with page_opener(browser, small_page_path) as open_page:
        tab = open_page()
        chip(tab, 9, 0).click()
        verify(tab, 4)
        yield downloads(tab)


def test_export_holds_what_a_person_decided_and_nothing_else(exported):
    review = json.loads(exported["review.json"].decode("utf-8"))
    (photo,), (label,) = review["verified"], review["decisions"]
    assert [review.pop(name) for name in ("format", "key", "by")] == ["review-2", "00ff", "Ann"]
    times = [photo.pop("at"), label.pop("at")]
    assert times == sorted(times, reverse=True)
    assert times[0][10:11] + times[0][-1:] == "TZ"
    assert photo == {
        "path": PAGE_PATHS[4],
        "sha256": "",
        "true_labels": [PAGE_CLASSES[1], PAGE_CLASSES[2]],
        "by": "Ann",
    }
    assert label == {
        "path": PAGE_PATHS[9], "sha256": "", "label": "dog", "true": True, "by": "Ann"
    }  # fmt: skip


def test_exported_table_is_quoted_and_holds_no_formulas(exported):
    text = exported["review.csv"].decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head == ["path", "candidate", "probability", "decision", "by"]
    safe = {"=cmd|' /C calc'!A0", "@\r\n\ttab.jpg", "=1+1"}
    mine = {(9, 0): True, (4, 1): True, (4, 2): True}

    def cell(name):
        return ("'" * (name in safe) + name).replace("\udcff", "\ufffd")

    for row, (i, c, p) in zip(rows, PAGE_CANDIDATES, strict=True):
        decision = "kept" if mine.get((i, c), p >= 0.5) else "dropped"
        by = "Ann" if (i, c) in mine else "script"
        assert row == [cell(PAGE_PATHS[i]), cell(PAGE_CLASSES[c]), str(p), decision, by]
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([head, *rows])
    assert text == written.getvalue()


def test_a_name_is_asked_once_and_told_to_no_one_before(tab):
    tab.get_by_role("button", name="Export").click()
    tab.get_by_role("button", name="Cancel").click()
    assert tab.locator("#status").inner_text() == ""
    assert exported_review(tab)["by"] == "Ann"
    tab.reload()
    tab.get_by_role("button", name="Export").click()
    assert not tab.locator("#name-dialog").is_visible()


def test_hashes_go_with_the_paths(open_page, tmp_path):
    page = small_page(hashes=["ab" * 8, *[""] * 11])
    tab = open_page(write_page(tmp_path, page), ignore_console=True)
    for image in (0, 3):
        verify(tab, image)
    first, second = exported_review(tab)["verified"]
    assert (first["sha256"], second["sha256"]) == ("ab" * 8, "")


def test_exported_files_start_apart_and_are_made_of_parts(tab):
    for image in range(8):
        verify(tab, image)
    tab.evaluate("""() => {
        localStorage.setItem('review-name', 'Ann');
        window.times = [];
        window.longest = [];
        HTMLAnchorElement.prototype.click = function () { times.push(performance.now()); };
        window.Blob = class extends Blob {
            constructor(parts, options) {
                super(parts, options);
                longest.push(Math.max(...parts.map((part) => part.length)) / this.size);
            }
        };
    }""")
    tab.get_by_role("button", name="Export").click()
    give_name(tab, "Ann")
    tab.wait_for_function("() => times.length === 2")
    first, second = tab.evaluate("times")
    assert second - first > 900
    assert max(tab.evaluate("longest")) < 0.5


@pytest.mark.parametrize("part", ["Blob", "URL.createObjectURL"])
def test_an_export_that_fails_is_said(tab, part):
    tab.evaluate(f"() => {{ {part} = function () {{ throw new RangeError('too long'); }}; }}")
    tab.get_by_role("button", name="Export").click()
    give_name(tab, "Ann")
    tab.wait_for_selector("#warning:visible")
    assert "RangeError: too long" in tab.locator("#warning").inner_text()


# ---------------------------------------------------------------- import


def test_import_gives_exported_decisions_back_and_undo_takes_them(open_page, tmp_path):
    first, second = open_page(), open_page()
    chip(first, 9, 0).click()
    verify(first, 2)
    text = downloads(first)["review.json"].decode()
    words = import_files(second, tmp_path, text)
    assert words == "Imported 1 verified photo, 4 decisions"
    assert is_kept(second, 9, 0)
    assert progress(second) == progress(first)
    assert exported_review(second) == json.loads(text)
    assert import_files(second, tmp_path, text) == "Imported 0 verified photos, 0 decisions"
    second.keyboard.press("u")
    second.keyboard.press("u")
    assert progress(second).startswith("0 of 12 photos verified · 0 labels decided")


def test_a_colleagues_file_reverts_nothing_of_ones_own(tab, tmp_path):
    chip(tab, 0, 0).click()
    verify(tab, 1)
    late = {"at": "2999-01-01T00:00:00Z"}
    words = import_files(
        tab, tmp_path, review([verified(1)], [decided(0, 0, True, **late), decided(3, 0, False)])
    )
    assert words == (
        "Imported 0 verified photos, 1 decision, 2 on labels decided here too, 2 disputes to settle"
    )
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (1, 1), (3, 0))] == [False, True, False]
    assert "2 disputes" in progress(tab)
    assert "Ben yes" in chip(tab, 0, 0).get_attribute("title")
    tab.select_option("#decision", "disputed")
    assert sorted(cards(tab)) == [0, 1]


def test_a_dispute_ends_where_one_person_settles_it(open_page, tmp_path):
    tab = open_page()
    chip(tab, 0, 0).click()
    import_files(tab, tmp_path, review(decisions=[decided(0, 0, True)]))
    before = known(exported_review(tab))
    assert before == {
        (PAGE_PATHS[0], "dog", False, "Ann", False), (PAGE_PATHS[0], "dog", True, "Ben", False)
    }  # fmt: skip
    chip(tab, 0, 0).click()
    assert "dispute" not in progress(tab)
    chip(tab, 0, 0).click()
    assert not is_kept(tab, 0, 0)
    settled = exported_review(tab)
    agreed = {(PAGE_PATHS[0], "dog", True, by, False) for by in ("Ann", "Ben")}
    assert known(settled) == agreed | {(PAGE_PATHS[0], "dog", False, "Ann", True)}
    third = open_page()
    third.evaluate("localStorage.setItem('review-name', 'Cid')")
    third.reload()
    chip(third, 0, 0).click()
    chip(third, 0, 0).click()  # kept, by Cid too, and before it was settled or after
    import_files(third, tmp_path, settled)
    tab.keyboard.press("u")
    tab.keyboard.press("u")
    assert "1 dispute" in progress(tab)


def verified_by_apply(content):
    """The photos that `review.py --apply` of a file counts as verified, and its disputes."""
    found = np.zeros((len(PAGE_PATHS), len(PAGE_CLASSES)), np.uint8)
    for image, column, _ in PAGE_CANDIDATES:
        found[image, column] = 1
    merged = merge([check_content(content, "review.json")])
    taken = carry(merged, PAGE_PATHS, [""] * len(PAGE_PATHS), PAGE_CLASSES, found)
    return np.flatnonzero(taken.verified).tolist(), len(taken.content["disputes"])


def verified_on_page(tab):
    """The same, as the page has it."""
    tab.select_option("#photos-filter", "verified")
    images = sorted(cards(tab))
    tab.select_option("#photos-filter", "unverified")
    assert sorted([*images, *cards(tab)]) == list(range(12))
    tab.select_option("#photos-filter", "any")
    shown = progress(tab)
    assert shown.startswith(f"{len(images)} of 12 photos verified")
    return images, int(shown.split(" dispute")[0].split()[-1]) if "dispute" in shown else 0


def test_the_page_calls_verified_what_apply_does(open_page, tmp_path):
    """A photo in dispute is not, whoever has verified it, until somebody settles the dispute."""
    tab = open_page(write_page(tmp_path, small_page(to_verify=[1, 2, 4])), ignore_console=True)
    for image in (1, 2, 3):
        verify(tab, image)
    words = import_files(tab, tmp_path, review([verified(1), verified(2, 0), verified(4, 1)]))
    assert words.startswith("Imported 1 verified photo, ")
    assert words.endswith("2 disputes to settle")
    assert verified_on_page(tab) == verified_by_apply(exported_review(tab)) == ([3, 4], 2)
    assert (
        card(tab, 1).get_by_role("button", name="Verified").get_attribute("aria-pressed") == "false"
    )
    tab.keyboard.press("b")
    tab.get_by_role("button", name="Verify 12 photos").click()
    assert tab.locator("#status").inner_text() == "Verified: 8 photos, 2 in dispute left"
    tab.keyboard.press("u")
    tab.reload()
    assert verified_on_page(tab) == ([3, 4], 2)
    tab.get_by_role("button", name="Verify these 3").click()
    assert tab.locator("#task-text").inner_text() == "Verify these 3 photos: 1 done, 2 to go"
    tab.keyboard.press("d")
    assert tab.locator("#task-text").inner_text() == "Verify these 3 photos: 2 done, 1 to go"
    tab.keyboard.press("x")  # settles the dispute of a photo that both have verified
    assert tab.locator("#task-text").inner_text().startswith("All 3 photos are verified")
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Show all photos").click()
    wait_for_cards(tab, SUSPICIOUS_FIRST)
    assert verified_on_page(tab) == verified_by_apply(exported_review(tab)) == ([1, 2, 3, 4], 0)
    tab.keyboard.press("u")
    assert verified_on_page(tab)[1] == 1


def test_who_has_settled_a_dispute_may_decide_otherwise_later(tab, tmp_path):
    import_files(tab, tmp_path, review(decisions=[decided(0, 0, True)]))
    for value in (False, True, False):
        chip(tab, 0, 0).click()
        assert is_kept(tab, 0, 0) == value
        assert "dispute" not in progress(tab)
    assert verified_by_apply(exported_review(tab)) == ([], 0)


def test_a_persons_word_goes_before_that_of_the_runs_list(open_page, tmp_path):
    of_list = verified(1, 1, by="list", at="1970-01-01T00:00:00Z")
    page = small_page(decisions=review([of_list]))
    tab = open_page(write_page(tmp_path, page), ignore_console=True)
    import_files(tab, tmp_path, review(decisions=[decided(1, 1, False)]))
    assert verified_on_page(tab) == ([1], 0)
    assert not is_kept(tab, 1, 1)


def change_name(tab, name, same=False):
    """Change the name by keys alone."""
    tab.locator("#me").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#name-dialog[open]")
    tab.keyboard.type(name)  # in place of the one before, which is selected
    if same:
        tab.keyboard.press("Tab")
        tab.keyboard.press("Space")
        tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_function(
        "name => document.getElementById('me-name').textContent === name", arg=name
    )


def test_another_person_goes_on_under_their_own_name(tab):
    assert tab.locator("#me-name").inner_text() == "Your name"
    chip(tab, 0, 0).click()
    verify(tab, 2)
    change_name(tab, "Ann")
    assert tab.locator("#me-name").inner_text() == "Ann"
    change_name(tab, "Ben")
    assert not tab.locator("#undo").is_enabled()  # what Ann did is not Ben's to take back
    chip(tab, 3, 0).click()
    chip(tab, 0, 0).click()
    for _ in range(2):
        assert tab.locator("#me-name").inner_text() == "Ben"
        assert "Ann" in chip(tab, 2, 0).inner_text()
        found = exported_review(tab)
        assert found["by"] == "Ben"
        dog = PAGE_PATHS[0], "dog"
        assert known(found) >= {
            (*dog, False, "Ann", False), (*dog, True, "Ben", True),
            (PAGE_PATHS[3], "dog", False, "Ben", False),
        }  # fmt: skip
        assert [r["by"] for r in found["verified"]] == ["Ann"]
        tab.reload()
    change_name(tab, "Ann")
    assert "you" in chip(tab, 2, 0).inner_text()
    assert known(exported_review(tab)) == known(found)


def test_a_better_name_of_the_same_person_takes_their_decisions_along(tab):
    chip(tab, 0, 0).click()
    change_name(tab, "An")
    change_name(tab, "Ann", same=True)
    assert "you" in chip(tab, 0, 0).inner_text()
    assert tab.locator("#undo").is_enabled()
    tab.reload()
    assert "you" in chip(tab, 0, 0).inner_text()
    assert {r["by"] for r in exported_review(tab)["decisions"]} == {"Ann"}
    tab.click("#me")
    tab.fill("#name", "")
    tab.keyboard.press("Enter")
    assert tab.locator("#name-dialog").is_visible()  # no name is none
    tab.keyboard.press("Escape")
    assert tab.locator("#me-name").inner_text() == "Ann"


def test_an_open_page_of_the_same_browser_goes_on_under_the_new_name(tab, small_page_path):
    chip(tab, 0, 0).click()
    change_name(tab, "Ann")
    tab.wait_for_timeout(400)
    second = tab.context.new_page()
    second.goto(small_page_path.as_uri())
    chip(second, 3, 0).click()
    change_name(tab, "Ben")
    second.wait_for_function("() => document.getElementById('me-name').textContent === 'Ben'")
    second.wait_for_timeout(400)
    assert known(exported_review(second)) == {
        (PAGE_PATHS[image], "dog", False, "Ann", False) for image in (0, 3)
    }


def test_more_than_255_people_stay_apart(tab, tmp_path):
    names = [f"person {number:03}" for number in range(300)]
    records = [decided(0, 0, True, by=name) for name in names[:-2]]
    records += [decided(i, c, False, by=names[-1 - (i == 3)]) for i, c, _ in PAGE_CANDIDATES if i]
    import_files(tab, tmp_path, review(decisions=records))
    tab.wait_for_timeout(400)
    tab.reload()
    found = exported_review(tab)
    assert known(found) == known(review(decisions=records))
    assert len({r["by"] for r in found["decisions"]}) == 300
    assert "you" not in chip(tab, 2, 0).inner_text()


def test_disputes_are_settled_by_key_one_after_the_other(tab, tmp_path):
    for image in (0, 3):
        chip(tab, image, 0).click()
    import_files(tab, tmp_path, review(decisions=[decided(i, 0, True) for i in (0, 3)]))
    tab.select_option("#decision", "disputed")
    wait_for_cards(tab, [0, 3])
    tab.locator("#scroller").focus()
    for key in ("ArrowRight", "c", "x"):
        tab.keyboard.press(key)
    assert "dispute" not in progress(tab)
    assert [is_kept(tab, image, 0) for image in (0, 3)] == [False, True]


def test_two_people_verify_five_hundred_photos_each(open_page, tmp_path):
    """With 50 in common, in 10 of which they differ: nothing is lost, in either order."""
    count = 950
    page = small_page(
        paths=[f"{image}.jpg" for image in range(count)],
        starts=2 * np.arange(count + 1),
        columns=np.tile([0, 1], count),
        probability=np.tile([0.8, 0.3], count),
        kept=np.tile([True, False], count),
    )
    path = write_page(tmp_path, page)

    def of(by, images, labels):
        return [
            {"path": f"{i}.jpg", "sha256": "", "true_labels": labels(i), "by": by, "at": AT}
            for i in images
        ]

    ann = of("Ann", range(500), lambda i: ["dog"])
    ben = of("Ben", range(450, 950), lambda i: [] if i < 460 else ["dog"])
    found = []
    for files in ([review(ann), review(ben)], [review(ben), review(ann)]):
        tab = open_page(path, ignore_console=True)
        for content in files:
            import_files(tab, tmp_path, content)
        assert progress(tab).startswith("940 of 950 photos verified · 1,900 labels decided · 10 d")
        tab.select_option("#decision", "disputed")
        assert tab.locator("#count").inner_text() == "10 of 950 photos"
        found.append(exported_review(tab))
    assert found[0] == found[1]
    order = sorted(ann + ben, key=lambda r: (int(r["path"][:-4]), r["by"]))
    assert found[0]["verified"] == order
    assert found[0]["decisions"] == []


def test_files_give_the_same_in_any_order_and_together(open_page, tmp_path):
    """Two people, photos in common, labels added, and a dispute that a third has settled."""
    eve = decided(0, 0, True, by="Eve")
    later = {"at": "2026-11-29T02:00:00Z"}
    files = [
        review([verified(1, 1, 3, by="Ben"), verified(4, 1, by="Ben")], [decided(0, 0, False)]),
        review([verified(1, 1, by="Eve"), verified(4, 1, by="Eve")], [eve]),
        review(decisions=[decided(0, 0, False, by="Cid", settles=True, **later)]),
    ]
    found = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        tab = open_page()
        tab.evaluate("localStorage.setItem('review-name', 'Ann')")
        tab.reload()
        for place in order:
            import_files(tab, tmp_path, files[place])
        found.append((exported_review(tab), progress(tab)))
    assert all(one == found[0] for one in found)
    assert "1 dispute" in found[0][1]  # of the label that Ben added and Eve did not
    together = open_page()
    assert import_files(together, tmp_path, *files).endswith(", 1 dispute to settle")
    assert (exported_review(together), progress(together)) == found[0]


@pytest.mark.parametrize("single", [False, True])
def test_a_label_that_is_no_candidate_is_disputed_in_any_order(open_page, tmp_path, single):
    """Who verified a photo has refused what it lacks, also what another has added since."""
    eve = review([verified(1, 1, by="Eve")])
    ben = review(decisions=[decided(1, 0, True)]) if single else review([verified(1, 1, 0)])
    for files in ([eve, ben], [ben, eve]):
        tab = open_page()
        import_files(tab, tmp_path, *files)
        assert progress(tab).split(" · ")[2] == "1 dispute"


def test_photos_that_are_not_here_or_have_changed_are_left_out(open_page, tmp_path):
    page = small_page(hashes=["ab" * 8] * 12)
    tab = open_page(write_page(tmp_path, page), ignore_console=True)
    other = [decided(0, 0, False, sha256="cd" * 8), decided(0, 0, False, path="nowhere.jpg")]
    words = import_files(tab, tmp_path, review(decisions=[*other, decided(3, 0, False)]))
    assert words == "Imported 0 verified photos, 1 decision, 2 of other photos or classes left out"


def test_classes_that_are_not_here_are_left_out_and_the_rest_of_the_file_is_taken(tab, tmp_path):
    whole = verified(4, 1) | {"true_labels": ["cow", PAGE_CLASSES[1]]}
    content = review([whole], [decided(0, 0, False), decided(3, 0, False, label="cow")])
    words = import_files(tab, tmp_path, content)
    assert words == "Imported 1 verified photo, 3 decisions, 2 of other photos or classes left out"
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (3, 0), (4, 1), (4, 2))] == [0, 1, 1, 0]


def test_a_review_starts_with_what_was_carried_over(open_page, tmp_path):
    """Once: what the user has undone or changed since stays so, until more is carried over."""
    page = small_page(decisions=review([verified(4, 1)], [decided(0, 0, False)]))
    tab = open_page(write_page(tmp_path, page), ignore_console=True)
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (4, 1), (4, 2))] == [False, True, False]
    assert "Ben" in chip(tab, 0, 0).inner_text()
    assert "1 verified photo, 1 decision" in tab.locator("#summary").inner_text()
    chip(tab, 0, 0).click()
    tab.reload()
    assert is_kept(tab, 0, 0)
    page = page._replace(decisions=review([verified(4, 1)], [decided(3, 0, False)]))
    write_page(tmp_path, page)
    tab.reload()
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (3, 0))] == [True, False]


def test_a_user_whose_name_is_carried_over_is_the_same_person(open_page, tmp_path):
    page = small_page(decisions=review(decisions=[decided(0, 0, False, by="Ann")]))
    tab = open_page(write_page(tmp_path, page), ignore_console=True)
    chip(tab, 0, 0).click()
    (decision,) = exported_review(tab)["decisions"]
    assert (decision["true"], decision["by"]) == (True, "Ann")
    assert "dispute" not in progress(tab)


EARLIER = {"format": "review-1", "key": "00ff"}


def earlier(*flipped):
    return [
        [PAGE_PATHS[i], PAGE_CLASSES[c], (p >= 0.5) != ((i, c) in flipped)]
        for i, c, p in PAGE_CANDIDATES
    ]


def test_a_file_of_an_earlier_page_gives_what_a_person_changed(tab, tmp_path):
    content = EARLIER | {"decisions": earlier((1, 1)), "seen": [1, 4]}
    assert import_files(tab, tmp_path, content) == "Imported 0 verified photos, 1 decision"
    assert not is_kept(tab, 1, 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not JSON", "it is not JSON"),
        (None, "not a review.json"),
        (EARLIER | {"key": "11", "decisions": []}, "another review: its key is 11"),
        (EARLIER | {"decisions": []}, "expected 18 decisions"),
        (EARLIER | {"decisions": [["a", "b", True]] * 18}, "decision 1 is not one of"),
        (EARLIER | {"decisions": earlier((1, 1)), "seen": [4]}, "another threshold"),
        (review(decisions=[{}]), "decision 1 has no path"),
        (review(decisions=[decided(0, 0, "yes")]), "decision 1 is neither true nor false"),
        (review(decisions=[decided(0, 0, True, at="today")]), "does not say by whom and when"),
        (review([record(0)]), "verified photo 1 has no list of true_labels"),
        (review({}), "expected lists"),
    ],
)
def test_files_that_do_not_fit_are_not_imported(tab, tmp_path, content, words):
    import_files(tab, tmp_path, content if isinstance(content, str) else json.dumps(content))
    assert "0.json was not imported" in tab.locator("#warning").inner_text()
    assert words in tab.locator("#warning").inner_text()
    assert " 0 labels decided" in progress(tab)


def test_of_several_files_those_that_fit_are_imported(tab, tmp_path):
    import_files(tab, tmp_path, "not JSON", review([verified(4)]))
    assert "0.json was not imported" in tab.locator("#warning").inner_text()
    tab.wait_for_function("() => document.getElementById('progress-text').textContent[0] === '1'")
    assert card(tab, 4).locator(".bare").is_visible()
