"""The prediction script from the shell's side, and what it finds and draws."""

import contextlib
import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from PIL import Image

from pipeline import export
from pipeline.data import coco, nuswide, voc
from pipeline.data.images import read_image
from pipeline.data.transforms import evaluation_transform
from pipeline.model.checkpoint import read_checkpoint, weights_sha256
from pipeline.model.classifier import assemble
from pipeline.model.weights import load_strictly
from pipeline.prediction import find_images
from predict import map_name
from tests.helpers import SMALL, SMALL_OF_TIMM, call_in, released_form, write_devkit
from utils import progress
from utils.errors import UserError
from utils.overlays import caption_font, draw_maps, fit

evaluation_transform.__test__ = False
PHOTOS = ["a.png", "b/c.JPG", "b/d.webp", "b/e e.png"]


@pytest.fixture
def photos(tmp_path):
    """A folder with four photos, a broken one and a text."""
    generator = np.random.default_rng(0)
    for i, name in enumerate(PHOTOS):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (30 + i, 60, 3), np.uint8)).save(path)
    (tmp_path / "photos" / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_devkit(folder / "VOCdevkit")
    flags = "--dataset voc07 --path_images VOCdevkit --partial_rate 0 --output_dir".split()
    call_in(folder, "main_BCE", *flags, "resnet", *SMALL_OF_TIMM)
    call_in(folder, "main_BCE", *flags, "r", *SMALL)
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """A finished run in r, on VOC's classes; its trunk is of one layer."""
    shutil.copytree(trained_once / "r", tmp_path / "r")


@pytest.fixture
def trained_resnet(trained_once, tmp_path):
    """A finished run in r, on VOC's classes; its trunk is a small ResNet."""
    shutil.copytree(trained_once / "resnet", tmp_path / "r")


def written(folder):
    """The table of labels and the lines of scores in a folder."""
    folder = Path(folder)
    with (folder / "predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return table, [json.loads(line) for line in lines]


def expected_probabilities(path):
    found = read_checkpoint("r")
    classifier = assemble("test_resnet", 32, "csra", 20, 1, 0.1, "none").eval()
    load_strictly(classifier, found.state, "r")
    with torch.inference_mode():
        return classifier(evaluation_transform(32)(read_image(str(path)))[None]).logits[0].sigmoid()


@pytest.mark.parametrize("flags", ["", "--batch_size 1", "--batch_size 3 --workers 2"])
def test_every_readable_photo_gets_labels_and_scores(
    flags, run_script, trained_resnet, photos, tmp_path
):
    out, err = run_script(
        "predict", photos, "--load_from", "r", "--output_dir", "p", *flags.split()
    )
    assert "labelled    4 images, 1 could not be read" in out
    assert f"warning: cannot decode image {photos}/b/broken.jpg" in err
    table, lines = written(tmp_path / "p")
    assert [row["path"] for row in table] == [str(photos / name) for name in PHOTOS]
    for row, line in zip(table, lines):
        expected = expected_probabilities(row["path"])
        assert list(line["scores"]) == voc.CLASSES
        np.testing.assert_allclose(list(line["scores"].values()), expected, atol=1e-5)
        above = {name for name, p in zip(voc.CLASSES, expected.tolist()) if p > 0.5}
        assert set(line["labels"]) == above
        assert row["labels"] == "|".join(line["labels"])
        shown = [float(p) for p in row["scores"].split("|") if p]
        assert shown == sorted(shown, reverse=True)
        assert len(shown) == len(above)


def test_tuned_thresholds_are_applied_and_a_flag_overrides_them(
    run_script, assert_refused, trained, photos
):
    limits = {name: 1e9 if name != "cow" else -1e9 for name in voc.CLASSES}
    content = {"thresholds": limits, "split": "train", "dataset": "voc07"}
    content["weights_sha256"] = weights_sha256(read_checkpoint("r"))
    Path("r/thresholds.json").write_text(json.dumps(content))
    out, _ = run_script("predict photos --load_from r --output_dir p")
    assert "thresholds  tuned on train images of voc07" in out
    assert {row["labels"] for row in written("p")[0]} == {"cow"}
    run_script("predict photos --load_from r --output_dir all --threshold 0")
    assert {len(line["labels"]) for line in written("all")[1]} == {20}
    run_script("predict --load_from r --export m.onnx")
    metadata = onnxruntime.InferenceSession("m.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["thresholds"]) == limits
    Path("r/thresholds.json").write_text(json.dumps(content | {"weights_sha256": "1"}))
    message = "thresholds.json was tuned for other weights than"
    assert_refused(message, "predict photos --load_from r")


def test_maps_are_drawn_for_every_image_of_a_batch(run_script, trained_resnet, photos, tmp_path):
    run_script("predict photos --load_from r --output_dir p --cam maps --top 2")
    maps = tmp_path / "maps"
    found = sorted(str(path.relative_to(maps)) for path in maps.rglob("*.png"))
    assert found == sorted(f"{name}.png" for name in PHOTOS)
    for name in found:
        sheet = np.asarray(Image.open(maps / name))
        assert sheet.shape[1] == 3 * 240 + 2 * 6  # a photo and two maps
        assert np.abs(sheet[26:, :240].astype(int) - sheet[26:, 246:486]).max() > 0


def test_a_photo_of_the_longest_name_has_a_file_of_maps_of_its_own():
    names = [f"{'x' * 250}{end}.png" for end in "ab"] + ["é" * 125 + ".jpg", "short.jpg"]
    files = [map_name(name) for name in names]
    assert files[3] == "short.jpg.png"
    assert len(set(files)) == len(files)
    assert all(len(file.encode()) <= 255 and file.endswith(".png") for file in files)


def test_an_exported_file_gives_the_same_logits_and_maps_for_any_batch(run_script, trained_resnet):
    out, _ = run_script("predict --load_from r --export m.onnx")
    assert "exported    m.onnx; onnxruntime differs by" in out
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == voc.CLASSES
    assert json.loads(metadata["img_size"]) == 32
    classifier = assemble("test_resnet", 32, "csra", 20, 1, 0.1, "none").eval()
    load_strictly(classifier, read_checkpoint("r").state, "r")
    for batch in (1, 2, 5):
        images = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8)
        logits, cams = session.run(None, {"images": images.numpy()})
        with torch.inference_mode():
            expected = classifier(images)
        np.testing.assert_allclose(logits, expected.logits, atol=1e-4)
        np.testing.assert_allclose(cams, expected.cams, atol=1e-4)


def test_a_decoder_is_exported(tmp_path):
    classifier = assemble("test_resnet", 32, "decoder", 5, 1, 0.1, "none", standardized=True)
    assert export.export_onnx(classifier.eval(), 32, tmp_path / "m.onnx", {}) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    logits, cams = session.run(None, {"images": np.zeros((2, 3, 32, 32), np.uint8)})
    assert logits.shape == cams.shape[:2] == (2, 5)


def test_an_export_that_differs_leaves_nothing(assert_refused, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    message = "m.onnx is not written: onnxruntime differs from torch by"
    assert_refused(message, "predict --load_from r --export m.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_a_missing_library_is_asked_for(assert_refused, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    message = "--export needs onnxscript: python -m pip install -r requirements-export.txt"
    assert_refused(message, "predict --load_from r --export m.onnx")


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("--dataset voc07", voc.CLASSES),
        ("--dataset coco", coco.CLASSES),
        ("--dataset nuswide", nuswide.CLASSES),
        ("--normalize none --classes c.txt", ["moss", "stone"]),
    ],
    ids=["voc07", "coco", "nuswide", "a file"],
)
def test_a_downloaded_file_gets_the_names_of_a_data_set_or_a_file(flags, names, run_script, photos):
    torch.save(released_form(assemble("resnet18", 64, "gap", len(names), 1, 0.1, "none")), "w.pth")
    Path("c.txt").write_text("moss\nstone")
    run_script(f"predict photos/a.png --load_from w.pth --img_size 64 --output_dir p {flags}")
    assert list(written("p")[1][0]["scores"]) == list(names)


def test_ctrl_c_keeps_what_is_done(assert_refused, trained, photos, monkeypatch):
    monkeypatch.setattr(progress, "interruptible", lambda: contextlib.nullcontext(lambda: True))
    message = "error: interrupted after 2 of 5 images"  # the broken one and one
    assert_refused(message, "predict", photos, "--load_from", "r", "--output_dir", "p")
    assert [row["path"] for row in written("p")[0]] == [str(photos / "a.png")]


def test_scores_that_are_not_finite_leave_nothing(assert_refused, trained, photos, tmp_path):
    state = safetensors.torch.load_file("r/model.safetensors")
    *_, last_bias = (name for name in state if name.endswith(".bias"))
    state[last_bias][:] = 3e38  # finite, but not its sum over a map
    safetensors.torch.save_file(state, "r/model.safetensors")
    for more in ([photos, "--output_dir", "p"], ["--export", "m.onnx"]):
        err = assert_refused("", "predict --load_from r", *more)
        assert "not finite" in err or "differs from torch by nan" in err
    assert not (tmp_path / "p").exists()
    assert not (tmp_path / "m.onnx").exists()


# What is found


def found(places):
    """The images among them."""
    return find_images(places)[0]


def test_files_folders_and_globs_are_found_once_in_order(photos):
    inside = [str(photos / "b" / name) for name in ("broken.jpg", "c.JPG", "d.webp", "e e.png")]
    assert found([str(photos / "b")]) == inside
    assert found([str(photos)]) == [str(photos / "a.png"), *inside]
    assert found([str(photos / "b" / "*.webp"), f"{photos}/b/../a.png"]) == [
        str(photos / "b" / "d.webp"),
        f"{photos}/b/../a.png",
    ]
    assert found([str(photos / "b"), str(photos / "b" / "c.JPG")]) == inside
    assert found([str(photos / "notes.txt")]) == [str(photos / "notes.txt")]  # as given


def test_links_in_circles_and_broken_ones(photos):
    expected = [*found([str(photos)]), str(photos / "gone.png")]
    (photos / "loop").symlink_to(photos)
    (photos / "again.png").symlink_to(photos / "a.png")
    (photos / "gone.png").symlink_to(photos / "nowhere")
    assert found([str(photos)]) == expected


def test_a_folder_whose_name_is_a_pattern_is_taken_by_its_name(tmp_path):
    (tmp_path / "[x]").mkdir()
    (tmp_path / "[x]" / "a.jpg").touch()
    assert found([str(tmp_path / "[x]")]) == [str(tmp_path / "[x]" / "a.jpg")]


@pytest.mark.parametrize("place", ["nowhere", "nowhere/*.jpg", "*.txt"])
def test_a_place_without_images_is_refused(place, photos, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match="is no file, folder or glob here: expected JPEG, PNG, "):
        find_images([place])


def test_a_file_of_another_suffix_is_labelled_if_it_is_an_image(photos):
    image = (photos / "b" / "c.JPG").read_bytes()
    (photos / "more").mkdir()
    for name in ("x.JPG", "x.avif", "x.heic", "x.jfif", "x.mpo"):
        (photos / "more" / name).write_bytes(image)
    (photos / "more" / "x.txt").write_text("no image")
    inside = [str(photos / "more" / f"x.{s}") for s in ("JPG", "avif", "heic", "jfif", "mpo")]
    assert find_images([str(photos / "more")]) == (inside, [str(photos / "more" / "x.txt")])
    assert find_images([str(photos / "more"), str(photos / "more" / "x.txt")])[1] == []


def test_files_that_are_no_images_are_counted_and_named(run_script, trained, photos):
    for number in range(6):
        (photos / f"{number}.txt").touch()
    _, err = run_script("predict photos --load_from r --output_dir p")
    assert "warning: 7 other files are no images: photos/0.txt, photos/1.txt" in err
    assert "photos/4.txt, ...\n" in err


# What is drawn


def test_a_map_colours_where_it_is_positive_and_nothing_else():
    image = torch.full((3, 300, 300), 128, dtype=torch.uint8)
    maps = torch.tensor([[[4.0, -1.0], [-5.0, -1.0]], [[-4.0, -1.0], [-5.0, -1.0]]])
    sheet = np.asarray(draw_maps(image, maps, ["one", "two"])).astype(int)[26:326]
    photo, one, two = sheet[:, :300], sheet[:, 306:606], sheet[:, 612:]
    assert (photo == 128).all()
    assert (two == 128).all()
    changed = np.abs(one - 128).sum(axis=2)
    assert changed[:60, :60].min() > 50
    assert changed[240:, 240:].max() == 0


def test_a_bar_of_colours_says_how_strong_a_map_is():
    image = torch.full((3, 300, 300), 128, dtype=torch.uint8)
    maps = torch.stack(
        [torch.full((2, 2), 4.0), torch.full((2, 2), 0.25), torch.full((2, 2), -1.0)]
    )
    below = np.asarray(draw_maps(image, maps, ["", "", ""])).astype(int)[326:]
    photo, strong, weak, negative = (below[:, 306 * k :][:, :300] for k in range(4))
    assert (photo == 255).all()
    assert (negative == 255).all()
    assert np.ptp(strong[10, 20:270], axis=0).min() > 100  # the colours
    assert np.abs(strong - weak).max() > 0  # the numbers


def test_captions_are_drawn_and_a_negative_map_is_said_to_be():
    image = torch.zeros(3, 300, 300, dtype=torch.uint8)
    maps = torch.full((2, 2, 2), -1.0)
    maps[0] = 1
    named, bare = (
        np.asarray(draw_maps(image, maps, [text, text]))[:26, 306:].astype(int)
        for text in ("cow", "")
    )
    assert (named < 255).any(axis=(0, 2)).sum() > (bare < 255).any(axis=(0, 2)).sum()
    assert np.abs(named[:, :300] - named[:, 306:]).max() > 0


def test_a_long_caption_keeps_its_ends():
    text = fit("a very long class name that no column holds 0.93", 120)
    assert caption_font(text).getlength(text) <= 116
    assert text.startswith("a ver")
    assert text.endswith("0.93")
    assert fit("cow 0.1", 120) == "cow 0.1"


# What is refused


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ("photos", 2, "--load_from is needed: a run's folder or a weight file"),
        ("--load_from r", 2, "give images to label, or --export FILE"),
        ("photos --load_from r --dataset voc07 --classes c.txt", 2, "leave --classes out"),
        ("--load_from r --export m.onnx --cam maps", 2, "--cam is for images: name some"),
        ("--load_from r --export m.pt", 2, "expected a name that ends in .onnx"),
        ("photos --load_from r --threshold 2", 2, "at most 1, but got 2"),
        ("photos --load_from r --dataset coco", 1, "scores 20 classes, but coco has 80"),
        ("photos --load_from r --classes c.txt", 1, "scores 20 classes, but c.txt has 2"),
        ("photos/b/broken.jpg --load_from r", 1, "none of the 1 images can be read"),
        ("photos --load_from r --cam photos", 1, "photos is not empty: give a new or"),
        ("photos --load_from r --cam c.txt", 1, "--cam c.txt is a file: give a new folder"),
        ("photos --load_from r --cam c.txt/maps", 1, "--cam c.txt/maps cannot be made: "),
        ("--load_from r --export c.txt/m.onnx", 1, "--export c.txt/m.onnx cannot be made: "),
        ("photos --load_from r --output_dir c.txt", 1, "--output_dir c.txt is a file"),
        ("--load_from r --export old.onnx", 1, "--export old.onnx exists: give another"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    flags, status, message, assert_refused, trained, photos, tmp_path
):
    (tmp_path / "c.txt").write_text("a\nb")
    (tmp_path / "old.onnx").touch()
    assert_refused(message, f"predict {flags}", status=status)
    assert not list(tmp_path.rglob("predictions*"))
    assert not (tmp_path / "runs").exists()


def test_weights_without_a_run_need_names(assert_refused, photos, tmp_path):
    torch.save(released_form(assemble("resnet18", 64, "gap", 5, 1, 0.1, "none")), "w.pth")
    flags = "--load_from w.pth --img_size 64 --normalize none"
    assert_refused("give --dataset or --classes", f"predict photos {flags}")
    assert not (tmp_path / "runs").exists()


def test_predictions_are_never_overwritten(run_script, assert_refused, trained, photos):
    run_script("predict photos --load_from r --output_dir p")
    message = "p is not empty: give a new or empty --output_dir"
    assert_refused(message, "predict photos --load_from r --output_dir p")


@pytest.mark.parametrize("maps", ["maps", "p", "p/maps", "."])
def test_predictions_that_were_killed_can_be_made_again(maps, run_script, trained, photos):
    """Wherever the maps go; both folders are left as they are while they are filled."""
    place = Path("new")
    for folder in (place / "p", place / maps):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".unfinished").touch()
    (place / "p" / ".123.part.predictions.csv").touch()
    (place / maps / "a.png.png").touch()
    run_script(f"predict photos --load_from r --output_dir new/p --cam new/{maps}")
    assert len((place / "p" / "predictions.jsonl").read_text().splitlines()) == len(PHOTOS)
    assert Image.open(place / maps / "a.png.png").size
    assert not list(place.rglob(".*"))
