"""Evaluate a trained classifier: this project's, the method's authors' or CSRA's."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from utils.errors import UserError, exit_status
from utils.files import atomic_path, check_new_file, check_output_dir, write_json
from utils.options.defaults import DATASETS
from utils.options.flags import (
    INPUTS,
    NATURAL,
    ScriptParser,
    add_checkpoint_flags,
    add_data_flags,
    check_data_flags,
    check_inputs,
)

OF_A_RUN = ("path_images", "labels", "classes", "allow_missing", "seed")


@exit_status
def main() -> None:
    parser = ScriptParser(
        description="Evaluate a trained classifier: average precision by class, mAP, CP CR CF1 OP "
        "OR OF1 at probability 0.5, and of the top 3 above it, as a table, as JSON and as "
        "precision-recall curves. A run is judged on its own data unless --dataset is given.",
    )
    add_checkpoint_flags(parser)
    data = add_data_flags(parser, DATASETS, "default: the run's own")
    data.add_argument(
        "--split", choices=["test", "train"], default="test", help="images to judge (default test)"
    )
    data.add_argument(
        "--seed", type=NATURAL, help="divides files without a split (default: the run's, or 0)"
    )
    data.add_argument(
        "--candidates",
        action="store_true",
        help="with --split train, of a run's own data: judge also how the scores rank the "
        "candidates it was trained on, true before false, all classes pooled",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--tune_thresholds",
        action="store_true",
        help="store, with the checkpoint, the threshold of each class with the highest F1 on "
        "--split; predict.py applies them",
    )
    output.add_argument(
        "--save_scores",
        metavar="FILE",
        help=".npz with scores (N, C) before the sigmoid, targets, ids and classes",
    )
    output.add_argument(
        "--output_dir",
        metavar="DIR",
        help="for evaluation.json and its plot (default runs/val-<dataset>-<time>-<process>)",
    )
    options = parser.parse_args()
    parser.need(options, "load_from", INPUTS["load_from"])
    if options.save_scores is not None:
        if not options.save_scores.endswith(".npz"):
            parser.error(f"--save_scores {options.save_scores}: expected a name that ends in .npz")
        check_new_file(Path(options.save_scores), "--save_scores")
    if options.candidates and (options.split != "train" or options.dataset is not None):
        parser.error("--candidates needs --split train and a run's own data, without --dataset")
    if options.dataset is not None:
        check_data_flags(parser, options)
    check_inputs(options)

    import numpy as np

    from pipeline.data.registry import load_splits
    from pipeline.data.training_data import candidates_of_run, judge_candidates, truth_of
    from pipeline.engine import format_metric
    from pipeline.evaluation import check_classes, format_table, judge, load_trained, score, tune
    from pipeline.model.checkpoint import read_thresholds, thresholds_path, weights_sha256
    from utils.plots import precision_recall_curves

    trained = load_trained(options.load_from, vars(options))
    checkpoint = trained.checkpoint
    take_data_of_run(parser, options, checkpoint.options)
    now = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(options.output_dir or f"runs/val-{options.dataset}-{now}-{os.getpid()}")
    check_output_dir(folder)
    if options.tune_thresholds and not os.access(thresholds_path(checkpoint).parent, os.W_OK):
        raise UserError(
            f"--tune_thresholds writes beside {checkpoint.path}, where you may not write: copy it "
            "with its config.json, or leave the flag out"
        )
    splits = load_splits(options, ["train", "test"] if options.candidates else [options.split])
    images = splits[options.split]
    classes, targets = images.classes, images.targets
    # Labels as found are no measure where the truth is known; test targets hold it already.
    if options.split == "train" and images.true_targets is not None:
        targets = images.true_targets
    check_classes(trained, classes, options.dataset)
    thresholds = None if options.tune_thresholds else read_thresholds(checkpoint, classes)
    candidates = None
    if options.candidates:
        candidates = candidates_of_run(checkpoint, images, splits["test"])
    print(f"data        {len(images)} {options.split} images of {options.dataset}", flush=True)

    scores = score(trained, images, options.workers, options.batch_size)
    if options.tune_thresholds:
        thresholds = tune(scores, targets, classes, options.dataset, options.split)
        thresholds["weights_sha256"] = weights_sha256(checkpoint)
        write_json(thresholds_path(checkpoint), thresholds)
    evaluation = judge(scores, targets, classes, thresholds)
    print(f"\n{format_table(evaluation)}\n")
    if candidates is not None:
        truth = truth_of(argparse.Namespace(**checkpoint.options), images)
        evaluation |= judge_candidates(scores, truth, candidates)
        if truth is None:
            print("candidates  which of them are true is not known: labels as found, or reviewed")
        else:
            print(
                f"candidates  AP {format_metric(evaluation['candidate_AP'])} over "
                f"{evaluation['candidates']}, of which {evaluation['true_candidates']} are true"
            )
    if thresholds is not None:
        same = (thresholds["dataset"], thresholds["split"]) == (options.dataset, options.split)
        print(
            f"thresholds  {thresholds_path(checkpoint)}, tuned on {thresholds['split']} images of "
            f"{thresholds['dataset']}{': F1 on the same images flatters' if same else ''}"
        )
    if options.save_scores is not None:
        with atomic_path(options.save_scores) as temporary:
            ids, names = np.array(list(images.ids)), np.array(classes)
            np.savez(temporary, scores=scores, targets=targets, ids=ids, classes=names)
        print(f"scores      {options.save_scores}")
    named = {"checkpoint": str(checkpoint.path), "dataset": options.dataset, "split": options.split}
    write_json(folder / "evaluation.json", named | trained.settings | evaluation)
    with atomic_path(folder / "precision_recall.png") as temporary:
        ap = np.array([value["AP"] for value in evaluation["by_class"].values()], float)
        precision_recall_curves(scores, targets, classes, ap, temporary)
    print(f"evaluation  {folder}")


def take_data_of_run(
    parser: ScriptParser, options: argparse.Namespace, stored: dict[str, Any]
) -> None:
    """Fill the data flags that were not given from the run, if --dataset was not."""
    if options.dataset is None:
        if not stored:
            parser.error(f"--dataset is needed: no run's config.json is beside {options.load_from}")
        if stored.get("dataset") not in DATASETS:
            parser.error("--dataset is needed: the run's config.json names none that is known")
        options.dataset = stored["dataset"]
        for name in OF_A_RUN:
            if getattr(options, name) is None:
                setattr(options, name, stored.get(name))
        check_data_flags(parser, options)
    if options.seed is None:
        options.seed = stored.get("seed", 0)


if __name__ == "__main__":
    sys.exit(main())
