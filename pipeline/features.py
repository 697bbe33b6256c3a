"""Features of a trunk in evaluation mode, computed once and kept."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Subset

from pipeline.data.feature_store import Features, FeatureStore, image_hashes
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import EvaluationImages, end_workers, evaluation_loader
from pipeline.data.transforms import evaluation_transform
from pipeline.inference import IMAGES_A_PASS, rebatch
from pipeline.model.classifier import Classifier
from utils import distributed
from utils.errors import UserError
from utils.machine import autocast
from utils.progress import progress_bar


def feature_folder(cache: str | None, folder: Path) -> Path:
    """The folder of the stores: --cache, or one that all runs beside the one in `folder` find."""
    return folder.absolute().parent / "features" if cache is None else Path(cache)


def features_of(
    classifier: Classifier,
    data: LabelledImages,
    folder: Path,
    *,
    img_size: int,
    pooled: bool,
    amp_dtype: torch.dtype | None,
    workers: int,
    batch_size: int,
) -> Features:
    """The features of all images of `data`, from `folder` or computed and kept there.

    Of several processes each computes a share.

    Args:
        classifier: on its device; its trunk is what counts.
        folder: of the stores.
        img_size: side of the input in pixels.
        pooled: keep each map's mean, (D, 1, 1), not the map, (D, H, W).
        amp_dtype: of autocast; None is full precision.
        workers, batch_size: of the loader.

    Raises:
        UserError: an image cannot be read, or the disk is too small.
    """
    with distributed.local_rank0_first():
        hashes = image_hashes(data.images, folder)
    store = FeatureStore(folder, store_key(classifier, img_size, pooled, amp_dtype))
    found, missing = store.find(hashes)
    missing = distributed.broadcast(missing)  # before any process has stored what another lacks
    if not len(missing):
        print(f"features    {len(data)} images found in {store.path}", flush=True)
        return found
    # Of equal images one is enough.
    missing = missing[np.sort(np.unique(hashes[missing], axis=0, return_index=True)[1])]
    share = distributed.shard(len(missing))
    mine = missing[share.start : share.stop]
    resized = EvaluationImages(data.images, evaluation_transform(img_size))
    on_gpu = classifier.mean.device.type == "cuda"
    loader = evaluation_loader(Subset(resized, mine.tolist()), batch_size, workers, on_gpu)
    try:
        store.add(hashes[mine], extract(classifier, loader, len(mine), pooled, amp_dtype))
    finally:
        end_workers(loader)
    distributed.any_rank(lambda: False)()  # when all have stored theirs
    found, missing = store.find(hashes)
    if len(missing):
        raise UserError(f"{folder} is not shared by all machines: give a folder that is as --cache")
    size = len(data) * found.parts[0][0].nbytes / 2**20
    print(f"features    {len(data)} images, {size:.1f} MiB, kept in {store.path}", flush=True)
    return found


def find_features(
    classifier: Classifier,
    data: LabelledImages,
    folder: Path,
    *,
    img_size: int,
    pooled: bool,
    amp_dtype: torch.dtype | None,
) -> Features | None:
    """The features of all images of `data` where `folder` has them; as `features_of`."""
    store = FeatureStore(folder, store_key(classifier, img_size, pooled, amp_dtype))
    if not store.path.is_dir() or not len(data):
        return None
    found, missing = store.find(image_hashes(data.images, folder))
    return None if len(missing) else found


@torch.inference_mode()
def extract(
    classifier: Classifier, loader: object, images: int, pooled: bool, amp_dtype: torch.dtype | None
) -> Iterator[np.ndarray]:
    """Features (B, D, H, W) float16 of all images of `loader`, a pass at a time."""
    classifier.eval()
    device, limit = classifier.mean.device, torch.finfo(torch.float16).max
    with progress_bar("features", images) as bar:
        for batch in rebatch(loader, IMAGES_A_PASS):  # type: ignore[arg-type]
            with autocast(device, amp_dtype):
                features = classifier.features(batch.to(device, non_blocking=True)).float()
            if not torch.isfinite(features).all():
                raise UserError("the trunk's features are not finite: give --amp off")
            if pooled:
                features = features.mean(dim=(2, 3), keepdim=True)
            yield features.clamp(-limit, limit).half().contiguous().cpu().numpy()
            bar.update(len(batch))


def store_key(
    classifier: Classifier, img_size: int, pooled: bool, amp_dtype: torch.dtype | None
) -> str:
    """A name that changes with all that the features depend on but the images."""
    trunk = classifier.trunk
    statistics = [classifier.mean.flatten().tolist(), classifier.std.flatten().tolist()]
    digest = hashlib.sha256(f"{img_size} {pooled} {amp_dtype} {statistics}".encode())
    for name, value in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return f"{trunk.name}-{digest.hexdigest()[:16]}"
