"""The review page: one HTML file that shows photos, candidates and their probabilities.

    FOLDER/review.html              markup, style and script; opens from disk, without a network
    FOLDER/review-data.js           names, candidates, probabilities, decisions, statistics
    FOLDER/thumbs/0/17.jpg          photo 17, small; a thousand a folder
    FOLDER/maps/0.js                class maps of the candidates of photos 0 to CHUNK - 1

Browsers let a page on disk load scripts beside it, but not read files, so data are scripts.
The markup, the style and the parts of the script lie in page_assets/.
"""

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import markupsafe
import numpy as np
import torch
from PIL import Image

from pipeline.data.lists.names import LONE_SURROGATE
from utils.files import atomic_path

MAP_SIDE = 14  # class maps are stored as MAP_SIDE x MAP_SIDE bytes
CHUNK = 200  # images a file of maps
THUMBNAIL_SIDE = 240  # longer side, in pixels
THUMBNAILS_A_FOLDER = 1000
PROBABILITY_STEPS = 10_000  # probabilities are stored in whole ten-thousandths
MAX_CLASSES = 65_535  # columns are stored in two bytes
NO_CLASS = 65_535
HASH_DIGITS = 16

ASSETS = Path(__file__).parent / "page_assets"
# A part uses what parts before it define; the last one starts the page.
SCRIPT_PARTS = (
    "elements.js",
    "data.js",
    "answers.js",
    "voices.js",
    "filters.js",
    "orders.js",
    "layout.js",
    "class_maps.js",
    "chips.js",
    "cards.js",
    "grid.js",
    "class_table.js",
    "charts.js",
    "correlation.js",
    "tabs.js",
    "large_view.js",
    "add_label.js",
    "histogram.js",
    "bulk.js",
    "bulk_verify.js",
    "task.js",
    "progress.js",
    "packing.js",
    "storage.js",
    "other_tabs.js",
    "earlier_storage.js",
    "view_state.js",
    "changes.js",
    "names.js",
    "export.js",
    "review_file.js",
    "import.js",
    "pointer.js",
    "keyboard.js",
    "start.js",
)
STYLE_PARTS = ("frame.css", "photos.css", "classes.css", "dialogs.css", "widths.css")


class Page(NamedTuple):
    """The content of the page: N images, C classes and M candidates, image by image.

    Attributes:
        title: names the review, such as the run's folder.
        key: hex text; the browser stores decisions under it.
        classes: C names.
        paths: N names of images as the label file has them, lone surrogates included.
        starts: (N + 1,) int64; image i has the candidates starts[i]:starts[i + 1].
        columns: (M,) int, each candidate's class.
        probability: (M,) float in [0, 1], of being true.
        kept: (M,) bool, the decision before anyone looked.
        history: one dict an epoch, {"epoch": 1, "confidence": 0.43, "mAP": 0.71}; a key may be
            missing, and the list may be empty.
        correlation: (C, C) float, or None where the run has none.
        summary: lines for the top, name to value. A number under "threshold" is the probability
            around which the page looks for undecided candidates; without one it is 0.5.
        hashes: N texts, the first 16 hex digits of the SHA-256 of each photo's bytes, "" where
            unknown; () where none is known.
        test: (N,) bool, whether a photo is of the test split; None without such.
        likely: (N, K) int, the classes of the likeliest labels that are no candidates, the most
            likely first; -1 for none. None where none is known.
        likely_probability: (N, K) float in [0, 1], of these.
        decisions: what people decided on these photos and classes in earlier reviews, with which
            the page starts: the content of a review.json of the format review-2.
        to_verify: indices of the photos that a person has chosen to verify.
        files: N paths of the photos themselves, from the page's folder; () where they are no files.
    """

    title: str
    key: str
    classes: list[str]
    paths: Sequence[str]
    starts: np.ndarray
    columns: np.ndarray
    probability: np.ndarray
    kept: np.ndarray
    history: list[dict[str, float]]
    correlation: np.ndarray | None
    summary: dict[str, str]
    hashes: Sequence[str] = ()
    test: np.ndarray | None = None
    likely: np.ndarray | None = None
    likely_probability: np.ndarray | None = None
    decisions: Mapping[str, Any] = MappingProxyType({})
    to_verify: Sequence[int] = ()
    files: Sequence[str] = ()


def write_page(folder: Path, page: Page) -> Path:
    """Write review.html and review-data.js into `folder`; return the path of review.html.

    Equal pages give equal bytes. Each file is replaced as a whole; the data come first, so
    that a new page never lies beside older data for long.

    Raises:
        ValueError: lengths of `paths`, `starts`, `columns`, `probability` and `kept` disagree;
            a probability is NaN or rounds to one outside [0, 1]; more than MAX_CLASSES classes.
    """
    entries = len(page.columns)
    if len(page.starts) != len(page.paths) + 1 or page.starts[-1] != entries:
        raise ValueError(
            f"expected {len(page.paths) + 1} starts of which the last is {entries}, "
            f"but got {len(page.starts)} ending in {page.starts[-1:].tolist()}"
        )
    if len(page.probability) != entries or len(page.kept) != entries:
        raise ValueError(
            f"expected a probability and a decision for each of {entries} candidates, "
            f"but got {len(page.probability)} and {len(page.kept)}"
        )
    with atomic_path(folder / "review-data.js") as temporary:
        temporary.write_text(f"var reviewData = {_script_json(_content(page))};\n", "ascii")
    with atomic_path(folder / "review.html") as temporary:
        temporary.write_text(_html(page), "utf-8")
    return folder / "review.html"


def write_thumbnail(folder: Path, index: int, image: torch.Tensor) -> None:
    """Write image `index` as a JPEG file with a longer side of at most 240 pixels.

    Args:
        image: (3, H, W) uint8. Small images are not enlarged.
    """
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    with atomic_path(
        folder / "thumbs" / str(index // THUMBNAILS_A_FOLDER) / f"{index}.jpg"
    ) as temporary:
        picture.save(temporary, quality=85)


def write_maps(folder: Path, chunk: int, maps: np.ndarray) -> None:
    """Write the class maps of images chunk * CHUNK to (chunk + 1) * CHUNK - 1.

    Args:
        maps: (candidates of these images, MAP_SIDE, MAP_SIDE) uint8; 0 is nothing, 255 the
            strongest. A map covers its whole image.

    Raises:
        ValueError: maps of another type or side.
    """
    if maps.dtype != np.uint8 or maps.shape[1:] != (MAP_SIDE, MAP_SIDE):
        raise ValueError(
            f"expected uint8 maps of {MAP_SIDE} x {MAP_SIDE}, but got {maps.dtype} {maps.shape}"
        )
    with atomic_path(folder / "maps" / f"{chunk}.js") as temporary:
        temporary.write_text(f'reviewMaps({int(chunk)}, "{_base64(maps)}");\n', "ascii")


def _content(page: Page) -> dict[str, Any]:
    """The content of review-data.js; names from outside are values, never keys."""
    if len(page.classes) > MAX_CLASSES:
        raise ValueError(f"expected at most {MAX_CLASSES} classes, but got {len(page.classes)}")
    none = np.zeros((len(page.paths), 0))
    likely = none if page.likely is None else page.likely
    chance = none if page.likely_probability is None else page.likely_probability
    if likely.shape != chance.shape or len(likely) != len(page.paths):
        raise ValueError(
            f"expected likely labels and their probabilities of {len(page.paths)} images, "
            f"but got {likely.shape} and {chance.shape}"
        )
    decisions = _script_json(page.decisions) if page.decisions else ""
    return {
        "key": page.key,
        "classes": page.classes,
        "paths": list(page.paths),
        "starts": _base64(np.asarray(page.starts, "<u4")),
        "columns": _base64(np.asarray(page.columns, "<u2")),
        "probability": _base64(_steps(page.probability)),
        "kept": _base64(np.asarray(page.kept, bool).astype("u1")),
        "history": [
            {key: _number(epoch.get(key)) for key in ("epoch", "confidence", "mAP")}
            for epoch in page.history
        ],
        "correlation": None
        if page.correlation is None
        else [[_number(value) for value in row] for row in page.correlation.tolist()],
        "summary": list(page.summary.items()),
        "threshold": _threshold(page.summary),
        "hashes": "".join(text.ljust(HASH_DIGITS)[:HASH_DIGITS] for text in page.hashes),
        "test": "" if page.test is None else _base64(np.asarray(page.test, bool).astype("u1")),
        "likelyCount": likely.shape[1],
        "likely": _base64(np.where(likely < 0, NO_CLASS, likely).astype("<u2")),
        "likelyProbability": _base64(_steps(np.where(likely < 0, 0, chance))),
        "decisions": _packed(page) if page.decisions else None,
        "carried": hashlib.sha256(decisions.encode()).hexdigest()[:HASH_DIGITS],
        "toVerify": [int(image) for image in page.to_verify],
        "files": _addresses(page.files, page.paths) if page.files else None,
        "mapSide": MAP_SIDE,
        "chunk": CHUNK,
        "thumbnailsAFolder": THUMBNAILS_A_FOLDER,
        "probabilitySteps": PROBABILITY_STEPS,
    }


def _packed(page: Page) -> dict[str, Any]:
    """The decisions in short: photos, people and classes by number, times in seconds since 1970."""
    images = {path: image for image, path in enumerate(page.paths)}
    columns = {name: column for column, name in enumerate(page.classes)}
    people: dict[str, int] = {}

    def head(record: Mapping[str, Any]) -> list[int]:
        at = int(np.datetime64(record["at"][:19], "s").astype(np.int64))
        by = people.setdefault(record["by"], len(people))
        return [images[record["path"]], by, at, int(record.get("settles", False))]

    verified = [
        [*head(record), *(columns[name] for name in record["true_labels"])]
        for record in page.decisions["verified"]
    ]
    single = [
        [*head(record), columns[record["label"]], int(record["true"])]
        for record in page.decisions["decisions"]
    ]
    told, disputed = (
        {record["path"] for record in page.decisions.get(kind, ())}
        for kind in ("verified", "disputes")
    )
    return {
        "people": list(people),
        "verified": verified,
        "decisions": single,
        "verifiedPhotos": len(told - disputed),
    }


def _addresses(files: Sequence[str], paths: Sequence[str]) -> dict[str, Any]:
    """Addresses of files, of which most are their names in `paths` between the same two texts.

    >>> _addresses(["../p/a b.jpg", "../p/c.jpg", "../q/d.jpg"], ["a b", "c", "d"])
    {'before': '../p/', 'after': '.jpg', 'others': [[2, '../q/d.jpg']]}
    """
    before, found, after = files[0].rpartition(paths[0])
    if not found:
        before, after = "", ""
    others = [
        [place, quote(os.fsencode(file))]
        for place, (file, path) in enumerate(zip(files, paths))
        if file != f"{before}{path}{after}" or LONE_SURROGATE.search(path)
    ]
    return {
        "before": quote(os.fsencode(before)),
        "after": quote(os.fsencode(after)),
        "others": others,
    }


def _steps(probability: np.ndarray) -> np.ndarray:
    """Probabilities in whole PROBABILITY_STEPS, as two bytes each."""
    steps = np.rint(probability * PROBABILITY_STEPS)
    wrong = ~((steps >= 0) & (steps <= PROBABILITY_STEPS))  # NaN included
    if wrong.any():
        raise ValueError(
            f"expected probabilities in [0, 1], but got {probability[wrong][:3].tolist()}"
        )
    return steps.astype("<u2")


def _html(page: Page) -> str:
    """The page without its data. The policy names style and script by their hashes, so that
    nothing else that is written into the page can run."""
    style = _joined(STYLE_PARTS)
    # In one function: names of the script stay out of the window's.
    script = f"(() => {{\n'use strict';\n\n{_joined(SCRIPT_PARTS)}}})();\n"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    return template.render(
        # UTF-8 has no lone surrogates.
        title=page.title.encode("utf-8", "replace").decode("utf-8"),
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        style_hash=_policy_hash(style),
        script_hash=_policy_hash(script),
    )


def _joined(names: Sequence[str]) -> str:
    return "\n".join((ASSETS / name).read_text("utf-8") for name in names)


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _script_json(content: Any) -> str:
    """JSON in ASCII that neither an HTML parser nor an old script parser reads as anything else.

    Non-ASCII characters, U+2028 and lone surrogates among them, become \\u escapes.

    >>> _script_json("</script>\\u2028\\udcff")
    '"\\\\u003c/script\\\\u003e\\\\u2028\\\\udcff"'
    """
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _number(value: float | None) -> float | None:
    """Four digits after the point; None where there is no number."""
    return round(float(value), 4) if value is not None and math.isfinite(value) else None


def _threshold(summary: dict[str, str]) -> float:
    """The number under "threshold" where there is one, else 0.5."""
    try:
        threshold = float(summary["threshold"])
    except (KeyError, ValueError):
        return 0.5
    return threshold if math.isfinite(threshold) else 0.5
