import io
import os

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import Base

from pipeline.data import decoding
from pipeline.data.decoding import FORMATS, decode, is_image

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
PHOTO = Image.fromarray(PIXELS)
GREY = np.asarray(PHOTO.convert("L"))


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def channels(tensor):
    assert tensor.dtype == torch.uint8
    return tensor.permute(1, 2, 0).numpy()


@pytest.fixture(params=["simplejpeg", "PIL"])
def decoder(request, monkeypatch):
    """Each of the two decoders: photos must come out alike."""
    if request.param == "PIL":
        refuse(monkeypatch)


def refuse(monkeypatch):
    def decode_jpeg(*arguments):
        raise ValueError

    monkeypatch.setattr("simplejpeg.decode_jpeg", decode_jpeg)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "JPEG2000"])
def test_lossless_forms_give_the_pixels(form):
    np.testing.assert_array_equal(channels(decode(encoded(PHOTO, form))), PIXELS)


def test_both_decoders_agree_on_jpeg(monkeypatch):
    smooth = PHOTO.resize((64, 48), Image.Resampling.BICUBIC)
    content = encoded(smooth, "JPEG", quality=95, subsampling=0)
    first = decode(content).int()
    refuse(monkeypatch)
    assert (first - decode(content).int()).abs().max() <= 2


def test_greyscale_jpeg_has_three_equal_channels(decoder):
    found = channels(decode(encoded(Image.fromarray(np.full((8, 8), 90, np.uint8)), "JPEG")))
    assert (abs(found.astype(int) - 90) <= 1).all()
    assert found.shape == (8, 8, 3)


def test_cmyk_jpeg_becomes_rgb(decoder):
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    found = channels(decode(encoded(flat.convert("CMYK"), "JPEG", quality=95)))
    assert abs(found.reshape(-1, 3).mean(axis=0) - (200, 40, 90)).max() < 6


def test_palette_and_transparency_become_rgb():
    palette = PHOTO.convert("P")
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(channels(decode(encoded(palette, "PNG"))), expected)
    transparent = PHOTO.copy()
    transparent.putalpha(Image.fromarray(GREY))
    np.testing.assert_array_equal(channels(decode(encoded(transparent, "PNG"))), PIXELS)
    assert set(decode(encoded(PHOTO.convert("1"), "PNG")).unique().tolist()) == {0, 255}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_reduced_to_eight(form):
    deep = Image.fromarray(GREY.astype(np.uint16) * 256 + 77)
    assert_grey(encoded(deep, form))


def assert_grey(content):
    np.testing.assert_array_equal(channels(decode(content)), np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.int32),
        GREY.astype(np.int32) * 256 + 77,
        GREY.astype(np.uint16),
        GREY.astype(np.float32),
        GREY.astype(np.float32) / 255,
    ],
)
def test_the_grey_values_of_any_depth_are_kept(values):
    assert_grey(encoded(Image.fromarray(values), "TIFF"))


def test_white_may_be_zero():
    content = encoded(Image.fromarray(255 - GREY.astype(np.uint16)), "TIFF")
    interpretation = (0x106).to_bytes(2, "little") + b"\3\0\1\0\0\0"
    assert content.count(interpretation + b"\1") == 1
    assert_grey(content.replace(interpretation + b"\1", interpretation + b"\0"))


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (0, 1.5), (0, 300), (0, np.nan), (0, np.inf)])
def test_floats_of_which_none_is_surely_white_are_refused(low, high):
    content = encoded(Image.fromarray(np.float32([[low, high]])), "TIFF")
    with pytest.raises(ValueError, match="its values run from .*: save it with 8 bits a channel"):
        decode(content)


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (0, 70_000)])
def test_integers_of_which_none_is_surely_white_are_refused(low, high):
    content = encoded(Image.fromarray(np.int32([[low, high]])), "TIFF")
    with pytest.raises(ValueError, match="its values run from .*: save it with 8 bits a channel"):
        decode(content)


CORNER = np.zeros((32, 48, 3), np.uint8)
CORNER[:16, :16] = 255
UPRIGHT = {
    1: CORNER,
    2: CORNER[:, ::-1],
    3: CORNER[::-1, ::-1],
    4: CORNER[::-1],
    5: CORNER.swapaxes(0, 1),
    6: np.rot90(CORNER, 3),
    7: CORNER[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(CORNER),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied(form, orientation, decoder):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(CORNER), form, exif=exif, quality=95)
    difference = channels(decode(content)).astype(int) - UPRIGHT[orientation]
    assert abs(difference).mean() < 4


# Orientation 6, and a resolution of -1/0, which Pillow reads and cannot write.
ODD_EXIF = bytes.fromhex(
    "45786966 0000 49492a00 08000000 0200 1201 0300 01000000 06000000"
    "1a01 0a00 01000000 26000000 00000000 ffffffff 00000000"
)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_turned_photo_is_read_whatever_else_its_exif_says(form, decoder):
    content = encoded(Image.fromarray(CORNER), form, exif=ODD_EXIF, quality=95)
    assert abs(channels(decode(content)).astype(int) - UPRIGHT[6]).mean() < 4


def test_a_turned_avif_is_read_whatever_its_exif_says():
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    content = encoded(Image.fromarray(CORNER), "AVIF", exif=exif)
    odd = content.replace(bytes.fromhex("011a0005"), bytes.fromhex("011a000a"))
    odd = odd.replace(bytes.fromhex("0000004800000001"), bytes.fromhex("ffffffff00000000"))
    assert odd != content
    assert abs(channels(decode(odd)).astype(int) - UPRIGHT[6]).mean() < 4


@pytest.mark.parametrize("block", [b"garbage", b"MM", bytes(8)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_exif_block_that_cannot_be_read_is_passed_over(form, block, decoder):
    content = encoded(PHOTO, form, exif=b"Exif\0\0" + block, dpi=(72, 72))
    assert block in content
    assert torch.equal(decode(content), decode(encoded(PHOTO, form)))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert channels(decode(content)).reshape(-1, 3).tolist() == [[255, 0, 0]] * 64


def test_one_pixel_and_very_wide(decoder):
    assert decode(encoded(PHOTO.crop((0, 0, 1, 1)), "JPEG")).shape == (3, 1, 1)
    assert decode(encoded(Image.new("RGB", (20_000, 2)), "JPEG")).shape == (3, 2, 20_000)


SIZES = {form: encoded(Image.new("RGB", (200, 200)), form) for form in FORMATS}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("limit", [{"MAX_PIXELS": 39_999}, {"SMALL": 39_999}])
def test_a_size_that_would_take_the_memory_is_refused_before_decoding(form, limit, monkeypatch):
    """Also where the file is so small that it can be no photo of its size."""
    for name, value in limit.items():
        monkeypatch.setattr(decoding, name, value)
        monkeypatch.setattr(decoding, "MAX_PIXELS_A_BYTE", 40_000 // len(SIZES[form]))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    with pytest.raises(Image.DecompressionBombError, match="bytes claim 200 x 200 pixels"):
        decode(SIZES[form])


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_of_the_largest_size_is_read(form, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 40_000)
    assert decode(SIZES[form]).shape == (3, 200, 200)


def test_a_tile_larger_than_its_image_is_refused():
    content = encoded(PHOTO, "TIFF", tiffinfo={65_000: 26_000, 65_001: 26_000})
    for private, public in ((65_000, Base.TileWidth), (65_001, Base.TileLength)):
        content = content.replace(private.to_bytes(2, "little"), public.to_bytes(2, "little"))
    with pytest.raises(Image.DecompressionBombError, match="bytes claim 26000 x 26000 pixels"):
        decode(content)


def test_an_image_is_told_by_its_content(tmp_path):
    path = str(tmp_path / "a.heic")
    for content, expected in ((encoded(PHOTO, "JPEG"), True), (b"no image", False)):
        (tmp_path / "a.heic").write_bytes(content)
        assert is_image(path) is expected
    assert not is_image(str(tmp_path / "none"))
    os.mkfifo(tmp_path / "pipe")
    assert not is_image(str(tmp_path / "pipe"))  # rather than waiting for a writer
