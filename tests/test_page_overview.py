"""The review page in a browser: class maps, and the overview of classes and their correlation."""

import numpy as np
import pytest

from pipeline.review.page import write_page
from tests import helpers

# ---------------------------------------------------------------- class maps

MAP_IS_DRAWN = """() => {
    const canvas = document.querySelector('.map.shown');
    if (!canvas) return null;
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const alpha = (x, y) => data[4 * (y * canvas.width + x) + 3];
    return {
        image: canvas.closest('.card').dataset.image,
        middle: alpha(canvas.width / 2, canvas.height / 2), corner: alpha(0, 0),
        shape: canvas.clientWidth / canvas.clientHeight,
    };
}"""


@pytest.mark.parametrize("how", ["hover", "focus"])
def test_a_chip_lays_its_map_over_the_photo(tab, how):
    tab.wait_for_function("() => document.querySelectorAll('.card.ready').length === 12")
    getattr(helpers.chip(tab, 2, 0), how)()
    drawn = tab.wait_for_function(MAP_IS_DRAWN).json_value()
    assert drawn["image"] == "2"
    assert drawn["middle"] > 150
    assert drawn["corner"] == 0
    assert drawn["shape"] == pytest.approx(4 / 3, abs=0.02)
    if how == "hover":
        tab.mouse.move(1, 1)
    else:
        tab.locator("#sort").focus()
    tab.wait_for_selector(".map.shown", state="detached")


def test_a_map_fits_a_photo_that_loads_after_it(tab):
    tab.wait_for_function("() => document.querySelectorAll('.card.ready').length === 12")
    photo = helpers.card(tab, 2).locator("img")
    photo.evaluate("photo => photo.removeAttribute('src')")
    helpers.chip(tab, 2, 0).hover()
    tab.wait_for_selector(".map.shown")
    photo.evaluate("""(photo) => new Promise((resolve) => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [40, 80];
        photo.addEventListener('load', resolve);
        photo.src = canvas.toDataURL();
    })""")
    box = helpers.card(tab, 2).locator(".map").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(1 / 2, abs=0.02)


def test_a_finger_held_on_a_chip_shows_its_map_and_flips_nothing(open_page):
    tab = open_page(viewport={"width": 375, "height": 700}, is_mobile=True, has_touch=True)
    box = helpers.chip(tab, 2, 0).bounding_box()
    protocol = tab.context.new_cdp_session(tab)
    points = [{"x": box["x"] + 40, "y": box["y"] + 10}]
    protocol.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    tab.wait_for_selector(".map.shown")
    tab.wait_for_timeout(700)
    assert tab.locator(".map.shown").count() == 1
    protocol.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tab.wait_for_timeout(100)
    assert helpers.is_kept(tab, 2, 0)
    # Some browsers click in the end all the same.
    helpers.chip(tab, 2, 0).evaluate("""async (chip) => {
        chip.dispatchEvent(new PointerEvent('pointerdown', {pointerType: 'touch', bubbles: true}));
        await new Promise((resolve) => setTimeout(resolve, 600));
        chip.dispatchEvent(new PointerEvent('click', {detail: 1, bubbles: true}));
    }""")
    assert helpers.is_kept(tab, 2, 0)
    helpers.chip(tab, 2, 0).tap()
    assert not helpers.is_kept(tab, 2, 0)


# ---------------------------------------------------------------- the table of classes


def class_numbers(tab):
    return {
        row.locator("th").inner_text(): [float(n) for n in row.locator("td.n").all_inner_texts()]
        for row in tab.locator("#class-rows tr").all()
    }


def test_class_overview_follows_decisions_and_filters(tab):
    helpers.chip(tab, 3, 0).click()
    tab.get_by_role("tab", name="Classes").click()
    expected = {}
    for column, name in enumerate(helpers.PAGE_CLASSES):
        mine = [(i, p) for i, c, p in helpers.PAGE_CANDIDATES if c == column]
        kept = sum((p >= 0.5) != ((i, column) == (3, 0)) for i, p in mine)
        expected[name] = [kept, len(mine) - kept, int(column == 0), 0.5]
    assert class_numbers(tab) == expected
    tab.keyboard.press("u")
    assert class_numbers(tab)["dog"] == [expected["dog"][0] + 1, expected["dog"][1] - 1, 0, 0.5]
    tab.get_by_role("button", name="=1+1").click()
    helpers.wait_for_cards(tab, [4, 8, 2])


def test_the_table_of_classes_has_the_threshold_that_a_class_was_given(tab):
    tab.select_option("#class", "0")
    tab.click("#bulk-button")
    tab.locator("#bulk-slider").fill("0.35")
    tab.get_by_role("tab", name="Classes").click()
    thresholds = {name: numbers[3] for name, numbers in class_numbers(tab).items()}
    assert thresholds == {name: 0.35 if name == "dog" else 0.5 for name in helpers.PAGE_CLASSES}
    assert tab.locator("td.threshold.own").all_inner_texts() == ["0.35"]
    tab.reload()
    tab.get_by_role("tab", name="Classes").click()
    assert tab.locator("td.threshold.own").all_inner_texts() == ["0.35"]


def test_a_long_name_is_cut_and_whole_as_title(open_page, tmp_path):
    name = "one two " * 600 + "x" * 200
    sizes = """() => [...document.querySelectorAll('table, #class-rows tr, #pairs li')]
        .map((each) => [each.offsetWidth, Math.ceil(each.offsetHeight / 70)])"""
    found = []
    for first in ("dog", name):
        page = helpers.small_page(classes=[first, *helpers.PAGE_CLASSES[1:]])
        tab = open_page(write_page(tmp_path, page), ignore_console=True)
        tab.get_by_role("tab", name="Classes").click()
        found.append(tab.evaluate(sizes))
    assert found[0] == found[1]
    for place in (".link", "#pairs bdi"):
        assert name in tab.locator(place).evaluate_all("all => all.map((each) => each.title)")


# ---------------------------------------------------------------- charts and correlation


def test_correlation_and_confidence_have_names(tab):
    tab.get_by_role("tab", name="Classes").click()
    chart = tab.locator("#charts svg").get_attribute("aria-label")
    assert chart == "Confidence from 0.4 at epoch 1 to 0.4 at epoch 1"
    heat = tab.get_by_role("application", name="Arrow keys")
    assert heat.get_attribute("id") == "heat"
    heat.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        tab.keyboard.press(key)
    cell = tab.locator("#heat-cell").inner_text()
    assert cell == "\u2068=1+1\u2069 and \u2068<b>cat</b>\u2069: 0.458"
    assert tab.locator("#pairs li").first.inner_text().startswith(helpers.PAGE_CLASSES[4])


HEAT_PIXELS = """() => {
    const canvas = document.getElementById('heat');
    const context = canvas.getContext('2d');
    const side = (canvas.width - 96) / reviewData.classes.length;
    const at = (row, column) => [...context.getImageData(
        96 + Math.floor((column + 0.5) * side), 96 + Math.floor((row + 0.5) * side), 1, 1).data];
    return [at(0, 0), at(0, 1), at(1, 0)];
}"""


def test_cells_are_coloured_by_sign_and_strength(open_page, tmp_path):
    correlation = np.array([[1, 0.8], [-0.4, 1]])
    page = helpers.small_page(
        classes=["dog", "cat"],
        columns=np.zeros(len(helpers.PAGE_CANDIDATES), int),
        correlation=correlation,
    )
    tab = open_page(write_page(tmp_path, page), ignore_console=True, color_scheme="light")
    tab.get_by_role("tab", name="Classes").click()
    diagonal, positive, negative = np.array(tab.evaluate(HEAT_PIXELS))
    assert diagonal.tolist() == [0xE7, 0xE7, 0xE3, 255]  # --picture
    assert positive.tolist() == [0x1D, 0x5F, 0xBF, 255]  # --accent
    half = (np.array([0xA8, 0x3C, 0x12, 255]) + diagonal) / 2  # --dropped
    assert np.abs(negative - half).max() <= 2


def test_a_thousand_classes_cost_no_work_by_cell(open_page, tmp_path):
    """No calls of the canvas and no sorted list by the million; moving draws nothing anew."""
    count = 1000
    correlation = np.random.default_rng(0).random((count, count))
    correlation[7, 900] = 2
    classes = [f"class {column}" for column in range(count)]
    count_calls = """
        window.calls = 0;
        window.sorted = 0;
        for (const [owner, name, count] of [
            [CanvasRenderingContext2D.prototype, 'fillRect', () => { calls += 1; }],
            [CanvasRenderingContext2D.prototype, 'fillText', () => { calls += 1; }],
            [CanvasRenderingContext2D.prototype, 'drawImage', () => { calls += 1; }],
            [Array.prototype, 'sort', (list) => { sorted = Math.max(sorted, list.length); }],
        ]) {
            const own = owner[name];
            owner[name] = function (...all) { count(this); return own.apply(this, all); };
        }
    """
    path = write_page(tmp_path, helpers.small_page(classes=classes, correlation=correlation))
    tab = open_page(path, ignore_console=True, init_script=count_calls)
    tab.get_by_role("tab", name="Classes").click()
    assert tab.evaluate("sorted") <= count
    calls = tab.evaluate("calls")
    assert 0 < calls <= count
    assert tab.locator("#pairs li").first.inner_text().startswith("class 7 → class 900")
    assert tab.locator("#pairs li").count() == 10
    tab.locator("#heat").hover()
    box = tab.locator("#heat-marker").bounding_box()
    tab.locator("#heat").press("ArrowRight")
    assert tab.locator("#heat-marker").bounding_box()["x"] > box["x"]
    assert tab.evaluate("calls") == calls
