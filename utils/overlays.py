"""Class maps drawn over photos."""

import functools

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from utils.fonts import font_file

SIDES = 240, 480  # pixels of a photo's longer side, at least and at most
CAPTION = 26  # pixels above each picture
SCALE = 20  # and below it, where a bar of colours says what they mean
GAP = 6
load_font = functools.cache(ImageFont.truetype)


def draw_maps(image: torch.Tensor, maps: torch.Tensor, captions: list[str]) -> Image.Image:
    """The photo and, beside it, the photo under each map.

    A map's positive part is scaled by its own maximum, stretched to the photo, and laid over it:
    the stronger, the redder and the less transparent. A bar below goes from 0 to that maximum, of
    the class's score. A map without a positive part is said to be negative.

    Args:
        image: (3, H, W) uint8.
        maps: (K, h, w) float32.
        captions: K texts.
    """
    rows, columns = image.shape[1:]
    longest = max(rows, columns)
    scale = min(max(longest, SIDES[0]), SIDES[1]) / longest
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    photo = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size)
    pixels = np.asarray(photo).astype(np.float32)
    width = max(size[0], 120)  # of a column: captions need some
    sheet = Image.new(
        "RGB", ((width + GAP) * (len(maps) + 1) - GAP, size[1] + CAPTION + SCALE), "white"
    )
    sheet.paste(photo, (0, CAPTION))
    draw = ImageDraw.Draw(sheet)
    if len(maps):
        positive = maps.relu()
        shares = positive / positive.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
        stretched = F.interpolate(
            shares[None], size=(size[1], size[0]), mode="bilinear", align_corners=False
        )[0].numpy()
        highest = positive.amax(dim=(1, 2)).tolist()
        for position, (share, caption, top) in enumerate(zip(stretched, captions, highest), 1):
            colours = 255 * matplotlib.colormaps["turbo"](share)[..., :3]
            opacity = 0.65 * share[..., None]
            blend = (1 - opacity) * pixels + opacity * colours
            left = position * (width + GAP)
            sheet.paste(Image.fromarray(blend.round().astype(np.uint8)), (left, CAPTION))
            shown = caption if share.any() else f"{caption} (negative)"
            draw.text((left + 2, 4), fit(shown, width), "black", caption_font(shown))
            if top > 0:
                draw_scale(sheet, left, size[1] + CAPTION, width, top)
    return sheet


def draw_scale(sheet: Image.Image, left: int, above: int, width: int, top: float) -> None:
    """Draw the bar of colours from 0 to `top`, in a space of `width` x SCALE pixels."""
    draw, font = ImageDraw.Draw(sheet), load_font(font_file("0"), 11)
    number = f"{top:.2g}"
    first, last = left + 12, left + width - 6 - round(font.getlength(number))
    colours = matplotlib.colormaps["turbo"](np.linspace(0, 1, last - first))[:, :3]
    bar = np.broadcast_to((255 * colours).round().astype(np.uint8), (8, last - first, 3))
    sheet.paste(Image.fromarray(np.ascontiguousarray(bar)), (first, above + 6))
    draw.text((left + 2, above + 3), "0", "black", font)
    draw.text((last + 3, above + 3), number, "black", font)


def caption_font(text: str) -> ImageFont.FreeTypeFont:
    """A font that has the characters of `text`, if one is installed."""
    return load_font(font_file(text), 15)


def fit(text: str, width: int) -> str:
    """`text` on one line, shortened in its middle until it is at most `width` pixels wide."""
    text = " ".join(text.split())
    shown, font = text, caption_font(text)
    while len(shown) > 5 and font.getlength(shown) > width - 4:
        half = (len(shown) - 2) // 2
        shown = f"{text[:half]}…{text[-half:]}"
    return shown
