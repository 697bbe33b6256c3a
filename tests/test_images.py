import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.images import decode, open_images, read_image
from tests.helpers import refused
from utils.errors import UserError

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
    """Photos must come out alike whichever of the two decodes them."""
    if request.param == "PIL":
        refuse(monkeypatch)


def refuse(monkeypatch):
    def decode_jpeg(*arguments):
        raise ValueError

    monkeypatch.setattr("simplejpeg.decode_jpeg", decode_jpeg)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
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
    found = channels(decode(encoded(deep, form)))
    np.testing.assert_array_equal(found, np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_orientation_is_applied(orientation, turns, decoder):
    corner = np.zeros((32, 48, 3), np.uint8)
    corner[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(corner), "JPEG", exif=exif, quality=95)
    expected = np.rot90(corner, turns)
    assert abs(channels(decode(content)).astype(int) - expected).mean() < 3


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


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0, 0.1, 0.6, 0.95])
def test_damaged_files_are_named_in_one_line(form, share, decoder, tmp_path):
    content = encoded(Image.fromarray(np.tile(PIXELS, (20, 20, 1))), form)
    path = tmp_path / f"photo.{form.lower()}"
    path.write_bytes(content[: int(share * len(content))])
    with refused(r"cannot decode image .*photo((?!0x).)*$"):
        read_image(str(path))


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read image .*none.jpg: No such file"):
        read_image(str(tmp_path / "none.jpg"))
    with pytest.raises(UserError, match="cannot read image .*: Is a directory"):
        read_image(str(tmp_path))


def test_a_decompression_bomb_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "bomb.png").write_bytes(encoded(PHOTO, "PNG"))
    with pytest.raises(UserError, match="cannot decode image .*bomb.png: Image size"):
        read_image(str(tmp_path / "bomb.png"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).write_bytes(encoded(PHOTO, "PNG"))
    return tmp_path


TARGETS = np.int8([[1, 0], [0, 1], [1, 1]])


def test_opened_images_are_decoded_when_asked_for(folder):
    data = open_images(folder, ["sub/b.png", "a.png"], ["x", "y"], TARGETS[:2])
    assert list(data.ids) == ["sub/b.png", "a.png"]
    assert data.images.path(0) == str(folder / "sub" / "b.png")
    np.testing.assert_array_equal(channels(data.images[1]), PIXELS)
    data = open_images("/", [str(folder / "a.png")], ["x", "y"], TARGETS[:1], ids=["7"])
    assert (list(data.ids), data.images[0].shape) == (["7"], (3, 6, 5))


def test_missing_images_are_counted_and_named(folder):
    with pytest.raises(UserError, match=r"hold 3 images, but lacks 2, first c.png; .*--allow_mis"):
        open_images(folder, ["a.png", "c.png", "no/d.png"], ["x", "y"], TARGETS)
    with pytest.raises(UserError, match="the image folder .*none, but found: No such file"):
        open_images(folder / "none", ["a.png"], ["x", "y"], TARGETS[:1])


def test_missing_images_may_be_left_out_with_their_rows(folder, capsys):
    names, more = ["c.png", "sub/b.png", "a.png"], {"allow_missing": True, "ids": ["0", "1", "2"]}
    data = open_images(folder, names, ["x", "y"], TARGETS, true_targets=TARGETS[::-1], **more)
    assert list(data.ids) == ["1", "2"]
    np.testing.assert_array_equal(data.targets, TARGETS[1:])
    np.testing.assert_array_equal(data.true_targets, TARGETS[::-1][1:])
    assert data.images.path(0).endswith("sub/b.png")
    assert "lacks 1, first c.png; going on with the rest" in capsys.readouterr().err
    with pytest.raises(UserError, match="lacks 1, first c.png"):
        open_images(folder, names[:1], ["x", "y"], TARGETS[:1], allow_missing=True)


def test_a_jpeg_that_claims_gigapixels_is_refused_before_memory_is_taken(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    start = content.index(b"\xff\xc0") + 5  # height and width of the frame
    content[start : start + 4] = b"\xff\xdc\xff\xdc"
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match="65500"):
        read_image(str(tmp_path / "a.jpg"))
