"""The readers that tests/fuzz.py feeds, each with small valid files of what it reads."""

import io
import json
import pickle
import shutil
import zlib
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow
import pyarrow.parquet
import safetensors.torch
import torch
from PIL import Image

from make_candidates import read_class_rates
from pipeline.data import cache, candidates, coco, cub200, label_file, nuswide, vg256, voc
from pipeline.data.decoding import FORMATS
from pipeline.data.feature_store import FeatureStore
from pipeline.data.images import ImageFiles, read_image
from pipeline.data.labelled import LabelledImages
from pipeline.data.lists.names import read_classes, read_rename
from pipeline.data.training_data import read_prior
from pipeline.data.verified import Verified
from pipeline.model.checkpoint import Checkpoint, read_checkpoint, read_thresholds, weights_sha256
from pipeline.model.weights import read_weights
from pipeline.review.decisions import carry, check_content, describe, merge, read_json, read_kept
from pipeline.review.exchange import EXPORTS, Judged, as_content
from pipeline.review.label_files import write_labels
from pipeline.review.reviewed_run import Photos
from pipeline.review.stored_targets import read_targets
from pipeline.review.summary import class_correlation, read_history
from tests.fuzz import Reader
from tests.kept_runs import trunk  # noqa: F401 - registers the trunk of the kept runs
from utils.comparison.compare_settings import read_settings
from utils.comparison.grid import read_training
from utils.options.stored import read_config, run_options
from utils.options.training import TrainingOptions, defaults
from utils.run_folder import RunFolder

RUNS = Path(__file__).parent / "kept_runs"
CLASSES = ["sea", "sand", "dog"]
FOUND = np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0]], np.uint8)
NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
HASHES = [f"{row}" * 16 for row in range(4)]
MOMENT = "2026-11-29T01:02:03Z"


def images(targets=FOUND):
    return LabelledImages(ImageFiles("", NAMES), CLASSES, targets.astype(np.int8), NAMES)


def saved(write, *arguments, **options):
    """The bytes that write(*arguments, file) writes."""
    file = io.BytesIO()
    write(*arguments, file, **options)
    return file.getvalue()


def array(content):
    return saved(lambda file: np.save(file, content))


def text(content):
    return json.dumps(content).encode()


# ---------------------------------------------------------------- lists


def read_list(folder, name):
    """Load a list as training does, and write it as a review does."""
    for image in LISTED:
        (folder / image).touch()
    splits = label_file.load(folder / name, allow_missing=True, say=str)
    stored = defaults("files") | {"labels": str(folder / name), "dataset": "files", "seed": 0}
    options = TrainingOptions(**stored | {"script": "main_real"})
    kept = dict.fromkeys(splits["train"].ids[:2], splits["train"].classes[:2])
    out = folder / f"written{'.json' if name.endswith('.json') else '.csv'}"
    write_labels(out, options, kept, {})
    again = label_file.read_table(out, reading=label_file.Reading(separator=None))
    return again.paths


LISTED = [f"{letter}{number}.jpg" for letter in "abcd" for number in range(3)]


def list_reader(name, seeds, form):
    def prepare(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        place = str(Path(name).parent) if Path(name).stem == "metadata" else name
        return Reader(name, seeds, form, lambda folder: read_list(folder, place))

    return prepare


TABLE = [
    ["path", "labels", "split", "true_labels", "verified"],
    ["a0.jpg", "sea|sand|dog", "train", "sea|sand", "yes"],
    ["b0.jpg", "sky", "test", "", ""],
    ["c0.jpg", "sea", "", "|", "no"],
    ["d0.jpg", "dog|sea", "", "", ""],
]
ONE_HOT = [["image", "sea", "sand"], *([name, "1", "0"] for name in LISTED)]
TEXTS = [["file", "tags"], *([name, "['sea', 'sand']"] for name in LISTED)]
CELLS = ["sea, sand", "sand, dog", "dog, sea", "sea", "sand", "dog"]
JOINED = [["file", "tags"], *map(list, zip(LISTED, 2 * CELLS))]


def delimited(sign):
    tables = (TABLE, ONE_HOT, TEXTS, JOINED)
    return [
        "".join(sign.join(f'"{cell}"' for cell in row) + "\n" for row in rows).encode()
        for rows in tables
    ]


def json_lines():
    whole = [
        {"path": "a0.jpg", "labels": ["sea", "sand"], "split": "train", "true_labels": ["sea"]},
        {"path": "b0.jpg", "labels": "sky|dog", "split": "test", "verified": False},
        {"path": "c0.jpg", "labels": [], "true_labels": [], "verified": True},
    ]
    flags = [{"file_name": name, "sea": 1, "sand": 0} for name in LISTED]
    return [b"".join(text(record) + b"\n" for record in rows) for rows in (whole, flags)]


def workbooks():
    found = []
    for rows in (TABLE, ONE_HOT):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append([int(cell) if cell.isdecimal() else cell for cell in row])
        book.create_sheet("other").append([1.5, None, True])
        found.append(saved(book.save))
    return found


def parquets():
    columns = dict(zip(TABLE[0], map(list, zip(*TABLE[1:]))))
    photo = image_bytes("PNG")
    named = {"huggingface": json.dumps({"info": {"features": {"label": {"names": CLASSES}}}})}
    tables = [
        pyarrow.table(columns),
        pyarrow.table({"path": LISTED, "labels": 3 * [["sea"], ["sand", "dog"], [], ["sea"]]}),
        pyarrow.table(
            {
                "image": [{"bytes": photo, "path": name} for name in LISTED],
                "label": [0, 1, 2, -1] * 3,
            }
        ).replace_schema_metadata(named),
    ]
    return [saved(pyarrow.parquet.write_table, t) for t in tables]


def coco_file():
    return {
        "images": [
            {"id": k, "file_name": name, "split": ["train", "test"][k % 2]}
            for k, name in enumerate(LISTED)
        ],
        "annotations": [
            {"id": k, "image_id": k, "category_id": k % 3 + 1, "bbox": [0, 0, 1, 1], "area": 1}
            for k in range(6)
        ],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)],
    }


def coco_files():
    checked = coco_file()
    checked["images"][0] |= {"candidates": [1, 2], "verified": True}
    return [text(coco_file()), text(checked)]


# ---------------------------------------------------------------- data sets


def voc_folder(folder):
    lists = folder / "VOC2007/ImageSets/Main"
    for place in (lists, folder / "VOC2007/Annotations", folder / "VOC2007/JPEGImages"):
        place.mkdir(parents=True)
    (lists / "trainval.txt").write_text("000001\n000002\n")
    for name in ("000001", "000002"):
        (folder / f"VOC2007/JPEGImages/{name}.jpg").touch()
        (folder / f"VOC2007/Annotations/{name}.xml").write_text(OBJECTS)
    for name in voc.CLASSES[1:]:
        (lists / f"{name}_trainval.txt").write_text("000001 -1\n000002  1\n")
    return lambda folder: voc.load(folder, "train")


OBJECTS = (
    "<?xml version='1.0' encoding='latin-1'?><annotation><object><name>aeroplane</name>"
    "<difficult>1</difficult></object></annotation>"
)


def cub_folder(folder):
    (folder / "attributes").mkdir()
    (folder / "images").mkdir()
    for name in NAMES:
        (folder / "images" / name).touch()
    for name, lines in CUB.items():
        (folder / name).write_bytes(lines)
    return lambda folder: cub200.load(folder, "train")


CUB = {
    "images.txt": b"1 a.jpg\n2 b.jpg\n7 c.jpg\n",
    "train_test_split.txt": b"1 1\n2 0\n7 1\n",
    "attributes/attributes.txt": b"1 has_bill::dagger\n3 has_eye::red\n",
    "attributes/image_attribute_labels.txt": b"1 1 1 3 27.7\n1 3 0 1 2\n7 1 1 4 0.5\n",
}


def vg_folder(folder, formatted):
    (folder / "VG_100K").mkdir()
    for image in range(1, 6):
        (folder / f"VG_100K/{image}.jpg").touch()
    for name in ("vg256.json", "objects.json"):
        (folder / name).write_bytes(VG[name])

    def read(folder):
        made = [*folder.glob("formatted*")]
        if not formatted:
            for path in made:
                path.unlink()
        return vg256.load(folder, "train")

    if formatted:
        for part in ("train", "val"):
            for kind in ("images", "labels"):
                name = f"formatted_{part}_{kind}.npy"
                (folder / name).write_bytes(VG[f"formatted_train_{kind}.npy"])
    return read


VG = {
    "vg256.json": text({"dog": ["dog", "hot dog"], "cat": ["cat"]}),
    "objects.json": text(
        [
            {"image_id": k, "objects": [{"names": ["small dog"]}, {"names": ["cat", "x"]}]}
            for k in range(1, 6)
        ]
    ),
    "formatted_train_images.npy": array(np.array([f"VG_100K/{k}.jpg" for k in range(1, 4)])),
    "formatted_train_labels.npy": array(np.array([[1, 0], [0, 1], [1, 1]], float)),
}


def data_set(make, file, seeds, form):
    return lambda folder: Reader(file, seeds, form, make(folder))


def nuswide_folder(folder):
    (folder / "images").mkdir()
    for name in NAMES:
        (folder / "images" / name).touch()
    return lambda folder: nuswide.load(folder, "train", allow_missing=True)


NUSWIDE = (
    b"filepath,label,split_name\nimages/a.jpg,\"['clouds', 'sky']\",train\nimages/b.jpg,[],val\n"
)


# ---------------------------------------------------------------- candidates


def candidate_reader(file):
    """A reader of candidates.npy and the JSON beside it."""

    def prepare(folder):
        path = folder / "candidates.npy"
        origin = candidates.Origin("voc07", 0.3, 1, "uniform")
        known = Verified(np.array([0, 2]), FOUND[[0, 2]])
        candidates.write_candidates(path, FOUND, images(), origin, known)
        seeds = [(folder / file).read_bytes()]
        if file.endswith(".npy"):
            seeds += [
                array(FOUND.astype(np.int64)),
                array(np.asfortranarray(FOUND)),
                array(FOUND > 0),
            ]

        def read(folder):
            candidates.load_or_make(path, images(), dataset="voc07", rate=None, seed=1)
            candidates.read_verified(path, FOUND.shape)
            return True

        return Reader(file, seeds, "json" if file.endswith(".json") else "header", read)

    return prepare


def pickled_reader(folder):
    seeds = []
    for protocol in (2, 4, 5):
        wrapped = np.empty((), object)
        wrapped[()] = {"partial_labels": FOUND.astype(np.int64)}
        content = array(wrapped)
        start = content.index(b"\n") + 1
        seeds.append(content[:start] + pickle.dumps(wrapped, protocol))

    def read(folder):
        return candidates.load_or_make(
            folder / "pickled.npy", images(), dataset="voc07", rate=0.1, seed=1
        )

    return Reader("pickled.npy", seeds, "bytes", read)


def file_reader(name, seeds, form, read):
    """A reader of one file by its path."""
    return lambda folder: Reader(name, seeds, form, lambda folder: read(folder / name))


# ---------------------------------------------------------------- images


def image_bytes(form):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    return saved(lambda file: Image.fromarray(pixels).save(file, form))


def image_seeds(form):
    seeds = [image_bytes(form)]
    grey = Image.fromarray(np.arange(120, dtype=np.uint8).reshape(12, 10))
    others = [grey]
    if form in ("PNG", "TIFF", "JPEG2000"):
        others.append(Image.fromarray(np.arange(120, dtype=np.uint16).reshape(12, 10) * 500))
    if form in ("PNG", "GIF", "TIFF", "BMP"):
        others += [grey.convert("P"), grey.convert("1")]
    if form == "TIFF":
        others.append(Image.fromarray(np.linspace(0, 1, 120, dtype=np.float32).reshape(12, 10)))
    if form == "JPEG":
        others.append(grey.convert("CMYK"))
    seeds += [saved(lambda file, image=image: image.save(file, form)) for image in others]
    if form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        exif = Image.Exif()
        exif[0x0112] = 6
        seeds.append(saved(lambda file: grey.convert("RGB").save(file, form, exif=exif)))
    if form == "TIFF":
        for packed in ("tiff_lzw", "tiff_deflate", "packbits"):
            seeds.append(saved(lambda file, p=packed: grey.save(file, form, compression=p)))
    return seeds


def image_reader(form):
    name = f"photo.{form.lower()}"
    shape = "chunks" if form == "PNG" else "bytes"
    return lambda folder: Reader(
        name, image_seeds(form), shape, lambda folder: read_image(str(folder / name))
    )


# ---------------------------------------------------------------- weights and runs


def state():
    torch.manual_seed(0)
    weights = {"trunk.model.conv1.weight": torch.randn(4, 3, 3, 3)}
    counter = {"trunk.model.bn1.num_batches_tracked": torch.tensor(3)}
    return weights | counter | {"head.weight": torch.randn(1, 3, 4)}


def weights_reader(name, seeds, form):
    def read(path):
        found = read_checkpoint(path)
        return weights_sha256(found)

    return file_reader(name, seeds, form, read)


def torch_files(**options):
    return [
        saved(torch.save, content, **options)
        for content in (state(), {"state_dict": {"module." + k: v for k, v in state().items()}})
    ]


def run_reader(file, form, read, kept="posterior"):
    def prepare(folder):
        for source in (RUNS / kept).iterdir():
            shutil.copy(source, folder)
        others = [(RUNS / each / file).read_bytes() for each in ("paper", "bce")]
        return Reader(file, [(folder / file).read_bytes(), *others], form, read)

    return prepare


CONFIG = json.loads((RUNS / "posterior/config.json").read_text())


def resume(folder):
    shutil.copy(RUNS / "posterior/config.json", folder)
    _, state = RunFolder.reopen(str(folder), CONFIG["options"], CONFIG["data"])
    return state


def read_last(folder):
    read_targets(folder, FOUND, 0)
    class_correlation(folder, FOUND)
    return read_weights(folder / "last.pt")


def options_of(folder):
    config = read_config(str(folder))
    return run_options(config["options"], folder)


def thresholds_reader(folder):
    checkpoint = Checkpoint(folder / "w.pt", state(), None, "csra", 1, 3, [], {}, {})
    content = {
        "thresholds": dict.fromkeys(CLASSES, 0.5),
        "split": "train",
        "dataset": "files",
        "weights_sha256": weights_sha256(checkpoint),
    }
    return Reader(
        "w.pt.thresholds.json",
        [text(content)],
        "json",
        lambda folder: read_thresholds(checkpoint, CLASSES),
    )


def settings_reader(folder):
    content = {
        "dataset": "files",
        "flags": ["--lr", "0.1"],
        "noise": "uniform",
        "added": {"mine": ["main_BCE.py", "--loss", "bce"]},
    }
    read = lambda folder: read_settings(folder / "compare.json")  # noqa: E731
    return Reader("compare.json", [text(content)], "json", read)


def cache_reader(folder):
    path = folder / "x.pixels"
    path.write_bytes(bytes(6 * 12))
    content = {
        "sources": "s",
        "shapes": [[2, 4], [4, 4]],
        "checksums": [zlib.crc32(bytes(24)), zlib.crc32(bytes(48))],
    }

    def read(folder):
        index = cache.read_index(folder / "x.json", path, "s")
        if index is not None:
            kept = cache.CachedImages(path, index)
            for row in range(min(len(kept), 3)):
                kept[row]
        return index

    return Reader("x.json", [text(content)], "json", read)


def feature_reader(kind):
    def prepare(folder):
        hashes = np.random.default_rng(0).integers(0, 256, (4, 32)).astype(np.uint8)
        store = FeatureStore(folder, "trunk")
        store.add(hashes, [np.ones((4, 2, 3, 3), np.float16)])
        (file,) = [p for p in (folder / "trunk").iterdir() if ("hashes" in p.name) == kind]

        def read(folder):
            features, missing = store.find(hashes)
            rows = np.setdiff1d(np.arange(4), missing)
            return features.take(rows) if len(rows) else None

        name = str(file.relative_to(folder))
        return Reader(name, [file.read_bytes()], "header", read)

    return prepare


# ---------------------------------------------------------------- reviews


def photos():
    return Photos(images(), FOUND, 3)


def review_seeds():
    place = {"path": "a.jpg", "sha256": HASHES[0], "by": "Ann", "at": MOMENT}
    review = {
        "format": "review-2",
        "key": "k",
        "by": "Ann",
        "verified": [place | {"true_labels": ["sea"]}],
        "decisions": [
            place | {"path": "b.jpg", "sha256": "", "label": "dog", "true": False},
            place | {"path": "b.jpg", "sha256": "", "label": "dog", "true": True, "by": "Bob"},
        ],
    }
    former = {"format": "review-1", "key": "k", "decisions": [["a.jpg", "sea", True]]}
    return [text(review), text(former)]


def tool_seeds(tool, folder):
    judged = Judged(photos(), HASHES, "ab" * 16, FOUND * 0.5, FOUND, FOUND.astype(np.float32))
    files = EXPORTS[tool](folder, judged)
    found = json.loads(files[0].read_text())
    if tool == "label-studio":
        for task in found:
            task["annotations"] = [
                {
                    "result": task["predictions"][0]["result"],
                    "completed_by": {"email": "a@b.c", "id": 1},
                    "updated_at": MOMENT,
                }
            ]
    elif tool == "fiftyone":
        found["samples"][0]["tags"].append("verified")
        found["samples"][1]["labels"]["classifications"][0]["tags"].append("false")
    else:
        found[0] = [0, 2]
    return [text(found)]


def review_reader(tool):
    def prepare(folder):
        seeds = review_seeds() if tool is None else tool_seeds(tool, folder)

        def read(folder):
            path = str(folder / "found.json")
            found = read_json(path)
            if isinstance(found, dict) and found.get("format") == "review-1":
                return read_kept(found, path, "k", [("a.jpg", "sea")], 1)
            content = as_content(found, path, photos(), HASHES)
            check_content(content, path)
            carried = carry(merge([content]), NAMES, HASHES, CLASSES, FOUND)
            return describe(carried)

        return Reader("found.json", seeds, "json", read)

    return prepare


# ---------------------------------------------------------------- all

READERS = {
    "csv": list_reader("list.csv", delimited(",") + delimited(";"), "lines"),
    "tsv": list_reader("list.tsv", delimited("\t"), "lines"),
    "jsonl": list_reader("list.jsonl", json_lines(), "json"),
    "metadata.jsonl": list_reader("metadata.jsonl", json_lines(), "json"),
    "xlsx": list_reader("list.xlsx", workbooks(), "archive"),
    "parquet": list_reader("list.parquet", parquets(), "bytes"),
    "coco list": list_reader("list.json", coco_files(), "json"),
    "coco": file_reader("instances.json", coco_files(), "json", coco.read_instances),
    "classes": file_reader("classes.txt", [b"sea\nsand\n\xc3\xa9\n"], "lines", read_classes),
    "rename": file_reader("names.csv", [b"sea,ocean\nsand,\n", b"a\tb\n"], "lines", read_rename),
    "voc lists": data_set(
        voc_folder, "VOC2007/ImageSets/Main/cat_trainval.txt", [b"000001 -1\n000002  1\n"], "lines"
    ),
    "voc images": data_set(
        voc_folder, "VOC2007/ImageSets/Main/trainval.txt", [b"000001\n000002\n"], "lines"
    ),
    "voc xml": data_set(voc_folder, "VOC2007/Annotations/000001.xml", [OBJECTS.encode()], "bytes"),
    "nuswide": data_set(nuswide_folder, "nus_wid_data.csv", [NUSWIDE], "lines"),
    **{
        f"cub {name.split('/')[-1]}": data_set(cub_folder, name, [lines], "lines")
        for name, lines in CUB.items()
    },
    **{
        f"vg {name}": data_set(
            lambda folder, name=name: vg_folder(folder, name.endswith("npy")),
            name,
            [content],
            "header" if name.endswith("npy") else "json",
        )
        for name, content in VG.items()
    },
    "candidates": candidate_reader("candidates.npy"),
    "candidates json": candidate_reader("candidates.json"),
    "candidates pickled": pickled_reader,
    "prior": file_reader(
        "prior.npy",
        [array(FOUND * np.float32(0.5)), array(FOUND * 0.25)],
        "header",
        lambda path: read_prior(path, FOUND.shape),
    ),
    "class rates": file_reader(
        "rates.json",
        [text(dict.fromkeys(CLASSES, 0.25))],
        "json",
        lambda path: read_class_rates(str(path), CLASSES),
    ),
    **{f"image {form.lower()}": image_reader(form) for form in FORMATS},
    "weights pt": weights_reader("w.pt", torch_files(), "archive"),
    "weights legacy": weights_reader(
        "w.pth", torch_files(_use_new_zipfile_serialization=False), "bytes"
    ),
    "weights safetensors": weights_reader(
        "w.safetensors", [safetensors.torch.save(state())], "header"
    ),
    "config.json": run_reader("config.json", "json", options_of),
    "last.pt resumed": run_reader("last.pt", "archive", resume),
    "last.pt reviewed": run_reader("last.pt", "archive", read_last),
    "metrics.jsonl": run_reader("metrics.jsonl", "json", read_history),
    "result.json": run_reader("result.json", "json", read_training),
    "training lines": run_reader("metrics.jsonl", "json", read_training),
    "thresholds.json": thresholds_reader,
    "compare.json": settings_reader,
    "cache": cache_reader,
    "features": feature_reader(False),
    "feature hashes": feature_reader(True),
    "review.json": review_reader(None),
    "label studio": review_reader("label-studio"),
    "fiftyone": review_reader("fiftyone"),
    "cleanlab": review_reader("cleanlab"),
}
