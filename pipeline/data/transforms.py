"""Augmentation and resizing, on uint8 tensors: a quarter of the memory traffic of floats."""

import itertools
import math

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

# Shares of the shorter side that MultiScaleCrop takes as (height, width).
SCALES = (1.0, 0.9, 0.8, 0.7, 0.6)
SIDES = [
    (SCALES[i], SCALES[j])
    for i, j in itertools.product(range(len(SCALES)), repeat=2)
    if abs(i - j) <= 2
]
# Where it places them, in quarters of the free (height, width).
PLACES = [*itertools.product((0, 2, 4), repeat=2), *itertools.product((1, 3), repeat=2)]


def train_transform(
    img_size: int, flip: bool = True, multi_scale: bool = False, randaugment: bool = False
) -> v2.Transform:
    """Random crop, resized to a square, and a random mirror image.

    Args:
        img_size: side of the result in pixels.
        flip: mirror half of the images left to right; wrong for digits and letters.
        multi_scale: crop as `MultiScaleCrop` does, instead of 0.7 to 1 of the area.
        randaugment: change colours and shape too, two operations an image at magnitude 9 of 30
            (Cubuk et al., NeurIPS 2020).
    """
    steps: list[torch.nn.Module] = [
        MultiScaleCrop(img_size)
        if multi_scale
        else v2.RandomResizedCrop(img_size, scale=(0.7, 1.0), antialias=True)
    ]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if randaugment:
        steps.append(v2.RandAugment())
    return v2.Compose(steps)


def uncropped_side(img_size: int, flip: bool = True, multi_scale: bool = False) -> int:
    """Shorter side of a photo in pixels that leaves each crop of `train_transform` `img_size`.

    Arguments as there.

    >>> uncropped_side(448), uncropped_side(224, multi_scale=True)
    (619, 374)
    """
    # The smallest are 0.7 of a square's area at 3:4, and the smallest scale.
    share = min(SCALES) if multi_scale else math.sqrt(0.7 * 3 / 4)
    return math.ceil(img_size / share)


def evaluation_transform(img_size: int) -> v2.Transform:
    """The whole image, resized to a square of `img_size` pixels."""
    return v2.Resize((img_size, img_size), antialias=True)


class MultiScaleCrop(torch.nn.Module):
    """Crop to one of a few sizes at one of a few places, and resize to a square.

    Width and height are drawn together from 1, 0.9, 0.8, 0.7 and 0.6 of the image's shorter
    side, at most two steps apart; the place from a grid of 13: corners, centre, the middles of
    the sides, and those of the quarters.

    Args:
        img_size: side of the result in pixels.

    Source: Wang et al., Temporal Segment Networks, ECCV 2016; settings of the released code.
    """

    def __init__(self, img_size: int) -> None:
        super().__init__()
        self.img_size = img_size

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """A random crop (3, img_size, img_size) of the image (3, H, W) uint8."""
        rows, columns = image.shape[-2:]
        pair, place = torch.randint(len(SIDES), ()), torch.randint(len(PLACES), ())
        height, width = (max(1, int(min(rows, columns) * s)) for s in SIDES[int(pair)])
        down, right = PLACES[int(place)]
        top, left = (rows - height) * down // 4, (columns - width) * right // 4
        size = [self.img_size, self.img_size]
        return F.resized_crop(image, top, left, height, width, size, antialias=True)
