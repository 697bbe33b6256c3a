"""The review page in a browser: how it opens, what it looks like, filters and order."""

import numpy as np
import pytest

from pipeline.review.page import write_page
from tests import helpers

NOTHING_DONE = "0 of 12 photos verified · 0 labels decided · 2 photos without a label"


def test_opens_with_photos_thumbnails_and_summary(tab):
    assert helpers.cards(tab) == helpers.SUSPICIOUS_FIRST
    tab.wait_for_function("() => document.querySelectorAll('.card.ready').length === 12")
    assert tab.title() == "Review · runs/<i>a & b</i> ?"
    assert tab.locator("#summary dt").all_text_contents() == ["threshold", "<u>note</u>"]
    assert helpers.progress(tab) == NOTHING_DONE


def test_names_are_text_everywhere(tab):
    is_text = """(card, image) => {
        const [path, name] = [reviewData.paths[image], card.querySelector('.name')];
        return [card.getAttribute('aria-label'), name.title, name.textContent]
            .every((text) => text === path) && !name.querySelector(':not(span)');
    }"""
    for image, path in enumerate(helpers.PAGE_PATHS):
        assert helpers.card(tab, image).evaluate(is_text, image)
        if "\udcff" not in path:  # the browser's connection has no lone surrogates
            assert tab.evaluate("i => reviewData.paths[i]", image) == path
    labels = {
        helpers.chip(tab, i, c).locator(".label").text_content()
        for i, c, _ in helpers.PAGE_CANDIDATES
    }
    assert labels == set(helpers.PAGE_CLASSES)
    tab.get_by_role("tab", name="Classes").click()
    assert set(tab.locator("#class-rows .link").all_text_contents()) == set(helpers.PAGE_CLASSES)
    assert tab.locator("b, i, u, img[src=x]").count() == 0


def test_a_script_added_to_the_page_cannot_run(open_page):
    tab = open_page(ignore_console=True)
    blocked = tab.evaluate("""() => new Promise((resolve) => {
        document.addEventListener('securitypolicyviolation', (e) => resolve(e.violatedDirective));
        const script = document.createElement('script');
        script.textContent = 'alert(1)';
        document.body.append(script);
    })""")
    assert blocked.startswith("script-src")


def test_without_maps_and_thumbnails_all_else_works(open_page, tmp_path):
    path = write_page(tmp_path, helpers.small_page(correlation=None, history=[]))
    tab = open_page(path, ignore_console=True)
    tab.wait_for_selector(".card.missing")
    helpers.chip(tab, 2, 0).hover()
    helpers.chip(tab, 2, 0).click()
    tab.wait_for_timeout(200)
    assert tab.locator(".map.shown").count() == 0
    assert not helpers.is_kept(tab, 2, 0)
    tab.get_by_role("tab", name="Classes").click()
    assert not tab.locator("#history").is_visible()
    assert not tab.locator("#correlation").is_visible()


def test_no_photos_at_all_is_a_page_too(open_page, tmp_path):
    empty = {"paths": [], "starts": np.zeros(1, int)}
    empty |= {name: np.zeros(0, int) for name in ("columns", "probability", "kept")}
    tab = open_page(write_page(tmp_path, helpers.small_page(**empty)))
    for key in ("ArrowDown", "End", "1", "d", "u"):
        tab.keyboard.press(key)
    tab.get_by_role("tab", name="Classes").click()


def test_missing_data_are_said(open_page, tmp_path):
    path = write_page(tmp_path, helpers.small_page())
    (tmp_path / "review-data.js").unlink()
    tab = open_page(path, ignore_console=True)
    assert "review-data.js is missing" in tab.locator("#warning").inner_text()


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


def test_light_and_dark_differ_and_both_are_readable(open_page):
    grounds = []
    for scheme in ("light", "dark"):
        tab = open_page(color_scheme=scheme)
        helpers.chip(tab, 0, 0).click()
        assert tab.evaluate(CONTRAST) == []
        tab.get_by_role("tab", name="Classes").click()
        assert tab.evaluate(CONTRAST) == []
        grounds.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_on_a_phone_nothing_is_wider_than_the_screen(open_page):
    tab = open_page(viewport={"width": 375, "height": 700}, is_mobile=True, has_touch=True)
    wide = """() => [...document.querySelectorAll('html, header, .tools, aside, main, #scroller,'
        + '#overview')].filter((element) => element.scrollWidth > element.clientWidth + 1
        || element.getBoundingClientRect().right > 375).map((element) => element.outerHTML)"""
    assert tab.evaluate(wide) == []
    lefts = {box["x"] for box in (helpers.card(tab, i).bounding_box() for i in helpers.cards(tab))}
    assert len(lefts) == 2
    tab.locator("summary").tap()
    assert tab.locator("#sort").is_visible()
    assert tab.evaluate(wide) == []
    tab.locator("summary").tap()
    tab.get_by_role("tab", name="Classes").tap()
    assert tab.evaluate(wide) == []


# ---------------------------------------------------------------- filters and order


@pytest.fixture(scope="module")
def filter_tab(browser, small_page_path):
    """One page for tests that only filter and order: each sets the order, and resets filters."""
    with helpers.page_opener(browser, small_page_path) as open_page:
        yield open_page()


UTF_16 = [path.encode("utf-16-be", "surrogatepass") for path in helpers.PAGE_PATHS]


@pytest.mark.parametrize(
    ("order", "images"),
    [
        ("suspicious", helpers.SUSPICIOUS_FIRST),
        ("trusted", [11, 1, 7, 3, 10, 4, 6, 5, 0, 9, 8, 2]),
        ("border", [2, 4, 6, 10, 3, 5, 9, 0, 7, 8, 1, 11]),
        ("name", sorted(range(12), key=UTF_16.__getitem__)),
        ("file", list(range(12))),
    ],
)
def test_orders(filter_tab, order, images):
    filter_tab.select_option("#sort", order)
    helpers.wait_for_cards(filter_tab, images)


def test_the_threshold_of_a_summary_orders_by_distance_from_it(open_page, tmp_path):
    path = write_page(tmp_path, helpers.small_page(summary={"threshold": "0.700"}))
    tab = open_page(path, ignore_console=True)
    tab.select_option("#sort", "border")
    helpers.wait_for_cards(tab, [3, 9, 10, 4, 2, 7, 0, 1, 8, 6, 5, 11])


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        ({"#class": "2"}, [2, 4, 8]),
        ({"#decision": "kept"}, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),
        ({"#decision": "dropped"}, [0, 2, 5, 6, 8, 9]),
        ({"#decision": "decided"}, []),
        ({"#photos-filter": "bare"}, [5, 11]),
        ({"#photos-filter": "verified"}, []),
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
def test_filters(filter_tab, fields, images):
    tab = filter_tab
    tab.select_option("#sort", "file")
    for selector, value in fields.items():
        if selector in ("#class", "#decision", "#photos-filter"):
            tab.select_option(selector, value)
        else:
            tab.fill(selector, value)
            tab.dispatch_event(selector, "change")
    helpers.wait_for_cards(tab, images)
    assert tab.locator("#empty").is_visible() == (not images)
    tab.locator("#reset-filters").click()
    helpers.wait_for_cards(tab, helpers.SUSPICIOUS_FIRST)


def test_filters_follow_decisions(tab):
    helpers.chip(tab, 3, 0).click()
    helpers.verify(tab, 4)
    tab.select_option("#decision", "against")
    helpers.wait_for_cards(tab, [3])
    tab.select_option("#decision", "decided")
    helpers.wait_for_cards(tab, [4, 3])
    tab.locator("#reset-filters").click()
    tab.select_option("#photos-filter", "unverified")
    helpers.wait_for_cards(tab, [image for image in helpers.SUSPICIOUS_FIRST if image != 4])


def test_a_class_filters_the_photos_once(tab):
    tab.get_by_role("tab", name="Classes").click()
    tab.evaluate("""() => {
        window.times = 0;
        new MutationObserver((all) => { window.times += all.length; })
            .observe(document.getElementById('count'), {childList: true});
    }""")
    tab.get_by_role("button", name="=1+1").click()
    helpers.wait_for_cards(tab, [4, 8, 2])
    tab.wait_for_timeout(50)
    assert tab.evaluate("times") == 1
