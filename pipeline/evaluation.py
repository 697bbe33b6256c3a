"""A trained classifier loaded, and judged as it was in training, on any machine."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import (
    EvaluationImages,
    FeaturesInOrder,
    count_workers,
    end_workers,
    evaluation_loader,
)
from pipeline.data.transforms import evaluation_transform
from pipeline.features import feature_folder, find_features
from pipeline.inference import predict_scores
from pipeline.model.checkpoint import (
    Checkpoint,
    check_flags,
    load_classifier,
    print_ignored,
    read_checkpoint,
)
from pipeline.model.classifier import Classifier, FrozenClassifier, assemble
from utils.errors import UserError
from utils.machine import AMP_DTYPES, choose_device
from utils.metrics import (
    PRECISION_RECALL,
    average_precision,
    best_thresholds,
    format_metric,
    multilabel_metrics,
    precision_recall,
)
from utils.options.groups import CheckpointOptions
from utils.options.training import published

NORMALIZATIONS = {
    "none": "scaled to 0..1",
    "imagenet": "normalised by ImageNet's statistics",
    "trunk": "normalised as the trunk's own weights expect",
}


class Trained(NamedTuple):
    """A classifier in evaluation mode on its device, and how to use it.

    settings: img_size, normalize, lam as resolved. amp_dtype: of autocast; None is full precision.
    """

    classifier: Classifier
    checkpoint: Checkpoint
    settings: dict[str, Any]
    device: torch.device
    amp_dtype: torch.dtype | None


def load_trained(
    options: CheckpointOptions, dataset: str | None = None, num_cls: int | None = None
) -> Trained:
    """Build the classifier stored at `options.load_from`, and print what it is.

    Trunk, head and classes are those of the weights. Resolution, normalisation and lam are in no
    weight file: they are the flag's, or the run's, or those published for --dataset.

    Args:
        options: what is not None was asked for.
        dataset, num_cls: as asked for.

    Raises:
        UserError: nothing readable, or a flag that contradicts it, or a setting nobody knows.
    """
    found = read_checkpoint(options.load_from)
    model = options.model or found.options.get("model") or found.model
    asked = {name: getattr(options, name) for name in ("model", "head", "num_heads", "lam")}
    check_flags(found, num_cls=num_cls, **asked)
    if model is None:
        raise UserError(
            f"the keys of {found.path} do not tell its trunk, and no config.json of a run "
            "beside it does: give --model, the timm name"
        )
    settings, origins = resolve_settings(options, dataset, found)
    classifier = assemble(
        model=model,
        head=found.head,
        num_heads=found.num_heads,
        classes=found.classes,
        standardized=found.standardized,
        **settings,
    )
    load_classifier(classifier, found, str(found.path))
    device = choose_device(options.device)
    amp = options.amp or amp_of(found.options, device)
    classifier.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    heads = f"csra of {found.num_heads}" if found.head == "csra" else found.head
    print(f"checkpoint  {found.path}: {model}, {heads}, {found.classes} classes")
    print_ignored(found)
    print(
        f"input       {settings['img_size']} px ({origins['img_size']}), "
        f"{NORMALIZATIONS[settings['normalize']]} ({origins['normalize']})"
    )
    if found.head == "csra":
        print(f"attention   lam {settings['lam']:g} ({origins['lam']})")
    print(f"device      {device}{'' if amp == 'off' else f' in {amp}'}", flush=True)
    return Trained(classifier, found, settings, device, AMP_DTYPES[amp])


def amp_of(stored: Mapping[str, Any], device: torch.device) -> str:
    """The --amp that a run has stored, where `device` is of the kind that it ran on; else off."""
    same_kind = str(stored.get("device", "")).startswith(device.type)
    amp = stored.get("amp", "off") if same_kind else "off"
    return "off" if amp == "auto" else amp  # a run that broke off before it was chosen


def resolve_settings(
    options: CheckpointOptions, dataset: str | None, found: Checkpoint
) -> tuple[dict[str, Any], dict[str, str]]:
    """Resolve img_size, normalize and lam; and say where each is from."""
    settings, origins = {}, {}
    standard = published(dataset)
    for name in ("img_size", "normalize", "lam"):
        sources = (
            (f"--{name}", getattr(options, name)),
            ("the run's", found.options.get(name)),
            (f"published for {dataset}", standard.get(name)),
        )
        for origin, value in sources:
            if value is not None:
                settings[name], origins[name] = value, origin
                break
        else:
            if name == "lam" and found.head != "csra":
                settings[name] = 0.0
                continue
            raise UserError(
                f"{found.path} does not say its {name}, and no config.json of a run beside it "
                f"does: give --{name}, or the published --dataset it was trained on"
            )
    return settings, origins


def score(
    trained: Trained, data: LabelledImages, workers: int | None = None, batch_size: int = 16
) -> np.ndarray:
    """Logits (N, C) float32 of the images of `data`, in their order; a progress bar.

    Those of a frozen trunk come from its features, where its run has kept them.
    """
    checkpoint, device = trained.checkpoint, trained.device
    if checkpoint.options.get("freeze") and checkpoint.standardized:
        features = find_features(
            trained.classifier,
            data,
            feature_folder(checkpoint.options.get("cache"), checkpoint.path.parent),
            img_size=trained.settings["img_size"],
            pooled=checkpoint.head == "gap",
            amp_dtype=trained.amp_dtype,
        )
        if features is not None:
            frozen = FrozenClassifier(trained.classifier)
            return predict_scores(frozen, FeaturesInOrder(features, range(len(data))), device)
    workers = count_workers(workers, data.images)
    images = EvaluationImages(data.images, evaluation_transform(trained.settings["img_size"]))
    loader = evaluation_loader(images, batch_size, workers, trained.device.type == "cuda")
    try:
        return predict_scores(trained.classifier, loader, trained.device, trained.amp_dtype)
    finally:
        end_workers(loader)


def check_classes(trained: Trained, classes: list[str], what: str) -> None:
    """Refuse classes that are not those the classifier was trained on.

    Raises:
        UserError: another number, or, where the names are known, other names or another order.
    """
    known = trained.checkpoint.data.get("classes")
    found = trained.checkpoint.classes
    path = trained.checkpoint.path
    if len(classes) != found:
        raise UserError(
            f"{path} scores {found} classes, but {what} has {len(classes)}: give what it was "
            "trained on"
        )
    if known is not None and known != classes:
        differing = next(i for i, name in enumerate(known) if name != classes[i])
        raise UserError(
            f"{path} was trained on other classes than {what} has, or in another order: class "
            f"{differing} is '{known[differing]}' there and '{classes[differing]}' here"
        )


def judge(
    scores: np.ndarray,
    targets: np.ndarray,
    classes: list[str],
    thresholds: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """All that is reported of a split, ready for JSON; undefined values are None.

    Args:
        scores: (N, C) float32 logits.
        targets: (N, C) int8 in {1, 0, -1}.
        classes: C names.
        thresholds: from `read_thresholds`; adds CP_tuned to OF1_tuned, above these logits.
    """
    ap = average_precision(scores, targets)
    metrics = multilabel_metrics(scores, targets)
    if thresholds is not None and metrics["classes_scored"]:
        limits = np.array([thresholds["thresholds"][name] for name in classes])
        scored = ~np.isnan(ap)
        predicted = (scores > limits)[:, scored]
        metrics |= precision_recall(predicted, targets[:, scored], "_tuned")
    by_class = {
        name: {"AP": None if np.isnan(value) else float(value), "positives": int(count)}
        for name, value, count in zip(classes, ap, (targets == 1).sum(axis=0))
    }
    defined = {name: None if math.isnan(value) else value for name, value in metrics.items()}
    return defined | {"images": len(targets), "by_class": by_class}


def tune(
    scores: np.ndarray, targets: np.ndarray, classes: list[str], dataset: str, split: str
) -> dict[str, Any]:
    """The thresholds with the highest F1 of each class on a split, for `read_thresholds`.

    Logits, not probabilities, of which many scores share the last one below 1.
    """
    limits = dict(zip(classes, best_thresholds(scores, targets).tolist()))
    images = len(targets)
    return {"dataset": dataset, "split": split, "images": images, "thresholds": limits}


def format_table(evaluation: dict[str, Any]) -> str:
    """The report of `judge` as text."""
    by_class = evaluation["by_class"]
    width = max(len(name) for name in [*by_class, "class"])
    lines = [f"{'class':<{width}}  positives      AP"]
    for name, values in by_class.items():
        lines.append(f"{name:<{width}}  {values['positives']:>9}  {format_metric(values['AP'])}")
    lines += [
        "",
        f"mAP {format_metric(evaluation['mAP'])}   {evaluation['classes_scored']} classes scored",
    ]
    lines.append(f"{'':<10}" + "".join(f"{name:>8}" for name in PRECISION_RECALL))
    for title, kind in (("at 0.5", ""), ("top 3", "_top3"), ("tuned", "_tuned")):
        if f"CP{kind}" in evaluation:
            values = (format_metric(evaluation[name + kind]) for name in PRECISION_RECALL)
            lines.append(f"{title:<10}" + "".join(f"{value:>8}" for value in values))
    return "\n".join(lines)


def targets_to_judge_by(images: LabelledImages, split: str) -> np.ndarray:
    """The labels (N, C) to judge a split by.

    Training labels as found are no measure where the truth is known; test targets hold it already.
    """
    known = split == "train" and images.true_targets is not None
    return images.true_targets if known else images.targets  # type: ignore[return-value]
