"""Plots, drawn without a screen, and without pyplot, whose figures outlive their use."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def training_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Draw training loss, test mAP and learning rate over epochs.

    Args:
        history: one dict an epoch with epoch, train_loss, mAP (or None) and lr.
        path: of the .png.
    """
    epochs = [line["epoch"] for line in history]
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, (key, label) in zip(
        axes, [("train_loss", "training loss"), ("mAP", "test mAP (%)"), ("lr", "learning rate")]
    ):
        values = [float("nan") if line[key] is None else line[key] for line in history]
        axis.plot(epochs, values, marker=".")
        axis.set(xlabel="epoch", title=label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    if any(line["lr"] > 0 for line in history):
        axes[2].set_yscale("log")
    figure.savefig(path, dpi=120)
