"""The review page of 100,000 photos and 80 classes in Chromium: how long its main thread is busy.

Run: python -m benchmarks.page [PHOTOS]

Processor time of the main thread: what a person waits for, with drawing, and the storing that
follows a quarter of a second later; the least of three tries. Opening is by the clock.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import CDPSession, sync_playwright
from playwright.sync_api import Page as Tab

from pipeline.review.page import Page, write_page

CHROMIUM = "/usr/bin/chromium"
CLASSES, CANDIDATES, LIKELY = 80, 5, 5
TRIES = 3
OPENED = "performance.timing.loadEventEnd - performance.timing.navigationStart"
DO = """([kind, id, value]) => {
    const element = document.getElementById(id) ?? document.querySelector(id);
    if (kind === 'click') {
        element.click();
    } else {
        element.value = value;
        element.dispatchEvent(new Event(kind, {bubbles: true}));
    }
}"""
SORTS = ("trusted", "border", "random", "name", "file", "suspicious")
ROUND = (
    *(("change", "sort", name) for name in SORTS),
    ("change", "class", "7"),
    ("change", "decision", "missing"),
    ("change", "decision", "any"),
    ("change", "class", ""),
    ("click", "#grid .chip", ""),
    ("click", "undo", ""),
    ("click", "bulk-button", ""),
    ("input", "bulk-slider", "0.3"),
    ("click", "bulk-below", ""),
    ("click", "undo", ""),
    ("click", "redo", ""),
    ("click", "bulk-keep", ""),
    ("click", "undo", ""),
    ("click", "bulk-verify", ""),
    ("click", "undo", ""),
)
UNDO_ALL = (("click", "undo", ""), ("click", "bulk-button", ""))


def large_page(photos: int) -> Page:
    generator = np.random.default_rng(0)
    order = generator.random((photos, CLASSES)).argsort(1)
    probability = generator.beta(0.5, 0.5, photos * CANDIDATES)
    chance = -np.sort(-generator.beta(0.5, 2, (photos, LIKELY)), axis=1)
    return Page(
        title="large",
        key="large",
        classes=[f"class {column}" for column in range(CLASSES)],
        paths=[f"train2014/COCO_train2014_{index:012}.jpg" for index in range(photos)],
        starts=np.arange(photos + 1) * CANDIDATES,
        columns=np.sort(order[:, :CANDIDATES]).reshape(-1),
        probability=probability,
        kept=probability >= 0.5,
        history=[],
        correlation=None,
        summary={"threshold": "0.500"},
        hashes=[f"{index:016x}" for index in range(photos)],
        likely=order[:, CANDIDATES : CANDIDATES + LIKELY],
        likely_probability=chance,
    )


def verified_one_by_one(page: Page) -> dict[str, Any]:
    """A review.json in which each photo was verified at a time of its own: longest to store."""
    seconds = np.random.default_rng(1).permutation(len(page.paths)) + 1_790_000_000
    records = []
    for image, (path, at) in enumerate(zip(page.paths, seconds.tolist())):
        part = slice(*page.starts[image : image + 2])
        names = [page.classes[column] for column in page.columns[part][page.kept[part]]]
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        records.append({"path": path, "true_labels": names, "by": "Ann", "at": when})
    return {"format": "review-2", "key": page.key, "verified": records, "decisions": []}


def busy(clock: CDPSession) -> float:
    """Milliseconds that the main thread has worked."""
    metrics = clock.send("Performance.getMetrics")["metrics"]
    return next(1000 * m["value"] for m in metrics if m["name"] == "TaskDuration")


def do(tab: Tab, clock: CDPSession, step: tuple[str, str, str]) -> tuple[float, float]:
    """Milliseconds of a step: what it does at once, and later."""
    before = busy(clock)
    tab.evaluate(DO, step)
    tab.wait_for_timeout(100)
    at_once = busy(clock)
    tab.wait_for_timeout(1400)
    return at_once - before, busy(clock) - at_once


def measure(tab: Tab, folder: Path, page: Page) -> None:
    print(f"{len(page.paths):,} photos, {len(page.columns):,} candidates, milliseconds")
    print(f"{'opens':40}{tab.evaluate(OPENED):8.0f}")
    clock = tab.context.new_cdp_session(tab)
    clock.send("Performance.enable", {"timeDomain": "threadTicks"})
    times = [[do(tab, clock, step) for step in ROUND + UNDO_ALL] for _ in range(TRIES)]
    print(f"{'':40}{'at once':>8}{'storing':>8}")
    for step, (at_once, storing) in zip(ROUND, np.min(times, axis=0)):
        print(f"{' '.join(step):40}{at_once:8.0f}{storing:8.0f}")

    review = folder / "review.json"
    review.write_text(json.dumps(verified_one_by_one(page)))
    tab.set_input_files("#import-file", review)
    tab.wait_for_selector("#name-dialog[open]")
    tab.fill("#name", "Ann")
    started = time.perf_counter()
    tab.keyboard.press("Enter")
    tab.wait_for_function(
        "() => document.getElementById('status').textContent.includes('Imported')"
    )
    print(f"{'import of all photos verified':40}{1000 * (time.perf_counter() - started):8.0f}")
    tab.wait_for_timeout(3000)
    of_page = "Object.entries(localStorage).find(([key]) => key.startsWith('review-3:large'))"
    characters = tab.evaluate(f"{of_page}[1].length")
    words = tab.locator("#progress-text").inner_text()
    tab.reload()
    tab.wait_for_selector(".card")
    print(f"{'opens with them':40}{tab.evaluate(OPENED):8.0f}")
    same = tab.locator("#progress-text").inner_text() == words
    print(f"all decisions survive: {same}; {characters:,} characters are stored")
    before = busy(clock)
    with tab.expect_download(timeout=120_000) as download:
        tab.evaluate("document.getElementById('export').click()")
    size = Path(download.value.path()).stat().st_size
    print(f"{'export':40}{busy(clock) - before:8.0f}   {size / 1e6:.1f} MB")


def main() -> None:
    if not Path(CHROMIUM).exists():
        print(f"needs {CHROMIUM}")
        return
    page = large_page(int(sys.argv[1]) if sys.argv[1:] else 100_000)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as engine:
        path = write_page(Path(name), page)
        browser = engine.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        tab.goto(path.as_uri())
        measure(tab, Path(name), page)
        carried = page._replace(key="carried", decisions=verified_one_by_one(page))
        times = []
        for _ in range(TRIES):
            tab = browser.new_context().new_page()
            tab.goto(write_page(Path(name), carried).as_uri())
            times.append(tab.evaluate(OPENED))
        print(f"{'opens with all verified in earlier reviews':40}{min(times):8.0f}")
        browser.close()


if __name__ == "__main__":
    main()
