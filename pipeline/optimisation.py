"""Parameter groups and the learning rate's schedule."""

from collections.abc import Callable
from typing import Any

import torch

from pipeline.model.classifier import Classifier


def parameter_groups(classifier: Classifier, lr: float, lr_head: float) -> list[dict[str, Any]]:
    """Trunk and head with their full learning rates, as "base_lr", from the modules themselves.

    A trunk that is frozen, none of whose parameters takes gradients, is left out; then a bias of
    the head has a group of its own without weight decay.

    Raises:
        ValueError: a group has no parameters, which would silently train nothing.
    """
    groups: list[dict[str, Any]] = []
    for part, rate in [(classifier.trunk, lr), (classifier.head, lr_head)]:
        parameters = list(part.parameters())
        if not parameters:
            raise ValueError(f"Expected parameters in {type(part).__name__}, but got none")
        if any(parameter.requires_grad for parameter in parameters):
            groups.append({"params": parameters, "lr": rate, "base_lr": rate})
    if len(groups) == 1:  # its decay is strong, and would draw all classes to a frequency of 1/2
        biases = [each for each in groups[0]["params"] if each.dim() == 1]
        weights = [each for each in groups[0]["params"] if each.dim() > 1]
        groups[0]["params"] = weights
        if biases:
            groups.append(groups[0] | {"params": biases, "weight_decay": 0.0})
    return groups


def make_optimizer(
    classifier: Classifier,
    lr: float,
    lr_head: float,
    momentum: float,
    weight_decay: float,
    name: str = "sgd",
) -> torch.optim.Optimizer:
    """SGD or Adam over `parameter_groups`, in its fused form: a single pass over the weights.

    Args:
        classifier: whose parameters take the steps.
        lr, lr_head: of trunk and head.
        momentum: of SGD.
        weight_decay: added to the gradient, of Adam too.
        name: "sgd" or "adam".
    """
    groups = parameter_groups(classifier, lr, lr_head)
    if name == "adam":
        return torch.optim.Adam(groups, weight_decay=weight_decay, fused=True)
    optimizer = torch.optim.SGD(groups, momentum=momentum, weight_decay=weight_decay, fused=True)
    if momentum:
        # The fused form leaves its buffers uninitialised where the first step of fp16 overflows,
        # which most do.
        for parameter in (each for group in groups for each in group["params"]):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def step_schedule(warmup_epoch: int, step_epoch: int) -> Callable[[float], float]:
    """Factor on the learning rate after a number of epochs, which may be a fraction.

    It rises linearly over the first `warmup_epoch` epochs, and every `step_epoch` epochs, counted
    from the start as in the authors' code, it falls by 0.1.

    >>> factor = step_schedule(2, 4)
    >>> [round(factor(epochs), 3) for epochs in (0, 1, 2, 3.9, 4, 8)]
    [0.0, 0.5, 1.0, 1.0, 0.1, 0.01]
    """

    def factor(epochs: float) -> float:
        if epochs < warmup_epoch:
            return epochs / warmup_epoch
        return 0.1 ** (epochs // step_epoch)

    return factor


def scale_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` times its full one."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
