"""Label photos with a trained classifier, draw its class maps over them, or export it."""

import argparse
import contextlib
import csv
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from utils.errors import UserError, exit_status
from utils.files import atomic_path, check_new_file, check_output_dir
from utils.options.flags import (
    COUNT,
    INPUTS,
    SHARE,
    ScriptParser,
    add_checkpoint_flags,
    check_inputs,
)

NAMED = ["voc07", "coco", "nuswide"]  # whose class names are known without their files


@exit_status
def main() -> None:
    parser = ScriptParser(
        description="Label photos with a trained classifier: predictions.csv (path, labels, their "
        "scores) and predictions.jsonl (every class's score). Scores are probabilities.",
    )
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="files, folders (with subfolders) or globs"
    )
    add_checkpoint_flags(parser)
    names = parser.add_argument_group("classes, of a file without a run")
    names.add_argument(
        "--dataset", choices=NAMED, help="it was trained on: names and published settings"
    )
    names.add_argument("--classes", metavar="FILE", help="names, one a line, in their order")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--threshold",
        type=SHARE,
        help="probability above which a label is given, 0..1 (default: each class's own, if "
        "val.py --tune_thresholds stored them; else 0.5)",
    )
    output.add_argument(
        "--output_dir",
        metavar="DIR",
        help="for predictions (default runs/predict-<time>-<process>)",
    )
    output.add_argument(
        "--cam", metavar="DIR", help="draw the maps of the highest-scoring classes over each photo"
    )
    output.add_argument(
        "--top", type=COUNT, default=3, help="classes of which --cam draws the map (default 3)"
    )
    output.add_argument(
        "--export",
        metavar="FILE",
        help="write the classifier as .onnx: images (B, 3, S, S) uint8 to logits and cams",
    )
    options = parser.parse_args()
    parser.need(options, "load_from", INPUTS["load_from"])
    if not options.images:
        for name in ("threshold", "output_dir", "cam"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} is for images: name some")
    if not options.images and options.export is None:
        parser.error("give images to label, or --export FILE")
    if options.dataset is not None and options.classes is not None:
        parser.error("--dataset names the classes: leave --classes out")
    if options.export is not None and not options.export.endswith(".onnx"):
        parser.error(f"--export {options.export}: expected a name that ends in .onnx")

    now = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(options.output_dir or f"runs/predict-{now}-{os.getpid()}")
    if options.images:
        check_output_dir(folder)
        if options.cam is not None:
            check_output_dir(Path(options.cam), "--cam")
    if options.export is not None:
        check_new_file(Path(options.export), "--export")
    check_inputs(options)

    from pipeline.evaluation import load_trained
    from pipeline.model.checkpoint import read_thresholds
    from pipeline.prediction import find_images

    paths = find_images(options.images) if options.images else []
    trained = load_trained(options.load_from, vars(options))
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
        from pipeline.export import export_onnx

        settings = {name: trained.settings[name] for name in ("img_size", "normalize")}
        thresholds = None if stored is None else stored["thresholds"]
        difference = export_onnx(
            trained.classifier,
            trained.settings["img_size"],
            Path(options.export),
            settings | {"classes": classes, "thresholds": thresholds},
        )
        print(f"exported    {options.export}; onnxruntime differs by {difference:.1g} at most")


def class_names(options: argparse.Namespace, trained: Any) -> list[str] | None:
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
    options: argparse.Namespace,
    trained: Any,
    paths: list[str],
    classes: list[str],
    stored: dict[str, Any] | None,
    folder: Path,
) -> None:
    """Score the images at `paths` and write predictions, and maps where they are asked for.

    Raises:
        UserError: no image can be read, or Ctrl-C, after which the predictions made are written.
    """
    import numpy as np
    from tqdm import tqdm

    from pipeline.data.images import read_image
    from pipeline.prediction import predict
    from utils.machine import default_workers
    from utils.metrics import probabilities
    from utils.overlays import draw_maps
    from utils.progress import interruptible

    if options.threshold is not None or stored is None:
        threshold = 0.5 if options.threshold is None else options.threshold
        with np.errstate(divide="ignore"):  # 0 and 1 are infinite logits
            logit = float(np.log(threshold) - np.log(1 - threshold))
        thresholds, origin = [logit] * len(classes), f"{threshold:g}"
    else:
        thresholds = [stored["thresholds"][name] for name in classes]
        origin = f"tuned on {stored['split']} images of {stored['dataset']}"
    print(f"thresholds  {origin}", flush=True)
    workers = default_workers() if options.workers is None else options.workers
    common = os.path.commonpath([os.path.abspath(os.path.dirname(path)) for path in paths])
    labelled, unreadable = 0, 0
    with interruptible() as stop, contextlib.ExitStack() as stack:
        table_path = stack.enter_context(atomic_path(folder / "predictions.csv"))
        lines_path = stack.enter_context(atomic_path(folder / "predictions.jsonl"))
        text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        table_file = stack.enter_context(table_path.open("w", **text))  # type: ignore[call-overload]
        lines = stack.enter_context(lines_path.open("w", **text))  # type: ignore[call-overload]
        table = csv.writer(table_file)
        table.writerow(["path", "labels", "scores"])
        for path, error, logits, maps in predict(trained, paths, options.batch_size, workers):
            if error:
                tqdm.write(f"warning: {error}", file=sys.stderr)
                unreadable += 1
                continue
            scores = probabilities(logits)
            ranked = (-logits).argsort(kind="stable").tolist()
            chosen = [c for c in ranked if logits[c] > thresholds[c]]
            names = [classes[c] for c in chosen]
            shown = "|".join(f"{scores[c]:.4f}" for c in chosen)
            table.writerow([path, "|".join(names), shown])
            by_class = {name: round(float(score), 6) for name, score in zip(classes, scores)}
            record = {"path": path, "labels": names, "scores": by_class}
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            if options.cam is not None:
                top = ranked[: options.top]
                captions = [f"{classes[c]} {scores[c]:.2f}" for c in top]
                picture = draw_maps(read_image(path), maps[top], captions)
                inside = os.path.relpath(os.path.abspath(path), common)
                with atomic_path(Path(options.cam) / f"{inside}.png") as temporary:
                    picture.save(temporary)
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


if __name__ == "__main__":
    sys.exit(main())
