"""A training from resolved options to a finished run."""

import contextlib
import dataclasses
import functools
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import convert_sync_batchnorm
from torch.utils.data import Subset

from pipeline.amp import choose_amp
from pipeline.data import training_data
from pipeline.data.cache import cache_images, shrink
from pipeline.data.feature_store import Features
from pipeline.data.labelled import LabelledImages
from pipeline.data.loader import (
    EvaluationImages,
    FeatureBatches,
    FeaturesInOrder,
    TrainingImages,
    count_workers,
    end_workers,
    evaluation_loader,
    train_loader,
)
from pipeline.data.registry import AUGMENTATION, load_data
from pipeline.data.rows import CandidateRows
from pipeline.data.transforms import evaluation_transform, train_transform, uncropped_side
from pipeline.data.verified import Verified, shown
from pipeline.engine import Training, fit
from pipeline.features import feature_folder, features_of
from pipeline.inference import evaluate, evaluation_shard
from pipeline.methods import check_verified, make_method, needs_prototypes
from pipeline.model.checkpoint import check_flags, load_classifier, print_ignored, read_checkpoint
from pipeline.model.classifier import Classifier, FrozenClassifier, assemble
from pipeline.model.decoder import Decoder
from pipeline.model.weights import load_strictly, load_trunk
from pipeline.optimisation import make_optimizer, step_schedule
from pipeline.posterior.soft_targets import Evidence
from utils import distributed
from utils.errors import LOST_WORKER, LostProcess, UserError, lost_worker
from utils.files import check_output_dir, claimed
from utils.machine import AMP_DTYPES, choose_device, one_thread, own_device
from utils.metrics import format_metric
from utils.options.stored import to_store
from utils.options.training import TrainingOptions
from utils.progress import Interrupted
from utils.run_folder import CHECKPOINT, RunFolder, new_folder
from utils.terminal import warn

SECONDS_BETWEEN_SAVES = 5  # of a frozen trunk's epochs, which take less than storing them


def train(options: TrainingOptions) -> None:
    """Train one run from beginning or checkpoint to end, and print its result.

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
            print_result(load_and_train(options))
        except RuntimeError as error:
            if distributed.is_lost_process(error):
                raise LostProcess("another process of the run has ended, see its error") from error
            raise


def load_and_train(options: TrainingOptions) -> RunFolder:
    """Load the data that `options` name, and train to the last epoch; the run's folder.

    A new run that fails before its first checkpoint leaves no folder, and the same command can be
    given again; one that has lost a process leaves it, and --resume begins it anew.
    """
    train_data, test_data = load_data(options, options.seed, functools.partial(print, flush=True))
    options = resolve_machine(options, train_data)
    with distributed.local_rank0_first():
        if options.resume is not None:
            training_data.check_candidate_file(options, options.resume)
        path = training_data.candidate_path(options, train_data)
        candidates = training_data.load_candidates(options, train_data, path)
    options = dataclasses.replace(options, noise_file=None if path is None else str(path))
    verified = training_data.find_verified(options, train_data)
    if options.targets is None:
        targets = "classifier" if verified is None else "neighbours"
        options = dataclasses.replace(options, targets=targets)
    return train_on(options, train_data, test_data, candidates, verified)


def train_on(
    options: TrainingOptions,
    train_data: LabelledImages,
    test_data: LabelledImages,
    candidates: np.ndarray,
    verified: Verified | None,
    again: str | None = None,
    store: Path | None = None,
) -> RunFolder:
    """Train on data that are loaded, with device and workers resolved; the run's folder.

    Args:
        candidates: (N, C) uint8, of the training images.
        verified: those of them whose labels are known.
        store: the folder of features; None: `feature_folder`.
        again: what goes on with an interrupted run; None: the script's --resume.
    """
    check_verified(options, verified)
    images = min(options.batch_size, len(train_data))
    if images < distributed.world_size():
        raise UserError(
            f"{distributed.world_size()} processes need as many images a step, but found {images}: "
            "raise --batch_size, or start fewer processes"
        )
    store = store or feature_folder(options.cache, Path(options.output_dir or "runs/run"))
    options, training, features = make_training(
        options,
        train_data,
        test_data,
        candidates=candidates,
        verified=verified,
        images=images,
        store=store,
    )
    training_data.warn_of_undrawn(options, train_data, verified)
    data = training_data.describe_data(train_data, test_data, candidates, verified)
    with opened_run(options, training, data) as run:
        if again is None:
            place = shlex.quote(str(run.path))
            again = f"{distributed.launcher()} {options.script}.py --resume {place}"
        try:
            trained: torch.nn.Module = training.classifier
            if options.freeze:
                trained = FrozenClassifier(training.classifier)
            if distributed.world_size() > 1:
                trained = distributed.data_parallel(trained, training.device)
            training.forward = trained
            with enough_values(options, len(train_data)):
                fit_assembled(options, training, run, train_data, test_data, features)
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
            if lost_worker(error):
                stored = (run.path / CHECKPOINT).exists()
                then = f"go on with: {again}" if stored else "give the command again"
                raise UserError(f"{LOST_WORKER}: with fewer --workers, {then}") from error
            raise
    return run


def make_training(
    options: TrainingOptions,
    train_data: LabelledImages,
    test_data: LabelledImages,
    *,
    candidates: np.ndarray,
    verified: Verified | None,
    images: int,
    store: Path,
) -> tuple[TrainingOptions, Training, Sequence[Features]]:
    """Build what is trained, and choose --amp auto.

    Args:
        options: with device resolved.
        candidates: (N, C) uint8, of the training images, as found.
        verified: images whose labels are known.
        images: of a step, in all processes.
        store: the folder of features.

    Returns:
        options, training, and the features of training and test images, where the trunk is frozen.
    """
    device, classes = own_device(options.device), candidates.shape[1]
    begun = options.resume is not None and (Path(options.resume) / CHECKPOINT).exists()
    prior = None
    if options.prior is not None and not begun:  # before features, which may take long
        prior = training_data.read_prior(options.prior, candidates.shape)
    torch.manual_seed(options.seed)
    with distributed.local_rank0_first():  # downloads
        classifier = build_classifier(options, classes)
    if isinstance(classifier.head, Decoder) and not needs_prototypes(options):
        # No loss reaches them then, and data-parallel training would wait for their gradients.
        classifier.head.prototypes.requires_grad_(False)
    # Convolutions are faster on it: by an eighth on a CPU, by more under mixed precision.
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.amp == "auto" and options.freeze:  # features are kept in half precision
        options = dataclasses.replace(options, amp="off" if device.type == "cpu" else "fp16")
    elif options.amp == "auto":
        share = len(distributed.shard(images))
        with enough_values(options, len(train_data)):
            amp = choose_amp(classifier, share, options.img_size, classes, device)
        options = dataclasses.replace(options, amp=amp)
    if options.sync_bn and distributed.world_size() > 1:
        classifier = convert_sync_batchnorm(classifier)
    features: Sequence[Features] = ()
    evidence = Evidence(candidates, verified=verified, prior=prior)
    if options.freeze:
        classifier.trunk.requires_grad_(False)
        pooled = options.head == "gap"
        features = [
            extract(options, classifier, each, pooled, store) for each in (train_data, test_data)
        ]
    if (options.needs_features or options.freeze) and not begun:
        own = features[0] if features else extract(options, classifier, train_data, True, store)
        means = own.pooled().to(device)
        standardization = classifier.head.standardization
        if options.freeze and options.load_from is None and standardization is not None:
            deviation, mean = torch.std_mean(means, dim=0, correction=0)
            standardization.fit(mean, deviation)
        evidence = evidence._replace(features=means)
    candidates = shown(candidates, verified)
    rows = CandidateRows.from_dense(candidates).to(device)
    training = Training(
        classifier=classifier,
        method=make_method(rows, classifier.trunk.feature_dim, options, evidence),
        optimizer=make_optimizer(
            classifier,
            options.lr,
            options.lr_head,
            options.momentum,
            options.w_d,
            options.optimizer,
        ),
        rows=rows,
        schedule=step_schedule(options.warmup_epoch, options.step_epoch),
        device=device,
        amp_dtype=AMP_DTYPES[options.amp],
        seed=options.seed,
        print_freq=options.print_freq,
    )
    return options, training, features


def extract(
    options: TrainingOptions,
    classifier: Classifier,
    data: LabelledImages,
    pooled: bool,
    store: Path,
) -> Features:
    """Features of a split, from `store` or put there."""
    return features_of(
        classifier,
        data,
        store,
        img_size=options.img_size,
        pooled=pooled,
        amp_dtype=AMP_DTYPES[options.amp],
        workers=options.workers,
        batch_size=options.batch_size,
    )


def fit_assembled(
    options: TrainingOptions,
    training: Training,
    run: RunFolder,
    train_data: LabelledImages,
    test_data: LabelledImages,
    features: Sequence[Features],
) -> None:
    """Load, augment and train, from where `training` stands to the last epoch."""
    print_start(options, training, run, train_data, test_data)
    device, amp_dtype, on_gpu = training.device, training.amp_dtype, training.device.type == "cuda"
    if features:
        of_features = FeatureBatches(features[0], options.batch_size, options.seed)
        in_order = FeaturesInOrder(features[1], evaluation_shard(len(test_data)))
        frozen = FrozenClassifier(training.classifier)
        with one_thread() if options.head == "gap" else contextlib.nullcontext():
            fit(
                training,
                of_features,
                lambda stop: evaluate(frozen, in_order, test_data.targets, device, amp_dtype, stop),
                run,
                options.total_epoch,
                SECONDS_BETWEEN_SAVES,
            )
        return
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
    batches = train_loader(augmented, options.batch_size, options.workers, on_gpu)
    test_batches = evaluation_loader(mine, options.batch_size, options.workers, on_gpu)
    try:
        fit(
            training,
            batches,
            lambda stop: evaluate(
                training.classifier, test_batches, test_data.targets, device, amp_dtype, stop
            ),
            run,
            options.total_epoch,
        )
    finally:
        for loader in (batches, test_batches):
            end_workers(loader)


def print_start(
    options: TrainingOptions,
    training: Training,
    run: RunFolder,
    train_data: LabelledImages,
    test_data: LabelledImages,
) -> None:
    """Print what is trained, on what and where."""
    training_data.warn_of_uncovered(train_data)
    if options.dataset == "files":
        training_data.warn_of_list(train_data, test_data)
    processes = distributed.world_size()
    candidates = len(training.rows.columns) / len(train_data)
    if not len(test_data):
        print("no image of the list is in test: there is no mAP")
    print(
        f"{len(train_data)} training and {len(test_data)} test images, {len(train_data.classes)} "
        f"classes, {candidates:.2f} candidates an image; {options.model}"
        f"{', frozen,' if options.freeze else ''} on {training.device}"
        f"{'' if processes == 1 else f' in {processes} processes'}"
        f"{'' if training.amp_dtype is None else f' in {training.amp_dtype}'}; run {run.path}",
        flush=True,
    )


@contextlib.contextmanager
def enough_values(options: TrainingOptions, images: int) -> Iterator[None]:
    """Say what to do where a batch of one image, of so many, has no statistics."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        remedy = "raise --batch_size or --img_size"
        if images == 1:
            remedy = "train on more, raise --img_size, or give --freeze"
        raise UserError(
            f"batches of {min(images, options.batch_size)} at {options.img_size} px leave batch "
            f"norm a single value: {remedy}"
        ) from error


def build_classifier(options: TrainingOptions, classes: int) -> Classifier:
    """Trunk and head with their starting weights."""
    checkpoint = Path(options.resume or ".") / CHECKPOINT
    begun = options.resume is not None and checkpoint.exists()
    stored = None
    if begun:
        try:
            stored = read_checkpoint(checkpoint)
        except UserError as error:
            raise UserError(f"{error}; it cannot be resumed from: start a new run") from error
    elif options.load_from is not None:
        stored = read_checkpoint(options.load_from)
    classifier = assemble(
        model=options.model,
        img_size=options.img_size,
        head=options.head,
        classes=classes,
        num_heads=options.num_heads,
        lam=options.lam,
        normalize=options.normalize,
        standardized=options.freeze if stored is None else options.freeze or stored.standardized,
    )
    if begun:
        if options.freeze:  # features come before the checkpoint
            assert stored is not None
            load_strictly(classifier, stored.state, str(checkpoint))
        return classifier  # the checkpoint replaces all weights
    if stored is not None:
        print_ignored(stored)
        if options.freeze and not stored.standardized:
            own = classifier.head.state_dict(prefix="head.").items()
            stored.state.update({k: v for k, v in own if "standardization" in k})
        if stored.classes != classes:
            raise UserError(
                f"{stored.path} has {stored.classes} classes, but the data have {classes}: give a "
                "run on the same classes, or --weights in place of --load_from"
            )
        # lam and, but for csra, the number of heads are in no weights: the flags say them.
        check_flags(
            stored,
            model=options.model,
            head=options.head,
            num_heads=options.num_heads,
            num_cls=None,
        )
        load_classifier(classifier, stored, f"{options.load_from} and the flags")
        for name in ("normalize", "lam"):
            trained, now = stored.options.get(name), getattr(options, name)
            if trained not in (None, now):
                warn(
                    f"{options.load_from} was trained with --{name} {trained}, but goes on with "
                    f"{now}"
                )
    else:
        load_trunk(classifier.trunk, options.weights, options.img_size)
    return classifier


@contextlib.contextmanager
def opened_run(options: TrainingOptions, training: Training, data: dict) -> Iterator[RunFolder]:
    """A new run's folder, or the resumed one with `training` brought to where it stood.

    Meanwhile no other process can write to it.
    """
    stored = to_store(options)
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
    """Bring `training` to where `run` stood when it stored `state`."""
    if state is None:
        print(f"{run.path} has no checkpoint yet: starting it anew")
        return
    try:
        training.load_state_dict(state)
    except (
        LookupError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
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


def resolve_machine(options: TrainingOptions, data: LabelledImages) -> TrainingOptions:
    """Replace "auto" in device, and None in workers, by what this machine has."""
    return dataclasses.replace(
        options,
        device=str(choose_device(options.device)),
        workers=count_workers(options.workers, data.images),
    )


def print_result(run: RunFolder) -> None:
    """The last epoch's metrics as a small table, and where everything lies."""
    result = run.finish()
    print(f"\nlast epoch, {result['classes_scored']} classes scored on test images")
    for names in ("mAP",), ("CP", "CR", "CF1"), ("OP", "OR", "OF1"):
        print("  ".join(f"{name:>4} {format_metric(result[name])}" for name in names))
    print(f"run: {run.path}")
