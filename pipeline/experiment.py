"""What the training scripts share: from resolved options to a finished run."""

import argparse
import contextlib
import functools
import hashlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from torch.utils.data import Subset

from pipeline.amp import choose_amp
from pipeline.data import candidates as candidate_files
from pipeline.data.cache import cache_images, shrink
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import (
    EvaluationImages,
    TrainingImages,
    end_workers,
    evaluation_loader,
    train_loader,
)
from pipeline.data.noise import uniform_noise
from pipeline.data.registry import AUGMENTATION, load_data
from pipeline.data.rows import CandidateRows
from pipeline.data.transforms import evaluation_transform, train_transform, uncropped_side
from pipeline.engine import Method, Training, evaluate, evaluation_shard, fit, format_metric
from pipeline.model.checkpoint import check_flags, print_ignored, read_checkpoint
from pipeline.model.classifier import Classifier, assemble
from pipeline.model.weights import load_strictly, load_trunk
from pipeline.optimisation import make_optimizer, step_schedule
from utils import distributed
from utils.errors import LostProcess, UserError
from utils.files import check_output_dir, claimed
from utils.machine import PRECISIONS, choose_device, default_workers, own_device
from utils.progress import Interrupted
from utils.run_folder import CHECKPOINT, RunFolder, new_folder

MakeMethod = Callable[[CandidateRows, Classifier, argparse.Namespace], Method]


def train(options: argparse.Namespace, make_method: MakeMethod) -> None:
    """Train one run from beginning or checkpoint to end, and print its result.

    Args:
        options: from `utils.options.training.parse_options`.
        make_method: builds the method from the candidates on the device, the classifier and
            the options.

    Raises:
        UserError: anything the user can mend.
    """
    if options.resume is None and options.output_dir is not None:
        check_output_dir(Path(options.output_dir))
    device = own_device(options.device)
    if options.sync_bn and device.type == "cpu" and distributed.launched() > 1:
        remedy = "leave it out" if options.resume is None else "start a new run without it"
        raise UserError(f"--sync_bn needs CUDA: {remedy}")
    with distributed.process_group(device):
        try:
            print_result(fit_run(options, make_method))
        except RuntimeError as error:
            if distributed.is_lost_process(error):
                raise LostProcess("another process of the run has ended, see its error") from error
            raise


def fit_run(options: argparse.Namespace, make_method: MakeMethod) -> RunFolder:
    """Assemble what `options` ask for, and train it to its last epoch; the run's folder.

    A new run that fails before its first checkpoint leaves no folder, and the same command can be
    given again; one that has lost a process leaves it, and --resume begins it anew.
    """
    train_data, test_data = load_data(options)
    resolve_machine(options, in_memory=isinstance(train_data.images, torch.Tensor))
    with distributed.local_rank0_first():
        if options.resume is not None:
            check_candidate_file(options, options.resume)
        candidates = load_candidates(options, train_data)
    return fit_data(options, make_method, train_data, test_data, candidates)


def fit_data(
    options: argparse.Namespace,
    make_method: MakeMethod,
    train_data: LabelledImages,
    test_data: LabelledImages,
    candidates: np.ndarray,
    again: str | None = None,
) -> RunFolder:
    """`fit_run` on data that are loaded, with device and workers resolved.

    Args:
        candidates: (N, C) uint8, of the training images.
        again: what goes on with an interrupted run; None: the script's --resume.
    """
    device = own_device(options.device)
    images = min(options.batch_size, len(train_data))
    if images < distributed.world_size():
        raise UserError(
            f"{distributed.world_size()} processes need as many images a step, but found {images}: "
            "raise --batch_size, or start fewer processes"
        )
    torch.manual_seed(options.seed)
    with distributed.local_rank0_first():  # downloads
        classifier = build_classifier(options, len(train_data.classes))
    # Convolutions are faster on it: by an eighth on a CPU, by more under mixed precision.
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.amp == "auto":
        share = len(distributed.shard(images))
        classes = len(train_data.classes)
        with enough_values(options):
            options.amp = choose_amp(classifier, share, options.img_size, classes, device)
    if options.sync_bn and distributed.world_size() > 1:
        classifier = convert_sync_batchnorm(classifier)
    rows = CandidateRows.from_dense(candidates).to(device)
    training = Training(
        classifier,
        make_method(rows, classifier, options),
        make_optimizer(classifier, options.lr, options.lr_head, options.momentum, options.w_d),
        rows,
        step_schedule(options.warmup_epoch, options.step_epoch),
        device,
        PRECISIONS[options.amp],
        options.seed,
        options.print_freq,
    )
    data = describe_data(train_data, test_data, candidates)
    with opened_run(options, training, data) as run:
        if again is None:
            place = shlex.quote(str(run.path))
            again = f"{distributed.launcher()} {options.script}.py --resume {place}"
        try:
            if distributed.world_size() > 1:
                training.forward = distributed.data_parallel(classifier, device)
            with enough_values(options):
                fit_assembled(options, training, run, train_data, test_data)
        except Interrupted:
            if distributed.rank() > 0:
                sys.exit(1)  # the first says it
            raise UserError(
                f"interrupted in epoch {training.epoch} after step {training.step}, and stored; go "
                f"on with: {again}"
            ) from None
        except Exception as error:
            if distributed.is_lost_process(error):
                raise LostProcess(
                    f"another process of the run has ended; go on with: {again}"
                ) from error
            if options.resume is None:
                run.discard_unless_stored()
            raise
    return run


def fit_assembled(
    options: argparse.Namespace,
    training: Training,
    run: RunFolder,
    train_data: LabelledImages,
    test_data: LabelledImages,
) -> None:
    """Load, augment and train, from where `training` stands to the last epoch."""
    device, precision = training.device, training.precision
    processes = distributed.world_size()
    warn_of_uncovered(train_data)
    candidates = len(training.rows.columns) / len(train_data)
    print(
        f"{len(train_data)} training and {len(test_data)} test images, {len(train_data.classes)} "
        f"classes, {candidates:.2f} candidates an image; {options.model} on "
        f"{device}{'' if processes == 1 else f' in {processes} processes'}"
        f"{'' if precision is None else f' in {precision}'}; run {run.path}",
        flush=True,
    )

    augmentation = AUGMENTATION.get(options.dataset, {})
    if options.cache is not None:
        side = uncropped_side(options.img_size, **augmentation)
        small = functools.partial(shrink, side=side)
        square = evaluation_transform(options.img_size)
        with distributed.local_rank0_first():
            train_data = cache_images(train_data, options.cache, small, f"short{side}")
            test_data = cache_images(test_data, options.cache, square, f"square{options.img_size}")
    augmented = TrainingImages(
        train_data.images,
        train_transform(options.img_size, **augmentation, randaugment=options.randaugment),
        options.seed,
    )
    resized = EvaluationImages(test_data.images, evaluation_transform(options.img_size))
    mine = Subset(resized, evaluation_shard(len(resized)))
    on_gpu = device.type == "cuda"
    batches = train_loader(augmented, options.batch_size, options.workers, on_gpu)
    test_batches = evaluation_loader(mine, options.batch_size, options.workers, on_gpu)
    try:
        fit(
            training,
            batches,
            lambda stop: evaluate(
                training.classifier, test_batches, test_data.targets, device, precision, stop
            ),
            run,
            options.total_epoch,
        )
    finally:
        for loader in (batches, test_batches):
            end_workers(loader)


@contextlib.contextmanager
def enough_values(options: argparse.Namespace) -> Iterator[None]:
    """Say what to do where a batch of one image has no statistics."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"batches of {options.batch_size} at {options.img_size} px leave batch norm a single "
            "value: raise --batch_size or --img_size"
        ) from error


def warn_of_uncovered(data: LabelledImages) -> None:
    """Say how many images lack a label that is known to be true: the method cannot find it."""
    if data.true_targets is not None:
        missed = ((data.true_targets == 1) & (data.targets != 1)).any(axis=1).sum()
        if missed:
            print(
                f"warning: the labels of {missed} training images miss a true one, which no "
                "method for candidates can learn; check_data.py names them",
                file=sys.stderr,
            )


def load_candidates(options: argparse.Namespace, data: LabelledImages) -> np.ndarray:
    """Candidates (N, C) uint8 of the training images: as found, from a file, or made and stored."""
    path = options.noise_file
    if path is None:
        if options.partial_rate == 0 or options.dataset in ("digits", "files"):
            return uniform_noise(data.targets, options.partial_rate, options.seed)
        path = candidate_files.default_path(options.dataset, options.partial_rate, data.ids)
        options.noise_file = str(path)
    return candidate_files.load_or_make(
        path, data, dataset=options.dataset, rate=options.partial_rate, seed=options.seed
    )


def check_candidate_file(options: argparse.Namespace, trained: str | Path) -> None:
    """Refuse to make again the candidates that a run was trained on: its file may hold others.

    Args:
        options: of the run.
        trained: what was trained on them, as the message names it.
    """
    if options.noise_file is not None and not Path(options.noise_file).exists():
        raise UserError(
            f"{options.noise_file}, the candidates that {trained} was trained on, is missing: "
            "bring it back, or say by --noise_file where it is"
        )


def build_classifier(options: argparse.Namespace, classes: int) -> Classifier:
    """Trunk and head with their starting weights."""
    classifier = assemble(
        model=options.model,
        img_size=options.img_size,
        head=options.head,
        classes=classes,
        num_heads=options.num_heads,
        lam=options.lam,
        normalize=options.normalize,
    )
    if options.resume is not None and (Path(options.resume) / CHECKPOINT).exists():
        return classifier  # the checkpoint replaces all weights
    if options.load_from is not None:
        stored = read_checkpoint(options.load_from)
        print_ignored(stored)
        # lam and, under gap, the number of heads are in no weights: the flags say them.
        given = {"model": options.model, "head": options.head, "num_cls": classes}
        check_flags(stored, given | {"num_heads": options.num_heads})
        load_strictly(classifier, stored.state, f"{options.load_from} and the flags")
        for name in ("normalize", "lam"):
            trained, now = stored.options.get(name), getattr(options, name)
            if trained not in (None, now):
                print(
                    f"warning: {options.load_from} was trained with --{name} {trained}, but goes "
                    f"on with {now}",
                    file=sys.stderr,
                )
    else:
        load_trunk(classifier.trunk, options.weights, options.img_size)
    return classifier


@contextlib.contextmanager
def opened_run(options: argparse.Namespace, training: Training, data: dict) -> Iterator[RunFolder]:
    """A new run's folder, or the resumed one with `training` brought to where it stood.

    Meanwhile no other process can write to it.
    """
    stored = {name: value for name, value in vars(options).items() if name != "resume"}
    if options.resume is None:
        path = new_folder(options.output_dir, options.script, options.dataset)
        with claimed(path):
            yield RunFolder.create(path, stored, data)
    else:
        with claimed(Path(options.resume)):
            run, state = RunFolder.reopen(options.resume, stored, data)
            restore(training, run, state, options.total_epoch)
            yield run


def restore(
    training: Training, run: RunFolder, state: dict[str, Any] | None, total_epoch: int
) -> None:
    """Bring `training` to where the run stood, of whose checkpoint `state` is."""
    if state is None:
        print(f"{run.path} has no checkpoint yet: starting it anew")
        return
    try:
        training.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"{run.path / CHECKPOINT} is not of this run: expected the weights and method "
            f"state of its config.json, but found {str(error).splitlines()[0]}"
        ) from error
    if training.epoch > total_epoch + 1:
        raise UserError(
            f"{run.path} has trained {training.epoch - 1} epochs, more than --total_epoch "
            f"{total_epoch}: give more, or start a new run"
        )
    if training.epoch > total_epoch:
        print(f"{run.path} has all its epochs: --total_epoch of more trains it further")
    else:
        print(f"resuming in epoch {training.epoch} after step {training.step}")


def resolve_machine(options: argparse.Namespace, in_memory: bool) -> None:
    """Replace "auto" in device, and None in workers, by what this machine has."""
    device = choose_device(options.device)
    options.device = str(device)
    if options.workers is None:
        options.workers = 0 if in_memory else default_workers()


def describe_data(train: LabelledImages, test: LabelledImages, candidates: np.ndarray) -> dict:
    """Counts and a fingerprint that changes with any image's id, label or candidate."""
    digest = hashlib.sha256("\n".join(train.classes).encode())
    for split in (train, test):
        digest.update(candidate_files.ids_sha256(split.ids).encode())
        digest.update(np.ascontiguousarray(split.targets).data)
    digest.update(np.ascontiguousarray(candidates).data)
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
