"""The training loop. It knows no data set and no formula."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from pipeline.data.loader import EpochSampler, FeatureBatches, seed_of
from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Classifier, Output
from pipeline.optimisation import scale_learning_rate
from utils import distributed
from utils.errors import UserError
from utils.machine import autocast
from utils.metrics import format_metric
from utils.progress import Interrupted, interruptible, progress_bar, report
from utils.run_folder import RunFolder

if TYPE_CHECKING:
    from pipeline.methods import Method

Stop = Callable[[], bool]


class LossTotals:
    """Sums of an epoch's losses, kept on the device: reading one would wait for it.

    Attributes:
        images: trained on so far.
        seconds: that took.
        sums: each loss times the images of its batch.
        first_bad_step: the first step with a non-finite loss; 0 while there is none, and on the
            device of the losses from the first on.
    """

    def __init__(self) -> None:
        self.images, self.seconds = 0, 0.0
        self.sums: dict[str, torch.Tensor] = {}
        self.first_bad_step = torch.zeros((), dtype=torch.long)

    def add(self, losses: dict[str, torch.Tensor], images: int, step: int) -> None:
        """Add the losses of a batch of `images`, trained at `step` (from 1)."""
        self.images += images
        for name, loss in losses.items():
            total = loss.detach().double() * images
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        finite = torch.isfinite(self.sums["loss"])
        before = self.first_bad_step
        if step == 1:  # made on the device: a copy to it would be waited for
            before = torch.zeros((), dtype=torch.long, device=finite.device)
        self.first_bad_step = torch.where(finite | (before > 0), before, step)

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Take up what `vars` gave; raises ValueError for values of other kinds or shapes."""
        own = {name: type(value) for name, value in vars(self).items()}
        if {name: type(value) for name, value in state.items()} != own:
            raise ValueError("totals of other kinds")
        if any(total.shape for total in (*state["sums"].values(), state["first_bad_step"])):
            raise ValueError("totals that are no single numbers")
        vars(self).update(state)
        self.sums = {name: total.to(device) for name, total in self.sums.items()}
        self.first_bad_step = self.first_bad_step.to(device)

    def means(self, epoch: int, remedy: str = "lower --lr") -> dict[str, float]:
        """Mean losses an image, "loss" as train_loss; waits for the device.

        Args:
            epoch, remedy: for the error.

        Raises:
            UserError: a loss was not finite; the weights may hold NaN and must not be stored.
        """
        step = int(self.first_bad_step)
        if step:
            raise UserError(
                f"the loss became non-finite in epoch {epoch} at step {step}: {remedy}; what was "
                "stored before stays"
            )
        means = {name: float(total) / self.images for name, total in self.sums.items()}
        return {"train_loss": means.pop("loss")} | means


@dataclass(kw_only=True)
class Training:
    """Everything that changes while training, and where it stands.

    Attributes:
        classifier, method, optimizer: what is trained, and how. The optimizer's groups come
            from `parameter_groups`.
        rows: the candidates, on the device of training; row i belongs to image i.
        schedule: factor on the learning rate, from the number of epochs trained, a fraction.
        amp_dtype: of autocast; None is full precision.
        seed: of the run.
        print_freq: steps between two reports of the loss.
        epoch: the one being trained, from 1.
        step: batches of it done.
        totals: over these batches.
        forward: what is trained of it, as several processes train it, or on features alone;
            None: the classifier as it is.
    """

    classifier: Classifier
    method: "Method"
    optimizer: torch.optim.Optimizer
    rows: CandidateRows
    schedule: Callable[[float], float]
    device: torch.device
    amp_dtype: torch.dtype | None = None
    seed: int = 0
    print_freq: int = 100
    epoch: int = 1
    step: int = 0
    totals: LossTotals = field(default_factory=LossTotals)
    forward: Callable[[torch.Tensor], Output] | None = None

    def __post_init__(self) -> None:
        # fp16 needs its gradients scaled; for other types the scaler passes through.
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.amp_dtype == torch.float16
        )

    def state_dict(self) -> dict[str, Any]:
        """Weights, momentum, method state and the position, for `torch.load(weights_only)`."""
        return {
            "classifier": self.classifier.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "totals": vars(self.totals),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a stored state, also one that was stored on another device."""
        self.classifier.load_state_dict(state["classifier"])
        self.method.load_state_dict(state["method"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        if not (type(self.epoch) is type(self.step) is int and self.epoch > 0 <= self.step):
            raise ValueError(f"epoch {self.epoch} after step {self.step}")
        self.totals.load_state_dict(state["totals"], self.device)
        if self.step and not (self.totals.images > 0 and "loss" in self.totals.sums):
            raise ValueError("no losses of its steps")


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up a stored state, which torch does not look at.

    Raises:
        ValueError: settings are of other types than the optimiser's own, or momentum is of other
            weights or shapes.
    """
    own, begins_with_state = optimizer.state_dict()["param_groups"], bool(optimizer.state)
    if [group["params"] for group in state["param_groups"]] != [group["params"] for group in own]:
        raise ValueError("the optimiser of other weights")
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, own):
        wrong = [name for name, value in settings.items() if type(group[name]) is not type(value)]
        stored = [optimizer.state.get(weight, {}) for weight in group["params"]]
        kinds = [{name: type(value) for name, value in values.items()} for values in stored]
        # Fused SGD fails where one has no momentum. Adam has no state of what no loss reaches.
        most = max(kinds, key=len)
        if any(kind != most and (kind or begins_with_state) for kind in kinds):
            wrong.append("state for some weights")
        for weight, values in zip(group["params"], stored):
            for name, value in values.items():
                shape = () if name == "step" else weight.shape
                if value is not None and getattr(value, "shape", None) != shape:
                    wrong.append(name)
        if wrong:
            raise ValueError(f"the optimiser with another {wrong[0]}")


class GatheredOutput:
    """The `Output` of a whole batch of which each process has a share.

    Maps are large: they are gathered only where a method asks for them, as it does in every
    process.
    """

    def __init__(self, part: Output, images: int) -> None:
        self._part, self._images = part, images
        self.logits = distributed.all_gather(part.logits, images)

    @property
    def features(self) -> torch.Tensor:
        return distributed.all_gather(self._part.features, self._images)

    @property
    def cams(self) -> torch.Tensor:
        return distributed.all_gather(self._part.cams, self._images)

    @property
    def similarities(self) -> torch.Tensor:
        assert self._part.similarities is not None
        return distributed.all_gather(self._part.similarities, self._images)


def train_step(
    training: Training, images: torch.Tensor, index: torch.Tensor, batch: int = 0
) -> dict[str, torch.Tensor]:
    """Forward, backward and optimiser's step on a batch; the method's losses of it.

    Every process computes the loss of the whole batch, so that method and losses are what those
    of a single process would be, and follows it back through its own share.

    Args:
        training: what is trained; learning rates are as they stand.
        images: (B, 3, S, S) uint8, or features (B, D, H, W); like the next on the device of
            training.
        index: (B,) int64, rows of the training set.
        batch: images in all processes, where there are several.
    """
    t = training
    with autocast(t.device, t.amp_dtype):
        output = (t.forward or t.classifier)(images)
    processes = 1
    if distributed.world_size() > 1:
        output, processes = GatheredOutput(output, batch), distributed.world_size()  # type: ignore
        index = distributed.all_gather(index, batch)
    losses = t.method.loss(output, t.rows.dense(index), index)
    t.optimizer.zero_grad(set_to_none=True)
    # Gradients are averaged over processes, each of which has but its share of their sum.
    t.scaler.scale(losses["loss"] * processes).backward()
    t.scaler.step(t.optimizer)
    t.scaler.update()
    return losses


def fit(
    training: Training,
    train_loader: DataLoader | FeatureBatches,
    evaluate: Callable[[Stop], dict[str, Any]],
    run: RunFolder,
    total_epoch: int,
    seconds: float = 0,
) -> None:
    """Train to the end of `total_epoch`, storing epochs in `run`.

    Args:
        training: where to start, and what is advanced.
        train_loader: from `pipeline.data.loader.train_loader`.
        evaluate: metrics of the classifier on the test set; it is given a function that says
            whether to stop.
        run: the folder to store in.
        total_epoch: epochs in all.
        seconds: least time between two stored epochs; the last is stored in any case.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state was stored, in the middle of an epoch too.
        UserError: the loss is not finite.
    """
    stored = time.monotonic()
    with interruptible() as stop:
        try:
            while training.epoch <= total_epoch:
                means = train_one_epoch(training, train_loader, distributed.any_rank(stop))
                distributed.broadcast_buffers(training.classifier)
                record = {"epoch": training.epoch} | means | evaluate(stop)
                training.epoch, training.step = training.epoch + 1, 0
                last = training.epoch > total_epoch
                if last or distributed.broadcast(time.monotonic() - stored >= seconds):
                    run.save_epoch(record, training.state_dict(), training.classifier.state_dict())
                    stored = time.monotonic()
                else:
                    run.history.append(record)
                print(describe(record, total_epoch), flush=True)
        except Interrupted:
            run.save_checkpoint(training.state_dict())
            raise


def train_one_epoch(
    training: Training, loader: DataLoader | FeatureBatches, stop: Stop
) -> dict[str, float]:
    """Train one epoch, or the rest of one; returns its mean losses, learning rate and speed.

    Raises:
        Interrupted: `stop` said so; `training` can be stored and resumed.
        UserError: a loss was not finite.
    """
    t, device = training, training.device
    remedy = "lower --lr" if t.amp_dtype is None else "lower --lr, or give --amp off"
    sampler: EpochSampler = loader.batch_sampler  # type: ignore[assignment]
    if t.step == 0:
        t.totals = LossTotals()
        t.method.begin_epoch(t.epoch)
    sampler.epoch, sampler.first_batch = t.epoch, t.step
    steps = len(sampler)
    t.classifier.train()
    started = time.perf_counter() - t.totals.seconds
    with progress_bar(f"epoch {t.epoch}", sampler.images, t.totals.images) as bar:
        for images, index in loader:
            images = images.to(device, non_blocking=True)
            index = index.to(device, non_blocking=True)
            scale_learning_rate(t.optimizer, t.schedule(t.epoch - 1 + t.step / steps))
            # What dropout draws belongs to the step: a resumed run draws it again.
            torch.manual_seed(seed_of(t.seed, t.epoch, t.step, distributed.rank()))
            batch = sampler.images_in(t.step)
            losses = train_step(t, images, index, batch)

            t.step += 1
            t.totals.add(losses, batch, t.step)
            t.totals.seconds = time.perf_counter() - started
            bar.update(batch)
            if t.step % t.print_freq == 0:
                loss = t.totals.means(t.epoch, remedy)["train_loss"]
                report(bar, f"epoch {t.epoch} step {t.step}/{steps}", loss)
            if stop():
                t.totals.means(t.epoch, remedy)  # a state with NaN is not worth storing
                raise Interrupted
    means = t.totals.means(t.epoch, remedy)
    t.totals.seconds = time.perf_counter() - started  # now the device has finished its work
    return means | {
        "lr": t.optimizer.param_groups[0]["lr"],
        "seconds": t.totals.seconds,
        "images_per_second": t.totals.images / t.totals.seconds,
    }


def describe(record: dict[str, Any], total_epoch: int) -> str:
    """One line of an epoch's record."""
    scores = [f"{name} {format_metric(record[name])}" for name in ("mAP", "CF1", "OF1")]
    return (
        f"epoch {record['epoch']:>3}/{total_epoch}  loss {record['train_loss']:.4f}  "
        f"{'  '.join(scores)}  lr {record['lr']:.2g}  {record['images_per_second']:.0f} images/s"
    )
