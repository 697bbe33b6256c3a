"""Find the candidate labels that are probably false, clean them, and review them on a page."""

import dataclasses
import functools
import hashlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from utils.errors import UserError, exit_status
from utils.options.groups import CheckpointOptions, MachineOptions
from utils.options.kinds import COUNT, NATURAL, SHARE, Number
from utils.options.table import OptionsParser, check_inputs, option, parse

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.labelled import LabelledImages
    from pipeline.review.scan import Entries, Scan
    from utils.options.training import TrainingOptions

DESCRIPTION = (
    "Say of every training image and candidate of a run how likely it is true, drop those that are "
    "probably false, and write labels.csv, the labels kept, a summary and review.html, a page to "
    "look at the photos and correct the decisions. What the page exports becomes labels to train "
    "on by --apply."
)
decision_flag = functools.partial(option, group="decision")
moved_flag = functools.partial(
    option, group="data, where it has moved since the run", shown="default: the run's"
)


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """The run to review, and what to do."""

    load_from: str = option(
        None, "a run's folder", metavar="RUN", shown="needed", reads="a run's folder"
    )
    apply: str | None = option(
        None,
        "review.json, as exported by the page: write the labels kept there as reviewed.*, and "
        "nothing else",
        metavar="FILE",
        shown="",
        reads="review.json, as exported by the page",
    )
    verify: int | None = option(
        None,
        "write your list again with so many photos first, drawn at random, for you to verify, and "
        "nothing else",
        COUNT,
        metavar="N",
        shown="",
    )
    output_dir: str | None = option(
        None, "folder to write to", metavar="DIR", shown="default: review in the run's folder"
    )
    threshold: float | None = decision_flag(
        None,
        "drop candidates that are less probable, 0..1",
        SHARE,
        shown="default 0.5; give one of --threshold, --precision and --budget",
    )
    precision: float | None = decision_flag(
        None,
        "drop as many as leave the expected share of false ones among the dropped at this at "
        "least, 0..1",
        SHARE,
        shown="",
    )
    budget: int | None = decision_flag(
        None, "drop this many, the least probable first", NATURAL, shown=""
    )
    folds: int | None = decision_flag(
        None,
        "judge every image by a model that was not trained on it: this many models are trained as "
        "the run was, each without a part of the images; resumes",
        Number(int, 2, 100),
        metavar="K",
        shown="default: the run's own model",
    )


@dataclass(frozen=True, kw_only=True)
class MovedData:
    """Places of a run's data that have moved."""

    path_images: str | None = moved_flag(
        None, "folder of the images", metavar="DIR", reads="the data set's folder"
    )
    labels: str | None = moved_flag(
        None, "label file", metavar="FILE", reads="the file that lists your images"
    )
    classes: str | None = moved_flag(
        None, "file of class names", metavar="FILE", reads="the file of class names"
    )
    noise_file: str | None = moved_flag(
        None, "candidate labels", metavar="FILE", reads="the run's candidate labels"
    )


@dataclass(frozen=True, kw_only=True)
class Options(MovedData, MachineOptions, ReviewOptions):
    """The options of review.py."""


class RunToReview(NamedTuple):
    """A run to review.

    path: its folder. options: its own, with data where they lie now. data: its training images.
    candidates: (N, C) uint8, what it was trained on. key: names the review, by data and weights.
    """

    path: Path
    options: "TrainingOptions"
    data: "LabelledImages"
    candidates: "np.ndarray"
    key: str


@exit_status
def main() -> None:
    parser = OptionsParser(description=DESCRIPTION)
    options = parse(Options, parser)
    check_options(parser, options)
    check_inputs(options)

    run = load_run(options)
    folder = Path(options.output_dir or run.path / "review")
    own = folder == run.path / "review"
    if options.verify is not None:
        from pipeline.review.label_files import write_to_verify

        path = folder / f"verify{Path(str(run.options.labels)).suffix.lower()}"
        if path.exists():
            raise UserError(f"{path} exists: move it away, to keep what you have verified there")
        open_folder(folder, run.key, own)
        write_to_verify(path, run.options, run.data, options.verify)
        print(
            f"to verify           {path}: of its first {options.verify} photos correct true_labels "
            "and set verified to yes; then train with this list as --labels, and --path_images "
            f"{run.options.path_images or Path(str(run.options.labels)).parent}"
        )
    elif options.apply is None:
        check_folds(options.folds, run)
        open_folder(folder, run.key, own)
        review(options, run, folder)
    else:
        apply(options.apply, run, folder, own)


def check_options(parser: OptionsParser, options: Options) -> None:
    """Bad usage (exit status 2) where flags do not go together."""
    parser.need(options.load_from, "--load_from", "a run's folder")
    decision = {name: getattr(options, name) for name in ("threshold", "precision", "budget")}
    given = [name for name, value in decision.items() if value is not None]
    if len(given) > 1:
        parser.error(f"argument --{given[1]}: not allowed with argument --{given[0]}")
    if options.verify is not None and (given or options.apply or options.folds):
        parser.error("--verify decides nothing: leave --apply, --threshold and the like out")
    if options.apply is not None and (given or options.folds is not None):
        parser.error("--apply takes the decisions of its file: leave --threshold and the like out")


def load_run(options: Options) -> RunToReview:
    """The run at --load_from with its data and candidates.

    Raises:
        UserError: it is no run, or its data or candidates have changed.
    """
    from pipeline.data.registry import load_splits
    from pipeline.data.training_data import candidates_of_run
    from pipeline.model.checkpoint import read_checkpoint, weights_sha256
    from utils.options.stored import DATA_PLACES, run_options

    place = Path(options.load_from)
    place = place if place.is_dir() else place.parent
    no_run = UserError(
        f"{options.load_from} is no run: expected the folder of one, whose config.json says which "
        "candidates it was trained on"
    )
    if not (place / "config.json").exists():
        raise no_run
    checkpoint = read_checkpoint(options.load_from)
    if "fingerprint" not in checkpoint.data or not checkpoint.options:
        raise no_run
    given = {name: getattr(options, name) for name in DATA_PLACES}
    moved = {name: value for name, value in given.items() if value is not None}
    run = dataclasses.replace(run_options(checkpoint.options, place), **moved)
    splits = load_splits(run, ["train", "test"], run.seed)
    data = splits["train"]
    candidates = candidates_of_run(
        run, checkpoint.data["fingerprint"], checkpoint.path, data, splits["test"]
    )
    key = hashlib.sha256(
        f"{checkpoint.data['fingerprint']} {weights_sha256(checkpoint)}".encode()
    ).hexdigest()[:32]
    return RunToReview(place, run, data, candidates, key)


def check_folds(folds: int | None, run: RunToReview) -> None:
    """Refuse --folds where their models would have seen the images, or too few of them."""
    if folds is None:
        return
    if run.options.load_from is not None:
        raise UserError(
            f"--folds needs models that have not seen the images, but {run.path} was started from "
            f"{run.options.load_from}, which may have: leave --folds out"
        )
    if run.options.prior is not None:
        raise UserError("--folds cannot divide the --prior of the run: leave --folds out")
    if folds > len(run.data) // 2:
        raise UserError(
            f"--folds {folds}: expected {len(run.data) // 2} at most, so that each of the "
            f"{len(run.data)} images' models sees half of them at least; give fewer"
        )


def open_folder(folder: Path, key: str, own: bool) -> None:
    """Make the folder, or take up one that a review of this run has marked as its own.

    Args:
        folder: of the review.
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


def apply(path: str, run: RunToReview, folder: Path, own: bool) -> None:
    """Make labels of what the page exported."""
    from pipeline.review.label_files import read_decisions, write_kept
    from pipeline.review.scan import entries_of

    entries = entries_of(run.candidates)
    kept = read_decisions(path, run.key, run.data.ids, run.data.classes, entries)
    reviewed = entries.matrix(kept, run.candidates.shape)
    open_folder(folder, run.key, own)
    print(f"kept                {kept.sum()} of {len(kept)} candidates")
    files = write_kept(folder / "reviewed", run.options, run.data, reviewed)
    print_how_to_train(run.options, files)


def review(options: Options, run: RunToReview, folder: Path) -> None:
    """Score all images, decide on their candidates and write everything to `folder`."""
    import numpy as np

    from pipeline.data.training_data import find_verified, truth_of
    from pipeline.data.verified import (
        check_thresholds,
        describe_noise,
        format_check,
        format_noise,
        shown,
    )
    from pipeline.review.candidate_posterior import decide, run_posterior, stored_targets
    from pipeline.review.label_files import write_kept, write_table
    from pipeline.review.scan import Scan, entries_of
    from pipeline.review.summary import summarise
    from utils.files import write_json

    data, candidates = run.data, run.candidates
    truth, entries = truth_of(run.options, data), entries_of(candidates)
    scan = Scan(data, entries, folder)
    scan_images(scan, options, run, folder / "folds" / run.key[:8])
    verified, targets = find_verified(run.options, data), None
    stored = None
    if run.options.method == "posterior" and run.options.targets == "neighbours":
        stored = stored_targets(run.path, shown(candidates, verified))
    if stored is not None:
        targets = stored.values
        if verified is not None:
            targets[verified.rows] = -1  # their certainty is not others'
    probabilities = run_posterior(scan.logits, candidates, run.options, scan.parts, targets)
    if verified is not None:
        probabilities[verified.rows] = verified.truth * candidates[verified.rows]
        if truth is not None:  # judged are those that the run did not know
            truth = truth.copy()
            truth[verified.rows] = -1
            truth = truth if (truth >= 0).any() else None
    probability = probabilities[entries.rows, entries.columns]
    decision = decide(
        probability,
        entries.rows,
        threshold=0.5 if options.threshold is None else options.threshold,
        precision=options.precision,
        budget=options.budget,
    )
    if verified is not None:  # also where none of an image's candidates is true
        known = np.isin(entries.rows, verified.rows)
        decision.kept[known] = probability[known] > 0
    kept = entries.matrix(decision.kept, candidates.shape)
    summary = summarise(data, truth, candidates, probabilities, kept, decision)
    lines = headlines(summary)
    if verified is not None:
        summary["noise"] = describe_noise(candidates, verified, data.classes)
        print("\n".join(format_noise(summary["noise"])))
        if stored is not None and stored.held_out is not None:
            found = candidates[verified.rows] == 1
            summary["held_out"] = check_thresholds(
                stored.held_out[found], verified.truth[found] == 1, decision.threshold
            )
            print("\n".join(format_check(summary["held_out"])))

    write_table(folder / "labels.csv", data, entries, probability, decision.kept)
    files = write_kept(folder / "cleaned", run.options, data, kept)
    write_json(folder / "summary.json", summary)
    page = write_page_files(folder, run, scan, probability, decision.kept, lines)
    for name, value in lines.items():
        print(f"{name:<20}{value}")
    if decision.precision is None and len(probability):
        print(f"                    the least probable candidate has {probability.min():.3f}")
    print(f"all candidates      {folder / 'labels.csv'}")
    print(f"page                {page}")
    print_how_to_train(run.options, files)


def scan_images(scan: "Scan", options: Options, run: RunToReview, folds: Path) -> None:
    """Score all images by the run's classifier, or by ones that were not trained on them.

    Args:
        folds: folder for the latter.
    """
    import numpy as np

    from pipeline.evaluation import load_trained

    if options.folds is not None:
        from pipeline.data.training_data import find_verified
        from pipeline.features import feature_folder
        from pipeline.review.folds import scan_folds  # the one part that trains

        verified = find_verified(run.options, run.data)
        store = feature_folder(run.options.cache, run.path)
        scan_folds(
            scan, run.options, run.candidates, options.folds, options, folds, verified, store
        )
        return
    machine = {
        field.name: getattr(options, field.name) for field in dataclasses.fields(MachineOptions)
    }
    trained = load_trained(CheckpointOptions(load_from=options.load_from, **machine))
    scan.add(trained, np.arange(len(scan.data)), options.workers, options.batch_size)


def write_page_files(
    folder: Path,
    run: RunToReview,
    scan: "Scan",
    probability: "np.ndarray",
    kept: "np.ndarray",
    lines: dict[str, str],
) -> Path:
    """Write the class maps and the page, review.html; returns its path."""
    from pipeline.review.page import CHUNK, Page, write_maps, write_page
    from pipeline.review.summary import class_correlation, read_history

    entries: Entries = scan.entries
    images = len(run.data)
    for chunk, first in enumerate(range(0, images, CHUNK)):
        ends = entries.starts[[first, min(first + CHUNK, images)]]
        write_maps(folder, chunk, scan.maps[slice(*ends)])
    page = Page(
        title=str(run.path),
        key=run.key,
        classes=run.data.classes,
        paths=run.data.ids,
        starts=entries.starts,
        columns=entries.columns,
        probability=probability,
        kept=kept,
        history=read_history(run.path),
        correlation=class_correlation(run.path, entries.matrix(kept, run.candidates.shape)),
        summary=lines,
    )
    return write_page(folder, page)


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


def print_how_to_train(run: "TrainingOptions", files: list[Path]) -> None:
    """Print the files of labels kept, and the flags that train on them."""
    array, *label_files = files
    flag = shlex.join(["--noise_file", str(array)])
    print(f"to train on         {array}; add {flag} to the run's command")
    for path in label_files:
        flags = ["--labels", str(path), "--path_images"]
        flags += [str(run.path_images or Path(str(run.labels)).parent)]
        flags += ["--classes", f"{array.with_suffix('')}-classes.txt"]
        flags += ["--allow_missing"] if run.allow_missing else []
        print(f"                    or give {shlex.join(flags)} in place of the run's")


if __name__ == "__main__":
    sys.exit(main())
