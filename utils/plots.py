"""Plots, drawn without a screen, and without pyplot, whose figures outlive their use."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from utils.fonts import legible

# How the methods are drawn between which the others are expected.
BOUNDS = {"clean": ("black", "_"), "bce": ("dimgrey", "|")}


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
    rates = {line["lr"] for line in history}
    if len(rates) == 1:  # for which neither scale has a tick
        axes[2].set_yticks(list(rates), [f"{rate:g}" for rate in rates])
    elif max(rates) > 0:
        axes[2].set_yscale("log")
    figure.savefig(path, dpi=120)


def precision_recall_curves(
    scores: np.ndarray, targets: np.ndarray, classes: list[str], ap: np.ndarray, path: Path
) -> None:
    """Draw precision over recall of each class and of all together, and the classes' AP.

    Args:
        scores: (N, C) float32.
        targets: (N, C) int8: 1 true, 0 false, -1 not judged.
        classes: C names.
        ap: (C,) in percent; NaN for a class without positives, which is left out.
        path: of the .png.
    """
    with legible(classes):
        drawn = [c for c in np.argsort(-ap) if not np.isnan(ap[c])]
        height = max(4.5, 1 + 0.16 * len(drawn))
        figure = Figure(figsize=(12, height), layout="constrained")
        curves, bars = figure.subplots(1, 2, width_ratios=(1.2, 1))
        colours = matplotlib.colormaps["viridis"](np.linspace(0.85, 0, len(drawn)))  # by rank
        for c, colour in zip(drawn, colours):
            judged = targets[:, c] >= 0
            precision, recall, _ = precision_recall_curve(targets[judged, c], scores[judged, c])
            curves.plot(100 * recall, 100 * precision, color=colour, alpha=0.6, linewidth=1)
        judged = targets[:, drawn] >= 0
        if judged.any():
            pooled = targets[:, drawn][judged], scores[:, drawn][judged]
            precision, recall, _ = precision_recall_curve(*pooled)
            curves.plot(
                100 * recall,
                100 * precision,
                color="black",
                linewidth=2,
                label="all classes pooled",
            )
            curves.legend(loc="lower left")
        curves.set(
            xlabel="recall (%)",
            ylabel="precision (%)",
            xlim=(0, 100),
            ylim=(0, 101),
            title="by class",
        )
        curves.grid(alpha=0.3)
        bars.barh([escape(classes[c]) for c in drawn], ap[drawn], color=colours)
        bars.invert_yaxis()
        bars.margins(y=0.01)
        bars.tick_params(axis="y", labelsize=7 if len(drawn) > 40 else 9)
        mean = f"mAP {ap[drawn].mean():.2f}" if drawn else "no class has positives"
        bars.set(xlabel="average precision (%)", xlim=(0, 100), title=mean)
        bars.grid(axis="x", alpha=0.3)
        figure.savefig(path, dpi=120)


def rate_curves(
    methods: Mapping[str, Sequence[tuple[float, float, float | None]]], path: Path
) -> None:
    """Draw mAP over noise rate, a line a method, with its standard deviation as error bars; of a
    single rate, a row a method.

    "clean" and "bce", the bounds between which the others are expected, are black and grey.

    Args:
        methods: by name, (rate, mean, standard deviation or None) of each rate that has a score.
        path: of the .png.
    """
    with legible(methods):
        figure = Figure(figsize=(10, max(4.5, 1.5 + 0.25 * len(methods))), layout="constrained")
        axis = figure.subplots()
        rates = sorted({rate for points in methods.values() for rate, _, _ in points})
        gap = min((b - a for a, b in itertools.pairwise(rates)), default=0.1)
        styles = method_styles(methods)
        if len(rates) == 1:
            draw_rows(axis, methods, styles)
            axis.set_title(f"noise rate {rates[0]:g}")
            figure.savefig(path, dpi=120)
            return
        for number, (name, points) in enumerate(methods.items()):
            # Side by side, so that error bars at one rate can be told apart.
            shift = 0.4 * gap * ((number + 0.5) / len(methods) - 0.5)
            moved = [(rate + shift, *rest) for rate, *rest in points]
            width = 2 if name in BOUNDS else 1.2
            draw_method(axis, name, moved, styles[name], linewidth=width, elinewidth=1)
        axis.set(
            xlabel="noise rate", ylabel="test mAP (%), mean ± standard deviation", xticks=rates
        )
        axis.grid(alpha=0.3)
        figure.legend(loc="outside right upper")
        figure.savefig(path, dpi=120)


def draw_rows(
    axis: Any,
    methods: Mapping[str, Sequence[tuple[float, float, float | None]]],
    styles: Mapping[str, tuple[Any, str]],
) -> None:
    """Draw a row a method, mAP and its standard deviation, the first on top; as `rate_curves`."""
    for row, (name, points) in enumerate(methods.items()):
        for _, mean, deviation in points:
            colour, marker = styles[name]
            axis.errorbar(mean, row, xerr=deviation or 0, color=colour, marker=marker, capsize=2)
    axis.set_yticks(range(len(methods)), [escape(name) for name in methods])
    axis.invert_yaxis()
    axis.set(xlabel="test mAP (%), mean ± standard deviation")
    axis.grid(alpha=0.3)


def verified_curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[str, float, float | None]]]], path: Path
) -> None:
    """Draw mAP over the number of verified images, a panel a noise rate, a line a method.

    The numbers stand side by side, smallest first: a share, below 1, before any count.

    Args:
        panels: by title and method, (images, mean, standard deviation or None).
        path: of the .png.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    each = (at for lines in panels.values() for points in lines.values() for at, _, _ in points)
    ticks = sorted(set(each), key=float)
    with legible(names):
        figure = Figure(figsize=(1 + 4.5 * len(panels), 4.5), layout="constrained")
        styles = method_styles(names)
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, (title, lines) in zip(axes, panels.items()):
            for name, points in lines.items():
                placed = sorted((ticks.index(at), *rest) for at, *rest in points)
                draw_method(axis, name, placed, styles[name])
            axis.set(title=title, xlabel="verified images")
            axis.set_xticks(range(len(ticks)), ticks)
            axis.grid(alpha=0.3)
        axes[0].set(ylabel="test mAP (%), mean ± standard deviation")
        axes[0].legend()
        figure.savefig(path, dpi=120)


def draw_method(
    axis: Any, name: str, points: Sequence[Any], style: tuple[Any, str], **more: Any
) -> None:
    """Draw a method's line through (place, mean, standard deviation or None), with error bars."""
    colour, marker = style
    axis.errorbar(
        [at for at, _, _ in points],
        [mean for _, mean, _ in points],
        [deviation or 0 for _, _, deviation in points],
        label=escape(name),
        color=colour,
        marker=marker,
        linestyle="--" if name in BOUNDS else "-",
        capsize=2,
        **more,
    )


def method_styles(names: Iterable[str]) -> dict[str, tuple[Any, str]]:
    """Colour and marker of each method; no two are alike among the first 36 within the bounds."""
    # tab20 alternates strong and pale tones: all strong ones first. Greys are left to the bounds.
    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    colours = [c for c in (*palette[::2], *palette[1::2]) if c not in palette[14:16]]
    styles = zip(itertools.cycle(colours), itertools.cycle("osD^vP*X<>ph"))
    return {name: BOUNDS[name] if name in BOUNDS else next(styles) for name in names}


def escape(name: str) -> str:
    """A name as plain text: between dollar signs matplotlib reads a formula."""
    return name.replace("$", r"\$")
