"""--amp auto: the faster of two precisions, by a short trial of real training steps."""

import copy
import functools
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pipeline.baselines.losses import Stateless, bce_loss
from pipeline.data.rows import CandidateRows
from pipeline.engine import Training, train_step
from pipeline.model.classifier import Classifier
from pipeline.optimisation import make_optimizer
from utils import distributed
from utils.machine import AMP_DTYPES, autocast

MARGIN = 1.2  # the second has to be this much faster, so that chance seldom decides
HOPELESS = 0.4  # speed of the second's forward pass, below which no step is tried
ROUNDS, SECONDS = 3, 10.0


def choose_amp(
    classifier: Classifier, batch: int, img_size: int, classes: int, device: torch.device
) -> str:
    """Choose the precision to train in, by its name; prints why.

    On a CPU it is full precision or bf16, which some CPUs compute and others only emulate, and on
    CUDA bf16 or fp16. Neither the weights nor random numbers to come change. Processes that train
    together choose together.

    Args:
        classifier: on `device`.
        batch: B, images of a step of training.
        img_size: S, their side in pixels.
        classes: C.
    """
    on_cpu = device.type == "cpu"
    first, second = ("off", "bf16") if on_cpu else ("bf16", "fp16")
    if not on_cpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        speed = math.inf
    else:
        with torch.random.fork_rng(devices=[] if on_cpu else [device]):
            size = (batch, 3, img_size, img_size)
            images = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
            rows = CandidateRows.from_dense(np.zeros((batch, classes))).to(device)
            speed = relative_speed(trainings_in(classifier, rows, (first, second)), images)
    speed = distributed.broadcast(speed)
    chosen = second if speed >= MARGIN else first
    full = "full precision" if first == "off" else first
    print(f"--amp auto: {chosen}, {second} is {speed:.2f} times as fast as {full}", flush=True)
    return chosen


def trainings_in(
    classifier: Classifier, rows: CandidateRows, amps: tuple[str, ...]
) -> list[Training]:
    """Trainings of one copy, whose weights and statistics may change, by a method that costs
    next to nothing.
    """
    trial = copy.deepcopy(classifier).train()
    optimizer = make_optimizer(trial, 1e-4, 1e-4, 0.9, 1e-4)
    device = next(trial.parameters()).device
    return [
        Training(
            classifier=trial,
            method=Stateless(bce_loss),
            optimizer=optimizer,
            rows=rows,
            schedule=lambda _: 1.0,
            device=device,
            amp_dtype=AMP_DTYPES[amp],
        )
        for amp in amps
    ]


def relative_speed(trainings: list[Training], images: torch.Tensor) -> float:
    """Measure how many times as fast the second of two trainings is as the first.

    A precision that is emulated may take minutes for a step. One image tells: it is several times
    slower, and what is not may still be the faster one with a whole batch.
    """
    forward = [functools.partial(pass_one, training, images[:1]) for training in trainings]
    if (speed := ratio(forward)) < HOPELESS:
        return speed
    index = torch.arange(len(images), device=images.device)
    return ratio([functools.partial(train_step, t, images, index) for t in trainings])


@torch.no_grad()
def pass_one(training: Training, image: torch.Tensor) -> None:
    """A forward pass without batch statistics, which a single image may not have."""
    training.classifier.eval()
    with autocast(training.device, training.amp_dtype):
        training.classifier(image)
    training.classifier.train()


def ratio(functions: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> float:
    """The first's shortest time over the second's, called in turn after a warm-up.

    The rounds end early when they take long.
    """
    shortest = [float("inf")] * len(functions)
    for function in functions:
        timed(function)
    began = time.perf_counter()
    for _ in range(rounds):
        shortest = [min(best, timed(f)) for best, f in zip(shortest, functions)]
        if time.perf_counter() - began > SECONDS:
            break
    return shortest[0] / shortest[1]


def timed(function: Callable[[], object]) -> float:
    """Seconds that it takes, on a GPU too."""
    began = time.perf_counter()
    function()
    if torch.cuda.is_initialized():  # asking a GPU that is not used would start it
        torch.cuda.synchronize()
    return time.perf_counter() - began
