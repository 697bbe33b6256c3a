"""The embedded data set: scenes of real handwritten digits, made in a second, no download.

The digits are the 1,797 of the UCI test set that scikit-learn ships (8 x 8 pixels, 16 greys).
A scene shows one to four of them, drawn from sets of digits that go together, at random
places, sizes and colours.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits

from pipeline.data.labelled import LabelledImages, Split

SCENES = {"train": 2000, "test": 1000}
SIZE = 64
CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# Which digits share scenes: what the label correlation has to find.
THEMES = ((0, 1, 2, 3), (2, 4, 6, 8), (1, 3, 5, 7, 9), (0, 5, 9), (6, 7, 8))


def load(split: Split, seed: int = 0) -> LabelledImages:
    """The scenes of one split; train and test share no digit image.

    Args:
        split: train, 2,000 scenes, or test, 1,000.
        seed: fixes which digits go to which split, and the scenes.

    Returns:
        images (N, 3, 64, 64) uint8, ten classes, ids like "train-0042".
    """
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    cut = 2 * len(order) // 3
    chosen = order[:cut] if split == "train" else order[cut:]
    strokes, labels = digits.images[chosen] / 16, digits.target[chosen]
    by_class = [strokes[labels == c] for c in range(10)]

    generator = np.random.default_rng([seed, split == "test"])
    count = SCENES[split]
    images = np.empty((count, 3, SIZE, SIZE), np.uint8)
    targets = np.zeros((count, 10), np.int8)
    for scene in range(count):
        theme = THEMES[generator.integers(len(THEMES))]
        number = min(int(generator.integers(1, 5)), len(theme))
        shown = generator.choice(theme, number, replace=False)
        images[scene] = draw_scene([by_class[c] for c in shown], generator)
        targets[scene, shown] = 1
    ids = [f"{split}-{scene:04d}" for scene in range(count)]
    # A tensor is indexed like the Sequence it is not declared to be.
    return LabelledImages(torch.from_numpy(images), CLASSES, targets, ids)  # type: ignore[arg-type]


def draw_scene(digits: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """One scene (3, 64, 64) uint8 with one image drawn from each array (n, 8, 8) in [0, 1]."""
    scene = generator.uniform(0, 0.5, (3, 1, 1)) + generator.normal(0, 0.06, (3, SIZE, SIZE))
    # One quarter of the scene each, so that digits touch but never hide each other.
    quarters = generator.permutation(4)
    for quarter, choices in zip(quarters, digits):
        side = int(generator.integers(18, 31))
        ink = enlarge(choices[generator.integers(len(choices))], side)
        top, left = generator.integers(0, 33 - side, 2) + 32 * np.array(divmod(quarter, 2))
        patch = scene[:, top : top + side, left : left + side]
        colour = generator.uniform(0.5, 1, (3, 1, 1))
        patch += ink * (colour - patch)
    return (255 * scene.clip(0, 1)).round().astype(np.uint8)


def enlarge(image: np.ndarray, side: int) -> np.ndarray:
    """Bilinear (side, side) from a square image, in plain arithmetic: alike on every machine."""
    position = (np.arange(side) + 0.5) * len(image) / side - 0.5
    position = position.clip(0, len(image) - 1)
    low = np.minimum(position.astype(int), len(image) - 2)
    share = position - low
    rows = image[low] * (1 - share)[:, None] + image[low + 1] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, low + 1] * share
