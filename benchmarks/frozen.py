"""Methods compared in seconds a training: a linear classifier on features of a frozen trunk.

Run: python -m benchmarks.frozen [--dataset ...] [--methods ...] [--rates ...] -- FLAGS

FLAGS are those of every training script for the data and the trunk, for example --labels LIST
--model NAME --weights FILE --img_size 128. Runs are those of compare.py, and so are the tables.
All on the CPU, in full precision. The trunk sees each image once, without augmentation, and its
features are averaged over the map and standardised.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline import methods
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import EvaluationImages, evaluation_loader
from pipeline.data.noise import uniform_noise
from pipeline.data.registry import load_data
from pipeline.data.rows import CandidateRows
from pipeline.data.transforms import evaluation_transform
from pipeline.experiment import build_classifier
from pipeline.model.classifier import Classifier, Output
from utils.comparison.definitions import METHODS
from utils.comparison.grid import Grid
from utils.comparison.statistics import Run
from utils.comparison.tables import markdown_report
from utils.errors import exit_status
from utils.metrics import judge_candidates, multilabel_metrics
from utils.options.choices import CLEAN_DATASETS
from utils.options.kinds import NATURAL, RATE
from utils.options.table import OptionsParser
from utils.options.training import TrainingOptions
from utils.progress import progress_bar

EPOCHS, DROP_AFTER, BATCH, LEARNING_RATE, WEIGHT_DECAY = 20, 14, 64, 0.05, 1e-4


@exit_status
def main() -> None:
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    flags = sys.argv[cut + 1 :]
    parser = OptionsParser(prog="python -m benchmarks.frozen", description=__doc__.splitlines()[0])
    default = ["clean", "bce", "paper", "posterior"]
    parser.add_argument("--dataset", choices=CLEAN_DATASETS, default="digits")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=default)
    parser.add_argument("--rates", nargs="+", type=RATE.parse, default=[0.05, 0.1, 0.2, 0.4])
    parser.add_argument("--seeds", nargs="+", type=NATURAL.parse, default=[0, 1, 2])
    arguments = parser.parse_args(sys.argv[1:cut])

    grid = Grid(Path(), arguments.dataset, flags, METHODS)
    runs = grid.runs(arguments.methods, arguments.rates, arguments.seeds)
    options = grid.options(runs[0])
    train, test = load_data(options, options.seed)
    classifier = build_classifier(options, len(train.classes)).eval()
    features, test_features = (
        features_of(classifier, data, options.img_size) for data in (train, test)
    )
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-3
    features, test_features = ((each - mean) / deviation for each in (features, test_features))

    scores: dict[Run, float] = {}
    candidate_scores: dict[Run, float] = {}
    for run in runs:
        options = grid.options(run)
        candidates = uniform_noise(train.targets, options.partial_rate, run.seed)
        linear = fit(features, CandidateRows.from_dense(candidates), classifier, options, run.seed)
        with torch.inference_mode():
            train_logits, logits = (linear(x).numpy() for x in (features, test_features))
        scores[run] = multilabel_metrics(logits, test.targets)["mAP"]
        judged = judge_candidates(train_logits, train.targets, candidates)["candidate_AP"]
        if judged is not None:
            candidate_scores[run] = judged
        print(f"{run}: mAP {scores[run]:.1f}", flush=True)
    names, rates, seeds = arguments.methods, arguments.rates, arguments.seeds
    name = f"{options.dataset}, {options.model}, frozen"
    print(markdown_report(name, scores, candidate_scores, names, rates, seeds, names[-1]))


@torch.inference_mode()
def features_of(classifier: Classifier, data: LabelledImages, img_size: int) -> torch.Tensor:
    """(N, D), the feature map's mean of every image."""
    loader = evaluation_loader(
        EvaluationImages(data.images, evaluation_transform(img_size)), 16, 0, False
    )
    parts = []
    with progress_bar("features", len(data)) as bar:
        for images in loader:
            parts.append(classifier(images).features.float().mean(dim=(2, 3)))
            bar.update(len(images))
    return torch.cat(parts)


def fit(
    features: torch.Tensor,
    rows: CandidateRows,
    classifier: Classifier,
    options: TrainingOptions,
    seed: int,
) -> nn.Linear:
    """A linear classifier of features (N, D), trained by the method that `options` name."""
    torch.manual_seed(seed)
    linear = nn.Linear(features.shape[1], rows.classes)
    method = methods.make_method(rows, classifier.trunk.feature_dim, options)
    optimizer = torch.optim.SGD(
        linear.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [DROP_AFTER])
    for epoch in range(1, EPOCHS + 1):
        method.begin_epoch(epoch)
        order = np.random.default_rng([seed, epoch]).permutation(rows.images)
        for index in torch.from_numpy(order).split(BATCH):
            logits, maps = linear(features[index]), features[index, :, None, None]
            output = Output(logits, maps, logits.detach()[:, :, None, None])
            loss = method.loss(output, rows.dense(index), index)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return linear


if __name__ == "__main__":
    sys.exit(main())
