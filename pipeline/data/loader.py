"""Batches whose content depends on the seed alone, whatever the number of workers."""

import functools
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from pipeline.data.feature_store import Features
from utils import distributed


class TrainingImages(Dataset):
    """Augmented images with their row numbers.

    Asked for by (epoch, index): the augmentation is drawn from a generator seeded with both,
    so that neither the worker that draws it nor a resumed run changes it.

    Args:
        images: N of them, (3, H, W) uint8.
        transform: their augmentation.
        seed: of the run.
    """

    def __init__(self, images: Sequence[torch.Tensor], transform: v2.Transform, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        epoch, index = key
        image = self.images[index]
        with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator
            torch.manual_seed(seed_of(self.seed, epoch, index))
            image = self.transform(image)
        return image, index


class EvaluationImages(Dataset):
    """Resized images in their order."""

    def __init__(self, images: Sequence[torch.Tensor], transform: v2.Transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(self.images[index])


class EpochSampler(Sampler):
    """Batches of (epoch, index) in an order drawn from the seed and the epoch.

    Of several processes each takes its share of every batch.

    Attributes:
        epoch: whose order the next iteration takes; from 1.
        first_batch: batches left out at its start, which a resumed run has trained on.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.epoch, self.first_batch = 1, 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        full, rest = divmod(self.images, self.batch_size)
        # A single image has no batch statistics: a last batch that leaves a process no second one
        # is left out.
        return full + (rest >= 2 * distributed.world_size() or full == 0)

    def images_in(self, batch: int) -> int:
        """Images of a batch (from 0), in all processes."""
        return min(self.batch_size, self.images - batch * self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng(seed_of(self.seed, self.epoch)).permutation(self.images)
        for batch in range(self.first_batch, len(self)):
            mine = distributed.shard(self.images_in(batch))
            chosen = order[batch * self.batch_size :][mine.start : mine.stop]
            yield [(self.epoch, int(index)) for index in chosen]


class FeatureBatches:
    """Shuffled batches of features: (B, D, H, W) float16, index (B,) int64.

    Attributes:
        batch_sampler: chooses the epoch.
    """

    def __init__(self, features: Features, batch_size: int, seed: int) -> None:
        self.features = features
        self.batch_sampler = EpochSampler(len(features), batch_size, seed)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for keys in self.batch_sampler:
            index = [row for _, row in keys]
            yield self.features.take(index), torch.tensor(index)


class FeaturesInOrder:
    """Batches (B, D, H, W) float16 of some features.

    Attributes:
        dataset: their rows.
    """

    def __init__(self, features: Features, rows: range) -> None:
        self.features, self.dataset = features, rows

    def __iter__(self) -> Iterator[torch.Tensor]:
        for first in range(0, len(self.dataset), 256):
            yield self.features.take(self.dataset[first : first + 256])


class Loader(DataLoader):
    """Batches of tensors, which worker processes hand over in shared memory where it has room.

    Containers often have 64 MiB of it, and torch's own loader fails or waits for ever when it is
    full. What has no room there comes through a pipe, more slowly.
    """

    def __init__(self, dataset: Dataset, collate_fn: Any = None, **options: Any) -> None:
        collate = functools.partial(hand_over, collate=collate_fn or stack)
        super().__init__(dataset, collate_fn=collate, **options)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return map(received, super().__iter__())


def stack(items: list) -> Any:
    """A batch of images, or of images with their row numbers."""
    if isinstance(items[0], torch.Tensor):
        return torch.stack(items)
    images, index = zip(*items)
    return torch.stack(images), torch.tensor(index)


def hand_over(items: list, collate: Callable[[list], Any]) -> Any:
    """A batch, as arrays if a worker made it and shared memory has no room for it."""
    batch, worker = collate(items), torch.utils.data.get_worker_info()
    if worker is None:
        return batch
    parts = batch if isinstance(batch, tuple) else (batch,)
    size = sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))
    # All workers may ask at once, before any of them takes its room.
    if free_shared_memory() > 2 * distributed.local_size() * worker.num_workers * size:
        return batch
    return by_part(lambda part: part.numpy() if isinstance(part, torch.Tensor) else part, batch)


def received(batch: Any) -> Any:
    """The batch that `hand_over` was given, of tensors."""
    return by_part(
        lambda part: torch.from_numpy(part) if isinstance(part, np.ndarray) else part, batch
    )


def by_part(change: Callable[[Any], Any], batch: Any) -> Any:
    """Change each part of a batch that has several, or its only one."""
    return list(map(change, batch)) if isinstance(batch, (tuple, list)) else change(batch)


def free_shared_memory() -> float:
    """Bytes; infinite where it is no file system."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return math.inf
    return found.f_bavail * found.f_frsize


def train_loader(
    dataset: TrainingImages, batch_size: int, workers: int, pin_memory: bool
) -> DataLoader:
    """Shuffled batches: images (B, 3, S, S) uint8, index (B,) int64.

    The loader's `batch_sampler` is an `EpochSampler`, whose attributes choose the epoch.
    """
    return Loader(
        dataset,
        batch_sampler=EpochSampler(len(dataset), batch_size, dataset.seed),
        **worker_options(workers, pin_memory),
    )


def evaluation_loader(
    dataset: Dataset, batch_size: int, workers: int, pin_memory: bool, collate_fn: Any = None
) -> DataLoader:
    """Batches in the order of the data set; of images (B, 3, S, S) uint8, unless `collate_fn`
    makes them.
    """
    options = worker_options(workers, pin_memory)
    return Loader(dataset, collate_fn, batch_size=batch_size, **options)


def count_workers(asked: int | None, images: Sequence[Any]) -> int:
    """Loader processes: as asked for, else none for images in memory, and one a core, 8 at most."""
    if asked is not None:
        return asked
    if isinstance(images, torch.Tensor):
        return 0
    return max(1, min((os.cpu_count() or 1) // distributed.local_size(), 8))


def end_workers(loader: DataLoader) -> None:
    """End the loader's workers now: the garbage collector may come to it after their queues."""
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()


def worker_options(workers: int, pin_memory: bool) -> dict:
    return {
        "num_workers": workers,
        "pin_memory": pin_memory,
        "persistent_workers": workers > 0,
        "worker_init_fn": start_worker,
        # Otherwise the loader seeds its workers from the global generator, and the number of
        # epochs loaded would change what dropout draws.
        "generator": torch.Generator(),
    }


def start_worker(worker: int) -> None:
    """Prepare a loader process: for signals, and for the end of the main process.

    Ctrl-C and a scheduler's SIGTERM reach all processes; only the main one may act on them. A
    worker that dies fails the step in which the main process is. SIGTERM therefore ends it a
    minute later, when that has stored its state.
    """
    # torch's worker ends when it has another parent than at its start. Where the main process was
    # killed while it started its workers, that is too late.
    parent = multiprocessing.parent_process()
    direct = multiprocessing.get_start_method() != "forkserver"
    if parent is not None and direct and os.getppid() != parent.pid:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))
    torch.set_num_threads(1)


def seed_of(*parts: int) -> int:
    """One 64-bit seed from a run's seed and, for example, epoch and index."""
    # The count first: to a SeedSequence, (1, 2) and (1, 2, 0) are the same.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0])
