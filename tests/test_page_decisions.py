"""The review page in a browser: decisions are made, undone, stored, exported and imported."""

import csv
import io
import json

import numpy as np
import pytest

from pipeline.review.page import write_page
from tests.helpers import (
    PAGE_CANDIDATES,
    PAGE_CLASSES,
    PAGE_PATHS,
    PAGE_PROBABILITIES,
    card,
    chip,
    downloads,
    is_kept,
    page_opener,
    progress,
    small_page,
)


def decisions(tab):
    """Whether each candidate is kept, in the order of PAGE_CANDIDATES."""
    return tab.evaluate("""() => [...document.querySelectorAll('.chip')]
        .sort((a, b) => a.dataset.entry - b.dataset.entry)
        .map((chip) => chip.getAttribute('aria-pressed') === 'true')""")


def decisions_but(*flipped):
    """The script's decisions, but for the opposite of some, each an image and a class."""
    return [(p >= 0.5) != ((i, c) in flipped) for i, c, p in PAGE_CANDIDATES]


def named(decisions):
    """Decisions as review.json has them."""
    return [
        [PAGE_PATHS[i], PAGE_CLASSES[c], kept]
        for (i, c, _), kept in zip(PAGE_CANDIDATES, decisions)
    ]


# ---------------------------------------------------------------- made and undone


def test_a_click_flips_one_decision_and_marks_the_photo(tab):
    chip(tab, 0, 1).click()
    assert is_kept(tab, 0, 1)
    assert is_kept(tab, 0, 0)
    assert chip(tab, 0, 1).inner_text().split() == ["✓", "<b>cat</b>", "you", "0.20", ",", "kept"]
    assert progress(tab) == "1 of 12 photos looked at · 1 decision changed"
    chip(tab, 0, 1).click()
    assert not is_kept(tab, 0, 1)
    assert progress(tab) == "1 of 12 photos looked at · 0 decisions changed"


def test_undo_and_redo(tab):
    chip(tab, 0, 0).click()
    chip(tab, 5, 3).click()
    tab.keyboard.press("Control+z")
    assert (is_kept(tab, 0, 0), is_kept(tab, 5, 3)) == (False, False)
    tab.keyboard.press("u")
    assert (is_kept(tab, 0, 0), is_kept(tab, 5, 3)) == (True, False)
    assert progress(tab) == "0 of 12 photos looked at · 0 decisions changed"
    assert tab.get_by_role("button", name="Undo").is_disabled()
    tab.keyboard.press("Control+Shift+Z")
    tab.get_by_role("button", name="Redo").click()
    assert (is_kept(tab, 0, 0), is_kept(tab, 5, 3)) == (False, True)
    tab.get_by_role("button", name="Undo").click()
    chip(tab, 1, 1).click()
    assert tab.get_by_role("button", name="Redo").is_disabled()


def test_undo_and_redo_by_button_leave_the_focus_on_it(tab):
    for image, column in ((0, 0), (5, 3), (1, 1)):
        chip(tab, image, column).click()
    for name in ("Undo", "Redo"):
        tab.get_by_role("button", name=name).focus()
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.textContent") == name
        if name == "Undo":
            tab.keyboard.press("Enter")
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (5, 3), (1, 1))] == [False, True, True]


# ---------------------------------------------------------------- storage


def test_decisions_survive_a_reload(tab):
    for image, column in ((0, 0), (8, 3)):
        chip(tab, image, column).click()
    card(tab, 1).get_by_role("button", name="Looked at").click()
    tab.reload()
    assert decisions(tab) == decisions_but((0, 0), (8, 3))
    assert progress(tab) == "3 of 12 photos looked at · 2 decisions changed"


def test_decisions_survive_another_threshold(open_page, tmp_path):
    tab = open_page(write_page(tmp_path, small_page()), ignore_console=True)
    chip(tab, 0, 0).click()  # 0.9: dropped
    chip(tab, 2, 4).click()  # 0.52: dropped, as by the threshold of 0.7
    mine = {(0, 0): False, (2, 4): False}
    for threshold, changed in ((0.7, "1 decision"), (0.5, "2 decisions")):
        write_page(tmp_path, small_page(kept=np.array(PAGE_PROBABILITIES) >= threshold))
        tab.reload()
        assert decisions(tab) == [mine.get((i, c), p >= threshold) for i, c, p in PAGE_CANDIDATES]
        assert f"{changed} changed" in progress(tab)
        card(tab, 1).get_by_role("button", name="Looked at").click()  # stores all again


def test_differences_stored_by_an_earlier_page_are_ignored(tab):
    tab.evaluate("""() => localStorage.setItem('review:00ff',
        JSON.stringify({images: 12, entries: 18, changed: [0], seen: [0]}))""")
    tab.reload()
    assert not tab.locator("#warning").is_visible()
    assert progress(tab) == "0 of 12 photos looked at · 0 decisions changed"


def test_a_decision_not_yet_stored_outlives_one_of_another_tab(open_page):
    other = open_page()
    chip(other, 1, 1).click()
    other.wait_for_function("() => localStorage.length === 1")
    stored = other.evaluate("() => Object.entries(localStorage)[0]")
    tab = open_page()
    tab.evaluate(
        """([key, newValue]) => {
            document.querySelector('[data-entry="0"]').click();
            localStorage.setItem(key, newValue);
            dispatchEvent(new StorageEvent('storage', {key, newValue}));
        }""",
        stored,
    )
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (1, 1))] == [False, False]
    tab.evaluate("dispatchEvent(new Event('pagehide'))")
    assert tab.evaluate("Object.values(localStorage)[0]") != stored[1]
    tab.keyboard.press("u")
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (1, 1))] == [True, False]
    tab.reload()
    assert [is_kept(tab, i, c) for i, c in ((0, 0), (1, 1))] == [True, False]


def test_tabs_that_decide_at_the_same_time_end_up_with_both_decisions(tab, small_page_path):
    other = tab.context.new_page()
    other.goto(small_page_path.as_uri())
    for page, entry in ((tab, 0), (other, 2)):
        page.evaluate('e => document.querySelector(`[data-entry="${e}"]`).click()', entry)
    for page in (tab, other):
        page.wait_for_function(
            """() => [0, 2].every((entry) => document
            .querySelector(`[data-entry="${entry}"]`).getAttribute('aria-pressed') === 'false')""",
            polling=50,
        )


@pytest.mark.parametrize("call", ["setItem", "getItem"])
def test_storage_that_fails_is_said(tab, call):
    tab.context.add_init_script(
        f"Storage.prototype.{call} = () => {{ throw new DOMException('', 'SecurityError'); }};"
    )
    tab.reload()
    chip(tab, 0, 0).click()
    tab.wait_for_selector("#warning:visible")
    assert "SecurityError" in tab.locator("#warning").inner_text()
    assert not is_kept(tab, 0, 0)


@pytest.mark.parametrize("stored", ["{", "7", '{"images": 3, "entries": 1}'])
def test_stored_text_of_another_kind_is_not_taken(tab, stored):
    tab.evaluate("text => localStorage.setItem('review-2:00ff', text)", stored)
    tab.reload()
    assert tab.locator("#warning").is_visible()
    assert decisions(tab) == decisions_but()


# ---------------------------------------------------------------- export


@pytest.fixture(scope="module")
def exported(browser, small_page_path):
    """The files of a page on which the first candidate of image 9 is flipped and 4 looked at."""
    with page_opener(browser, small_page_path) as open_page:
        tab = open_page()
        chip(tab, 9, 0).click()
        card(tab, 4).get_by_role("button", name="Looked at").click()
        yield downloads(tab)


def test_export_gives_every_decision_under_its_true_name(exported):
    review = json.loads(exported["review.json"].decode("utf-8"))
    assert (review["format"], review["key"]) == ("review-1", "00ff")
    assert review["seen"] == [4, 9]
    assert review["decisions"] == named(decisions_but((9, 0)))


def test_exported_table_is_quoted_and_holds_no_formulas(exported):
    text = exported["review.csv"].decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head == ["path", "candidate", "probability", "decision", "by"]
    safe = {"=cmd|' /C calc'!A0", "@\r\n\ttab.jpg", "=1+1"}

    def cell(name):
        return ("'" * (name in safe) + name).replace("\udcff", "\ufffd")

    for row, (i, c, p), kept in zip(rows, PAGE_CANDIDATES, decisions_but((9, 0)), strict=True):
        by = "you" if (i, c) == (9, 0) else "script"
        decision = "kept" if kept else "dropped"
        assert row == [cell(PAGE_PATHS[i]), cell(PAGE_CLASSES[c]), str(p), decision, by]
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([head, *rows])
    assert text == written.getvalue()


def test_exported_files_start_apart_and_are_made_of_parts(tab):
    tab.evaluate("""() => {
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
    tab.wait_for_function("() => times.length === 2")
    first, second = tab.evaluate("times")
    assert second - first > 900
    assert max(tab.evaluate("longest")) < 0.5


@pytest.mark.parametrize("part", ["Blob", "URL.createObjectURL"])
def test_an_export_that_fails_is_said(tab, part):
    tab.evaluate(f"() => {{ {part} = function () {{ throw new RangeError('too long'); }}; }}")
    tab.get_by_role("button", name="Export").click()
    tab.wait_for_selector("#warning:visible")
    assert "RangeError: too long" in tab.locator("#warning").inner_text()


# ---------------------------------------------------------------- import

REVIEW = {"format": "review-1", "key": "00ff"}


def imported(tab, file):
    tab.set_input_files("#import-file", file)
    tab.wait_for_function(
        "() => document.getElementById('status').textContent.includes('imported')"
    )
    return progress(tab)


@pytest.mark.parametrize(
    ("seen", "looked"), [({"seen": [0, 4, 11]}, 3), ({"seen": []}, 0), ({}, 1)]
)
def test_import_reads_what_was_looked_at(tab, tmp_path, seen, looked):
    """A file without it, of an earlier page, marks the photos of changed decisions."""
    review = REVIEW | {"decisions": named(decisions_but((1, 1)))}
    file = tmp_path / "review.json"
    file.write_text(json.dumps(review | seen))
    assert imported(tab, file) == f"{looked} of 12 photos looked at · 1 decision changed"


def test_import_gives_exported_decisions_back(open_page, tmp_path):
    first = open_page()
    chip(first, 9, 0).click()
    chip(first, 2, 2).click()
    file = tmp_path / "review.json"
    file.write_bytes(downloads(first)["review.json"])
    second = open_page()
    assert imported(second, file) == "2 of 12 photos looked at · 2 decisions changed"
    assert decisions(second) == decisions_but((9, 0), (2, 2))
    second.keyboard.press("u")
    assert decisions(second) == decisions_but()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not JSON", "it is not JSON"),
        (None, "not a review.json"),
        (REVIEW | {"key": "11", "decisions": []}, "another review: its key is 11"),
        (REVIEW | {"decisions": []}, "expected 18 decisions"),
        (REVIEW | {"decisions": [["a", "b", True]] * 18}, "decision 1 is not one of"),
        (REVIEW | {"decisions": named([True] * 18), "seen": [12]}, "numbers from 0 to 11"),
    ],
)
def test_files_that_do_not_fit_are_not_imported(tab, tmp_path, content, words):
    file = tmp_path / "other.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    tab.set_input_files("#import-file", file)
    tab.wait_for_selector("#warning:visible")
    assert "other.json was not imported" in tab.locator("#warning").inner_text()
    assert words in tab.locator("#warning").inner_text()
    assert "0 decisions changed" in progress(tab)
