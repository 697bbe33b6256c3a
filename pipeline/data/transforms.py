"""Augmentation and resizing, on uint8 tensors: a quarter of the memory traffic of floats."""

from torchvision.transforms import v2


def train_transform(img_size: int, flip: bool) -> v2.Transform:
    """Random crop of 0.7 to 1 of the area, resized to a square, and a random mirror image.

    Args:
        img_size: side of the result in pixels.
        flip: mirror half of the images left to right; wrong for digits and letters.
    """
    steps: list[v2.Transform] = [v2.RandomResizedCrop(img_size, scale=(0.7, 1.0), antialias=True)]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose(steps)


def test_transform(img_size: int) -> v2.Transform:
    """The whole image, resized to a square of `img_size` pixels."""
    return v2.Resize((img_size, img_size), antialias=True)
