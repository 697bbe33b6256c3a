"""A frozen trunk: its features against its bare passes, the head's epoch against the trunk's own,
and the start of a run whose features are stored.

Run: python -m benchmarks.features [--model NAME] [--img_size 224] [--device cuda]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import alternate, ratio
from pipeline.baselines.losses import Stateless, bce_loss
from pipeline.data.feature_store import Features
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import FeatureBatches
from pipeline.data.rows import CandidateRows
from pipeline.engine import Training, train_one_epoch, train_step
from pipeline.features import features_of
from pipeline.inference import IMAGES_A_PASS
from pipeline.model.classifier import Classifier, FrozenClassifier, assemble
from pipeline.optimisation import make_optimizer, step_schedule
from utils.options.table import OptionsParser

CLASSES, IN_MEMORY, IMAGES, BATCH = 80, 96, 10_000, 64


def main() -> None:
    parser = OptionsParser(
        prog="python -m benchmarks.features", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--img_size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    classifier = assemble(
        arguments.model, arguments.img_size, "gap", CLASSES, 1, 0.0, "none", standardized=True
    )
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    print(f"{arguments.model}, {arguments.img_size} px, {device}")
    measure_extraction(classifier, arguments, device)
    measure_epoch(classifier, arguments, device)
    measure_start()


def measure_extraction(
    classifier: Classifier, arguments: argparse.Namespace, device: torch.device
) -> None:
    """Features of images in memory, stored, against passes of the trunk alone."""
    size = (IN_MEMORY, 3, arguments.img_size, arguments.img_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8)
    targets = np.zeros((IN_MEMORY, CLASSES), np.int8)
    data = LabelledImages(images, [""] * CLASSES, targets, [str(k) for k in range(IN_MEMORY)])

    def extract() -> None:
        with tempfile.TemporaryDirectory() as folder:
            features_of(
                classifier,
                data,
                Path(folder),
                img_size=arguments.img_size,
                pooled=True,
                amp_dtype=None,
                workers=0,
                batch_size=IMAGES_A_PASS,
            )

    batch = images[:IMAGES_A_PASS].to(device)

    @torch.inference_mode()
    def bare() -> None:
        classifier.eval()
        for _ in range(IN_MEMORY // IMAGES_A_PASS):
            classifier.features(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    whole, alone = alternate(extract, bare, repeats=arguments.repeats)
    print(f"features {IN_MEMORY / whole:.0f} images/s, bare passes {IN_MEMORY / alone:.0f}")
    ratio("features of images in memory", "the trunk's bare passes", alone / whole)


def measure_epoch(
    classifier: Classifier, arguments: argparse.Namespace, device: torch.device
) -> None:
    """An epoch of the head on stored features against the same of the whole classifier.

    Of the latter a few steps on data in memory are timed, and counted as if they were an epoch.
    """
    random = np.random.default_rng(0)
    content = random.normal(size=(IMAGES, classifier.trunk.feature_dim, 1, 1)).astype(np.float16)
    place = np.stack([np.zeros(IMAGES, np.int64), np.arange(IMAGES)], axis=1)
    rows = CandidateRows.from_dense(random.random((IMAGES, CLASSES)) < 0.1).to(device)
    whole = training_of(classifier, rows, device)
    size = (BATCH, 3, arguments.img_size, arguments.img_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    index = torch.arange(BATCH, device=device)

    def steps_of_all() -> None:
        classifier.train()
        train_step(whole, images, index)
        if device.type == "cuda":
            torch.cuda.synchronize()

    (step,) = alternate(steps_of_all, repeats=arguments.repeats)
    classifier.trunk.requires_grad_(False)
    frozen = training_of(classifier, rows, device)
    frozen.forward = FrozenClassifier(classifier)
    loader = FeatureBatches(Features([content], place), BATCH, 0)

    def epoch() -> None:
        frozen.step = 0
        train_one_epoch(frozen, loader, lambda: False)
        frozen.epoch += 1

    (on_features,) = alternate(epoch, repeats=arguments.repeats)
    on_images = step * len(loader.batch_sampler)
    print(
        f"an epoch of {IMAGES:,} images: {on_features:.2f} s of the head, {on_images:.0f} s of all"
    )
    ratio("an epoch of a head on features", "one of trunk and head", on_images / on_features)


def training_of(classifier: Classifier, rows: CandidateRows, device: torch.device) -> Training:
    return Training(
        classifier=classifier,
        method=Stateless(bce_loss),
        optimizer=make_optimizer(classifier, 1e-4, 1e-3, 0.9, 1e-4),
        rows=rows,
        schedule=step_schedule(0, 100),
        device=device,
        print_freq=10**6,
    )


def measure_start() -> None:
    """Seconds from a command to its first step, where the features are stored."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--dataset", "digits", "--freeze", "--total_epoch", "1", "--cache", folder]
        first = [sys.executable, "main_CoNeS.py", *flags, "--output_dir", f"{folder}/first"]
        subprocess.run(first, check=True, stdout=subprocess.DEVNULL)

        def second() -> None:
            command = [*first[:-1], f"{folder}/{time.monotonic_ns()}", "--print_freq", "1"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("epoch 1 step 1/"):
                    break
            process.kill()
            process.wait()

        start, importing = alternate(
            second,
            lambda: subprocess.run(
                [sys.executable, "-c", "import torch, torchvision, timm"], check=True
            ),
            repeats=3,
        )
    print(f"from the command to the first step, features stored: {start:.1f} s")
    baseline = "importing torch, torchvision and timm"
    ratio("command to first step on stored features", baseline, importing / start)


if __name__ == "__main__":
    main()
