import numpy as np
from PIL import Image

from utils.plots import training_curves


def drawn(history, path):
    training_curves(history, path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


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
