import math
import multiprocessing
import os
import time

import numpy as np
import pytest
import torch

from pipeline.data import loader
from pipeline.data.loader import (
    EpochSampler,
    EvaluationImages,
    TrainingImages,
    count_workers,
    evaluation_loader,
    seed_of,
    start_worker,
    train_loader,
)
from pipeline.data.transforms import evaluation_transform, train_transform


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (11, 3, 20, 20), dtype=torch.uint8, generator=generator)


def batches(images, workers, epoch=1, first_batch=0, seed=0):
    dataset = TrainingImages(images, train_transform(16, flip=True), seed)
    loaded = train_loader(dataset, 4, workers, pin_memory=False)
    loaded.batch_sampler.epoch, loaded.batch_sampler.first_batch = epoch, first_batch
    return list(loaded)


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second) for a, b in zip(x, y)
    )


def test_workers_do_not_change_order_or_augmentation(images):
    assert equal(batches(images, 0), batches(images, 2))


def test_epochs_and_seeds_differ(images):
    assert not equal(batches(images, 0, epoch=1), batches(images, 0, epoch=2))
    assert not equal(batches(images, 0, seed=0), batches(images, 0, seed=1))


def test_starting_late_gives_the_rest_of_the_epoch(images):
    assert equal(batches(images, 0)[2:], batches(images, 0, first_batch=2))


def test_an_epoch_holds_every_image_once_with_its_own_number(images):
    images[:] = torch.arange(11).view(11, 1, 1, 1)  # so that no augmentation changes them
    loaded, index = (torch.cat(parts) for parts in zip(*batches(images, 0)))
    assert sorted(index.tolist()) == list(range(11))
    assert torch.equal(loaded, images[index][..., :16, :16])


def test_the_global_generator_is_left_alone(images):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    batches(images, 0)
    batches(images, 2)
    assert torch.equal(torch.rand(1), expected)


def test_a_last_batch_of_one_image_is_left_out():
    assert len(EpochSampler(9, 4, 0)) == 2
    assert len(EpochSampler(10, 4, 0)) == 3
    assert len(EpochSampler(1, 4, 0)) == 1


def test_test_images_come_in_order_and_square(images):
    test_images = EvaluationImages(images, evaluation_transform(8))
    resized = torch.cat(list(evaluation_loader(test_images, 4, 0, False)))
    assert resized.shape == (11, 3, 8, 8)
    assert torch.equal(resized[3], evaluation_transform(8)(images[3]))


def test_seeds_depend_on_every_part_and_its_place():
    seeds = {seed_of(*parts) for parts in [(0, 1), (1, 0), (0, 2), (0, 1, 0), (0, 1, 1)]}
    assert len(seeds) == 5


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (6, 6), (40, 8), (None, 1)])
def test_a_loader_process_for_each_core_where_images_are_files(cores, workers, images, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert count_workers(None, ["a.jpg", "b.jpg"]) == workers
    assert count_workers(None, images) == 0
    assert count_workers(3, images) == 3


def test_a_worker_whose_main_process_was_killed_while_it_started_ends():
    reading, writing = os.pipe()

    def worker(parent):
        while os.getppid() == parent:
            time.sleep(0.01)
        start_worker(0)
        os.write(writing, b"goes on")

    main = os.fork()
    if main == 0:
        arguments = (os.getpid(),)
        multiprocessing.get_context("fork").Process(target=worker, args=arguments).start()
        os._exit(0)
    os.waitpid(main, 0)
    os.close(writing)
    assert os.read(reading, 10) == b""  # until no process has it open
    os.close(reading)


def test_what_shared_memory_has_no_room_for_comes_another_way(images, monkeypatch):
    """Containers often have 64 MiB of it."""
    expected = batches(images, 0)
    monkeypatch.setattr(loader, "free_shared_memory", lambda: 0)
    # Where a worker would put a tensor into shared memory it fails, and the batch never comes.
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", None)
    assert equal(batches(images, 2), expected)


def test_shared_memory_is_used_where_all_workers_have_room(images, monkeypatch):
    class Worker:
        num_workers = 3

    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: Worker)
    items = [(image, row) for row, image in enumerate(images[:2])]
    size = images[:2].nbytes + 2 * 8
    for free, kind in ((6 * size, np.ndarray), (6 * size + 1, torch.Tensor)):
        monkeypatch.setattr(loader, "free_shared_memory", lambda free=free: free)
        batch = loader.hand_over(items, loader.stack)
        assert all(isinstance(part, kind) for part in batch)
        assert equal([loader.received(batch)], [(images[:2], torch.tensor([0, 1]))])


def test_the_room_in_shared_memory_is_known_or_without_limit(monkeypatch):
    assert loader.free_shared_memory() > 0

    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "statvfs", missing)
    assert loader.free_shared_memory() == math.inf
