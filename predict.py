"""Label photos with a trained classifier, draw its class maps over them, or export it."""

import contextlib
import csv
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError, exit_status
from utils.files import atomic_path, check_new_file, check_output_dir, filled
from utils.options.groups import CheckpointOptions, output_flag
from utils.options.kinds import COUNT, SHARE, Choice
from utils.options.table import OptionsParser, check_inputs, option, parse
from utils.terminal import one_line, warn

if TYPE_CHECKING:
    from pipeline.evaluation import Trained
    from pipeline.prediction import Prediction

DESCRIPTION = (
    "Label photos with a trained classifier: predictions.csv (path, labels, their scores) and "
    "predictions.jsonl (every class's score). Scores are probabilities."
)
SHOWN = 5
LONGEST_NAME = 255  # bytes that a disk takes
NAMED = ("voc07", "coco", "nuswide")  # whose class names are known without their files
names_flag = functools.partial(option, group="classes, of a file without a run")


@dataclass(frozen=True, kw_only=True)
class Options(CheckpointOptions):
    """The options of predict.py."""

    images: list[str] = option(
        [], "files, folders (with subfolders) or globs", metavar="IMAGE", shown="", many="*"
    )
    dataset: str | None = names_flag(
        None, "it was trained on: names and published settings", Choice(NAMED), shown=""
    )
    classes: str | None = names_flag(
        None,
        "names, one a line, in their order",
        metavar="FILE",
        shown="",
        reads="the file of class names",
    )
    threshold: float | None = output_flag(
        None,
        "probability above which a label is given, 0..1",
        SHARE,
        shown="default: each class's own, if val.py --tune_thresholds stored them; else 0.5",
    )
    output_dir: str | None = output_flag(
        None, "for predictions", metavar="DIR", shown="default: runs/predict-<time>-<process>"
    )
    cam: str | None = output_flag(
        None,
        "draw the maps of the highest-scoring classes over each photo",
        metavar="DIR",
        shown="",
    )
    top: int = output_flag(3, "classes of which --cam draws the map", COUNT)
    export: str | None = output_flag(
        None,
        "write the classifier as .onnx: images (B, 3, S, S) uint8 to logits and cams",
        metavar="FILE",
        shown="",
    )


@exit_status
def main() -> None:
    parser = OptionsParser(description=DESCRIPTION)
    options = parse(Options, parser)
    check_options(parser, options)
    folder = output_folder(options)
    check_inputs(options)

    from pipeline.evaluation import load_trained
    from pipeline.model.checkpoint import read_thresholds
    from pipeline.prediction import find_images

    paths, others = find_images(options.images) if options.images else ([], [])
    if others:
        shown = ", ".join(others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
        warn(f"{len(others)} other files are no images: {shown}")
    trained = load_trained(options, options.dataset)
    classes = class_names(options, trained)
    stored = None if classes is None else read_thresholds(trained.checkpoint, classes)
    if paths:
        if classes is None:
            raise UserError(
                f"{trained.checkpoint.path} does not name its {trained.checkpoint.classes} "
                "classes: give --dataset or --classes FILE"
            )
        label(options, trained, paths, classes, stored, folder)
    if options.export is not None:
        export(options.export, trained, classes, stored)


def check_options(parser: OptionsParser, options: Options) -> None:
    """Refuse a missing flag or one that would do nothing, with exit status 2."""
    parser.need(options.load_from, "--load_from", "a run's folder or a weight file")
    if not options.images:
        for name in ("threshold", "output_dir", "cam"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} is for images: name some")
        if options.export is None:
            parser.error("give images to label, or --export FILE")
    if options.dataset is not None and options.classes is not None:
        parser.error("--dataset names the classes: leave --classes out")
    if options.export is not None and not options.export.endswith(".onnx"):
        parser.error(f"--export {options.export}: expected a name that ends in .onnx")


def output_folder(options: Options) -> Path:
    """The folder of the predictions; refuse all places that cannot be written to."""
    now = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(options.output_dir or f"runs/predict-{now}-{os.getpid()}")
    if options.images:
        check_output_dir(folder, marked=True)
        if options.cam is not None:
            check_output_dir(Path(options.cam), "--cam", marked=True)
    if options.export is not None:
        check_new_file(Path(options.export), "--export")
    return folder


def class_names(options: Options, trained: "Trained") -> list[str] | None:
    """C names in the order of the scores: the run's, the data set's or the file's, or None."""
    from pipeline.data import coco, nuswide, voc
    from pipeline.data.label_file import read_classes
    from pipeline.evaluation import check_classes

    if options.classes is not None:
        given, source = read_classes(options.classes), options.classes
    elif options.dataset is not None:
        known = {"voc07": voc.CLASSES, "coco": coco.CLASSES, "nuswide": nuswide.CLASSES}
        given, source = list(known[options.dataset]), options.dataset
    else:
        return trained.checkpoint.data.get("classes")
    check_classes(trained, given, source)
    return given


def label(
    options: Options,
    trained: "Trained",
    paths: list[str],
    classes: list[str],
    stored: dict[str, Any] | None,
    folder: Path,
) -> None:
    """Score the images at `paths` and write predictions, and maps where they are asked for.

    Raises:
        UserError: no image can be read, or Ctrl-C, after which the predictions made are written.
    """
    from tqdm import tqdm

    from pipeline.prediction import choose_thresholds, predict
    from utils.progress import interruptible

    thresholds, origin = choose_thresholds(options.threshold, stored, classes)
    print(f"thresholds  {origin}", flush=True)
    labelled, unreadable, common = 0, 0, common_folder(paths)
    with new_folders(options, folder), interruptible() as stop, prediction_files(folder) as files:
        table_file, lines = files
        table = csv.writer(table_file, quoting=csv.QUOTE_ALL)
        table.writerow(["path", "labels", "scores"])
        for prediction in predict(trained, paths, options.batch_size, options.workers):
            if prediction.error:
                tqdm.write(one_line(f"warning: {prediction.error}"), file=sys.stderr)
                unreadable += 1
                continue
            row, record = described(prediction, classes, thresholds)
            table.writerow(row)
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            if options.cam is not None:
                save_maps(prediction, classes, options.top, options.cam, common)
            labelled += 1
            if stop():
                break
        if not labelled:
            raise UserError(f"none of the {len(paths)} images can be read: see above")
    print(f"labelled    {labelled} images, {unreadable} could not be read")
    print(f"predictions {folder}")
    if options.cam is not None:
        print(f"maps        {options.cam}")
    if labelled + unreadable < len(paths):
        raise UserError(f"interrupted after {labelled + unreadable} of {len(paths)} images")


@contextlib.contextmanager
def prediction_files(folder: Path) -> Iterator[list[Any]]:
    """predictions.csv and predictions.jsonl, open for writing."""
    with contextlib.ExitStack() as stack:
        names = ("predictions.csv", "predictions.jsonl")
        paths = [stack.enter_context(atomic_path(folder / name)) for name in names]
        yield [
            stack.enter_context(
                path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            )
            for path in paths
        ]


@contextlib.contextmanager
def new_folders(options: Options, folder: Path) -> Iterator[None]:
    """Fill the folders of predictions and maps, which may be one, or one in the other."""
    flags = {os.path.realpath(folder): "--output_dir"}
    if options.cam is not None:
        flags.setdefault(os.path.realpath(options.cam), "--cam")
    with contextlib.ExitStack() as stack:
        for place in sorted(flags, key=len):  # an inner one is made within the outer
            stack.enter_context(filled(Path(place), flags[place]))
        yield


def described(
    prediction: "Prediction", classes: list[str], thresholds: list[float]
) -> tuple[list[str], dict[str, Any]]:
    """The line of predictions.csv, and the object of predictions.jsonl."""
    from utils.metrics import probabilities
    from utils.spreadsheets import joined_cell, path_cell

    scores = probabilities(prediction.logits)
    chosen = [c for c in prediction.ranking() if prediction.logits[c] > thresholds[c]]
    names = [classes[c] for c in chosen]
    shown = joined_cell([f"{scores[c]:.4f}" for c in chosen], names)
    by_class = {name: round(float(score), 6) for name, score in zip(classes, scores)}
    record = {"path": prediction.path, "labels": names, "scores": by_class}
    return [path_cell(prediction.path), joined_cell(names, names), shown], record


def common_folder(paths: list[str]) -> str:
    """The innermost folder that holds all of `paths`."""
    return os.path.commonpath([os.path.abspath(os.path.dirname(path)) for path in paths])


def save_maps(
    prediction: "Prediction", classes: list[str], top: int, folder: str, common: str
) -> None:
    """Draw the maps of the `top` highest-scoring classes over a photo, as FOLDER/<path>.png."""
    from pipeline.data.images import read_image
    from utils.metrics import probabilities
    from utils.overlays import draw_maps

    scores, highest = probabilities(prediction.logits), prediction.ranking()[:top]
    captions = [f"{classes[c]} {scores[c]:.2f}" for c in highest]
    picture = draw_maps(read_image(prediction.path), prediction.maps[highest], captions)
    inside = Path(folder, os.path.relpath(os.path.abspath(prediction.path), common))
    with atomic_path(inside.with_name(map_name(inside.name))) as temporary:
        picture.save(temporary)


def map_name(photo: str) -> str:
    """The name of the file of a photo's maps; shortened where a disk would not take it."""
    content = os.fsencode(photo)
    if len(content) > LONGEST_NAME - len(".png"):
        photo = f"{content[:200].decode(errors='ignore')}-{hashlib.sha256(content).hexdigest()[:8]}"
    return f"{photo}.png"


def export(
    path: str, trained: "Trained", classes: list[str] | None, stored: dict[str, Any] | None
) -> None:
    """Write the classifier as an ONNX file that names classes, thresholds and input."""
    from pipeline.export import export_onnx

    settings = {name: trained.settings[name] for name in ("img_size", "normalize")}
    thresholds = None if stored is None else stored["thresholds"]
    difference = export_onnx(
        trained.classifier,
        trained.settings["img_size"],
        Path(path),
        settings | {"classes": classes, "thresholds": thresholds},
    )
    print(f"exported    {path}; onnxruntime differs by {difference:.1g} at most")


if __name__ == "__main__":
    sys.exit(main())
