import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.review import page as module
from pipeline.review.page import CHUNK, MAP_SIDE, Page, write_maps, write_page, write_thumbnail

CLASSES = ["dog", "<b>cat</b>", "=1+1", 'a "quoted", name', "\u202eright to left"]
PATHS = [
    "<img src=x onerror=alert(1)>.jpg",
    "</script><script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "plain/folder/b.jpg",
    "plain/folder/a.jpg",
    'say "hello", you.jpg',
    "line\u2028and\u2029paragraph.jpg",
    "\u202egpj.exe",
    "😀.jpg",
    "lone \udcff surrogate.jpg",
    "@\r\n\ttab.jpg",
    "none.jpg",
]
# By image, class and probability; the last image has no candidates.
BELIEFS = [
    [(0, 0.9), (1, 0.2)],
    [(1, 0.95)],
    [(2, 0.05), (0, 0.8), (4, 0.52)],
    [(0, 0.7)],
    [(1, 0.6), (2, 0.61)],
    [(3, 0.3)],
    [(4, 0.4), (0, 0.99)],
    [(0, 0.85)],
    [(2, 0.1), (3, 0.97)],
    [(0, 0.15), (1, 0.75)],
    [(4, 0.65)],
    [],
]
FLAT = [(i, c, p) for i, beliefs in enumerate(BELIEFS) for c, p in beliefs]
PROBABILITY = [p for _, _, p in FLAT]
SUSPICIOUS = [2, 8, 9, 0, 5, 6, 4, 10, 3, 7, 1, 11]


def small_page(**changes):
    columns = np.array([c for _, c, _ in FLAT])
    probability = np.array([p for _, _, p in FLAT])
    fields = {
        "title": "runs/<i>a & b</i> \udcff",
        "key": "00ff",
        "classes": CLASSES,
        "paths": PATHS,
        "starts": np.cumsum([0, *map(len, BELIEFS)]),
        "columns": columns,
        "probability": probability,
        "kept": probability >= 0.5,
        "history": [{"epoch": 1, "confidence": 0.4}, {"epoch": 2, "confidence": float("nan")}],
        "correlation": np.linspace(0, 1, 25).reshape(5, 5),
        "summary": {"threshold": "0.5", "<u>note</u>": "</script>"},
    }
    return Page(**(fields | changes))


def small_maps():
    """All lie in the first corner, but that of image 2's first class in the middle."""
    maps = np.zeros((len(FLAT), MAP_SIDE, MAP_SIDE), np.uint8)
    maps[:, :4, :4] = 255
    maps[FLAT.index((2, 0, 0.8))] = 0
    maps[FLAT.index((2, 0, 0.8)), 4:9, 4:9] = 255
    return maps


def build(folder, **changes):
    write_maps(folder, 0, small_maps())
    for index in range(len(PATHS)):
        write_thumbnail(folder, index, torch.full((3, 300, 400), 20 * index, dtype=torch.uint8))
    return write_page(folder, small_page(**changes))


def read_data(folder):
    text = (folder / "review-data.js").read_text("ascii")
    return json.loads(text.removeprefix("var reviewData = ").removesuffix(";\n"))


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


# ---------------------------------------------------------------- files


def test_data_come_back_as_they_were(tmp_path):
    page = small_page()
    write_page(tmp_path, page)
    data = read_data(tmp_path)
    assert data["paths"] == PATHS
    assert data["classes"] == CLASSES
    assert (numbers(data["starts"], "<u4") == page.starts).all()
    assert (numbers(data["columns"], "<u2") == page.columns).all()
    assert np.allclose(numbers(data["probability"], "<u2") / data["probabilitySteps"], PROBABILITY)
    assert (numbers(data["kept"], "u1") == page.kept).all()
    assert data["history"][1] == {"epoch": 2, "confidence": None, "mAP": None}
    assert np.allclose(data["correlation"], page.correlation, atol=1e-4)
    assert data["summary"] == [list(item) for item in page.summary.items()]


def test_scripts_hold_no_character_that_html_or_old_script_parsers_act_on(tmp_path):
    build(tmp_path)
    for name in ("review-data.js", "maps/0.js"):
        assert not re.search(rb"[<>&\x80-\xff]", (tmp_path / name).read_bytes())


def test_markup_holds_names_escaped_and_no_data(tmp_path):
    text = write_page(tmp_path, small_page()).read_text("utf-8")
    assert "runs/&lt;i&gt;a &amp; b&lt;/i&gt; ?" in text
    assert "alert(1)" not in text
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in text


def test_equal_pages_give_equal_bytes(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        build(folder)
    names = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(names) == 3 + len(PATHS)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_error_leaves_an_older_page_as_it_was(tmp_path):
    build(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("review*")}
    with pytest.raises(TypeError):
        write_page(tmp_path, small_page(classes=[object()]))
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


@pytest.mark.parametrize(
    "changes",
    [{"paths": PATHS[1:]}, {"kept": np.ones(3, bool)}, {"starts": np.arange(len(PATHS) + 1)}],
)
def test_lengths_that_disagree_are_refused(tmp_path, changes):
    with pytest.raises(ValueError, match="expected .* but got"):
        write_page(tmp_path, small_page(**changes))


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1, float("inf")])
def test_probabilities_outside_0_to_1_are_refused(tmp_path, wrong):
    probability = np.array([*PROBABILITY[:-1], wrong])
    with pytest.raises(ValueError, match="expected probabilities in .* but got"):
        write_page(tmp_path, small_page(probability=probability))


def test_a_probability_may_leave_0_to_1_by_an_error_of_rounding(tmp_path):
    write_page(tmp_path, small_page(probability=np.array([*PROBABILITY[:-2], -1e-7, 1 + 1e-7])))
    stored = numbers(read_data(tmp_path)["probability"], "<u2")
    assert stored[-2:].tolist() == [0, module.PROBABILITY_STEPS]


def test_more_classes_than_two_bytes_number_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at most 65535 classes, but got 65536"):
        write_page(tmp_path, small_page(classes=["dog"] * 65_536))


@pytest.mark.parametrize(
    ("summary", "threshold"),
    [({"threshold": "0.7"}, 0.7), ({"threshold": "0"}, 0), ({"threshold": "auto"}, 0.5), ({}, 0.5)],
)
def test_threshold_is_read_from_the_summary(tmp_path, summary, threshold):
    write_page(tmp_path, small_page(summary=summary))
    assert read_data(tmp_path)["threshold"] == threshold


@pytest.mark.parametrize(
    ("size", "expected"), [((300, 400), (240, 180)), ((2000, 3), (1, 240)), ((9, 9), (9, 9))]
)
def test_thumbnails_shrink_to_240_pixels_and_do_not_grow(tmp_path, size, expected):
    image = torch.zeros(3, *size, dtype=torch.uint8)
    image[0] = 255
    write_thumbnail(tmp_path, 2017, image)
    with Image.open(tmp_path / "thumbs" / "2" / "2017.jpg") as picture:
        assert picture.size == expected
        red, green, blue = picture.getpixel((0, 0))
    assert red > 240
    assert max(green, blue) < 15


def test_maps_come_back_as_they_were(tmp_path):
    maps = np.random.default_rng(0).integers(0, 256, (5, MAP_SIDE, MAP_SIDE), np.uint8)
    write_maps(tmp_path, 3, maps)
    call = re.fullmatch(
        r'reviewMaps\(3, "([^"]*)"\);\n', (tmp_path / "maps/3.js").read_text("ascii")
    )
    assert (numbers(call[1], "u1").reshape(maps.shape) == maps).all()


@pytest.mark.parametrize("maps", [np.zeros((2, 14, 14)), np.zeros((2, 7, 7), np.uint8)])
def test_maps_of_another_kind_are_refused(tmp_path, maps):
    with pytest.raises(ValueError, match="expected uint8 maps of 14 x 14"):
        write_maps(tmp_path, 0, maps)


def test_the_page_knows_the_sizes_of_the_files_beside_it(tmp_path):
    write_page(tmp_path, small_page())
    data = read_data(tmp_path)
    assert (data["mapSide"], data["chunk"]) == (MAP_SIDE, CHUNK)
    assert data["thumbnailsAFolder"] == module.THUMBNAILS_A_FOLDER


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    build(folder)
    return folder


@pytest.fixture
def opened(browser, folder):
    """Open the page with options of a browser's context; in the end nothing must have gone wrong:
    no message of an error, no dialog, no request that leaves the folder."""
    contexts, trouble = [], []

    def request(request):
        if not request.url.startswith((folder.as_uri(), "blob:", "data:")):
            trouble.append(request.url)

    def dialog(dialog):
        trouble.append(dialog.message)
        dialog.dismiss()

    def call(**options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 1600}} | options))
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: trouble.append(message.text))
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("dialog", dialog)
        tab.on("request", request)
        tab.goto((folder / "review.html").as_uri())
        return tab

    yield call
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture
def tab(opened):
    return opened()


def cards(tab):
    """Indices of the images whose cards are drawn, in the order of the page."""
    return [int(card.get_attribute("data-image")) for card in tab.query_selector_all(".card")]


def card(tab, image):
    return tab.locator(f'.card[data-image="{image}"]')


def chip(tab, image, column):
    """The candidate of a class."""
    entry = next(e for e, (i, c, _) in enumerate(FLAT) if (i, c) == (image, column))
    return tab.locator(f'.chip[data-entry="{entry}"]')


def pressed(tab, image, column):
    return chip(tab, image, column).get_attribute("aria-pressed") == "true"


def downloads(tab):
    """What Export saves, by the file's name."""
    arrived = []
    tab.on("download", lambda download: arrived.append(download))
    tab.get_by_role("button", name="Export").click()
    for _ in range(100):
        if len(arrived) == 2:
            break
        tab.wait_for_timeout(50)
    return {item.suggested_filename: Path(item.path()).read_bytes() for item in arrived}


def wait_for_cards(tab, images):
    tab.wait_for_function(
        """images => JSON.stringify([...document.querySelectorAll('.card')]
            .map((card) => Number(card.dataset.image))) === JSON.stringify(images)""",
        arg=images,
    )


def test_opens_with_photos_thumbnails_and_summary(tab):
    assert cards(tab) == SUSPICIOUS
    tab.wait_for_function("() => document.querySelectorAll('.card.ready').length === 12")
    assert tab.title() == "Review · runs/<i>a & b</i> ?"
    assert tab.locator("#summary dt").all_text_contents() == ["threshold", "<u>note</u>"]
    assert "0 of 12 photos looked at · 0 decisions changed" in tab.locator("header").inner_text()


def test_names_are_text_everywhere(tab):
    for image, path in enumerate(PATHS):
        as_text = """(card, image) => ({
            whole: card.getAttribute('aria-label') === reviewData.paths[image],
            title: card.querySelector('.name').title === reviewData.paths[image],
            text: card.querySelector('.name').textContent === reviewData.paths[image],
            markup: card.querySelector('.name').querySelectorAll(':not(span)').length,
        })"""
        shown = card(tab, image).evaluate(as_text, image)
        assert shown == {"whole": True, "title": True, "text": True, "markup": 0}
        if "\udcff" not in path:  # the browser's connection has no lone surrogates
            assert tab.evaluate("i => reviewData.paths[i]", image) == path
    labels = {chip(tab, i, c).locator(".label").text_content() for i, c, _ in FLAT}
    assert labels == set(CLASSES)
    tab.get_by_role("tab", name="Classes").click()
    assert set(tab.locator("#class-rows .link").all_text_contents()) == set(CLASSES)
    assert tab.locator("b, i, u, img[src=x]").count() == 0


def test_a_script_added_to_the_page_cannot_run(browser, folder):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto((folder / "review.html").as_uri())
    blocked = tab.evaluate("""() => new Promise((resolve) => {
        document.addEventListener('securitypolicyviolation', (e) => resolve(e.violatedDirective));
        const script = document.createElement('script');
        script.textContent = 'alert(1)';
        document.body.append(script);
    })""")
    assert blocked.startswith("script-src")
    context.close()


@pytest.mark.parametrize(
    ("order", "images"),
    [
        ("suspicious", SUSPICIOUS),
        ("trusted", [11, 1, 7, 3, 10, 4, 6, 5, 0, 9, 8, 2]),
        ("border", [2, 4, 6, 10, 3, 5, 9, 0, 7, 8, 1, 11]),
        ("name", sorted(range(12), key=lambda i: PATHS[i].encode("utf-16-be", "surrogatepass"))),
        ("file", list(range(12))),
    ],
)
def test_orders(tab, order, images):
    tab.select_option("#sort", order)
    wait_for_cards(tab, images)


def test_the_threshold_of_a_summary_orders_by_distance_from_it(browser, tmp_path):
    context = browser.new_context(viewport={"width": 1280, "height": 1600})
    tab = context.new_page()
    tab.goto(write_page(tmp_path, small_page(summary={"threshold": "0.700"})).as_uri())
    tab.select_option("#sort", "border")
    wait_for_cards(tab, [3, 9, 10, 4, 2, 7, 0, 1, 8, 6, 5, 11])
    context.close()


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        ({"#class": "2"}, [2, 4, 8]),
        ({"#decision": "kept"}, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
        ({"#decision": "dropped"}, [0, 2, 5, 6, 8, 9]),
        ({"#decision": "changed"}, []),
        ({"#low": "0.9"}, [0, 1, 6, 8]),
        ({"#high": "0.1"}, [2, 8]),
        ({"#low": "0.3", "#high": "0.4"}, [5, 6]),
        ({"#text": "FOLDER/"}, [3, 4]),
        ({"#text": "cat"}, [0, 1, 4, 9]),
        ({"#text": "\u2028"}, list(range(12))),  # white space alone is no search
        # One candidate has to fit all: image 9 keeps its cat and drops its dog.
        ({"#class": "0", "#decision": "kept"}, [0, 2, 3, 6, 7]),
        ({"#class": "0", "#decision": "dropped", "#text": "surrogate"}, [9]),
        ({"#text": "no such name"}, []),
    ],
)
def test_filters(tab, fields, images):
    tab.select_option("#sort", "file")
    for selector, value in fields.items():
        if selector in ("#class", "#decision"):
            tab.select_option(selector, value)
        else:
            tab.fill(selector, value)
            tab.dispatch_event(selector, "change")
    wait_for_cards(tab, images)
    assert tab.locator("#empty").is_visible() == (not images)
    tab.locator("#reset-filters").click()
    wait_for_cards(tab, SUSPICIOUS)


def test_changed_and_unseen_filters_follow_decisions(tab):
    chip(tab, 3, 0).click()
    tab.select_option("#decision", "changed")
    wait_for_cards(tab, [3])
    tab.locator("#reset-filters").click()
    tab.check("#unseen")
    wait_for_cards(tab, [image for image in SUSPICIOUS if image != 3])


def test_a_click_flips_one_decision_and_marks_the_photo(tab):
    chip(tab, 0, 1).click()
    assert pressed(tab, 0, 1)
    assert pressed(tab, 0, 0)
    assert chip(tab, 0, 1).inner_text().split() == ["✓", "<b>cat</b>", "you", "0.20", ",", "kept"]
    assert "1 of 12 photos looked at · 1 decision changed" in tab.locator("header").inner_text()
    chip(tab, 0, 1).click()
    assert not pressed(tab, 0, 1)
    assert "1 of 12 photos looked at · 0 decisions changed" in tab.locator("header").inner_text()


def test_keys_move_flip_and_mark(tab):
    current = tab.locator(".card.current")
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End", "Home"):
        tab.keyboard.press(key)
        seen.append(SUSPICIOUS.index(int(current.get_attribute("data-image"))))
        assert current.evaluate("card => card === document.activeElement")
    assert seen == [0, 1, 5, 4, 0, 11, 0]
    tab.keyboard.press("2")  # the second of image 2 by probability
    assert not pressed(tab, 2, 4)
    tab.keyboard.press("9")  # there is no ninth
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # on its first
    assert pressed(tab, 2, 2)
    tab.keyboard.press("Space")
    assert not pressed(tab, 2, 2)
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("d")
    assert current.get_attribute("data-image") == str(SUSPICIOUS[2])
    assert "2 of 12 photos looked at · 1 decision changed" in tab.locator("header").inner_text()
    tab.keyboard.press("/")
    tab.keyboard.type("d1u")
    assert tab.input_value("#text") == "d1u"
    assert "2 of 12 photos looked at" in tab.locator("header").inner_text()
    tab.locator("#tab-photos").focus()
    tab.keyboard.press("?")
    assert tab.get_by_role("dialog", name="Keys").is_visible()
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()


def test_a_card_in_focus_outlives_being_scrolled_away(opened):
    tab = opened(viewport={"width": 400, "height": 500})
    tab.keyboard.press("ArrowRight")
    tab.evaluate("document.getElementById('scroller').scrollTop = 1e6")
    tab.wait_for_selector('.card[aria-posinset="12"]')
    places = [int(c.get_attribute("aria-posinset")) for c in tab.query_selector_all(".card")]
    assert places == sorted(places)
    assert 3 not in places
    assert tab.evaluate("document.activeElement.getAttribute('aria-posinset')") == "1"


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
    """Where the grid is scrolled to, once a change of size is dealt with."""
    return tab.evaluate("""async () => {
        for (let i = 0; i < 5; i++) await new Promise(requestAnimationFrame);
        return document.getElementById('scroller').scrollTop;
    }""")


@pytest.mark.parametrize("key", ["1", "d", "ArrowRight", "PageUp"])
def test_keys_choose_the_first_card_in_view_before_they_act(opened, key):
    tab = opened(viewport=PHONE)
    scroll(tab, 1e6)
    first = tab.evaluate(IN_VIEW)[0]
    assert first != SUSPICIOUS[0]
    tab.keyboard.press(key)
    assert "0 of 12 photos looked at · 0 decisions changed" in tab.locator("header").inner_text()
    assert tab.locator(".card.current").get_attribute("data-image") == str(first)
    tab.keyboard.press("1")
    assert "1 decision changed" in tab.locator("header").inner_text()
    assert first in tab.evaluate(IN_VIEW)
    assert card(tab, first).locator(".mine").count() == 1


def test_a_change_of_size_leaves_the_grid_where_it_was(opened):
    tab = opened(viewport=PHONE)
    top = scroll(tab, 700)
    before = tab.evaluate(IN_VIEW)
    tab.set_viewport_size(PHONE | {"height": 450})
    assert scroll_top(tab) == top
    tab.set_viewport_size({"width": 700, "height": 500})
    assert scroll_top(tab) > 0
    assert before[0] in tab.evaluate(IN_VIEW)


def test_a_change_of_size_keeps_a_current_card_that_was_in_view(opened):
    tab = opened(viewport={"width": 900, "height": 1000})
    for _ in range(12):
        tab.keyboard.press("ArrowRight")
    tab.set_viewport_size(PHONE)
    assert scroll_top(tab) > 0
    assert SUSPICIOUS[-1] in tab.evaluate(IN_VIEW)


def test_the_classes_tab_leaves_the_grid_where_it_was(opened):
    tab = opened(viewport=PHONE)
    top = scroll(tab, 703)
    tab.get_by_role("tab", name="Classes").click()
    tab.get_by_role("tab", name="Photos").click()
    assert scroll_top(tab) == top


def test_filters_changed_beside_the_classes_lay_out_the_grid_when_it_shows(opened):
    tab = opened(viewport={"width": 900, "height": 450})
    scroll(tab, 500)
    tab.get_by_role("tab", name="Classes").click()
    tab.select_option("#decision", "kept")
    card_width = (
        "() => parseFloat(document.getElementById('grid').style.getPropertyValue('--card'))"
    )
    assert tab.evaluate(card_width) > 0
    tab.get_by_role("tab", name="Photos").click()
    assert tab.evaluate(card_width) > 0
    assert scroll_top(tab) == 0
    assert cards(tab)[0] == SUSPICIOUS[0]
    assert tab.locator("#count").inner_text() == "10 of 12 photos"


def test_a_class_filters_the_photos_once(tab):
    tab.get_by_role("tab", name="Classes").click()
    tab.evaluate("""() => {
        window.times = 0;
        new MutationObserver((all) => { window.times += all.length; })
            .observe(document.getElementById('count'), {childList: true});
    }""")
    tab.get_by_role("button", name="=1+1").click()
    wait_for_cards(tab, [2, 8, 4])
    tab.wait_for_timeout(50)
    assert tab.evaluate("times") == 1


def test_a_click_on_a_card_that_is_partly_out_of_sight_counts(opened):
    """Nothing may scroll between the pointer's going down and up."""
    tab = opened(viewport={"width": 900, "height": 900})
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
    tab.locator("header").get_by_text("1 decision changed").wait_for()


def test_undo_and_redo(tab):
    chip(tab, 0, 0).click()
    chip(tab, 5, 3).click()
    tab.keyboard.press("Control+z")
    assert (pressed(tab, 0, 0), pressed(tab, 5, 3)) == (False, False)
    tab.keyboard.press("u")
    assert (pressed(tab, 0, 0), pressed(tab, 5, 3)) == (True, False)
    assert "0 of 12 photos looked at · 0 decisions changed" in tab.locator("header").inner_text()
    assert tab.get_by_role("button", name="Undo").is_disabled()
    tab.keyboard.press("Control+Shift+Z")
    tab.get_by_role("button", name="Redo").click()
    assert (pressed(tab, 0, 0), pressed(tab, 5, 3)) == (False, True)
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
    decisions = [pressed(tab, i, c) for i, c in ((0, 0), (5, 3), (1, 1))]
    assert decisions == [False, True, True]


def test_decisions_survive_a_reload(tab):
    for image, column in ((0, 0), (8, 3)):
        chip(tab, image, column).click()
    card(tab, 1).get_by_role("button", name="Looked at").click()
    tab.reload()
    assert [pressed(tab, i, c) for i, c, _ in FLAT] == [
        (p >= 0.5) != ((i, c) in ((0, 0), (8, 3))) for i, c, p in FLAT
    ]
    assert "3 of 12 photos looked at · 2 decisions changed" in tab.locator("header").inner_text()


def test_decisions_survive_another_threshold(browser, tmp_path):
    path = write_page(tmp_path, small_page())
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(path.as_uri())
    chip(tab, 0, 0).click()  # 0.9: dropped
    chip(tab, 2, 4).click()  # 0.52: dropped, as by the threshold of 0.7
    mine = {(0, 0): False, (2, 4): False}
    for threshold, changed in ((0.7, "1 decision"), (0.5, "2 decisions")):
        write_page(tmp_path, small_page(kept=np.array(PROBABILITY) >= threshold))
        tab.reload()
        assert [pressed(tab, i, c) for i, c, _ in FLAT] == [
            mine.get((i, c), p >= threshold) for i, c, p in FLAT
        ]
        assert f"{changed} changed" in tab.locator("header").inner_text()
        card(tab, 1).get_by_role("button", name="Looked at").click()  # stores all again
    context.close()


def test_differences_stored_by_an_earlier_page_are_ignored(tab):
    tab.evaluate("""() => localStorage.setItem('review:00ff',
        JSON.stringify({images: 12, entries: 18, changed: [0], seen: [0]}))""")
    tab.reload()
    assert not tab.locator("#warning").is_visible()
    assert "0 of 12 photos looked at · 0 decisions changed" in tab.locator("header").inner_text()


def test_a_decision_not_yet_stored_outlives_one_of_another_tab(opened):
    other = opened()
    chip(other, 1, 1).click()
    other.wait_for_function("() => localStorage.length === 1")
    stored = other.evaluate("() => Object.entries(localStorage)[0]")
    tab = opened()
    tab.evaluate(
        """([key, newValue]) => {
            document.querySelector('[data-entry="0"]').click();
            localStorage.setItem(key, newValue);
            dispatchEvent(new StorageEvent('storage', {key, newValue}));
        }""",
        stored,
    )
    assert [pressed(tab, i, c) for i, c in ((0, 0), (1, 1))] == [False, False]
    tab.evaluate("dispatchEvent(new Event('pagehide'))")
    assert tab.evaluate("Object.values(localStorage)[0]") != stored[1]
    tab.keyboard.press("u")
    assert [pressed(tab, i, c) for i, c in ((0, 0), (1, 1))] == [True, False]
    tab.reload()
    assert [pressed(tab, i, c) for i, c in ((0, 0), (1, 1))] == [True, False]


def test_tabs_that_decide_at_the_same_time_end_up_with_both_decisions(tab, folder):
    other = tab.context.new_page()
    other.goto((folder / "review.html").as_uri())
    for page, entry in ((tab, 0), (other, 2)):
        page.evaluate('e => document.querySelector(`[data-entry="${e}"]`).click()', entry)
    for page in (tab, other):
        page.wait_for_function("""() => [0, 2].every((entry) => document
            .querySelector(`[data-entry="${entry}"]`).getAttribute('aria-pressed') === 'false')""")


def test_another_tab_takes_decisions_over(tab, folder):
    other = tab.context.new_page()
    other.goto((folder / "review.html").as_uri())
    chip(tab, 0, 0).click()
    other.wait_for_function(
        "() => document.querySelector('[data-entry=\"0\"][aria-pressed=false]') !== null"
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
    assert not pressed(tab, 0, 0)


@pytest.mark.parametrize("stored", ["{", "7", '{"images": 3, "entries": 1}'])
def test_stored_text_of_another_kind_is_not_taken(tab, stored):
    tab.evaluate("text => localStorage.setItem('review-2:00ff', text)", stored)
    tab.reload()
    assert tab.locator("#warning").is_visible()
    assert [pressed(tab, i, c) for i, c, _ in FLAT] == [p >= 0.5 for p in PROBABILITY]


def test_export_gives_every_decision_under_its_true_name(tab):
    chip(tab, 9, 0).click()
    card(tab, 4).get_by_role("button", name="Looked at").click()
    files = downloads(tab)
    review = json.loads(files["review.json"].decode("utf-8"))
    assert (review["format"], review["key"]) == ("review-1", "00ff")
    assert review["seen"] == [4, 9]
    assert review["decisions"] == [
        [PATHS[i], CLASSES[c], (p >= 0.5) != ((i, c) == (9, 0))] for i, c, p in FLAT
    ]


def test_exported_table_is_quoted_and_holds_no_formulas(tab):
    chip(tab, 9, 0).click()
    text = downloads(tab)["review.csv"].decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head == ["path", "candidate", "probability", "decision", "by"]
    safe = {"=cmd|' /C calc'!A0", "@\r\n\ttab.jpg", "=1+1"}

    def cell(name):
        return ("'" * (name in safe) + name).replace("\udcff", "\ufffd")

    assert rows == [
        [
            cell(PATHS[i]),
            cell(CLASSES[c]),
            str(p),
            "kept" if (p >= 0.5) != ((i, c) == (9, 0)) else "dropped",
            "you" if (i, c) == (9, 0) else "script",
        ]
        for i, c, p in FLAT
    ]


def test_exported_table_quotes_every_cell(tab):
    text = downloads(tab)["review.csv"].decode("utf-8")
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows(csv.reader(io.StringIO(text, newline="")))
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


def imported(tab, file):
    tab.set_input_files("#import-file", file)
    tab.wait_for_function(
        "() => document.getElementById('status').textContent.includes('imported')"
    )
    return tab.locator("#progress-text").inner_text()


@pytest.mark.parametrize(
    ("seen", "looked"), [({"seen": [0, 4, 11]}, 3), ({"seen": []}, 0), ({}, 1)]
)
def test_import_reads_what_was_looked_at(tab, tmp_path, seen, looked):
    """A file without it, of an earlier page, marks the photos of changed decisions."""
    decisions = [[PATHS[i], CLASSES[c], (p >= 0.5) != (i == 1)] for i, c, p in FLAT]
    review = {"format": "review-1", "key": "00ff", "decisions": decisions}
    file = tmp_path / "review.json"
    file.write_text(json.dumps(review | seen))
    assert imported(tab, file) == f"{looked} of 12 photos looked at · 1 decision changed"


def test_import_gives_exported_decisions_back(opened, tmp_path):
    first = opened()
    chip(first, 9, 0).click()
    chip(first, 2, 2).click()
    file = tmp_path / "review.json"
    file.write_bytes(downloads(first)["review.json"])
    second = opened()
    assert imported(second, file) == "2 of 12 photos looked at · 2 decisions changed"
    assert pressed(second, 9, 0)
    assert pressed(second, 2, 2)
    second.keyboard.press("u")
    assert [pressed(second, i, c) for i, c, _ in FLAT] == [p >= 0.5 for p in PROBABILITY]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not JSON", "it is not JSON"),
        ("null", "not a review.json"),
        ('{"format": "review-1", "key": "11", "decisions": []}', "another review: its key is 11"),
        ('{"format": "review-1", "key": "00ff", "decisions": []}', "expected 18 decisions"),
        (
            json.dumps({"format": "review-1", "key": "00ff", "decisions": [["a", "b", True]] * 18}),
            "decision 1 is not one of",
        ),
        (
            json.dumps(
                {"format": "review-1", "key": "00ff", "seen": [12]}
                | {"decisions": [[PATHS[i], CLASSES[c], True] for i, c, _ in FLAT]}
            ),
            "numbers from 0 to 11",
        ),
    ],
)
def test_files_that_do_not_fit_are_not_imported(tab, tmp_path, text, words):
    file = tmp_path / "other.json"
    file.write_text(text)
    tab.set_input_files("#import-file", file)
    tab.wait_for_selector("#warning:visible")
    assert "other.json was not imported" in tab.locator("#warning").inner_text()
    assert words in tab.locator("#warning").inner_text()
    assert "0 decisions changed" in tab.locator("header").inner_text()


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
    getattr(chip(tab, 2, 0), how)()
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
    photo = card(tab, 2).locator("img")
    photo.evaluate("photo => photo.removeAttribute('src')")
    chip(tab, 2, 0).hover()
    tab.wait_for_selector(".map.shown")
    photo.evaluate("""(photo) => new Promise((resolve) => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [40, 80];
        photo.addEventListener('load', resolve);
        photo.src = canvas.toDataURL();
    })""")
    box = card(tab, 2).locator(".map").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(1 / 2, abs=0.02)


def test_a_finger_held_on_a_chip_shows_its_map_and_flips_nothing(opened):
    tab = opened(viewport={"width": 375, "height": 700}, is_mobile=True, has_touch=True)
    box = chip(tab, 2, 0).bounding_box()
    protocol = tab.context.new_cdp_session(tab)
    points = [{"x": box["x"] + 40, "y": box["y"] + 10}]
    protocol.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    tab.wait_for_selector(".map.shown")
    tab.wait_for_timeout(700)
    assert tab.locator(".map.shown").count() == 1
    protocol.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tab.wait_for_timeout(100)
    assert pressed(tab, 2, 0)
    # Some browsers click in the end all the same.
    chip(tab, 2, 0).evaluate("""async (chip) => {
        chip.dispatchEvent(new PointerEvent('pointerdown', {pointerType: 'touch', bubbles: true}));
        await new Promise((resolve) => setTimeout(resolve, 600));
        chip.dispatchEvent(new PointerEvent('click', {detail: 1, bubbles: true}));
    }""")
    assert pressed(tab, 2, 0)
    chip(tab, 2, 0).tap()
    assert not pressed(tab, 2, 0)


def test_without_maps_and_thumbnails_all_else_works(browser, tmp_path):
    context = browser.new_context()
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(write_page(tmp_path, small_page(correlation=None, history=[])).as_uri())
    tab.wait_for_selector(".card.missing")
    chip(tab, 2, 0).hover()
    chip(tab, 2, 0).click()
    tab.wait_for_timeout(200)
    assert tab.locator(".map.shown").count() == 0
    assert not pressed(tab, 2, 0)
    tab.get_by_role("tab", name="Classes").click()
    assert not tab.locator("#history").is_visible()
    assert not tab.locator("#correlation").is_visible()
    assert errors == []
    context.close()


def test_no_photos_at_all_is_a_page_too(browser, tmp_path):
    empty = {"paths": [], "starts": np.zeros(1, int)}
    empty |= {name: np.zeros(0, int) for name in ("columns", "probability", "kept")}
    context = browser.new_context()
    tab = context.new_page()
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(write_page(tmp_path, small_page(**empty)).as_uri())
    for key in ("ArrowDown", "End", "1", "d", "u"):
        tab.keyboard.press(key)
    tab.get_by_role("tab", name="Classes").click()
    assert errors == []
    context.close()


def test_missing_data_are_said(browser, tmp_path):
    path = write_page(tmp_path, small_page())
    (tmp_path / "review-data.js").unlink()
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert "review-data.js is missing" in tab.locator("#warning").inner_text()
    context.close()


def class_numbers(tab):
    return {
        row.locator("th").inner_text(): [int(n) for n in row.locator("td.n").all_inner_texts()]
        for row in tab.locator("#class-rows tr").all()
    }


def test_class_overview_follows_decisions_and_filters(tab):
    chip(tab, 3, 0).click()
    tab.get_by_role("tab", name="Classes").click()
    expected = {}
    for column, name in enumerate(CLASSES):
        mine = [(i, p) for i, c, p in FLAT if c == column]
        kept = sum((p >= 0.5) != ((i, column) == (3, 0)) for i, p in mine)
        expected[name] = [kept, len(mine) - kept, int(column == 0)]
    assert class_numbers(tab) == expected
    tab.keyboard.press("u")
    assert class_numbers(tab)["dog"] == [expected["dog"][0] + 1, expected["dog"][1] - 1, 0]
    tab.get_by_role("button", name="=1+1").click()
    wait_for_cards(tab, [2, 8, 4])


def test_correlation_and_confidence_have_names(tab):
    tab.get_by_role("tab", name="Classes").click()
    chart = tab.locator("#charts svg").get_attribute("aria-label")
    assert chart == "Confidence from 0.4 at epoch 1 to 0.4 at epoch 1"
    tab.locator("#heat").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    assert (
        tab.locator("#heat-cell").inner_text()
        == "\u2068=1+1\u2069 and \u2068<b>cat</b>\u2069: 0.458"
    )
    assert tab.locator("#pairs li").first.inner_text().startswith(CLASSES[4])


def test_the_map_of_correlation_says_its_keys(tab):
    tab.get_by_role("tab", name="Classes").click()
    heat = tab.get_by_role("application", name="Arrow keys")
    assert heat.get_attribute("id") == "heat"


HEAT_PIXELS = """() => {
    const canvas = document.getElementById('heat');
    const context = canvas.getContext('2d');
    const side = (canvas.width - 96) / reviewData.classes.length;
    const at = (row, column) => [...context.getImageData(
        96 + Math.floor((column + 0.5) * side), 96 + Math.floor((row + 0.5) * side), 1, 1).data];
    return [at(0, 0), at(0, 1), at(1, 0)];
}"""


def test_cells_are_coloured_by_sign_and_strength(browser, tmp_path):
    correlation = np.array([[1, 0.8], [-0.4, 1]])
    page = small_page(
        classes=["dog", "cat"], columns=np.zeros(len(FLAT), int), correlation=correlation
    )
    context = browser.new_context(color_scheme="light")
    tab = context.new_page()
    tab.goto(write_page(tmp_path, page).as_uri())
    tab.get_by_role("tab", name="Classes").click()
    diagonal, positive, negative = np.array(tab.evaluate(HEAT_PIXELS))
    assert diagonal.tolist() == [0xE7, 0xE7, 0xE3, 255]  # --picture
    assert positive.tolist() == [0x1D, 0x5F, 0xBF, 255]  # --accent
    half = (np.array([0xA8, 0x3C, 0x12, 255]) + diagonal) / 2  # --dropped
    assert np.abs(negative - half).max() <= 2
    context.close()


def test_a_thousand_classes_cost_no_work_by_cell(browser, tmp_path):
    """No calls of the canvas and no sorted list by the million; moving draws nothing anew."""
    count = 1000
    correlation = np.random.default_rng(0).random((count, count))
    correlation[7, 900] = 2
    classes = [f"class {column}" for column in range(count)]
    context = browser.new_context()
    context.add_init_script("""
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
    """)
    tab = context.new_page()
    tab.goto(write_page(tmp_path, small_page(classes=classes, correlation=correlation)).as_uri())
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
    context.close()


CONTRAST = """() => {
    const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
    const luminance = (text) => rgb(text).slice(0, 3).map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (element) => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if ((rgb(colour)[3] ?? 1) > 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const low = [];
    for (const element of document.body.querySelectorAll('*')) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility({opacityProperty: true}) || element.disabled) continue;
        const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push([element.className || element.id, ratio]);
    }
    return low;
}"""


def test_light_and_dark_differ_and_both_are_readable(opened):
    grounds = []
    for scheme in ("light", "dark"):
        tab = opened(color_scheme=scheme)
        chip(tab, 0, 0).click()
        assert tab.evaluate(CONTRAST) == []
        tab.get_by_role("tab", name="Classes").click()
        assert tab.evaluate(CONTRAST) == []
        grounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_on_a_phone_nothing_is_wider_than_the_screen(opened):
    tab = opened(viewport={"width": 375, "height": 700}, is_mobile=True, has_touch=True)
    wide = """() => [...document.querySelectorAll('html, header, .tools, aside, main, #scroller,'
        + '#overview')].filter((element) => element.scrollWidth > element.clientWidth + 1
        || element.getBoundingClientRect().right > 375).map((element) => element.outerHTML)"""
    assert tab.evaluate(wide) == []
    lefts = {box["x"] for box in (card(tab, i).bounding_box() for i in cards(tab))}
    assert len(lefts) == 2
    tab.locator("summary").tap()
    assert tab.locator("#sort").is_visible()
    assert tab.evaluate(wide) == []
    tab.locator("summary").tap()
    tab.get_by_role("tab", name="Classes").tap()
    assert tab.evaluate(wide) == []


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
    classes = [f"class {column}" for column in range(80)]
    columns = generator.integers(0, 80, (PHOTOS, candidates))
    probability = generator.beta(0.5, 0.5, columns.size)
    return small_page(
        classes=classes,
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
def test_a_hundred_thousand_photos_load_and_scroll(browser, tmp_path, width, candidates):
    """Loads within ten seconds; in a hundred steps through the whole only a few screens' cards
    are ever there, so that a frame takes as long as on a page of a hundred photos.
    """
    path = write_page(tmp_path, large_page(candidates))
    context = browser.new_context(viewport={"width": width, "height": 800})
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.evaluate("performance.timing.loadEventEnd - performance.timing.fetchStart") < 10_000
    cards, images = [], []
    for step in range(101):
        images.append(tab.evaluate(SCROLL, step / 100))
        cards.append(tab.locator(".card").count())
    assert None not in images  # there is a card in the middle of the screen at any time
    assert len(set(images)) == 101
    assert max(cards) < 50
    tab.keyboard.press("End")
    last = tab.locator(".card.current")
    assert last.get_attribute("aria-posinset") == str(PHOTOS)
    assert 0 < last.bounding_box()["y"] < 800
    context.close()
