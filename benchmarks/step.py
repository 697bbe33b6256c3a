"""A training step of CoNeS and of the recipe posterior against BCE: ResNet-101, 224 px, batch 8.

Run: python -m benchmarks.step [--device cuda] [--model resnet101] [--img_size 224]
"""

import argparse
import functools

import torch

from benchmarks.timing import alternate
from pipeline.cones.method import CoNeS
from pipeline.cones.posterior import Posterior
from pipeline.cones.rows import CandidateRows
from pipeline.engine import Method
from pipeline.losses import BCE
from pipeline.model.backbone import Backbone
from pipeline.model.classifier import Classifier
from pipeline.model.heads import CSRA
from pipeline.optimisation import parameter_groups

CLASSES, IMAGES = 80, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet101")
    parser.add_argument("--img_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)

    torch.manual_seed(0)
    size = (arguments.batch_size, 3, arguments.img_size, arguments.img_size)
    images = torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    table = (torch.rand(IMAGES, CLASSES, device=device) < 0.1).float()
    rows = CandidateRows.from_dense(table.cpu()).to(device)
    index = torch.arange(arguments.batch_size, device=device)
    trunk = Backbone(arguments.model, arguments.img_size)
    classifier = Classifier(trunk, CSRA(trunk.feature_dim, CLASSES, 4, 0.5)).to(device)
    classifier.to(memory_format=torch.channels_last)  # as in training
    optimizer = torch.optim.SGD(parameter_groups(classifier, 1e-4, 1e-3), momentum=0.9)

    def step_of(method: Method) -> None:
        losses = method.loss(classifier(images), table[index], index)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    methods: dict[str, Method] = {
        "BCE": BCE(),
        "CoNeS": CoNeS(rows, trunk.feature_dim),
        "posterior": Posterior(rows),
    }
    steps = [functools.partial(step_of, method) for method in methods.values()]
    seconds = alternate(*steps, repeats=arguments.repeats)
    print(
        f"{arguments.model}, {arguments.img_size} px, batch {arguments.batch_size}, "
        f"{CLASSES} classes, {device}, {torch.get_num_threads()} threads, "
        f"median of {arguments.repeats}"
    )
    for name, step_seconds in zip(methods, seconds):
        ratio = step_seconds / seconds[0]
        print(f"{name:9} {1000 * step_seconds:8.1f} ms a step, {ratio:.3f} x BCE")


if __name__ == "__main__":
    main()
