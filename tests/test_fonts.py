import os
import subprocess
import sys
import warnings

import numpy as np
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

from utils import fonts, overlays, plots

STIX = fonts.characters(findfont("STIXGeneral")) - fonts.characters(findfont(fonts.OWN))
RARE = chr(min(STIX))  # which the usual font lacks, and another that matplotlib brings has
NOWHERE = "\U000e0fff"


def test_a_font_that_has_what_the_usual_one_lacks_is_found():
    assert fonts.font_file("sea") == findfont(fonts.OWN)
    assert fonts.font_file(NOWHERE) == findfont(fonts.OWN)
    assert ord(RARE) in FT2Font(fonts.font_file(f"sea {RARE}")).get_charmap()
    assert isinstance(overlays.caption_font(RARE), ImageFont.FreeTypeFont)


def drawn(name, path):
    scores, targets = np.float32([[1], [0]]), np.int8([[1], [0]])
    plots.precision_recall_curves(scores, targets, [name], np.float32([100]), path)
    plots.rate_curves({name: [(0.1, 90.0, None)]}, path)
    plots.verified_curves({"rate 0.1": {name: [("10", 90.0, None)]}}, path)


def test_plots_have_the_characters_or_boxes_and_never_warn(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("sea", RARE, "\u732b\u72ac", NOWHERE):
            drawn(name, tmp_path / "a.png")


def test_a_file_that_is_no_font_has_no_characters(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"no font")
    assert fonts.characters(str(tmp_path / "a.ttf")) == frozenset()
    assert fonts.characters(str(tmp_path / "none.ttf")) == frozenset()


def test_the_backend_of_a_notebook_is_no_error():
    subprocess.run(
        [sys.executable, "-c", "import utils.plots, utils.overlays"],
        env=os.environ | {"MPLBACKEND": "module://of_a_notebook.backend_inline"},
        check=True,
    )
