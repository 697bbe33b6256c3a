"""What the training scripts share: from resolved options to a finished run."""

import argparse
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline.data import candidates as candidate_files
from pipeline.data import coco, digits, voc
from pipeline.data.labelled import LabelledImages, Split
from pipeline.data.loader import TestImages, TrainingImages, test_loader, train_loader
from pipeline.data.transforms import test_transform, train_transform
from pipeline.engine import Method, Training, evaluate, fit
from pipeline.model.backbone import Backbone
from pipeline.model.classifier import Classifier
from pipeline.model.heads import CSRA, GlobalAveragePooling
from pipeline.model.weights import load_strictly, load_trunk, read_weights
from pipeline.optimisation import parameter_groups, step_schedule
from utils.errors import UserError
from utils.progress import Interrupted
from utils.run import RunFolder, check_output_dir

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

MakeMethod = Callable[[torch.Tensor, Classifier, argparse.Namespace], Method]


def train(options: argparse.Namespace, make_method: MakeMethod) -> None:
    """Train one run from beginning or checkpoint to end, and print its result.

    Args:
        options: from `utils.options.parse_options`.
        make_method: builds the method from the candidates (N, C) on the device, the
            classifier and the options.

    Raises:
        UserError: anything the user can mend.
    """
    if options.resume is None and options.output_dir is not None:
        check_output_dir(Path(options.output_dir))
    # A function of its own: drawing keeps its callers' frames alive, and with them the loaders,
    # whose workers are then not told to end.
    run = fit_run(options, make_method)
    print_result(run)


def fit_run(options: argparse.Namespace, make_method: MakeMethod) -> RunFolder:
    """Assemble what `options` ask for, and train it to its last epoch; the run's folder."""
    device = choose_device(options.device)
    precision = choose_precision(options.amp, device)
    workers = options.workers
    if workers is None:
        workers = 0 if options.dataset == "digits" else min(os.cpu_count() or 1, 8)

    train_data = load_split(options, "train")
    test_data = load_split(options, "test")
    candidates = load_candidates(options, train_data)
    torch.manual_seed(options.seed)
    classifier = build_classifier(options, len(train_data.classes))
    # Convolutions are faster on it: by an eighth on a CPU, by more under mixed precision.
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    method = make_method(torch.from_numpy(candidates).to(device), classifier, options)
    optimizer = torch.optim.SGD(
        parameter_groups(classifier, options.lr, options.lr_head),
        momentum=options.momentum,
        weight_decay=options.w_d,
    )
    schedule = step_schedule(options.warmup_epoch, options.step_epoch)
    training = Training(
        classifier,
        method,
        optimizer,
        schedule,
        device,
        precision,
        options.seed,
        options.print_freq,
    )
    run = open_run(options, training, describe_data(train_data, test_data, candidates))
    print(
        f"{len(train_data)} training and {len(test_data)} test images, {len(train_data.classes)} "
        f"classes, {candidates.sum(axis=1).mean():.2f} candidates an image; {options.model} on "
        f"{device}{'' if precision is None else f' in {precision}'}; run {run.path}",
        flush=True,
    )

    augmented = TrainingImages(
        train_data,
        candidates,
        train_transform(options.img_size, flip=options.dataset != "digits"),
        options.seed,
    )
    resized = TestImages(test_data, test_transform(options.img_size))
    on_gpu = device.type == "cuda"
    batches = train_loader(augmented, options.batch_size, workers, on_gpu)
    test_batches = test_loader(resized, options.batch_size, workers, on_gpu)
    try:
        fit(
            training,
            batches,
            lambda stop: evaluate(
                classifier, test_batches, test_data.targets, device, precision, stop
            ),
            run,
            options.total_epoch,
        )
    except Interrupted:
        raise UserError(
            f"interrupted in epoch {training.epoch} after step {training.step}, and stored; go "
            f"on with: python {options.script}.py --resume {run.path}"
        ) from None
    return run


def load_split(options: argparse.Namespace, split: Split) -> LabelledImages:
    """One split of --dataset, checked against --num_cls."""
    if options.dataset == "digits":
        data = digits.load(split)
    elif options.path_images is None:
        raise UserError(f"--path_images is needed: the folder that holds {options.dataset}")
    else:
        load = {"voc07": voc.load, "coco": coco.load}[options.dataset]
        data = load(options.path_images, split)
    if options.num_cls not in (None, len(data.classes)):
        raise UserError(
            f"--num_cls {options.num_cls}, but {options.dataset} has {len(data.classes)} classes: "
            "leave the flag out"
        )
    return data


def load_candidates(options: argparse.Namespace, data: LabelledImages) -> np.ndarray:
    """Candidates (N, C) uint8 of the training images: from the file, or made and stored."""
    path = options.noise_file
    if path is None:
        if options.dataset == "digits":
            return candidate_files.uniform_noise(data.targets, options.partial_rate, options.seed)
        path = f"pre-processed-data/{options.dataset}_{options.partial_rate:g}.npy"
    return candidate_files.load_or_make(
        path, data, dataset=options.dataset, rate=options.partial_rate, seed=options.seed
    )


def build_classifier(options: argparse.Namespace, classes: int) -> Classifier:
    """Trunk and head with their starting weights."""
    trunk = Backbone(options.model, options.img_size)
    head: CSRA | GlobalAveragePooling
    if options.head == "csra":
        head = CSRA(trunk.feature_dim, classes, options.num_heads, options.lam)
    else:
        head = GlobalAveragePooling(trunk.feature_dim, classes)
    statistics = {
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "imagenet": IMAGENET,
        "trunk": (trunk.mean, trunk.std),
    }
    classifier = Classifier(trunk, head, *statistics[options.normalize])
    if options.resume is not None:
        return classifier  # the checkpoint replaces all weights
    if options.load_from is not None:
        load_strictly(classifier, read_weights(options.load_from), options.load_from)
    else:
        load_trunk(trunk, options.weights, options.img_size)
    return classifier


def open_run(options: argparse.Namespace, training: Training, data: dict) -> RunFolder:
    """A new run's folder, or the resumed one with `training` brought to where it stood."""
    if options.resume is None:
        stored = {name: value for name, value in vars(options).items() if name != "resume"}
        return RunFolder.create(options.output_dir, stored, data)
    run, state = RunFolder.reopen(options.resume, data)
    if state is not None:
        training.load_state_dict(state)
        if training.epoch > options.total_epoch + 1:
            raise UserError(
                f"{run.path} has trained {training.epoch - 1} epochs, more than --total_epoch "
                f"{options.total_epoch}: give more, or start a new run"
            )
        print(f"resuming in epoch {training.epoch} after step {training.step}")
    return run


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is cuda where there is one.

    Raises:
        UserError: torch knows no such device, or it is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name} cannot be used here ({reason}): try cpu") from error
    return device


def choose_precision(amp: str, device: torch.device) -> torch.dtype | None:
    """dtype of autocast for --amp on `device`; None is full precision."""
    if amp == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


def describe_data(train: LabelledImages, test: LabelledImages, candidates: np.ndarray) -> dict:
    """Counts and a fingerprint that changes with any image's id, label or candidate."""
    digest = hashlib.sha256("\n".join(train.classes).encode())
    for array in (train.ids, train.targets, test.ids, test.targets, candidates):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "fingerprint": digest.hexdigest(),
        "train_images": len(train),
        "test_images": len(test),
        "classes": train.classes,
        "candidates_per_image": round(float(candidates.sum(axis=1).mean()), 4),
    }


def print_result(run: RunFolder) -> None:
    """The last epoch's metrics as a small table, and where everything lies."""
    result = run.finish()
    print(f"\nlast epoch, {result['classes_scored']} classes scored on test images")
    for names in ("mAP",), ("CP", "CR", "CF1"), ("OP", "OR", "OF1"):
        print("  ".join(f"{name:>4} {format_metric(result[name])}" for name in names))
    print(f"run: {run.path}")


def format_metric(value: float | None) -> str:
    return "  none" if value is None else f"{value:6.2f}"
