import numpy as np
import pytest
import torch

from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import (
    EpochSampler,
    TestImages,
    TrainingImages,
    seed_of,
    test_loader,
    train_loader,
)
from pipeline.data.transforms import test_transform, train_transform

# Names that pytest would otherwise collect.
for function in (test_loader, test_transform):
    function.__test__ = False
TestImages.__test__ = False


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (11, 3, 20, 20), dtype=torch.uint8, generator=generator)
    targets = np.eye(11, 4, dtype=np.int8)
    return LabelledImages(images, list("abcd"), targets, np.arange(11).astype(str))


def batches(data, workers, epoch=1, first_batch=0, seed=0):
    candidates = (data.targets > 0).astype(np.uint8)
    dataset = TrainingImages(data, candidates, train_transform(16, flip=True), seed)
    loader = train_loader(dataset, 4, workers, pin_memory=False)
    loader.batch_sampler.epoch, loader.batch_sampler.first_batch = epoch, first_batch
    return list(loader)


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second) for a, b in zip(x, y)
    )


def test_workers_do_not_change_order_or_augmentation(data):
    assert equal(batches(data, 0), batches(data, 2))


def test_epochs_and_seeds_differ(data):
    assert not equal(batches(data, 0, epoch=1), batches(data, 0, epoch=2))
    assert not equal(batches(data, 0, seed=0), batches(data, 0, seed=1))


def test_starting_late_gives_the_rest_of_the_epoch(data):
    assert equal(batches(data, 0)[2:], batches(data, 0, first_batch=2))


def test_an_epoch_holds_every_image_once_with_its_own_candidates(data):
    index = torch.cat([index for _, _, index in batches(data, 0)])
    candidates = torch.cat([rows for _, rows, _ in batches(data, 0)])
    assert sorted(index.tolist()) == list(range(11))
    assert torch.equal(candidates, torch.from_numpy(data.targets)[index].byte())


def test_the_global_generator_is_left_alone(data):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    batches(data, 0)
    batches(data, 2)
    assert torch.equal(torch.rand(1), expected)


def test_a_last_batch_of_one_image_is_left_out():
    assert len(EpochSampler(9, 4, 0)) == 2
    assert len(EpochSampler(10, 4, 0)) == 3
    assert len(EpochSampler(1, 4, 0)) == 1


def test_test_images_come_in_order_and_square(data):
    images = torch.cat(list(test_loader(TestImages(data, test_transform(8)), 4, 0, False)))
    assert images.shape == (11, 3, 8, 8)
    assert torch.equal(images[3], test_transform(8)(data.images[3]))


def test_seeds_depend_on_every_part_and_its_place():
    seeds = {seed_of(*parts) for parts in [(0, 1), (1, 0), (0, 2), (0, 1, 0), (0, 1, 1)]}
    assert len(seeds) == 5
