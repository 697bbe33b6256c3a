"""Find the candidate labels that are probably false, clean them, and review them on a page."""

import argparse
import hashlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError, exit_status
from utils.options.flags import (
    NATURAL,
    SHARE,
    ScriptParser,
    add_machine_flags,
    check_inputs,
    number,
)
from utils.options.stored import DATA_PLACES

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.labelled import LabelledImages
    from pipeline.review.scan import Scan


@exit_status
def main() -> None:
    parser = ScriptParser(
        description="Say of every training image and candidate of a run how likely it is true, "
        "drop those that are probably false, and write labels.csv, the labels kept, a summary "
        "and review.html, a page to look at the photos and correct the decisions. What the page "
        "exports becomes labels to train on by --apply.",
    )
    add = parser.add_argument
    add("--load_from", metavar="RUN", help="a run's folder (needed)")
    add(
        "--apply",
        metavar="FILE",
        help="review.json, as exported by the page: write the labels kept there as reviewed.*, "
        "and nothing else",
    )
    group = parser.add_argument_group("decision")
    chosen = group.add_mutually_exclusive_group()
    chosen.add_argument(
        "--threshold",
        type=SHARE,
        default=0.5,
        help="drop candidates that are less probable, 0..1 (default 0.5)",
    )
    chosen.add_argument(
        "--precision",
        type=SHARE,
        help="drop as many as leave the expected share of false ones among the dropped at this "
        "at least, 0..1",
    )
    chosen.add_argument("--budget", type=NATURAL, help="drop this many, the least probable first")
    group.add_argument(
        "--folds",
        type=number(int, 2, 100),
        metavar="K",
        help="judge every image by a model that was not trained on it: K models are trained as "
        "the run was, each without a part of the images; resumes (default: the run's own model)",
    )
    add_machine_flags(parser)
    data_group = parser.add_argument_group("data, where it has moved since the run")
    data_group.add_argument("--path_images", metavar="DIR", help="default: the run's")
    for name in "labels", "classes", "noise_file":
        data_group.add_argument(f"--{name}", metavar="FILE", help="default: the run's")
    parser.add_argument("--output_dir", metavar="DIR", help="default: review in the run's folder")
    options = parser.parse_args()
    parser.need(options, "load_from", "a run's folder")
    decides = [options.precision, options.budget, options.folds]
    if options.apply is not None and (options.threshold != 0.5 or any(map(bool, decides))):
        parser.error("--apply takes the decisions of its file: leave --threshold and the like out")
    check_inputs(
        options,
        load_from="a run's folder",
        apply="review.json, as exported by the page",
        noise_file="the run's candidate labels",
    )

    from pipeline.data.registry import load_splits
    from pipeline.data.training_data import candidates_of_run
    from pipeline.model.checkpoint import read_checkpoint, weights_sha256
    from pipeline.review.label_files import read_decisions, write_kept
    from pipeline.review.scan import entries_of

    place = Path(options.load_from)
    place = place if place.is_dir() else place.parent
    no_run = UserError(
        f"{options.load_from} is no run: expected the folder of one, whose config.json says which "
        "candidates it was trained on"
    )
    if not (place / "config.json").exists():
        raise no_run
    checkpoint = read_checkpoint(options.load_from)
    needed = {"script", "dataset", "seed", "partial_rate", "noise_file", "path_images"}
    if "fingerprint" not in checkpoint.data or not needed <= set(checkpoint.options):
        raise no_run
    for name in DATA_PLACES:
        if getattr(options, name) is not None:
            checkpoint.options[name] = getattr(options, name)
    run = argparse.Namespace(**checkpoint.options)
    splits = load_splits(run, ["train", "test"])
    data = splits["train"]
    candidates = candidates_of_run(checkpoint, data, splits["test"])
    key = hashlib.sha256(
        f"{checkpoint.data['fingerprint']} {weights_sha256(checkpoint)}".encode()
    ).hexdigest()[:32]
    folder = Path(options.output_dir or place / "review")
    if options.apply is None:
        began_with = checkpoint.options.get("load_from")
        if options.folds is not None and began_with is not None:
            raise UserError(
                f"--folds needs models that have not seen the images, but {place} was started "
                f"from {began_with}, which may have: leave --folds out"
            )
        if options.folds is not None and options.folds > len(data) // 2:
            raise UserError(
                f"--folds {options.folds}: expected {len(data) // 2} at most, so that each of the "
                f"{len(data)} images' models sees half of them at least; give fewer"
            )
        open_folder(folder, key, own=folder == place / "review")
        review(options, place, run, data, candidates, key, folder)
        return
    entries = entries_of(candidates)
    kept = read_decisions(options.apply, key, data.ids, data.classes, entries)
    reviewed = entries.matrix(kept, candidates.shape)
    open_folder(folder, key, own=folder == place / "review")
    print(f"kept                {kept.sum()} of {len(kept)} candidates")
    say_how_to_train(run, write_kept(folder / "reviewed", run, data, reviewed))


def open_folder(folder: Path, key: str, own: bool) -> None:
    """Make the folder, or take up one that a review of this run has marked as its own.

    Args:
        key: of the run.
        own: it is the one in the run's folder, and the run may have been trained further.
    """
    from pipeline.data.candidates import REVIEW_MARK
    from utils.files import atomic_path

    mark = folder / REVIEW_MARK
    marked = mark.is_file() and (own or mark.read_text("utf-8").strip() == key)
    if not marked and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} exists and holds no review of this run: give a new or empty --output_dir"
        )
    with atomic_path(mark) as temporary:
        temporary.write_text(f"{key}\n", "utf-8")


def review(
    options: argparse.Namespace,
    place: Path,
    run: argparse.Namespace,
    data: "LabelledImages",
    candidates: "np.ndarray",
    key: str,
    folder: Path,
) -> None:
    """Look at all images, decide on their candidates and write everything.

    Args:
        options: of this script.
        place: the run's folder.
        run: its options.
        data, candidates: what it was trained on.
        key: names the review.
        folder: to write to.
    """

    from pipeline.data.training_data import truth_of
    from pipeline.review.candidate_posterior import decide, run_posterior
    from pipeline.review.label_files import write_kept, write_table
    from pipeline.review.page import CHUNK, Page, write_maps, write_page
    from pipeline.review.scan import Scan, entries_of
    from pipeline.review.summary import class_correlation, read_history, summarise
    from utils.files import write_json

    truth, entries = truth_of(run, data), entries_of(candidates)
    scan = Scan(data, entries, folder)
    look(scan, options, run, candidates, folder / "folds" / key[:8])
    probabilities = run_posterior(scan.logits, candidates, run, scan.parts)
    probability = probabilities[entries.rows, entries.columns]
    decision = decide(
        probability,
        entries.rows,
        threshold=options.threshold,
        precision=options.precision,
        budget=options.budget,
    )
    kept = entries.matrix(decision.kept, candidates.shape)
    summary = summarise(data, truth, candidates, probabilities, kept, decision)
    lines = headlines(summary)

    write_table(folder / "labels.csv", data, entries, probability, decision.kept)
    files = write_kept(folder / "cleaned", run, data, kept)
    write_json(folder / "summary.json", summary)
    for chunk, first in enumerate(range(0, len(data), CHUNK)):
        ends = entries.starts[[first, min(first + CHUNK, len(data))]]
        write_maps(folder, chunk, scan.maps[slice(*ends)])
    page = Page(
        title=str(place),
        key=key,
        classes=data.classes,
        paths=data.ids,
        starts=entries.starts,
        columns=entries.columns,
        probability=probability,
        kept=decision.kept,
        history=read_history(place),
        correlation=class_correlation(place, kept),
        summary=lines,
    )
    path = write_page(folder, page)
    for name, value in lines.items():
        print(f"{name:<20}{value}")
    if decision.precision is None and len(probability):
        print(f"                    the least probable candidate has {probability.min():.3f}")
    print(f"all candidates      {folder / 'labels.csv'}")
    print(f"page                {path}")
    say_how_to_train(run, files)


def look(
    scan: "Scan",
    options: argparse.Namespace,
    run: argparse.Namespace,
    candidates: "np.ndarray",
    folds: Path,
) -> None:
    """Look at all images with the run's model, or with models that were not trained on them.

    Args:
        folds: folder for the latter.
    """
    import numpy as np
    import torch

    from pipeline.evaluation import load_trained, precision_of
    from pipeline.experiment import resolve_machine
    from pipeline.review.scan import fold_rows, train_fold
    from utils.machine import choose_device

    images = len(scan.data)
    if options.folds is None:
        trained = load_trained(options.load_from, vars(options))
        scan.look(trained, np.arange(images), options.workers, options.batch_size)
        return
    device = choose_device(options.device)
    machine = {"device": str(device), "workers": options.workers}
    machine["amp"] = options.amp or precision_of(vars(run), device)
    own = argparse.Namespace(**vars(run) | machine)
    resolve_machine(own, in_memory=isinstance(scan.data.images, torch.Tensor))
    for fold, held_out in enumerate(fold_rows(images, options.folds, run.seed), 1):
        print(f"fold                {fold} of {options.folds}", flush=True)
        part = folds.with_name(f"{folds.name}-{fold}-of-{options.folds}")
        trained = train_fold(own, scan.data, candidates, held_out, part)
        scan.look(trained, held_out, options.workers, options.batch_size)


def headlines(summary: dict[str, Any]) -> dict[str, str]:
    """The summary in a few lines, by name."""
    lines = {
        "candidates": f"{summary['candidates']} in {summary['images']} images",
        "dropped": str(summary["dropped"]),
        "threshold": f"{summary['threshold']:.3f}",
    }
    for name, meaning in {
        "expected_precision": "of the dropped are false, by their probabilities",
        "precision": "of the dropped are false",
        "recall": "of the false are dropped",
        "average_precision": "of a list of all candidates, the least probable first",
    }.items():
        if summary[name] is not None:
            lines[name.replace("_", " ")] = f"{summary[name]:.3f} {meaning}"
    return lines


def say_how_to_train(run: argparse.Namespace, files: list[Path]) -> None:
    """Print the files of labels kept, and the flags that train on them."""
    array, *label_files = files
    flag = shlex.join(["--noise_file", str(array)])
    print(f"to train on         {array}; add {flag} to the run's command")
    for path in label_files:
        flags = ["--labels", str(path), "--path_images"]
        flags += [str(run.path_images or Path(run.labels).parent)]
        flags += ["--classes", f"{array.with_suffix('')}-classes.txt"]
        flags += ["--allow_missing"] if run.allow_missing else []
        print(f"                    or give {shlex.join(flags)} in place of the run's")


if __name__ == "__main__":
    sys.exit(main())
