"""The review page in a browser: keys, pointer and scrolling in the grid of photos."""

import numpy as np
import pytest

from pipeline.review.page import write_page
from tests.helpers import SUSPICIOUS_FIRST, card, cards, is_kept, progress, small_page

PHONE = {"width": 400, "height": 500}  # two cards beside and, more or less, above one another
IN_VIEW = """() => [...document.querySelectorAll('.card')].filter((card) => {
    const [inner, outer] = [card, card.closest('#scroller')].map((e) => e.getBoundingClientRect());
    const part = Math.min(inner.bottom, outer.bottom) - Math.max(inner.top, outer.top);
    return part > 0.48 * Math.min(inner.height, outer.height);  // half, but for the gap below
}).map((card) => Number(card.dataset.image))"""


def scroll(tab, top):
    """Scroll like a wheel; return where that led, once cards are drawn there."""
    return tab.evaluate(
        """async (top) => {
            const scroller = document.getElementById('scroller');
            scroller.scrollTop = top;
            for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
            return scroller.scrollTop;
        }""",
        top,
    )


def scroll_top(tab):
    """The place that the grid is scrolled to, once a change of size is dealt with."""
    return tab.evaluate("""async () => {
        for (let i = 0; i < 5; i++) await new Promise(requestAnimationFrame);
        return document.getElementById('scroller').scrollTop;
    }""")


# ---------------------------------------------------------------- keys and pointer


def test_keys_move_flip_and_mark(tab):
    current = tab.locator(".card.current")
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End", "Home"):
        tab.keyboard.press(key)
        seen.append(SUSPICIOUS_FIRST.index(int(current.get_attribute("data-image"))))
        assert current.evaluate("card => card === document.activeElement")
    assert seen == [0, 1, 5, 4, 0, 11, 0]
    tab.keyboard.press("1")  # of image 2 the kept label that is nearest to the threshold
    assert not is_kept(tab, 2, 4)
    tab.keyboard.press("9")  # there is no ninth
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # on its second
    assert not is_kept(tab, 2, 0)
    tab.keyboard.press("Space")
    assert is_kept(tab, 2, 0)
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("d")
    assert current.get_attribute("data-image") == str(SUSPICIOUS_FIRST[2])
    assert progress(tab).startswith("1 of 12 photos verified · 4 labels decided")
    tab.keyboard.press("/")
    tab.keyboard.type("d1u")
    assert tab.input_value("#text") == "d1u"
    assert "1 of 12 photos verified" in progress(tab)
    tab.locator("#tab-photos").focus()
    tab.keyboard.press("?")
    assert tab.get_by_role("dialog", name="Keys").is_visible()
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()


def test_a_card_in_focus_outlives_being_scrolled_away(open_page):
    tab = open_page(viewport={"width": 400, "height": 500})
    tab.keyboard.press("ArrowRight")
    tab.evaluate("document.getElementById('scroller').scrollTop = 1e6")
    tab.wait_for_selector('.card[aria-posinset="12"]')
    places = [int(c.get_attribute("aria-posinset")) for c in tab.query_selector_all(".card")]
    assert places == sorted(places)
    assert 3 not in places
    assert tab.evaluate("document.activeElement.getAttribute('aria-posinset')") == "1"


@pytest.mark.parametrize("key", ["1", "d", "ArrowRight", "PageUp"])
def test_keys_choose_the_first_card_in_view_before_they_act(open_page, key):
    tab = open_page(viewport=PHONE)
    scroll(tab, 1e6)
    first = tab.evaluate(IN_VIEW)[0]
    assert first != SUSPICIOUS_FIRST[0]
    tab.keyboard.press(key)
    assert progress(tab).startswith("0 of 12 photos verified · 0 labels decided")
    assert tab.locator(".card.current").get_attribute("data-image") == str(first)
    tab.keyboard.press("1")
    assert "1 label decided" in progress(tab)
    assert first in tab.evaluate(IN_VIEW)
    assert card(tab, first).locator(".mine").count() == 1


def test_a_click_on_a_card_that_is_partly_out_of_sight_counts(open_page):
    """Nothing may scroll between the pointer's going down and up."""
    tab = open_page(viewport={"width": 900, "height": 900})
    find = """() => {
      const bottom = document.getElementById('scroller').getBoundingClientRect().bottom;
      for (const chip of document.querySelectorAll('.chip')) {
        const box = chip.getBoundingClientRect();
        const card = chip.closest('.card').getBoundingClientRect();
        if (box.bottom < bottom - 2 && card.bottom > bottom + 8)
          return [box.left + 20, (box.top + box.bottom) / 2];
      }
      return null;
    }"""
    place = None
    for height in range(880, 380, -20):  # until a card is cut off below its first candidate
        tab.set_viewport_size({"width": 900, "height": height})
        if place := tab.evaluate(find):
            break
    assert place is not None
    tab.mouse.move(*place)
    tab.mouse.down()
    tab.mouse.up()
    tab.locator("header").get_by_text("1 label decided").wait_for()


# ---------------------------------------------------------------- sizes


def test_a_change_of_size_leaves_the_grid_where_it_was(open_page):
    tab = open_page(viewport=PHONE)
    top = scroll(tab, 700)
    before = tab.evaluate(IN_VIEW)
    tab.set_viewport_size(PHONE | {"height": 450})
    assert scroll_top(tab) == top
    tab.set_viewport_size({"width": 700, "height": 500})
    assert scroll_top(tab) > 0
    assert before[0] in tab.evaluate(IN_VIEW)


def test_a_change_of_size_keeps_a_current_card_that_was_in_view(open_page):
    tab = open_page(viewport={"width": 900, "height": 1000})
    for _ in range(12):
        tab.keyboard.press("ArrowRight")
    tab.set_viewport_size(PHONE)
    assert scroll_top(tab) > 0
    assert SUSPICIOUS_FIRST[-1] in tab.evaluate(IN_VIEW)


def test_the_classes_tab_leaves_the_grid_where_it_was(open_page):
    tab = open_page(viewport=PHONE)
    top = scroll(tab, 703)
    tab.get_by_role("tab", name="Classes").click()
    tab.get_by_role("tab", name="Photos").click()
    assert scroll_top(tab) == top


def test_filters_changed_beside_the_classes_lay_out_the_grid_when_it_shows(open_page):
    tab = open_page(viewport={"width": 900, "height": 450})
    scroll(tab, 500)
    tab.get_by_role("tab", name="Classes").click()
    tab.select_option("#decision", "kept")
    width = "() => parseFloat(document.getElementById('grid').style.getPropertyValue('--card'))"
    assert tab.evaluate(width) > 0
    tab.get_by_role("tab", name="Photos").click()
    assert tab.evaluate(width) > 0
    assert scroll_top(tab) == 0
    assert cards(tab)[0] == SUSPICIOUS_FIRST[0]
    assert tab.locator("#count").inner_text() == "10 of 12 photos"


# ---------------------------------------------------------------- a hundred thousand photos

PHOTOS = 100_000
SCROLL = """async (share) => {
    const scroller = document.getElementById('scroller');
    scroller.scrollTop = (scroller.scrollHeight - scroller.clientHeight) * share;
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
    const {x, y, height} = scroller.getBoundingClientRect();
    const imageAt = (y) => document.elementFromPoint(x + 40, y).closest('.card')?.dataset.image;
    return imageAt(y + height / 2) ?? imageAt(y + height / 2 + 20);  // not a gap between rows
}"""


def large_page(candidates=3):
    generator = np.random.default_rng(0)
    columns = generator.integers(0, 80, (PHOTOS, candidates))
    probability = generator.beta(0.5, 0.5, columns.size)
    return small_page(
        classes=[f"class {column}" for column in range(80)],
        paths=[f"train2014/COCO_train2014_{index:012}.jpg" for index in range(PHOTOS)],
        starts=np.arange(PHOTOS + 1) * candidates,
        columns=columns.reshape(-1),
        probability=probability,
        kept=probability >= 0.5,
        correlation=generator.random((80, 80)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "candidates"),
    [(1280, 3), (375, 8)],  # the second is taller than a browser lets an element be
)
def test_a_hundred_thousand_photos_load_and_scroll(open_page, tmp_path, width, candidates):
    """Loads within ten seconds; in fifty steps through the whole only a few screens' cards
    are ever there, so that a frame takes as long as on a page of a hundred photos.
    """
    path = write_page(tmp_path, large_page(candidates))
    tab = open_page(path, ignore_console=True, viewport={"width": width, "height": 800})
    assert tab.evaluate("performance.timing.loadEventEnd - performance.timing.fetchStart") < 10_000
    cards, images = [], []
    for step in range(51):
        images.append(tab.evaluate(SCROLL, step / 50))
        cards.append(tab.locator(".card").count())
    assert None not in images  # there is a card in the middle of the screen at any time
    assert len(set(images)) == 51
    assert max(cards) < 50
    tab.keyboard.press("End")
    last = tab.locator(".card.current")
    assert last.get_attribute("aria-posinset") == str(PHOTOS)
    assert 0 < last.bounding_box()["y"] < 800
