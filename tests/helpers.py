"""Helpers that several test files share, by subject."""

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data import voc
from pipeline.methods import cones_settings
from pipeline.review.page import MAP_SIDE, Page, write_maps, write_page, write_thumbnail
from utils.errors import UserError
from utils.options.command_line import resolve

PAPER = cones_settings(resolve("main_CoNeS", {"dataset": "digits", "recipe": "paper"}))

# ---------------------------------------------------------------- a small review page

PAGE_CLASSES = ["dog", "<b>cat</b>", "=1+1", 'a "quoted", name', "\u202eright to left"]
PAGE_PATHS = [
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
# (image, class, probability); the last image has no candidates.
PAGE_CANDIDATES = [
    *[(0, 0, 0.9), (0, 1, 0.2), (1, 1, 0.95), (2, 2, 0.05), (2, 0, 0.8), (2, 4, 0.52)],
    *[(3, 0, 0.7), (4, 1, 0.6), (4, 2, 0.61), (5, 3, 0.3), (6, 4, 0.4), (6, 0, 0.99)],
    *[(7, 0, 0.85), (8, 2, 0.1), (8, 3, 0.97), (9, 0, 0.15), (9, 1, 0.75), (10, 4, 0.65)],
]
PAGE_PROBABILITIES = [p for _, _, p in PAGE_CANDIDATES]
SUSPICIOUS_FIRST = [2, 8, 9, 0, 5, 6, 4, 10, 3, 7, 1, 11]  # images, as the page opens


def small_page(**changes):
    """A Page of these images, with the fields in `changes` instead of its own."""
    images, columns, probability = map(np.array, zip(*PAGE_CANDIDATES))
    fields = {
        "title": "runs/<i>a & b</i> \udcff",
        "key": "00ff",
        "classes": PAGE_CLASSES,
        "paths": PAGE_PATHS,
        "starts": np.searchsorted(images, np.arange(len(PAGE_PATHS) + 1)),
        "columns": columns,
        "probability": probability,
        "kept": probability >= 0.5,
        "history": [{"epoch": 1, "confidence": 0.4}, {"epoch": 2, "confidence": float("nan")}],
        "correlation": np.linspace(0, 1, 25).reshape(5, 5),
        "summary": {"threshold": "0.5", "<u>note</u>": "</script>"},
    }
    return Page(**(fields | changes))


def small_maps():
    """Maps in the first corner, but that of image 2's first class in the middle."""
    middle = PAGE_CANDIDATES.index((2, 0, 0.8))
    maps = np.zeros((len(PAGE_CANDIDATES), MAP_SIDE, MAP_SIDE), np.uint8)
    maps[:, :4, :4] = 255
    maps[middle] = 0
    maps[middle, 4:9, 4:9] = 255
    return maps


def write_small_page(folder):
    """Write small_page() with its maps and thumbnails; return the path of review.html."""
    write_maps(folder, 0, small_maps())
    for index in range(len(PAGE_PATHS)):
        write_thumbnail(folder, index, torch.full((3, 300, 400), 20 * index, dtype=torch.uint8))
    return write_page(folder, small_page())


# ---------------------------------------------------------------- a review page in a browser


@contextlib.contextmanager
def page_opener(browser, small_page_path):
    """Give a function that opens a page, the small one by default, in a fresh context.

    Its options are those of a browser's context, and:
        ignore_console: for pages that lack thumbnails or other files, which the browser reports.
        init_script: runs before the page's own script.

    In the end nothing must have gone wrong: no message on the console, no error, no dialog, no
    request that leaves the page's folder.
    """
    contexts, trouble = [], []

    def dismiss(dialog):
        trouble.append(dialog.message)
        dialog.dismiss()

    def open_page(path=small_page_path, *, ignore_console=False, init_script=None, **options):
        def check_request(request):
            if not request.url.startswith((path.parent.as_uri(), "blob:", "data:")):
                trouble.append(request.url)

        context = browser.new_context(**({"viewport": {"width": 1280, "height": 1600}} | options))
        contexts.append(context)
        if init_script is not None:
            context.add_init_script(init_script)
        tab = context.new_page()
        if not ignore_console:
            tab.on("console", lambda message: trouble.append(message.text))
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("dialog", dismiss)
        tab.on("request", check_request)
        tab.goto(path.as_uri())
        return tab

    try:
        yield open_page
    finally:
        for context in contexts:
            context.close()
    assert trouble == []


def card(tab, image):
    return tab.locator(f'#grid .card[data-image="{image}"]')


def cards(tab):
    """Indices of the images whose cards are drawn, in the order of the page."""
    return [int(card.get_attribute("data-image")) for card in tab.query_selector_all("#grid .card")]


def wait_for_cards(tab, images):
    tab.wait_for_function(
        """images => JSON.stringify([...document.querySelectorAll('#grid .card')]
            .map((card) => Number(card.dataset.image))) === JSON.stringify(images)""",
        arg=images,
    )


def chip(tab, image, column):
    """The small page's candidate of an image and a class, on its card in the grid."""
    entry = next(e for e, (i, c, _) in enumerate(PAGE_CANDIDATES) if (i, c) == (image, column))
    return tab.locator(f'#grid .chip[data-entry="{entry}"]')


def verify(tab, image):
    """Press the button of a photo's card that verifies it."""
    card(tab, image).get_by_role("button", name="Verified").click()


def is_kept(tab, image, column):
    return chip(tab, image, column).get_attribute("aria-pressed") == "true"


def progress(tab):
    """Progress such as '1 of 12 photos verified · 3 labels decided · 2 photos without a label'."""
    return tab.locator("#progress-text").inner_text()


def give_name(tab, name):
    """Answer the page's question for the user's name."""
    tab.wait_for_selector("#name-dialog[open]")
    tab.fill("#name", name)
    tab.keyboard.press("Enter")


def downloads(tab, name="Ann"):
    """The contents of the files that Export saves, by name."""
    arrived = []
    tab.on("download", lambda download: arrived.append(download))
    tab.get_by_role("button", name="Export").click()
    if tab.locator("#name-dialog").is_visible():
        give_name(tab, name)
    for _ in range(100):
        if len(arrived) == 2:
            break
        tab.wait_for_timeout(50)
    return {item.suggested_filename: Path(item.path()).read_bytes() for item in arrived}


# ---------------------------------------------------------------- files of others, and damaged ones


def fuzz(examples):
    """Settings of a property-based test whose examples share a fixture, such as a folder."""
    shared = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, suppress_health_check=shared)


@contextlib.contextmanager
def refused(match):
    """Expect a UserError of one line from what is within."""
    with pytest.raises(UserError, match=match) as caught:
        yield
    assert len(str(caught.value).splitlines()) == 1


def shown(data):
    """{id: names of its labels} of a split."""
    return {
        str(image): {name for name, target in zip(data.classes, row) if target == 1}
        for image, row in zip(data.ids, data.targets)
    }


def assert_consistent(data):
    assert len(set(data.classes)) == len(data.classes)
    assert data.targets.shape == (len(data.images), len(data.classes))
    assert data.targets.dtype == np.int8
    assert set(np.unique(data.targets)) <= {0, 1}
    assert len(set(data.ids)) == len(data) > 0


def load_or_refuse(load, *arguments, **options):
    """Load, or return None where that is refused, in one line."""
    try:
        return load(*arguments, **options)
    except UserError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1
    return None


def assert_loads_or_refuses(load, root, **options):
    """Assert that each split is refused or consistent, whatever its files hold."""
    for split in ("train", "test"):
        data = load_or_refuse(load, root, split, **options)
        if data is not None:
            assert_consistent(data)


def cuts(position, length, inserted, count=3):
    """Damages: where to cut into a file, how much to cut out, and what to put there."""
    return st.lists(st.tuples(st.integers(0, position), length, inserted), max_size=count)


def damaged(content, damage):
    for position, length, inserted in damage:
        start = position % (len(content) + 1)
        content = content[:start] + inserted + content[start + length :]
    return content


@contextlib.contextmanager
def replaced(path, change):
    """A file whose content is changed for a while."""
    original = path.read_bytes()
    path.write_bytes(change(original))
    try:
        yield
    finally:
        path.write_bytes(original)


def remove(*parts):
    """A change to a folder, for tests of many: it lacks a file or a folder."""

    def change(root):
        path = root.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


class Call:
    """An object that pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def with_peak(function, *arguments, **options):
    """The result of a function, and the most bytes that numpy and Python took meanwhile."""
    tracemalloc.start()
    try:
        return function(*arguments, **options), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- runs


def read_json(*place):
    return json.loads(Path(*place).read_text("utf-8"))


def read_records(folder):
    """The epochs of a run, without what they took."""
    lines = Path(folder, "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in lines]


# A training of a second, of the trunk that tests.kept_runs.trunk registers. The precision is given:
# of two runs to be compared, a busy machine could choose another for each.
SMALL = (
    "--model kept_trunk --weights none --img_size 32 --batch_size 4 --total_epoch 2 --amp off "
    "--workers 0"
).split()
# The same where the script is a process of its own, which knows timm's models alone.
SMALL_OF_TIMM = [word.replace("kept_trunk", "test_resnet") for word in SMALL]


def write_devkit(folder):
    """VOCdevkit in `folder`, with eight photos to train on and twenty to test; returns `folder`."""
    lists, photos = folder / "VOC2007/ImageSets/Main", folder / "VOC2007/JPEGImages"
    lists.mkdir(parents=True)
    photos.mkdir()
    generator = np.random.default_rng(0)
    for split, ids in (("trainval", range(1, 9)), ("test", range(11, 31))):
        names = [f"{i:06}" for i in ids]
        (lists / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            pixels = generator.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(photos / f"{name}.jpg")
        for class_name in voc.CLASSES:
            marks = generator.choice(["1", "-1", "0"], len(names), p=[0.3, 0.6, 0.1])
            lines = [f"{name} {mark}" for name, mark in zip(names, marks)]
            (lists / f"{class_name}_{split}.txt").write_text("\n".join(lines))
    return folder


def call_in(folder, script, *flags):
    """Call a script that must succeed, in `folder`.

    It is for fixtures of several tests. With relative paths among the flags, what the script leaves
    may be copied elsewhere, and gone on with there.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [f"{script}.py", *map(str, flags)])
        assert importlib.import_module(script).main() == 0


class ForkedScript:
    """A script in a copy of this process, which need not import torch again, and its own session.

    launch: what to do with the script's main; its return value is the exit status.
    """

    def __init__(self, script, *flags, launch=lambda main: main()):
        main = importlib.import_module(script).main
        self.printed = tempfile.NamedTemporaryFile("r")  # noqa: SIM115 - wait() closes it
        self.pid = os.fork()
        if self.pid == 0:
            status = 70  # an error of this class
            try:
                os.setsid()
                signal.alarm(300)
                signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup
                descriptor = os.open(self.printed.name, os.O_WRONLY | os.O_APPEND)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                sys.stdout = sys.stderr = sys.__stderr__ = os.fdopen(1, "w", buffering=1)
                sys.argv = [f"{script}.py", *map(str, flags)]
                status = launch(main)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    def wait_for(self, done):
        """Wait until done(what it has printed); it must not end before."""
        while not done(Path(self.printed.name).read_text()):
            ended, _ = os.waitpid(self.pid, os.WNOHANG)
            assert not ended, Path(self.printed.name).read_text()
            time.sleep(0.05)

    def wait(self):
        """Its exit status, and what it and its children have printed."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with self.printed:
            return status, self.printed.read()


def in_processes(count):
    """A launch of a ForkedScript in so many processes, as torchrun's."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # slow to import
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meeting = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    config = LaunchConfig(1, 1, count, **meeting, max_restarts=0, start_method="fork")

    def launch(main):
        try:
            elastic_launch(config, lambda: sys.exit(main()))()
        except ChildFailedError:
            return 1
        return 0

    return launch


def last_line(text):
    return text.strip().splitlines()[-1]


# ---------------------------------------------------------------- classifiers of others


def released_form(classifier, prefix=""):
    """The state as the method's authors store their network, with selectors of each class."""
    state = {k.removeprefix("trunk.model."): v for k, v in classifier.state_dict().items()}
    state["fc_all.weight"] = state.pop("head.linear.weight")
    state["fc_all.bias"] = state.pop("head.linear.bias")
    for c in range(5):
        state[f"contrastive_class_selector_{c}.0.weight"] = torch.randn(3, 3)
        state[f"contrastive_class_selector_{c}.1.num_batches_tracked"] = torch.tensor(c)
    return {prefix + key: value for key, value in state.items()}


def csra_form(classifier, prefix=""):
    """The state as CSRA's authors store theirs."""
    state = {k.removeprefix("trunk.model."): v for k, v in classifier.state_dict().items()}
    for k, weight in enumerate(state.pop("head.weight")):
        state[f"classifier.multi_head.{k}.head.weight"] = weight[:, :, None, None].clone()
    return {prefix + key: value for key, value in state.items()}
