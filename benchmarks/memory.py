"""Memory of a million rows of 80 classes: the label file read, and four loader workers started.

Run: python -m benchmarks.memory

A worker's own memory is what it does not share with the process that started it.
"""

import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import ratio
from pipeline.data.label_file import read_table
from pipeline.data.labelled import Texts
from pipeline.data.loader import TrainingImages, end_workers, train_loader
from pipeline.data.transforms import train_transform

ROWS, CLASSES, WORKERS, BATCHES = 1_000_000, 80, 4, 200


class OneImage:
    """The same image under every name, which is looked up as for a file."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.image = names, torch.zeros(3, 40, 40, dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> torch.Tensor:
        assert self.names[index]
        return self.image


def write_rows(path: Path) -> None:
    generator = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("path,labels,split\n")
        for row in range(ROWS):
            labels = "|".join(f"class{c}" for c in generator.integers(0, CLASSES, 3))
            file.write(f"photos/{row % 1000:03}/{row:08}.jpg,{labels},train\n")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def own_mib(process: int) -> float:
    """Memory of a process that it shares with no other, in MiB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def main() -> None:
    before = peak_mib()
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "labels.csv")
        table = read_table(Path(folder) / "labels.csv")
    names = Texts(table.paths)
    print(f"{ROWS:,} rows of {len(table.classes)} classes")
    print(f"imports {before:.0f} MiB, in all at most {peak_mib():.0f} MiB")
    own, own_in_lists = (measure_workers(OneImage(paths)) for paths in (names, list(names)))
    for kind, sizes in ("one array of texts", own), ("a list of str", own_in_lists):
        mib = ", ".join(f"{size:.0f}" for size in sizes)
        print(f"{WORKERS} workers after {BATCHES} batches, own, paths as {kind}: {mib} MiB")
    ratio("memory of a loader worker", "paths in a list", max(own_in_lists) / max(own), "small")


def measure_workers(images: OneImage) -> list[float]:
    """Own memory of each worker after some batches, in MiB."""
    training_images = TrainingImages(images, train_transform(32), 0)
    loader = train_loader(training_images, 64, WORKERS, pin_memory=False)
    for batch, _ in enumerate(loader):
        if batch == BATCHES:
            break
    own = [own_mib(worker.pid) for worker in loader._iterator._workers]
    end_workers(loader)
    return own


if __name__ == "__main__":
    main()
