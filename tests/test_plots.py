import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from utils import plots
from utils.metrics import average_precision
from utils.plots import method_styles, precision_recall_curves, rate_curves, training_curves


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def drawn(history, path):
    training_curves(history, path)
    return pixels(path)


def record(epoch, loss, score, rate):
    return {"epoch": epoch, "train_loss": loss, "mAP": score, "lr": rate}


def test_each_of_loss_map_and_rate_has_a_curve_of_its_own(tmp_path):
    history = [record(1, 0.9, 40.0, 0.1), record(2, 0.5, 60.0, 0.1), record(3, 0.4, 70.0, 0.01)]
    before = drawn(history, tmp_path / "a.png")
    third = before.shape[1] // 3
    for part, key in enumerate(("train_loss", "mAP", "lr")):
        changed = [dict(line) for line in history]
        changed[1][key] = changed[1][key] * 1.3
        difference = np.abs(drawn(changed, tmp_path / "b.png") - before).sum(axis=(0, 2))
        columns = np.flatnonzero(difference)
        assert len(columns)
        assert columns.min() >= part * third - 20
        assert columns.max() < (part + 1) * third + 20


def test_an_undefined_map_is_left_out(tmp_path):
    image = drawn([record(1, 0.9, None, 0.1), record(2, 0.5, None, 0.1)], tmp_path / "a.png")
    assert image.std() > 0


def curves(scores, targets, classes, path):
    ap = average_precision(scores, targets)
    precision_recall_curves(scores, targets, classes, ap, path)
    return pixels(path)


def test_each_class_has_a_bar_and_a_class_without_positives_none(tmp_path):
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(50, 60)).astype(np.float32)
    targets = (generator.random((50, 60)) < 0.3).astype(np.int8)
    many = curves(scores, targets, [f"class {c}" for c in range(60)], tmp_path / "a.png")
    targets[:, 5:] = 0
    few = curves(scores, targets, [f"class {c}" for c in range(60)], tmp_path / "b.png")
    assert many.shape[0] > few.shape[0]  # the picture grows with the bars


def test_a_name_is_no_formula_and_no_positives_are_no_error(tmp_path):
    scores = np.float32([[1], [0]])
    assert curves(scores, np.int8([[1], [0]]), ["$x$ $"], tmp_path / "a.png").std() > 0
    assert curves(scores, np.int8([[0], [0]]), ["a"], tmp_path / "b.png").std() > 0


def compared(methods, path):
    rate_curves(methods, path)
    return pixels(path)


def test_no_two_methods_are_drawn_alike():
    styles = method_styles(["clean", "bce", *map(str, range(36))])
    assert len(set(styles.values())) == 38
    colours = [colour for colour, _ in list(styles.values())[:14]]
    assert len(set(colours)) == 14
    assert all(np.ptp(colour) > 0.2 for colour in colours[2:])  # black and grey are the bounds'


def test_the_legend_names_methods_beside_the_curves(tmp_path):
    points = [(0.1, 90.0, 1.0), (0.4, 80.0, 2.0)]
    short = compared({"bce": points, "a": points}, tmp_path / "a.png")
    long = compared({"bce": points, "a much longer $name$": points}, tmp_path / "b.png")
    inside = short.shape[1] // 2
    assert np.abs(short - long)[:, inside:].any()
    few = compared({"bce": points}, tmp_path / "a.png")
    many = compared({f"m{i}": points for i in range(30)}, tmp_path / "b.png")
    assert many.shape[0] > few.shape[0]


def test_one_method_at_one_rate_is_drawn(tmp_path):
    assert compared({"paper": [(0.2, 71.0, None)]}, tmp_path / "a.png").std() > 0


def test_of_a_single_rate_methods_are_rows(tmp_path, monkeypatch):
    rows = []
    monkeypatch.setattr(plots, "draw_rows", lambda axis, methods, styles: rows.extend(methods))
    compared({"bce": [(0.2, 71.0, None)], "paper": [(0.2, 72.0, 1.0)]}, tmp_path / "a.png")
    assert rows == ["bce", "paper"]
    compared({"bce": [(0.1, 71.0, None), (0.2, 70.0, None)]}, tmp_path / "a.png")
    assert rows == ["bce", "paper"]


def test_rows_are_named_and_the_first_is_on_top():
    axis = Figure().subplots()
    methods = {"bce": [(0.2, 71.0, None)], "paper": [(0.2, 72.0, 1.5)]}
    plots.draw_rows(axis, methods, method_styles(methods))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["bce", "paper"]
    assert axis.yaxis_inverted()
    assert axis.get_xlim()[0] < 70.5 < 73.5 < axis.get_xlim()[1]


def test_numbers_of_verified_images_stand_in_order(tmp_path, monkeypatch):
    """Also where the first line lacks some."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    gold = [("200", 81.0, None), ("50", 80.0, None)]
    lines = {"gold": gold, "bce": [("0", 70.0, 1.0), ("0.05", 71.0, None), ("1000000", 72.0, None)]}
    plots.verified_curves({"rate 0.1": lines, "rate 0.2": {"gold": gold}}, tmp_path / "a.png")
    for axis in figures[0].axes:
        words = [label.get_text() for label in axis.get_xticklabels()]
        assert words == ["0", "0.05", "50", "200", "1000000"]
        assert axis.get_lines()[0].get_xdata().tolist() == [2, 3]


@pytest.mark.parametrize("rates", [(0.05, 0.05), (0.0, 0.0), (0.1, 0.01)])
def test_a_learning_rate_has_ticks(rates, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    training_curves([record(i, 0.5, 40.0, rate) for i, rate in enumerate(rates)], tmp_path / "a")
    axis = figures[0].axes[2]
    low, high = axis.get_ylim()
    ticks = [tick for tick in axis.get_yticks() if low <= tick <= high]
    assert ticks == [rates[0]] if rates[0] == rates[1] else len(ticks) > 1
