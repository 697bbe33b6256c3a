"""The review page in a browser: decisions are made, undone and stored."""

import json

import numpy as np
import pytest

from pipeline.review.page import write_page
from tests.helpers import (
    PAGE_CANDIDATES,
    PAGE_PROBABILITIES,
    card,
    chip,
    is_kept,
    progress,
    small_page,
    verify,
)


def decisions(tab):
    """Tell whether each candidate is kept, in the order of PAGE_CANDIDATES."""
    return tab.evaluate("""() => [...document.querySelectorAll('#grid .chip')]
        .sort((a, b) => a.dataset.entry - b.dataset.entry)
        .map((chip) => chip.getAttribute('aria-pressed') === 'true')""")


def decisions_but(*flipped):
    """The script's decisions, but for the opposite of some, each an image and a class."""
    return [(p >= 0.5) != ((i, c) in flipped) for i, c, p in PAGE_CANDIDATES]


def done(tab):
    """The count of what is decided, such as '1 verified, 3 decided'."""
    photos, labels, *_ = progress(tab).split(" · ")
    return f"{photos.split()[0]} verified, {labels.split()[0]} decided"


# ---------------------------------------------------------------- made and undone


def test_a_click_decides_one_label_and_verifies_nothing(tab):
    chip(tab, 0, 1).click()
    assert is_kept(tab, 0, 1)
    assert is_kept(tab, 0, 0)
    assert chip(tab, 0, 1).inner_text().split() == ["✓", "<b>cat</b>", "you", "0.20", ",", "kept"]
    assert "you" not in chip(tab, 0, 0).inner_text()
    assert done(tab) == "0 verified, 1 decided"
    chip(tab, 0, 1).click()
    assert not is_kept(tab, 0, 1)
    assert done(tab) == "0 verified, 1 decided"  # dropped by the user now


def test_to_verify_a_photo_decides_its_labels_as_they_show(tab):
    chip(tab, 2, 0).click()
    verify(tab, 2)
    assert decisions(tab) == decisions_but((2, 0))
    assert done(tab) == "1 verified, 3 decided"
    verify(tab, 2)  # takes back all but the change
    assert done(tab) == "0 verified, 1 decided"
    tab.keyboard.press("u")
    assert done(tab) == "1 verified, 3 decided"


def test_a_photo_without_a_label_is_marked_and_counted(tab):
    assert not card(tab, 3).locator(".bare").is_visible()
    chip(tab, 3, 0).click()
    assert card(tab, 3).locator(".bare").is_visible()
    assert "3 photos without a label" in progress(tab)
    chip(tab, 3, 0).click()
    assert "2 photos without a label" in progress(tab)


def test_undo_and_redo(tab):
    chip(tab, 0, 0).click()
    chip(tab, 5, 3).click()
    tab.keyboard.press("Control+z")
    assert (is_kept(tab, 0, 0), is_kept(tab, 5, 3)) == (False, False)
    tab.keyboard.press("u")
    assert (is_kept(tab, 0, 0), is_kept(tab, 5, 3)) == (True, False)
    assert done(tab) == "0 verified, 0 decided"
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
    verify(tab, 1)
    tab.reload()
    assert decisions(tab) == decisions_but((0, 0), (8, 3))
    assert done(tab) == "1 verified, 3 decided"


def test_order_undo_and_place_survive_a_reload(tab):
    tab.select_option("#sort", "file")
    tab.select_option("#class", "0")
    for image in (0, 9):
        chip(tab, image, 0).click()
    tab.reload()
    assert (tab.input_value("#sort"), tab.input_value("#class")) == ("file", "0")
    assert tab.locator(".card.current").get_attribute("data-image") == "9"
    assert [is_kept(tab, image, 0) for image in (0, 9)] == [False, True]
    tab.keyboard.press("u")
    tab.keyboard.press("u")
    assert [is_kept(tab, image, 0) for image in (0, 9)] == [True, False]
    tab.reload()
    tab.keyboard.press("Control+Shift+Z")
    assert [is_kept(tab, image, 0) for image in (0, 9)] == [False, False]


def test_decisions_and_verified_photos_survive_another_threshold(open_page, tmp_path):
    tab = open_page(write_page(tmp_path, small_page()), ignore_console=True)
    chip(tab, 0, 0).click()  # 0.9: dropped
    verify(tab, 4)  # 0.6 and 0.61 are kept
    mine = {(0, 0): False, (4, 1): True, (4, 2): True}
    for threshold in (0.7, 0.5):
        write_page(tmp_path, small_page(kept=np.array(PAGE_PROBABILITIES) >= threshold))
        tab.reload()
        assert decisions(tab) == [mine.get((i, c), p >= threshold) for i, c, p in PAGE_CANDIDATES]
        assert done(tab) == "1 verified, 3 decided"


def test_what_an_earlier_page_stored_is_taken_over(tab):
    """Of a photo looked at every candidate is decided; but no one said that none is missing."""
    stored = {"images": 12, "entries": 18, "kept": [], "dropped": [0], "seen": [0, 4]}
    tab.evaluate(
        "text => { localStorage.clear(); localStorage.setItem('review-2:00ff', text); }",
        json.dumps(stored),
    )
    tab.reload()
    assert decisions(tab) == decisions_but((0, 0))
    assert done(tab) == "0 verified, 4 decided"
    tab.wait_for_function("() => 'review-3:00ff:12:18' in localStorage")


def test_a_decision_not_yet_stored_outlives_one_of_another_tab(open_page):
    other = open_page()
    chip(other, 1, 1).click()
    other.wait_for_function("() => 'review-3:00ff:12:18' in localStorage")
    stored = other.evaluate(
        "() => ['review-3:00ff:12:18', localStorage.getItem('review-3:00ff:12:18')]"
    )
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
    assert tab.evaluate("localStorage.getItem('review-3:00ff:12:18')") != stored[1]
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
    tab.evaluate("text => localStorage.setItem('review-3:00ff:12:18', text)", stored)
    tab.reload()
    assert tab.locator("#warning").is_visible()
    assert decisions(tab) == decisions_but()
