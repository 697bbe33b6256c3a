"""The review page in a browser: one class alone, labels added, the large view, many at once."""

import numpy as np
import pytest
from PIL import Image

from pipeline.review.page import write_page
from tests.helpers import (
    PAGE_CLASSES,
    PAGE_PATHS,
    card,
    chip,
    is_kept,
    progress,
    small_maps,
    small_page,
    verify,
    wait_for_cards,
    write_maps,
    write_small_page,
)

DOG, CAT, QUOTED, LEFT = 0, 1, 3, 4


def page_with_likely(**changes):
    """The small page; image 1 perhaps lacks two labels, image 4 one, and image 7 hardly one."""
    likely, chance = np.full((12, 2), -1), np.zeros((12, 2))
    likely[1], chance[1] = [LEFT, DOG], [0.9, 0.6]
    likely[4], chance[4] = [DOG, -1], [0.7, 0]
    likely[7], chance[7] = [DOG + 3, CAT], [0.2, 0.1]
    return small_page(likely=likely, likely_probability=chance, **changes)


@pytest.fixture
def labels_tab(open_page, tmp_path):
    return open_page(write_page(tmp_path, page_with_likely()), ignore_console=True)


def chips(tab, image):
    """Names of a card's labels, in its order."""
    return card(tab, image).locator(".chip .label").all_inner_texts()


# ---------------------------------------------------------------- one class


def test_a_class_alone_is_ordered_by_its_own_probability(tab):
    tab.select_option("#class", str(DOG))
    wait_for_cards(tab, [3, 2, 7, 9, 0, 6])  # the nearest to the threshold first
    tab.select_option("#sort", "suspicious")
    wait_for_cards(tab, [9, 3, 2, 7, 0, 6])
    tab.select_option("#sort", "trusted")
    wait_for_cards(tab, [6, 0, 7, 2, 3, 9])
    tab.select_option("#sort", "random")
    assert tab.locator("#grid .card").count() == 6
    assert chips(tab, 2)[0] == "dog"
    assert chip(tab, 2, DOG).evaluate("chip => chip.classList.contains('chosen')")


def test_one_key_decides_the_class_and_one_confirms_it(tab):
    tab.select_option("#class", str(DOG))
    tab.locator("#scroller").focus()
    tab.keyboard.press("ArrowRight")  # image 3, then 2
    tab.keyboard.press("c")
    tab.keyboard.press("x")
    assert (is_kept(tab, 3, DOG), is_kept(tab, 2, DOG)) == (True, False)
    assert progress(tab).startswith("0 of 12 photos verified · 2 labels decided")
    assert "kept by you" in chip(tab, 3, DOG).get_attribute("title")


def test_a_class_that_may_be_missing_is_shown_and_added_by_the_same_key(labels_tab):
    tab = labels_tab
    tab.select_option("#decision", "missing")
    wait_for_cards(tab, [4, 1])
    tab.select_option("#class", str(DOG))
    wait_for_cards(tab, [1, 4])  # 0.6 is nearer to the threshold than 0.7
    tab.locator("#scroller").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("x")
    added = card(tab, 1).locator(".chip.chosen")
    assert added.get_attribute("aria-pressed") == "true"
    assert "dog" in added.inner_text()
    tab.select_option("#class", "")
    tab.select_option("#decision", "added")
    wait_for_cards(tab, [1])
    tab.reload()
    wait_for_cards(tab, [1])
    assert chips(tab, 1) == [PAGE_CLASSES[CAT], "dog"]


# ---------------------------------------------------------------- cards


def test_kept_labels_come_first_and_the_surely_false_last(open_page, tmp_path):
    count = 24
    probability = np.linspace(0.02, 0.94, count)
    page = small_page(
        classes=[f"class {column}" for column in range(count)],
        paths=["one.jpg"],
        starts=np.array([0, count]),
        columns=np.arange(count),
        probability=probability,
        kept=probability > 0.89,
        correlation=None,
    )
    tab = open_page(write_page(tmp_path, page), ignore_console=True)
    rest = [f"class {column}" for column in range(21, -1, -1)]
    assert chips(tab, 0) == ["class 22", "class 23", *rest]
    tab.keyboard.press("ArrowRight")
    for key, place in (("0", 9), ("Shift+Digit1", 10), ("Shift+Digit0", 19)):
        tab.keyboard.press(key)
        pressed = card(tab, 0).locator(".chip").nth(place)
        assert pressed.get_attribute("aria-pressed") == "true"
    assert progress(tab).startswith("0 of 1 photo verified · 3 labels decided")


def test_why_a_label_below_the_threshold_is_kept_is_said(open_page, tmp_path):
    kept = np.array(small_page().kept)
    kept[9] = True  # image 5's only label, of 0.3
    tab = open_page(write_page(tmp_path, small_page(kept=kept)), ignore_console=True)
    assert chip(tab, 5, QUOTED).locator(".note").inner_text() == "best"
    assert "never dropped" in chip(tab, 5, QUOTED).get_attribute("title")
    assert chip(tab, 0, DOG).locator(".note").inner_text() == ""


def test_a_map_that_shows_nothing_says_so(open_page, tmp_path):
    maps = small_maps()
    maps[0] = 0
    write_maps(tmp_path, 0, maps)
    tab = open_page(write_page(tmp_path, small_page()), ignore_console=True)
    chip(tab, 0, CAT).hover()
    tab.wait_for_selector(".map.shown")
    assert not card(tab, 0).locator(".blank").is_visible()
    chip(tab, 0, DOG).hover()
    card(tab, 0).locator(".blank").wait_for()
    tab.mouse.move(1, 1)
    card(tab, 0).locator(".blank").wait_for(state="hidden")


def test_tab_stops_at_the_current_card_alone(open_page, tmp_path):
    many = 30
    page = small_page(
        classes=[f"class {column}" for column in range(many)],
        paths=[f"{image}.jpg" for image in range(3)],
        starts=np.arange(4) * many,
        columns=np.tile(np.arange(many), 3),
        probability=np.full(3 * many, 0.7),
        kept=np.ones(3 * many, bool),
        correlation=None,
    )
    tab = open_page(write_page(tmp_path, page), ignore_console=True)
    tab.keyboard.press("ArrowRight")
    stops = set()
    for _ in range(many + 3):
        stops.add(tab.evaluate("document.activeElement.closest('.card')?.dataset.image"))
        tab.keyboard.press("Tab")
    assert stops == {"0"}
    assert tab.evaluate("document.activeElement.closest('.card')") is None


# ---------------------------------------------------------------- labels added


def test_any_class_is_added_by_typing_its_name_or_the_beginning(labels_tab):
    tab = labels_tab
    tab.keyboard.press("ArrowRight")  # image 2 first
    for text, error in (("", True), ("cow", True), ('A "QU', False)):
        if not tab.locator("#add-dialog").is_visible():
            tab.keyboard.press("a")
        tab.fill("#add-text", text)
        tab.keyboard.press("Enter")
        assert tab.locator("#add-dialog").is_visible() == error
    assert chips(tab, 2) == [PAGE_CLASSES[column] for column in (LEFT, DOG, QUOTED, 2)]
    tab.keyboard.press("u")
    assert len(chips(tab, 2)) == 3


def test_of_classes_that_differ_in_case_the_one_typed_is_added(open_page, tmp_path):
    names = ["Dog", "<b>cat</b>", "dog", "DOG", "cat"]
    tab = open_page(write_page(tmp_path, small_page(classes=names)), ignore_console=True)
    for typed, added in (("dog", True), ("dOG", False), ("Cat", True)):
        tab.keyboard.press("a")
        tab.fill("#add-text", typed)
        tab.keyboard.press("Enter")
        assert tab.locator("#add-dialog").is_visible() != added
        assert ("more than one" in tab.locator("#add-error").inner_text()) != added
        if not added:
            tab.click("#add-close")
    chips = "#grid .card.current .chip.mine .label"
    assert tab.locator(chips).all_inner_texts() == ["dog"]  # it had "cat"


def test_a_key_pressed_before_the_closed_dialog_gives_its_focus_back_counts(labels_tab):
    labels_tab.keyboard.press("a")
    labels_tab.fill("#add-text", "dog")
    labels_tab.evaluate("""() => {
        document.getElementById('add-form').requestSubmit();
        const press = {key: 'a', bubbles: true, cancelable: true};
        document.activeElement.dispatchEvent(new KeyboardEvent('keydown', press));
    }""")
    assert labels_tab.locator("#add-dialog").is_visible()


def test_the_likeliest_missing_labels_are_offered(labels_tab):
    tab = labels_tab
    card(tab, 1).get_by_role("button", name="Add a label").click()
    offers = tab.locator("#add-offers .offer")
    assert offers.locator(".chance").all_inner_texts() == ["0.90", "0.60"]
    offers.nth(1).click()
    assert chips(tab, 1) == [PAGE_CLASSES[CAT], "dog"]
    assert progress(tab).startswith("0 of 12 photos verified · 1 label decided")


# ---------------------------------------------------------------- the large view


def test_the_large_view_decides_adds_and_goes_on(labels_tab):
    tab = labels_tab
    tab.select_option("#sort", "file")
    card(tab, 0).locator(".picture").click()
    large = tab.get_by_role("dialog", name="A photo and its labels")
    assert large.locator("#large-place").inner_text() == "1 of 12"
    tab.keyboard.press("1")
    assert not is_kept(tab, 0, DOG)
    assert "No label is left" in large.inner_text()
    tab.keyboard.press("ArrowRight")
    large.locator(".offer").first.click()
    assert chips(tab, 1) == [PAGE_CLASSES[CAT], PAGE_CLASSES[LEFT]]
    large.get_by_role("button", name="Verify and go on").click()
    assert large.locator("#large-place").inner_text() == "3 of 12"
    assert progress(tab).startswith("1 of 12 photos verified · 3 labels decided")
    large.locator(".chip").nth(2).click()
    assert is_kept(tab, 2, 2)
    tab.keyboard.press("Escape")
    tab.wait_for_function("() => document.activeElement.dataset.image === '2'")
    tab.keyboard.press("v")
    assert large.is_visible()


def test_the_large_view_lays_the_map_over_its_photo(open_page):
    tab = open_page()
    card(tab, 2).locator(".picture").click()
    tab.wait_for_selector("#large .card.ready")
    tab.locator("#large .chip").nth(1).hover()
    tab.wait_for_selector("#large .map.shown")
    box = tab.locator("#large .map").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(4 / 3, abs=0.02)
    assert box["width"] > 400


# ---------------------------------------------------------------- many at once


def bulk(tab, name):
    tab.locator("#bulk").get_by_role("button", name=name).click()


def slide(tab, value):
    tab.locator("#bulk-slider").fill(value)


def test_the_large_view_shows_the_photo_itself_where_it_is_still_there(open_page, tmp_path):
    path = write_small_page(tmp_path)
    files = [f"big/{'%23' * image} {image}.png" for image in range(len(PAGE_PATHS))]
    write_page(tmp_path, small_page(files=files))
    thumbnails = [Image.open(tmp_path / f"thumbs/0/{image}.jpg").size for image in range(4)]
    (tmp_path / "big").mkdir()
    for image, scale in ((0, (9, 9)), (2, (9, 5))):  # of 1 there is none, 2 has another shape
        size = [side * factor for side, factor in zip(thumbnails[image], scale)]
        Image.new("RGB", size, "red").save(tmp_path / files[image])
    tab = open_page(path, ignore_console=True)
    tab.select_option("#sort", "file")
    wait_for_cards(tab, list(range(12)))
    tab.locator("#scroller").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("v")
    tab.wait_for_function(
        "() => document.querySelector('#large img').src.endsWith('/big/%200.png')"
    )
    tab.wait_for_function("() => document.querySelector('#large .card.ready') !== null")
    tab.locator("#large .chip").first.hover()
    tab.wait_for_selector("#large .map.shown")
    box = tab.locator("#large .map").bounding_box()
    width, height = thumbnails[0]
    assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)
    for image in (1, 2):
        tab.keyboard.press("ArrowRight")
        tab.wait_for_timeout(300)
        source = tab.locator("#large img").get_attribute("src")
        assert source == f"thumbs/0/{image}.jpg"


def test_bulk_decides_what_is_shown_and_undecided_and_undoes_at_once(tab):
    tab.select_option("#class", str(DOG))
    chip(tab, 9, DOG).click()  # 0.15, kept
    tab.locator("#bulk-button").click()
    assert "5 labels of" in tab.locator("#bulk-about").inner_text()
    slide(tab, "0.82")
    assert "expected: 25% false" in tab.locator("#bulk").inner_text()
    bulk(tab, "Drop 2 below 0.82")
    decided = {image: is_kept(tab, image, DOG) for image in (3, 2, 9, 7, 0, 6)}
    assert decided == {3: False, 2: False, 9: True, 7: True, 0: True, 6: True}
    assert progress(tab).startswith("0 of 12 photos verified · 3 labels decided")
    bulk(tab, "Keep 3 from 0.82")
    assert progress(tab).startswith("0 of 12 photos verified · 6 labels decided")
    tab.keyboard.press("u")
    tab.keyboard.press("u")
    assert progress(tab).startswith("0 of 12 photos verified · 1 label decided")
    assert is_kept(tab, 3, DOG)


def test_bulk_decides_only_the_labels_that_were_searched_for(tab):
    tab.fill("#text", "dog")
    tab.wait_for_function("() => document.getElementById('count').textContent.includes(' of ')")
    tab.locator("#bulk-button").click()
    assert "6 labels that nobody" in tab.locator("#bulk-about").inner_text()


def test_each_class_keeps_a_threshold_of_its_own(tab):
    tab.keyboard.press("b")
    for column, value in ((DOG, "0.3"), (CAT, "0.8")):
        tab.select_option("#class", str(column))
        slide(tab, value)
    tab.select_option("#class", str(DOG))
    assert tab.input_value("#bulk-slider") == "0.3"
    tab.reload()
    tab.keyboard.press("b")
    assert tab.input_value("#bulk-slider") == "0.3"
    tab.select_option("#class", "")
    assert tab.input_value("#bulk-slider") == "0.5"


def test_bulk_verifies_all_photos_shown_and_adds_labels(labels_tab):
    tab = labels_tab
    tab.keyboard.press("b")
    tab.select_option("#decision", "missing")
    slide(tab, "0.65")
    bulk(tab, "Add 2 from 0.65")
    assert chips(tab, 4)[-1] == "dog"
    tab.locator("#reset-filters").click()
    wait_for_cards(tab, [2, 8, 9, 0, 5, 6, 4, 10, 3, 7, 1, 11])
    bulk(tab, "Verify 12 photos")
    assert progress(tab).startswith("12 of 12 photos verified · 20 labels decided")
    tab.reload()
    assert progress(tab).startswith("12 of 12 photos verified · 20 labels decided")
    tab.keyboard.press("u")
    assert progress(tab).startswith("0 of 12 photos verified · 2 labels decided")


# ---------------------------------------------------------------- verify these


def test_verify_these_goes_from_one_to_the_next_and_ends(open_page, tmp_path):
    path = write_page(tmp_path, page_with_likely(to_verify=[7, 4, 10]))
    tab = open_page(path, ignore_console=True)
    verify(tab, 4)
    tab.get_by_role("button", name="Verify these 3").click()
    wait_for_cards(tab, [4, 7, 10])
    place = tab.locator("#large-place")
    assert place.inner_text() == "2 of 3"  # the first is verified
    assert tab.locator("#task-text").inner_text() == "Verify these 3 photos: 1 done, 2 to go"
    tab.keyboard.press("d")
    assert place.inner_text() == "3 of 3"
    tab.keyboard.press("d")
    assert not tab.locator("#large").is_visible()
    assert tab.locator("#task-text").inner_text().startswith("All 3 photos are verified")
    tab.wait_for_function("() => document.activeElement.id === 'task-export'")
    tab.get_by_role("button", name="Show all photos").click()
    wait_for_cards(tab, [2, 8, 9, 0, 5, 6, 4, 10, 3, 7, 1, 11])
    assert tab.locator("#task-button").inner_text() == "All verified"
