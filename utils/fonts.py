"""Fonts that have the characters of class names, among those installed here."""

import contextlib
import functools
import warnings
from collections.abc import Iterable, Iterator

import matplotlib
from matplotlib.font_manager import FontEntry, findfont, fontManager
from matplotlib.ft2font import FT2Font

OWN = "DejaVu Sans"  # matplotlib brings it; it has more alphabets than Pillow's


@contextlib.contextmanager
def legible(texts: Iterable[str]) -> Iterator[None]:
    """Draw plots with fonts that have the characters of `texts`; what none has becomes a box."""
    names = [OWN, *(font.name for font in more_fonts("".join(texts)))]
    with matplotlib.rc_context({"font.family": names}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def font_file(text: str) -> str:
    """Path of a font that has what matplotlib's own lacks of `text`; else of that."""
    return next((font.fname for font in more_fonts(text)), findfont(OWN))


def more_fonts(text: str) -> list[FontEntry]:
    """Fonts that together have the characters that `OWN` lacks, as far as any is installed."""
    return _fonts_of(frozenset(map(ord, text)))


@functools.cache
def _fonts_of(wanted: frozenset[int]) -> list[FontEntry]:
    def oddity(font: FontEntry) -> tuple[bool, bool, str]:
        return font.style != "normal", str(font.weight) not in ("400", "normal"), font.name

    found, missing = [], wanted - characters(findfont(OWN))
    for font in sorted(fontManager.ttflist, key=oddity) if missing else ():
        boxes = font.name.startswith("Last Resort")  # for all there is
        if not boxes and missing & (own := characters(font.fname)):
            found.append(font)
            missing -= own
    return found


def characters(path: str) -> frozenset[int]:
    """Code points of what a font draws; none where it cannot be read, or is of bitmaps."""
    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
