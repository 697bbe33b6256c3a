"""Every data set by the command of the README, and the same photos by every road."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pipeline.data import cub200, nuswide, voc
from tests.helpers import SMALL, read_json, read_records

SAME = "--partial_rate 0.2 --normalize none --num_heads 1 --lam 0.1 --step_epoch 4 --r_ws 3".split()
TRAIN, TEST = [f"{i:06}" for i in range(1, 11)], [f"{i:06}" for i in range(11, 17)]


@pytest.fixture
def photos(tmp_path):
    """Photos and their classes: {id: [class name, ...]}."""
    generator = np.random.default_rng(0)
    labels = {}
    (tmp_path / "photos").mkdir()
    for name in TRAIN + TEST:
        pixels = generator.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.jpg")
        labels[name] = sorted(generator.choice(voc.CLASSES, 3, replace=False).tolist())
    return labels


def write_voc(folder, labels):
    root = folder / "VOC2007"
    (root / "ImageSets" / "Main").mkdir(parents=True)
    shutil.copytree(folder / "photos", root / "JPEGImages")
    for split, names in (("trainval", TRAIN), ("test", TEST)):
        lists = root / "ImageSets" / "Main"
        (lists / f"{split}.txt").write_text("\n".join(names))
        for c in voc.CLASSES:
            marks = [f"{name} {1 if c in labels[name] else -1}" for name in names]
            (lists / f"{c}_{split}.txt").write_text("\n".join(marks))
    return ["--dataset", "voc07", "--path_images", str(folder)]


def instances(names, labels, **split):
    ids = {name: number for number, name in enumerate(voc.CLASSES, 1)}
    pairs = [(int(name), ids[c]) for name in names for c in labels[name]]
    return {
        "images": [{"id": int(name), "file_name": f"{name}.jpg", **split} for name in names],
        "categories": [{"id": i, "name": c} for c, i in ids.items()],
        "annotations": [
            {"id": 100 * image + i, "image_id": image, "category_id": i} for image, i in pairs
        ],
    }


def write_coco(folder, labels):
    root = folder / "COCO2014"
    (root / "annotations").mkdir(parents=True)
    for year, names in (("train2014", TRAIN), ("val2014", TEST)):
        shutil.copytree(folder / "photos", root / "images" / year)
        path = root / "annotations" / f"instances_{year}.json"
        path.write_text(json.dumps(instances(names, labels)))
    return ["--dataset", "coco", "--path_images", str(root)]


def write_csv(folder, labels):
    cells = [(f"{n}.jpg", "|".join(labels[n]), "train" if n in TRAIN else "val") for n in labels]
    with (folder / "photos" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "labels", "split"), *cells])
    return files_flags(folder, "labels.csv")


def write_json_lines(folder, labels):
    with (folder / "photos" / "labels.jsonl").open("w") as file:
        for name in labels:
            row = {"path": f"{name}.jpg", "labels": labels[name]}
            print(json.dumps(row | {"split": "train" if name in TRAIN else "test"}), file=file)
    return files_flags(folder, "labels.jsonl")


def write_coco_file(folder, labels):
    train, test = instances(TRAIN, labels, split="train"), instances(TEST, labels, split="test")
    for key in ("images", "annotations"):
        train[key] += test[key]
    (folder / "photos" / "labels.json").write_text(json.dumps(train))
    return files_flags(folder, "labels.json")


def files_flags(folder, name):
    (folder / "classes.txt").write_text("\n".join(voc.CLASSES))
    classes = ["--classes", str(folder / "classes.txt")]
    return ["--dataset", "files", "--labels", str(folder / "photos" / name), *classes]


def test_every_road_gives_the_same_training_number_for_number(run_script, photos, tmp_path):
    for write in (write_voc, write_coco, write_csv, write_json_lines, write_coco_file):
        flags, name = write(tmp_path, photos), write.__name__
        run_script("main_CoNeS --output_dir", name, *flags, *SMALL, *SAME)
        assert len(read_records(name)) == 2
        assert read_records(name) == read_records("write_voc"), name


def test_own_images_keep_their_labels_unless_noise_is_asked_for(
    run_script, assert_refused, photos, tmp_path
):
    flags = [*write_csv(tmp_path, photos), *SMALL, "--output_dir"]
    for script, folder in (("main_real", "a"), ("main_BCE", "b")):
        out, _ = run_script(script, *flags, folder)
        assert "3.00 candidates an image" in out
    assert_refused("main_real.py takes them as they are", "main_CoNeS", *flags, "c", status=2)
    assert not (tmp_path / "pre-processed-data").exists()


def test_a_cache_of_small_photos_changes_nothing(run_script, photos, tmp_path):
    flags = [*write_csv(tmp_path, photos), *SMALL, "--img_size", "40", "--no-freeze"]
    flags += ["--recipe", "paper", "--output_dir"]
    run_script("main_real", *flags, "plain")
    run_script("main_real", *flags, "cached", "--cache", "cache")
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 2
    # Their shorter side is less than 1.2 x 40 pixels: no pixel differs.
    assert read_records("plain") == read_records("cached")


def test_noise_is_never_added_by_main_real(assert_refused):
    command = "main_real --dataset nuswide --partial_rate 0.2"
    assert_refused("--partial_rate", command, status=2)


def test_nuswide_goes_on_without_missing_images_when_allowed(
    run_script, assert_refused, photos, tmp_path
):
    root = tmp_path / "nuswide"
    shutil.copytree(tmp_path / "photos", root / "images")
    with (root / "nus_wid_data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["filepath", "label", "split_name"])
        for row, name in enumerate(TRAIN + TEST):
            label = str(nuswide.CLASSES[row : row + 2])
            table.writerow([f"images/{name}.jpg", label, "train" if name in TRAIN else "val"])
    (root / "images" / f"{TRAIN[3]}.jpg").unlink()
    flags = ["--dataset", "nuswide", "--num_cls", "81", "--path_images", str(root), *SMALL]
    assert_refused(f"lacks 1, first {TRAIN[3]}.jpg", "main_real", *flags)
    out, _ = run_script("main_real", *flags, "--allow_missing", "--output_dir", "r")
    assert "9 training and 6 test images, 81 classes" in out
    options = read_json(tmp_path / "r" / "config.json")["options"]
    assert (options["normalize"], options["r_ws"]) == ("imagenet", 3.0)


def test_vg256_trains(run_script, photos, tmp_path):
    root = tmp_path / "VG"
    shutil.copytree(tmp_path / "photos", root / "VG_100K")
    generator = np.random.default_rng(1)
    for split, names in (("train", TRAIN), ("val", TEST)):
        np.save(root / f"formatted_{split}_images.npy", [f"VG_100K/{n}.jpg" for n in names])
        labels = (generator.random((len(names), 256)) < 0.05).astype(np.float64)
        np.save(root / f"formatted_{split}_labels.npy", labels)
    flags = "--dataset vg256 --num_cls 256 --path_images VG --partial_rate 0.1"
    run_script(f"main_CoNeS {flags}", *SMALL)
    assert (tmp_path / "pre-processed-data" / "vg256_0.1.npy").exists()


def test_cub200_trains(run_script, photos, tmp_path):
    root = tmp_path / "CUB_200_2011"
    shutil.copytree(tmp_path / "photos", root / "images" / "001.Albatross")
    (root / "attributes").mkdir()
    images = list(enumerate(TRAIN + TEST, 1))
    for name, lines in {
        "images.txt": [f"{i} 001.Albatross/{name}.jpg" for i, name in images],
        "train_test_split.txt": [f"{i} {int(name in TRAIN)}" for i, name in images],
        "attributes/attributes.txt": [f"{a} has_part_{a}::value" for a in range(1, 313)],
        "attributes/image_attribute_labels.txt": [
            f"{i} {a} {(i * a) % 7 == 0:d} 3 1.5" for i, _ in images for a in range(1, 313)
        ],
    }.items():
        (root / name).write_text("\n".join(lines))
    assert len(cub200.load(root, "train").classes) == 312
    flags = "--dataset cub200 --num_cls 312 --path_images CUB_200_2011 --partial_rate 0.1"
    run_script(f"main_CoNeS {flags}", *SMALL)


@pytest.mark.slow
def test_nuswide_of_real_photos_trains(run_script, shared, tmp_path):
    flags = "--dataset nuswide --num_cls 81 --img_size 224 --batch_size 16 --r_ws 3".split()
    flags += ["--path_images", shared / "nuswide", "--model", "resnet10t", "--weights", "none"]
    run_script("main_real", *flags, "--total_epoch", "1", "--output_dir", "r")
    assert read_records("r")[0]["mAP"] > 0
