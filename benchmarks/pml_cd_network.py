"""Train the network of `--loss pml-cd`, which reads weights off histograms, on the digits.

Run: python -m benchmarks.pml_cd_network

A small trunk learns the scenes of the test split, whose labels are clean, for a few epochs or more.
On its features of the training scenes decoders learn by PML-CD from candidates with uniform noise.
After each of their epochs, the scores of each scorer's candidates give a histogram for each class,
and the share of true ones in each bin. The network learns to tell these shares by the histograms of
all runs so far, and weighs the candidates of the next run: it has to know histograms of its own
making. The last replaces pipeline/baselines/pml_cd_network.json. All of it takes a few minutes on
one core.
"""

import copy
import json
from collections.abc import Iterator

import numpy as np
import torch

from pipeline.baselines.losses import Stateless, bce_loss
from pipeline.baselines.pml_cd import NETWORK, PMLCD, CurveNetwork, count_bins
from pipeline.data import digits
from pipeline.data.feature_store import Features
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import FeatureBatches, TrainingImages, train_loader
from pipeline.data.noise import uniform_noise
from pipeline.data.registry import AUGMENTATION
from pipeline.data.rows import CandidateRows
from pipeline.data.transforms import train_transform
from pipeline.engine import Training, train_one_epoch
from pipeline.methods import Method
from pipeline.model import decoder
from pipeline.model.classifier import Classifier, FrozenClassifier, assemble
from pipeline.optimisation import make_optimizer, step_schedule
from utils.files import atomic_path

CLASSES = len(digits.CLASSES)
RATES = (0.1, 0.2, 0.4, 0.7)
TRUNK_EPOCHS = (2, 4, 7)
WARM_UP, EPOCHS, BATCH = 4, 8, 32
# Classes of the digits are frequent: of so many of their true candidates rarer ones are made.
SHARES = (1.0, 0.3, 0.1)
FIT_STEPS = 1000


def main() -> None:
    torch.set_num_threads(1)
    scenes = digits.load("train")
    decoder.HIDDEN = 256  # enough for digits, and faster
    torch.manual_seed(0)
    network, counted = CurveNetwork().requires_grad_(False), []
    for trunk in train_trunk(digits.load("test")):
        features = features_of(trunk, scenes)
        for rate in RATES:
            counted.append(count_in_training(trunk, features, scenes.targets, rate, network))
            counts, trues = (torch.cat(parts) for parts in zip(*counted))
            counts = torch.cat([counts - trues + share * trues for share in SHARES])
            trues = torch.cat([share * trues for share in SHARES])
            network = fit(counts, trues)
            print(
                f"{len(counts)} histograms, mean square error {error(network, counts, trues):.4f}"
            )
    content = {name: np.round(v.tolist(), 4).tolist() for name, v in network.state_dict().items()}
    with atomic_path(NETWORK) as temporary:
        temporary.write_text(json.dumps(content) + "\n", "utf-8")


def training_of(
    classifier: Classifier, method: Method, rows: CandidateRows, adam: bool
) -> Training:
    lr, name = (5e-4, "adam") if adam else (0.05, "sgd")
    return Training(
        classifier=classifier,
        method=method,
        optimizer=make_optimizer(classifier, lr, lr, 0.9, 5e-5, name),
        rows=rows,
        schedule=step_schedule(0 if adam else 1, max(TRUNK_EPOCHS)),
        device=torch.device("cpu"),
    )


def train_trunk(data: LabelledImages) -> Iterator[Classifier]:
    """The classifier of clean scenes after each of `TRUNK_EPOCHS`."""
    torch.manual_seed(0)
    classifier = assemble("resnet10t", digits.SIZE, "gap", CLASSES, 1, 0.0, "none")
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = training_of(
        classifier, Stateless(bce_loss), CandidateRows.from_dense(data.targets), adam=False
    )
    transform = train_transform(digits.SIZE, **AUGMENTATION["digits"])
    loader = train_loader(TrainingImages(data.images, transform, 0), 16, 0, False)
    for epoch in range(1, max(TRUNK_EPOCHS) + 1):
        training.epoch, training.step = epoch, 0
        loss = train_one_epoch(training, loader, lambda: False)["train_loss"]
        print(f"trunk, epoch {epoch}: loss {loss:.3f}", flush=True)
        if epoch in TRUNK_EPOCHS:
            yield copy.deepcopy(classifier).requires_grad_(False)


@torch.inference_mode()
def features_of(classifier: Classifier, data: LabelledImages) -> np.ndarray:
    """Feature maps (N, D, H, W) float16 of all scenes."""
    batches = torch.as_tensor(data.images).split(100)
    return torch.cat([classifier.eval().features(batch) for batch in batches]).half().numpy()


def count_in_training(
    trunk: Classifier, features: np.ndarray, truth: np.ndarray, rate: float, network: CurveNetwork
) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates, and true ones of them, by bin of their score: (epochs x scorers x C, 20) each."""
    candidates = uniform_noise(truth, rate, seed=0)
    rows, true_rows = (CandidateRows.from_dense(each) for each in (candidates, truth))
    is_true = torch.from_numpy(truth[candidates == 1] == 1)
    torch.manual_seed(0)
    head = decoder.Decoder(features.shape[1], CLASSES, standardized=True)
    assert head.standardization is not None
    means = torch.from_numpy(features).float().mean(dim=(2, 3))
    head.standardization.fit(means.mean(dim=0), means.std(dim=0))
    method = PMLCD(rows, network, WARM_UP)
    training = training_of(Classifier(trunk.trunk, head), method, rows, adam=True)
    training.forward = FrozenClassifier(training.classifier)
    place = np.stack([np.zeros(len(features), np.int64), np.arange(len(features))], axis=1)
    loader = FeatureBatches(Features([features], place), BATCH, 0)
    counts, trues = [], []
    for epoch in range(1, EPOCHS + 1):
        training.epoch, training.step = epoch, 0
        means = train_one_epoch(training, loader, lambda: False)
        told = f"loss {means['train_loss']:.3f}  confidence {means['confidence']:.3f}"
        print(f"noise rate {rate:g}, epoch {epoch}/{EPOCHS}: {told}", flush=True)
        for table in method.scores:
            counts.append(count_bins(table[:-1], rows))
            trues.append(count_bins(table[:-1][is_true], true_rows))
    return torch.cat(counts), torch.cat(trues)


def fit(counts: torch.Tensor, trues: torch.Tensor) -> CurveNetwork:
    """The network whose curves are closest to the shares of true candidates."""
    torch.manual_seed(0)
    network = CurveNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(FIT_STEPS):
        optimizer.zero_grad()
        error(network, counts, trues).backward()
        optimizer.step()
    return network.requires_grad_(False)


def error(network: CurveNetwork, counts: torch.Tensor, trues: torch.Tensor) -> torch.Tensor:
    """Mean square by which curves miss the share of true candidates, over all candidates."""
    missed = network(counts) - trues / counts.clamp(min=1e-9)
    shares = counts / counts.sum(dim=1, keepdim=True)
    return (shares * missed**2).sum(dim=1).mean()


if __name__ == "__main__":
    main()
