"""Evaluate a trained classifier: this project's, the method's authors' or CSRA's."""

import dataclasses
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError, exit_status
from utils.files import atomic_path, check_new_file, check_output_dir, filled, write_json
from utils.options import groups
from utils.options.choices import DATASETS
from utils.options.kinds import NATURAL, SWITCH, Choice
from utils.options.stored import run_options
from utils.options.table import OptionsParser, check_inputs, parse
from utils.options.training import TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.labelled import LabelledImages, Split
    from pipeline.evaluation import Trained

DESCRIPTION = (
    "Evaluate a trained classifier: average precision by class, mAP, CP CR CF1 OP OR OF1 at "
    "probability 0.5, and of the top 3 above it, as a table, as JSON and as precision-recall "
    "curves. A run is judged on its own data unless --dataset is given."
)
OF_A_RUN = (
    *("path_images", "labels", "classes", "columns", "separator", "rename"),
    *("allow_missing", "seed"),
)


@dataclass(frozen=True, kw_only=True)
class Options(groups.DataOptions, groups.CheckpointOptions):
    """The options of val.py."""

    dataset: str = groups.data_flag(
        None, "files: your own images", Choice(DATASETS), shown="default: the run's own"
    )
    split: "Split" = groups.data_flag("test", "images to judge", Choice(("test", "train")))
    seed: int | None = groups.data_flag(
        None, "divides files without a split", NATURAL, shown="default: the run's, or 0"
    )
    candidates: bool = groups.data_flag(
        False,
        "with --split train, of a run's own data: judge also how the scores rank the candidates it "
        "was trained on, true before false, all classes pooled",
        SWITCH,
    )
    tune_thresholds: bool = groups.output_flag(
        False,
        "store, with the checkpoint, the threshold of each class with the highest F1 on --split; "
        "predict.py applies them",
        SWITCH,
    )
    save_scores: str | None = groups.output_flag(
        None,
        ".npz with scores (N, C) before the sigmoid, targets, ids and classes",
        metavar="FILE",
        shown="",
    )
    output_dir: str | None = groups.output_flag(
        None,
        "for evaluation.json and its plot",
        metavar="DIR",
        shown="default: runs/val-<dataset>-<time>-<process>",
    )


@exit_status
def main() -> None:
    parser = OptionsParser(description=DESCRIPTION)
    options = parse(Options, parser)
    check_options(parser, options)

    from pipeline.data.registry import load_splits
    from pipeline.evaluation import check_classes, judge, load_trained, score, targets_to_judge_by
    from pipeline.model.checkpoint import read_thresholds

    trained = load_trained(options, options.dataset, options.num_cls)
    options = with_data_of_run(parser, options, trained.checkpoint.options)
    folder = output_folder(options, trained)
    splits = load_splits(
        options, ["train", "test"] if options.candidates else [options.split], options.seed or 0
    )
    images = splits[options.split]
    check_classes(trained, images.classes, options.dataset)
    thresholds = None
    if not options.tune_thresholds:
        thresholds = read_thresholds(trained.checkpoint, images.classes)
    trained_with = options_of_run(trained) if options.candidates else None
    candidates = None if trained_with is None else candidates_of(trained_with, trained, splits)
    print(f"data        {len(images)} {options.split} images of {options.dataset}", flush=True)

    scores = score(trained, images, options.workers, options.batch_size)
    targets = targets_to_judge_by(images, options.split)
    if options.tune_thresholds:
        thresholds = tune_thresholds(options, trained, scores, targets, images.classes)
    metrics = judge(scores, targets, images.classes, thresholds)
    print_evaluation(metrics)
    if trained_with is not None and candidates is not None:
        metrics |= judge_candidates_of(trained_with, images, scores, candidates)
    print_thresholds(options, trained, thresholds)
    write_outputs(
        options, folder, trained, images=images, scores=scores, targets=targets, metrics=metrics
    )


def check_options(parser: OptionsParser, options: Options) -> None:
    """Refuse, before torch is imported, what cannot be done."""
    parser.need(options.load_from, "--load_from", "a run's folder or a weight file")
    if options.save_scores is not None:
        if not options.save_scores.endswith(".npz"):
            parser.error(f"--save_scores {options.save_scores}: expected a name that ends in .npz")
        check_new_file(Path(options.save_scores), "--save_scores")
    if options.candidates and (options.split != "train" or options.dataset is not None):
        parser.error("--candidates needs --split train and a run's own data, without --dataset")
    if options.dataset is not None:
        groups.check_data_options(parser, options)
    check_inputs(options)


def with_data_of_run(parser: OptionsParser, options: Options, stored: Mapping[str, Any]) -> Options:
    """Fill the data options that were not given from the run, if --dataset was not."""
    if options.dataset is None:
        if not stored:
            parser.error(f"--dataset is needed: no run's config.json is beside {options.load_from}")
        if stored.get("dataset") not in DATASETS:
            parser.error("--dataset is needed: the run's config.json names none that is known")
        own = {
            name: stored[name]
            for name in OF_A_RUN
            if not_given(getattr(options, name)) and stored.get(name) is not None
        }
        options = dataclasses.replace(options, dataset=stored["dataset"], **own)
        groups.check_data_options(parser, options)
    if options.seed is None:
        options = dataclasses.replace(options, seed=stored.get("seed", 0))
    return options


def not_given(value: Any) -> bool:
    return value is None or value is False


def output_folder(options: Options, trained: "Trained") -> Path:
    """The folder to write to, refused where it cannot be written."""
    from pipeline.model.checkpoint import thresholds_path

    now = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(options.output_dir or f"runs/val-{options.dataset}-{now}-{os.getpid()}")
    check_output_dir(folder, marked=True)
    beside = thresholds_path(trained.checkpoint).parent
    if options.tune_thresholds and not os.access(beside, os.W_OK):
        raise UserError(
            f"--tune_thresholds writes beside {trained.checkpoint.path}, where you may not write: "
            "copy it with its config.json, or leave the flag out"
        )
    return folder


def options_of_run(trained: "Trained") -> TrainingOptions:
    """The options of the run."""
    return run_options(trained.checkpoint.options, trained.checkpoint.path.parent)


def candidates_of(
    trained_with: TrainingOptions, trained: "Trained", splits: "Mapping[Any, LabelledImages]"
) -> "np.ndarray":
    """The candidates that the run was trained on."""
    from pipeline.data.training_data import candidates_of_run

    path, fingerprint = trained.checkpoint.path, trained.checkpoint.data.get("fingerprint")
    return candidates_of_run(trained_with, fingerprint, path, splits["train"], splits["test"])


def tune_thresholds(
    options: Options,
    trained: "Trained",
    scores: "np.ndarray",
    targets: "np.ndarray",
    classes: list[str],
) -> dict[str, Any]:
    """Store the best thresholds with the checkpoint."""
    from pipeline.evaluation import tune
    from pipeline.model.checkpoint import thresholds_path, weights_sha256

    thresholds = tune(scores, targets, classes, options.dataset, options.split)
    thresholds["weights_sha256"] = weights_sha256(trained.checkpoint)
    write_json(thresholds_path(trained.checkpoint), thresholds)
    return thresholds


def judge_candidates_of(
    trained_with: TrainingOptions,
    images: "LabelledImages",
    scores: "np.ndarray",
    candidates: "np.ndarray",
) -> dict[str, Any]:
    """Judge how the scores rank the candidates, and print it."""
    from pipeline.data.training_data import find_verified, truth_of
    from pipeline.data.verified import truth_of_others
    from utils.metrics import format_metric, judge_candidates

    truth = truth_of(trained_with, images)
    if truth is not None:
        truth = truth_of_others(truth, find_verified(trained_with, images))
    judged = judge_candidates(scores, truth, candidates)
    if truth is None:
        print("candidates  which of them are true is not known: labels as found, or reviewed")
    else:
        print(
            f"candidates  AP {format_metric(judged['candidate_AP'])} over "
            f"{judged['candidates']}, of which {judged['true_candidates']} are true"
        )
    return judged


def print_evaluation(evaluation: dict[str, Any]) -> None:
    from pipeline.evaluation import format_table

    print(f"\n{format_table(evaluation)}\n")


def print_thresholds(
    options: Options, trained: "Trained", thresholds: dict[str, Any] | None
) -> None:
    """Say which thresholds were applied, and where they are from."""
    from pipeline.model.checkpoint import thresholds_path

    if thresholds is not None:
        same = (thresholds["dataset"], thresholds["split"]) == (options.dataset, options.split)
        print(
            f"thresholds  {thresholds_path(trained.checkpoint)}, tuned on {thresholds['split']} "
            f"images of {thresholds['dataset']}"
            f"{': F1 on the same images flatters' if same else ''}"
        )


def write_outputs(
    options: Options,
    folder: Path,
    trained: "Trained",
    *,
    images: "LabelledImages",
    scores: "np.ndarray",
    targets: "np.ndarray",
    metrics: dict[str, Any],
) -> None:
    """Write the metrics, their plot and, if asked for, the scores, to a folder that is new."""
    import numpy as np

    from utils.plots import precision_recall_curves

    classes = images.classes
    with filled(folder):
        if options.save_scores is not None:
            with atomic_path(options.save_scores) as temporary:
                ids, names = np.array(list(images.ids)), np.array(classes)
                np.savez(temporary, scores=scores, targets=targets, ids=ids, classes=names)
            print(f"scores      {options.save_scores}")
        named = {"checkpoint": str(trained.checkpoint.path)}
        named |= {"dataset": options.dataset, "split": options.split}
        write_json(folder / "evaluation.json", named | trained.settings | metrics)
        with atomic_path(folder / "precision_recall.png") as temporary:
            ap = np.array([value["AP"] for value in metrics["by_class"].values()], float)
            precision_recall_curves(scores, targets, classes, ap, temporary)
        print(f"evaluation  {folder}")


if __name__ == "__main__":
    sys.exit(main())
