"""The review page as axe-core judges it: what people who read or steer it otherwise would miss."""

import numpy as np
import pytest
import torch

from pipeline.review.page import write_page, write_thumbnail
from tests import helpers

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
SCREENS = {
    "light": DESKTOP | {"color_scheme": "light"},
    "dark": DESKTOP | {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "200%": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}


@pytest.fixture(scope="module")
def axe():
    return pytest.importorskip("axe_playwright_python.sync_playwright").Axe()


def states(tab):
    """Bring the page into one state after another; gives the name of each."""
    yield "grid"
    tab.locator("#scroller").focus()
    for key in ("ArrowRight", "1", "d"):
        tab.keyboard.press(key)
    yield "decided"
    tab.keyboard.press("b")
    yield "many at once"
    tab.evaluate("document.getElementById('filters').open = true")
    tab.select_option("#class", "0")
    yield "one class"
    tab.select_option("#decision", "missing")
    yield "perhaps missing"
    tab.click("#bulk-close")
    tab.fill("#text", "nothing has this name")
    tab.wait_for_selector("#empty:not([hidden])")
    yield "empty"
    tab.click("#empty-reset")
    tab.wait_for_selector("#grid .card")
    tab.locator("#grid .picture").first.click()
    tab.wait_for_selector("#large[open] .card.ready")
    tab.locator("#large .chip").first.focus()
    yield "large"
    tab.keyboard.press("a")
    yield "add"
    tab.click("#add-close")
    tab.click("#large-close")
    tab.click("#task-button")
    yield "task, large"
    tab.click("#large-close")
    yield "task"
    tab.click("#me")
    yield "name"
    helpers.give_name(tab, "Ann")
    tab.click("#me")
    yield "another name"
    tab.click("#name-close")
    tab.click("#keys")
    yield "help"
    tab.click("#help-close")
    tab.set_input_files(
        "#import-file", {"name": "a.json", "mimeType": "application/json", "buffer": b"no"}
    )
    tab.wait_for_selector("#warning:not([hidden])")
    yield "warning"
    tab.click("#tab-classes")
    yield "classes"


@pytest.mark.parametrize(
    "screen", ["light", *(pytest.param(name, marks=pytest.mark.slow) for name in list(SCREENS)[1:])]
)
def test_axe_finds_nothing_in_any_state(screen, axe, open_page, tmp_path):
    for image in range(12):
        write_thumbnail(tmp_path, image, torch.full((3, 30, 40), 20 * image, dtype=torch.uint8))
    likely, chance = np.full((12, 2), -1), np.zeros((12, 2))
    likely[1], chance[1] = [4, 0], [0.9, 0.6]
    page = helpers.small_page(likely=likely, likely_probability=chance, to_verify=[3, 1])
    tab = open_page(write_page(tmp_path, page), ignore_console=True, **SCREENS[screen])
    found, seen = {}, []
    for state in states(tab):
        seen.append(state)
        tab.wait_for_timeout(150)
        for violation in axe.run(tab).response["violations"]:
            nodes = [node["html"][:100] for node in violation["nodes"][:3]]
            found[state, violation["id"]] = nodes
    assert found == {}
    assert len(set(seen)) == 15
