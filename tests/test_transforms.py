import pytest
import torch
from torchvision.transforms.v2 import functional as F

from pipeline.data.transforms import PLACES, MultiScaleCrop, evaluation_transform, train_transform

TRAIN_OPTIONS = [
    {"flip": flip, "multi_scale": multi_scale}
    for flip in (True, False)
    for multi_scale in (True, False)
]
STRONG = [options | {"randaugment": True} for options in TRAIN_OPTIONS]


def grid(rows, columns):
    """An image whose channels are the row, the column and 0."""
    channels = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([*channels, torch.zeros(rows, columns, dtype=int)]).to(torch.uint8)


def crops(rows, columns, count, seed=0):
    """(top, left, height, width) of `count` crops of MultiScaleCrop.

    A `grid` that is enlarged keeps the rows and columns of its first and last pixel.
    """
    torch.manual_seed(seed)
    crop, image = MultiScaleCrop(max(rows, columns) + 1), grid(rows, columns)
    for _ in range(count):
        result = crop(image).flatten(1)
        (top, left, _), (bottom, right, _) = result.amin(1).tolist(), result.amax(1).tolist()
        yield top, left, bottom - top + 1, right - left + 1


@pytest.mark.parametrize("options", [*TRAIN_OPTIONS, *STRONG])
@pytest.mark.parametrize("size", [(40, 50), (20, 20), (1, 1), (1, 500), (500, 1)])
def test_training_images_are_square_bytes_fixed_by_the_seed(options, size):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    before = image.clone()
    transform = train_transform(32, **options)

    def results(seed):
        torch.manual_seed(seed)
        return torch.stack([transform(image) for _ in range(8)])

    first = results(7)
    assert (first.shape, first.dtype) == ((8, 3, 32, 32), torch.uint8)
    assert torch.equal(first, results(7))
    assert torch.equal(image, before)
    if min(size) > 1:
        assert not torch.equal(first, results(8))
        assert len(first.unique(dim=0)) > 4


@pytest.mark.parametrize("options", TRAIN_OPTIONS)
def test_only_flip_mirrors_and_never_upside_down(options):
    image = grid(50, 60)
    transform = train_transform(24, **options)
    torch.manual_seed(0)
    results = torch.stack([transform(image) for _ in range(200)]).int()
    mirrored = results[:, 1, 0, 0] > results[:, 1, 0, -1]
    assert mirrored.float().mean() == pytest.approx(0.5 if options["flip"] else 0, abs=0.1)
    assert (results[:, 0, 0, 0] < results[:, 0, -1, 0]).all()


def test_only_randaugment_changes_colours():
    image = torch.full((3, 40, 50), 99, dtype=torch.uint8)
    torch.manual_seed(0)
    plain, strong = train_transform(32), train_transform(32, randaugment=True)
    assert all((plain(image) == 99).all() for _ in range(20))
    assert any((strong(image)[:, 10:-10, 10:-10] != 99).any() for _ in range(20))


def test_random_crops_take_most_of_the_area():
    transform, image = train_transform(101, flip=False), grid(100, 100)
    torch.manual_seed(0)
    for _ in range(100):
        result = transform(image).flatten(1).int()
        height, width, _ = (result.amax(1) - result.amin(1) + 1).tolist()
        assert 0.69 * 100 * 100 < height * width <= 100 * 100


@pytest.mark.parametrize(("rows", "columns"), [(50, 80), (90, 60), (47, 47)])
def test_multi_scale_sides_are_shares_of_the_shorter_side_two_steps_apart_at_most(rows, columns):
    lengths = [int(min(rows, columns) * scale) for scale in (1, 0.9, 0.8, 0.7, 0.6)]
    pairs = {
        (lengths.index(height), lengths.index(width))
        for _, _, height, width in crops(rows, columns, 300)
    }
    assert pairs == {(i, j) for i in range(5) for j in range(5) if abs(i - j) <= 2}


def test_multi_scale_crops_lie_at_thirteen_places():
    """In quarters of the free rows and columns, which a crop of the full 60 rows has not."""
    middle = {(1, 1), (1, 3), (3, 1), (3, 3)}
    expected = {(down, right) for down in (0, 2, 4) for right in (0, 2, 4)} | middle
    found = set()
    for top, left, height, width in crops(60, 100, 400):
        free_rows, free_columns = 60 - height, 100 - width
        if free_rows:
            down, right = 4 * top / free_rows, 4 * left / free_columns
            # Rounded down to whole pixels.
            assert (round(down + 0.1), round(right + 0.1)) in expected
            found.add((round(down + 0.1), round(right + 0.1)))
    assert found == expected == set(PLACES)
    assert len(PLACES) == 13


@pytest.mark.parametrize("size", [(40, 70), (16, 16), (1, 1), (1, 500)])
def test_test_images_are_whole(size):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    result = evaluation_transform(16)(image)
    assert (result.shape, result.dtype) == ((3, 16, 16), torch.uint8)
    assert torch.equal(result, F.resize(image, [16, 16], antialias=True))
    assert torch.equal(result, evaluation_transform(16)(image))
