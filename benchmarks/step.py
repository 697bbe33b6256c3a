"""A step of training, and of what it is made: ResNet-101, 224 px, batch 8.

Run: python -m benchmarks.step [--device cuda] [--model resnet101] [--img_size 224] [--amp auto]

The trunk's forward and backward pass alone is the limit. Then BCE, CoNeS and the recipe posterior;
all in full precision and, where it is another, in the precision that --amp chooses.
"""

import argparse
import functools
import time

import torch

from benchmarks.timing import alternate, ratio
from pipeline.amp import choose_amp
from pipeline.baselines.losses import Stateless, bce_loss
from pipeline.cones.method import CoNeS
from pipeline.data.rows import CandidateRows
from pipeline.engine import Training, train_step
from pipeline.methods import Method, cones_settings
from pipeline.model.classifier import Classifier, assemble
from pipeline.optimisation import make_optimizer
from pipeline.posterior.method import Posterior
from utils.machine import AMP_DTYPES, autocast
from utils.options.command_line import resolve
from utils.options.table import OptionsParser

CLASSES, IMAGES = 80, 1000


def main() -> None:
    parser = OptionsParser(prog="python -m benchmarks.step", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet101")
    parser.add_argument("--img_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", choices=["auto", *AMP_DTYPES], default="auto")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    torch.manual_seed(0)
    classifier = assemble(arguments.model, arguments.img_size, "csra", CLASSES, 4, 0.5, "none")
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    print(
        f"{arguments.model}, {arguments.img_size} px, batch {arguments.batch_size}, {CLASSES} "
        f"classes, {device}, {torch.get_num_threads()} threads, shortest of {arguments.repeats}"
    )
    amp = arguments.amp
    if amp == "auto":
        size = arguments.batch_size, arguments.img_size
        amp = choose_amp(classifier, *size, CLASSES, device)
    speeds = {name: measure(classifier, name, arguments) for name in dict.fromkeys(["off", amp])}
    times = speeds["off"] / speeds[amp]
    ratio(f"BCE in the precision chosen, {amp}", "BCE in full precision", times)


def measure(classifier: Classifier, amp: str, arguments: argparse.Namespace) -> float:
    """Print the steps in one precision; returns the seconds of BCE's."""
    device, batch = torch.device(arguments.device), arguments.batch_size
    size = (batch, 3, arguments.img_size, arguments.img_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    rows = CandidateRows.from_dense(torch.rand(IMAGES, CLASSES) < 0.1).to(device)
    index = torch.arange(batch, device=device)
    optimizer = make_optimizer(classifier, 1e-4, 1e-3, 0.9, 1e-4)

    def trunk_alone() -> None:
        with autocast(device, AMP_DTYPES[amp]):
            features = classifier.trunk(images / 255)
        features.float().square().mean().backward()  # gradients laid out as the loss has them
        for parameter in classifier.parameters():
            parameter.grad = None
        wait(device)

    def step(method: Method) -> None:
        training = Training(
            classifier=classifier,
            method=method,
            optimizer=optimizer,
            rows=rows,
            schedule=lambda _: 1.0,
            device=device,
            amp_dtype=AMP_DTYPES[amp],
        )
        train_step(training, images, index)
        wait(device)

    paper = resolve("main_CoNeS", {"dataset": "digits", "recipe": "paper"})
    methods: dict[str, Method] = {
        "BCE": Stateless(bce_loss),
        "CoNeS": CoNeS(rows, classifier.trunk.feature_dim, **cones_settings(paper)),
        "posterior": Posterior(rows),
    }
    steps = [trunk_alone, *(functools.partial(step, method) for method in methods.values())]
    seconds = dict(zip(["trunk alone", *methods], alternate(*steps, repeats=arguments.repeats)))
    full = "full precision" if amp == "off" else amp
    print(f"in {full}")
    for name, taken in seconds.items():
        print(f"  {name:12}{1000 * taken:8.1f} ms a step, {batch / taken:6.2f} images/s")
    for name, method in methods.items():
        own = [parts_of(classifier, optimizer, images, method, rows, amp) for _ in range(3)]
        shortest = {part: min(times[part] for times in own) for part in own[0]}
        parts = ", ".join(f"{part} {1000 * taken:.1f}" for part, taken in shortest.items())
        print(f"  {name} in ms: {parts}")
    times = seconds["trunk alone"] / seconds["BCE"]
    ratio(f"a step of BCE, {full}", "the trunk's passes alone", times)
    for name in ("CoNeS", "posterior"):
        ratio(f"a step of {name}, {full}", "a step of BCE", seconds["BCE"] / seconds[name])
    return seconds["BCE"]


def parts_of(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    method: Method,
    rows: CandidateRows,
    amp: str,
) -> dict[str, float]:
    """Seconds of each part of one step, waiting for the device after each."""
    index = torch.arange(len(images), device=images.device)
    device, times = images.device, [time.perf_counter()]

    def done() -> None:
        wait(device)
        times.append(time.perf_counter())

    with autocast(device, AMP_DTYPES[amp]):
        output = classifier(images)
    done()
    loss = method.loss(output, rows.dense(index), index)["loss"]
    done()
    loss.backward()
    done()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    done()
    names = ("forward", "loss", "backward", "optimiser")
    return {name: end - begin for name, begin, end in zip(names, times, times[1:])}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
