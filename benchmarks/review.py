"""Finding false candidates: this project's ranking against cleanlab's, given the same scores.

Run: python -m benchmarks.review [RUN ...]

Runs are of main_CoNeS.py or main_BCE.py, with noise that was added. Without any, one is trained
on digits at 0.2 by the recipe posterior, which takes about two minutes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

from benchmarks.timing import ratio
from pipeline.data.registry import load_splits
from pipeline.data.training_data import candidates_of_run, truth_of
from pipeline.evaluation import load_trained, score
from pipeline.review.candidate_posterior import decide, run_posterior
from utils.metrics import average_precision, probabilities
from utils.options.groups import CheckpointOptions
from utils.options.stored import run_options


def compare(path: str) -> None:
    """Print how well each ranking finds the false candidates of a run."""
    trained = load_trained(CheckpointOptions(load_from=path))
    found = trained.checkpoint
    options = run_options(found.options, path)
    splits = load_splits(options, ["train", "test"], options.seed)
    data = splits["train"]
    candidates = candidates_of_run(
        options, found.data.get("fingerprint"), path, data, splits["test"]
    )
    logits = score(trained, data)
    truth = truth_of(options, data)
    if truth is None:
        sys.exit(f"{path}: expected a run whose true labels are known")
    rows, columns = np.nonzero((candidates == 1) & (truth >= 0))
    is_false = (truth[rows, columns] == 0).astype(np.int8)[:, None]

    def ap(quality: np.ndarray) -> float:
        return float(average_precision(-quality[:, None].astype(np.float32), is_false)[0])

    probability = run_posterior(logits, candidates, options)[rows, columns]
    dropped = ~decide(probability, rows).kept
    print(
        f"\n{is_false.sum()} of {len(rows)} candidates are false; average precision of finding them"
    )
    ours = ap(probability)
    print(f"{'this project':42}{ours:8.3f}")
    labels = [np.flatnonzero(row).tolist() for row in candidates]
    for adjusted in (False, True):
        quality = get_label_quality_scores_per_class(
            labels, probabilities(logits), adjust_pred_probs=adjusted
        )
        name = f"cleanlab{', adjusted for classes' if adjusted else ''}"
        theirs = ap(quality[rows, columns])
        print(f"{name:42}{theirs:8.3f}")
        ratio("average precision of finding false labels", name, ours / theirs, "high")
    precision, recall = is_false[dropped].mean(), dropped[is_false[:, 0] == 1].mean()
    print(f"dropped below 0.5: precision {precision:.3f}, recall {recall:.3f}")


def main() -> None:
    if sys.argv[1:]:
        for path in sys.argv[1:]:
            compare(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "run")
        flags = ["--dataset", "digits", "--partial_rate", "0.2", "--recipe", "posterior"]
        command = [sys.executable, "main_CoNeS.py", *flags, "--output_dir", path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        compare(path)


if __name__ == "__main__":
    main()
