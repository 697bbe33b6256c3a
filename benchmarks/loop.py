"""The whole training loop, photos read from disk, against its bare steps on data in memory.

Run: python -m benchmarks.loop [--path_images DIR] [--img_size 224] [--workers 2] [--device cuda]

ResNet-101, batch 8. Where the workers share the cores with the training, as on a CPU, what they
take is lost to it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.loading import PHOTOS
from benchmarks.timing import alternate, ratio
from pipeline.baselines.losses import Stateless, bce_loss
from pipeline.data.images import ImageFiles
from pipeline.data.loader import TrainingImages, end_workers, train_loader
from pipeline.data.rows import CandidateRows
from pipeline.data.transforms import train_transform
from pipeline.engine import Training, train_one_epoch, train_step
from pipeline.model.classifier import assemble
from pipeline.optimisation import make_optimizer, step_schedule
from utils.options.table import OptionsParser

CLASSES, IMAGES = 80, 48


def main() -> None:
    parser = OptionsParser(prog="python -m benchmarks.loop", description=__doc__.splitlines()[0])
    parser.add_argument("--path_images", type=Path, default=PHOTOS, help="folder of photos")
    parser.add_argument("--model", default="resnet101")
    parser.add_argument("--img_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(path) for path in sorted(arguments.path_images.rglob("*.jpg"))[:IMAGES]]
        measure(paths or write_photos(Path(folder)), arguments)


def write_photos(folder: Path) -> list[str]:
    """Pictures of a photo's size, for machines without photos."""
    generator, paths = np.random.default_rng(0), []
    for number in range(IMAGES):
        small = Image.fromarray(generator.integers(0, 256, (15, 20, 3), np.uint8))
        paths.append(str(folder / f"{number}.jpg"))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def measure(paths: list[str], arguments: argparse.Namespace) -> None:
    device, batch = torch.device(arguments.device), arguments.batch_size
    torch.manual_seed(0)
    classifier = assemble(arguments.model, arguments.img_size, "csra", CLASSES, 4, 0.5, "none")
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(classifier, 1e-4, 1e-3, 0.9, 1e-4)
    rows = CandidateRows.from_dense(np.random.default_rng(0).random((len(paths), CLASSES)) < 0.1)
    training = Training(
        classifier=classifier,
        method=Stateless(bce_loss),
        optimizer=optimizer,
        rows=rows.to(device),
        schedule=step_schedule(0, 100),
        device=device,
    )
    images = TrainingImages(ImageFiles("", paths), train_transform(arguments.img_size), 0)
    loader = train_loader(images, batch, arguments.workers, device.type == "cuda")
    size = (batch, 3, arguments.img_size, arguments.img_size)
    in_memory = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    index = torch.arange(batch, device=device)
    steps = len(loader.batch_sampler)  # type: ignore[arg-type]

    def loop() -> None:
        training.step = 0
        train_one_epoch(training, loader, lambda: False)
        training.epoch += 1

    def bare() -> None:
        for _ in range(steps):
            train_step(training, in_memory, index)
        if device.type == "cuda":
            torch.cuda.synchronize()

    whole, alone = alternate(loop, bare, repeats=arguments.repeats)
    end_workers(loader)
    print(
        f"{arguments.model}, {arguments.img_size} px, {steps} steps of {batch}, {device}, "
        f"{arguments.workers} workers, shortest of {arguments.repeats}"
    )
    print(f"loop {steps * batch / whole:.2f} images/s, bare steps {steps * batch / alone:.2f}")
    ratio("the training loop, photos from disk", "its steps on data in memory", alone / whole)


if __name__ == "__main__":
    main()
