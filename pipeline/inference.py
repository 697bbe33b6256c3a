"""Passes of a classifier over images, in training's evaluation and afterwards alike."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from pipeline.data.loader import FeaturesInOrder
from pipeline.model.classifier import Classifier, FrozenClassifier, Output
from utils import distributed
from utils.errors import UserError
from utils.machine import autocast
from utils.metrics import multilabel_metrics
from utils.progress import Interrupted, progress_bar

# The last bits of a score depend on how many images a pass takes. All but the last take this many,
# so that an evaluation can be repeated to the last digit, whatever the loader's batch.
IMAGES_A_PASS = 16


class Scored(NamedTuple):
    """Scores and maps of B images.

    logits: (B, C) float32. cams: (B, C, H, W) float32, on the device.
    """

    logits: np.ndarray
    cams: torch.Tensor


@torch.inference_mode()
def score_images(
    classifier: Classifier | FrozenClassifier,
    batches: Iterable[torch.Tensor],
    device: torch.device,
    amp_dtype: torch.dtype | None,
) -> Iterator[Scored]:
    """Score all images of `batches`, IMAGES_A_PASS at a time, in their order.

    Leaves the classifier in evaluation mode.

    Args:
        classifier: on `device`.
        batches: images (B, 3, S, S) uint8, or features of a frozen trunk, in any number.
        device: of the passes.
        amp_dtype: of autocast; None is full precision.

    Raises:
        UserError: a score is not finite.
    """
    classifier.eval()
    before: Output | None = None
    for batch in rebatch(batches, IMAGES_A_PASS):
        with autocast(device, amp_dtype):
            output = classifier(batch.to(device, non_blocking=True))
        if before is not None:  # read while the device computes the next
            yield read(before)
        before = output
    if before is not None:
        yield read(before)


def read(output: Output) -> Scored:
    """Wait for the device, and check that the scores are finite."""
    logits = output.logits.cpu().numpy()
    if not np.isfinite(logits).all():
        raise UserError(
            "the classifier's scores are not finite: give --amp off, or train with a lower --lr"
        )
    return Scored(logits, output.cams)


def rebatch(batches: Iterable[torch.Tensor], size: int) -> Iterator[torch.Tensor]:
    """The same images in batches of `size`; the last may be smaller.

    >>> [batch.tolist() for batch in rebatch([torch.tensor([1, 2, 3]), torch.tensor([4, 5])], 2)]
    [[1, 2], [3, 4], [5]]
    """
    left: torch.Tensor | None = None
    for batch in batches:
        left = batch if left is None else torch.cat([left, batch])
        while left is not None and len(left) >= size:
            yield left[:size]
            left = left[size:] if len(left) > size else None
    if left is not None:
        yield left


def predict_scores(
    classifier: Classifier | FrozenClassifier,
    loader: DataLoader | FeaturesInOrder,
    device: torch.device,
    amp_dtype: torch.dtype | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Logits (N, C) float32 of all images of `loader`, in its order.

    Raises:
        Interrupted: `stop` said so.
        UserError: a score is not finite.
    """
    scores = []
    with progress_bar("evaluate", len(loader.dataset)) as bar:  # type: ignore[arg-type]
        for scored in score_images(classifier, loader, device, amp_dtype):
            scores.append(scored.logits)
            bar.update(len(scored.logits))
            if stop():
                raise Interrupted
    return np.concatenate(scores)


def evaluate(
    classifier: Classifier | FrozenClassifier,
    loader: DataLoader | FeaturesInOrder,
    targets: np.ndarray,
    device: torch.device,
    amp_dtype: torch.dtype | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Metrics of `classifier` on the test images.

    Args:
        loader: of the images, or their features, in this process's `evaluation_shard`.
        targets: (N, C) in {1, 0, -1}, of all of them.

    Returns:
        by name, the same in every process; None for one that is not defined, such as mAP where
        no class has positives.
    """
    mine = evaluation_shard(len(targets))
    scores = torch.zeros(targets.shape)
    interrupted = False
    if mine:
        try:
            part = predict_scores(classifier, loader, device, amp_dtype, stop)
            scores[mine.start : mine.stop] = torch.from_numpy(part)
        except Interrupted:
            interrupted = True
    if distributed.any_rank(lambda: interrupted)():
        raise Interrupted
    metrics = multilabel_metrics(distributed.all_reduce_sum(scores).numpy(), targets)
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}


def evaluation_shard(images: int) -> range:
    """The test images that this process scores: whole passes, so that their scores are those that
    a single process gives them.
    """
    passes = distributed.shard(-(-images // IMAGES_A_PASS))
    return range(passes.start * IMAGES_A_PASS, min(passes.stop * IMAGES_A_PASS, images))
