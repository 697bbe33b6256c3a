import os

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import open_images, read_image
from tests.helpers import refused
from utils.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(PIXELS).save(tmp_path / name)
    return tmp_path


TARGETS = np.int8([[1, 0], [0, 1], [1, 1]])


def test_opened_images_are_decoded_when_asked_for(folder):
    data = open_images(folder, ["sub/b.png", "a.png"], ["x", "y"], TARGETS[:2])
    assert list(data.ids) == ["sub/b.png", "a.png"]
    assert data.images.path(0) == str(folder / "sub" / "b.png")
    np.testing.assert_array_equal(data.images[1].permute(1, 2, 0), PIXELS)
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


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read image .*none.jpg: No such file"):
        read_image(str(tmp_path / "none.jpg"))
    os.mkfifo(tmp_path / "pipe.jpg")
    for place in (tmp_path, tmp_path / "pipe.jpg"):
        with pytest.raises(UserError, match="cannot read image .*: it is a folder, pipe or device"):
            read_image(str(place))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0, 0.1, 0.6, 0.95])
def test_damaged_files_are_named_in_one_line(form, share, tmp_path):
    path = tmp_path / f"photo.{form.lower()}"
    Image.fromarray(np.tile(PIXELS, (20, 20, 1))).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with refused(r"cannot decode image .*photo((?!0x).)*$"):
        read_image(str(path))


def test_a_file_of_another_format_is_refused_whatever_its_name(tmp_path):
    """Pillow hands PostScript to Ghostscript, which runs it."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    Image.fromarray(PIXELS).save(tmp_path / "photo.ppm")
    for content in (postscript, (tmp_path / "photo.ppm").read_bytes()):
        (tmp_path / "a.jpg").write_bytes(content)
        with refused(r"a.jpg: it is none of JPEG, PNG, WEBP, .*; replace or remove the file$"):
            read_image(str(tmp_path / "a.jpg"))
