"""The files of the page's writer; no browser is needed."""

import base64
import json
import os
import re
from urllib.parse import quote, unquote_to_bytes

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.lists.names import LONE_SURROGATE
from pipeline.review import page as module
from pipeline.review.page import (
    CHUNK,
    MAP_SIDE,
    _addresses,
    write_maps,
    write_page,
    write_thumbnail,
)
from tests.helpers import PAGE_CLASSES, PAGE_PATHS, PAGE_PROBABILITIES, small_page, write_small_page


def read_data(folder):
    text = (folder / "review-data.js").read_text("ascii")
    return json.loads(text.removeprefix("var reviewData = ").removesuffix(";\n"))


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def test_data_come_back_as_they_were(tmp_path):
    page = small_page()
    write_page(tmp_path, page)
    data = read_data(tmp_path)
    assert data["paths"] == PAGE_PATHS
    assert data["classes"] == PAGE_CLASSES
    assert (numbers(data["starts"], "<u4") == page.starts).all()
    assert (numbers(data["columns"], "<u2") == page.columns).all()
    assert np.allclose(
        numbers(data["probability"], "<u2") / data["probabilitySteps"], PAGE_PROBABILITIES
    )
    assert (numbers(data["kept"], "u1") == page.kept).all()
    assert data["history"][1] == {"epoch": 2, "confidence": None, "mAP": None}
    assert np.allclose(data["correlation"], page.correlation, atol=1e-4)
    assert data["summary"] == [list(item) for item in page.summary.items()]


def test_what_other_reviews_know_comes_back_as_it_was(tmp_path):
    likely = np.full((12, 2), -1)
    likely[3] = [4, 1]
    chance = np.zeros((12, 2))
    chance[3] = [0.75, 0.5]
    who = {"path": PAGE_PATHS[3], "sha256": "", "by": "Ann", "at": "1970-01-01T00:01:40.5Z"}
    decisions = {
        "format": "review-2",
        "verified": [who | {"true_labels": PAGE_CLASSES[1:3]}],
        "decisions": [
            who | {"by": by, "label": PAGE_CLASSES[4], "true": true, "settles": true}
            for by, true in (("Ben", True), ("Ann", False))
        ],
        "disputes": [{"path": PAGE_PATHS[3], "label": PAGE_CLASSES[4], "by": ["Ann", "Ben"]}],
    }
    hashes = ["0123456789abcdef", "", *["f" * 16] * 10]
    page = small_page(
        hashes=hashes,
        test=np.arange(12) > 9,
        likely=likely,
        likely_probability=chance,
        decisions=decisions,
        to_verify=[3, 1],
    )
    write_page(tmp_path, page)
    data = read_data(tmp_path)
    assert [data["hashes"][16 * i :][:16].strip() for i in range(12)] == hashes
    assert numbers(data["test"], "u1").tolist() == [0] * 10 + [1, 1]
    assert (numbers(data["likely"], "<u2") == np.where(likely < 0, 65_535, likely).ravel()).all()
    assert (numbers(data["likelyProbability"], "<u2") == 10_000 * chance.ravel()).all()
    assert data["toVerify"] == [3, 1]
    assert data["decisions"] == {
        "people": ["Ann", "Ben"],
        "verified": [[3, 0, 100, 0, 1, 2]],
        "decisions": [[3, 1, 100, 1, 4, 1], [3, 0, 100, 0, 4, 0]],
        "verifiedPhotos": 0,  # the one is in dispute
    }


LETTERS = st.characters(codec="utf-8", exclude_characters="/\0") | st.just("\udcff")


@given(
    st.lists(
        st.tuples(st.text(LETTERS, min_size=1, max_size=9).map("p/{}".format), st.booleans()),
        min_size=1,
    )
)
def test_addresses_of_files_are_found_from_their_names(files):
    """As the page does: encodeURIComponent escapes more than quote, and means the same."""
    paths = [name for name, _ in files]
    places = [f"../a #?%b/{'' if plain else 'else/'}{name}.jpg" for name, plain in files]
    found = _addresses(places, paths)
    others = dict(found["others"])
    for image, (place, path) in enumerate(zip(places, paths)):
        if image not in others:
            assert not LONE_SURROGATE.search(path)
        own = f"{found['before']}{quote(os.fsencode(path), safe='/')}{found['after']}"
        assert os.fsdecode(unquote_to_bytes(others.get(image, own))) == place
    if all(plain for _, plain in files):
        assert all(LONE_SURROGATE.search(paths[image]) for image in others)


def test_scripts_hold_no_character_that_html_or_old_script_parsers_act_on(tmp_path):
    write_small_page(tmp_path)
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
        write_small_page(folder)
    names = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(names) == 3 + len(PAGE_PATHS)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_error_leaves_an_older_page_as_it_was(tmp_path):
    write_small_page(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("review*")}
    with pytest.raises(TypeError):
        write_page(tmp_path, small_page(classes=[object()]))
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def probabilities_to(*last):
    return np.array([*PAGE_PROBABILITIES[: -len(last)], *last])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": PAGE_PATHS[1:]}, "expected .* but got"),
        ({"kept": np.ones(3, bool)}, "expected .* but got"),
        ({"starts": np.arange(len(PAGE_PATHS) + 1)}, "expected .* but got"),
        *(
            ({"probability": probabilities_to(wrong)}, "expected probabilities in .* but got")
            for wrong in (float("nan"), -0.1, 1.1, float("inf"))
        ),
        ({"likely": np.zeros((12, 2), int)}, "expected likely labels and their probabilities"),
        ({"classes": ["dog"] * 65_536}, "expected at most 65535 classes, but got 65536"),
    ],
)
def test_what_is_no_page_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write_page(tmp_path, small_page(**changes))


def test_a_probability_may_leave_0_to_1_by_an_error_of_rounding(tmp_path):
    write_page(tmp_path, small_page(probability=probabilities_to(-1e-7, 1 + 1e-7)))
    stored = numbers(read_data(tmp_path)["probability"], "<u2")
    assert stored[-2:].tolist() == [0, module.PROBABILITY_STEPS]


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


def test_the_script_is_joined_of_every_part_beside_the_page(tmp_path):
    text = write_page(tmp_path, small_page()).read_text("utf-8")
    for names, kind in ((module.SCRIPT_PARTS, "js"), (module.STYLE_PARTS, "css")):
        parts = {part.name: part.read_text("utf-8") for part in module.ASSETS.glob(f"*.{kind}")}
        assert sorted(names) == sorted(parts)
        assert all(part in text for part in parts.values())
    assert text.count("'use strict';") == 1
