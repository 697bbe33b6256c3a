import json

import numpy as np
import pytest
import torch

from pipeline.data.labelled import LabelledImages
from pipeline.data.transforms import evaluation_transform
from pipeline.evaluation import format_table, judge, load_trained, score, tune
from pipeline.model.classifier import assemble
from utils.metrics import best_thresholds, multilabel_metrics
from utils.options.groups import CheckpointOptions
from utils.run_folder import RunFolder

SCORES = np.float32([[2, -1, -3], [1, 3, -2], [-1, 2, -1]])
TARGETS = np.int8([[1, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_the_report_holds_the_metrics_and_each_class_and_is_json():
    report = judge(SCORES, TARGETS, list("abc"))
    assert json.loads(json.dumps(report)) == report
    metrics = multilabel_metrics(SCORES, TARGETS)
    assert {name: report[name] for name in metrics} == metrics
    assert report["by_class"]["c"] == {"AP": None, "positives": 0}
    assert report["by_class"]["a"]["positives"] == 2
    assert report["by_class"]["a"]["AP"] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_without_any_positive_all_is_undefined_and_the_table_says_so():
    report = judge(
        SCORES, np.zeros_like(TARGETS), list("abc"), tune(SCORES, TARGETS, list("abc"), "d", "s")
    )
    assert report["mAP"] is report["OF1_top3"] is None
    assert format_table(report).count("none") == 3 + 1 + 12


def test_tuned_metrics_are_those_above_each_class_threshold():
    limits = {"thresholds": {"a": -1.39, "b": 2.2, "c": 0.0}}
    report = judge(SCORES, TARGETS, list("abc"), limits)
    # a: all three predicted, two true; b: the second predicted, of two true ones.
    assert report["OP_tuned"] == pytest.approx(100 * 3 / 4)
    assert report["OR_tuned"] == pytest.approx(100 * 3 / 4)
    assert report["CP_tuned"] == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert format_table(report).splitlines()[-1].split()[:2] == ["tuned", "83.33"]
    assert report["OP"] == judge(SCORES, TARGETS, list("abc"))["OP"]


def test_tuning_names_every_class_and_what_it_was_tuned_on():
    found = tune(SCORES, TARGETS, list("abc"), "coco", "train")
    limits = found.pop("thresholds")
    assert found == {"dataset": "coco", "split": "train", "images": 3}
    assert list(limits) == list("abc")
    assert list(limits.values()) == best_thresholds(SCORES, TARGETS).tolist()


@pytest.fixture
def stored(tmp_path):
    """A run's folder with a classifier of four classes, and twenty images."""
    torch.manual_seed(0)
    classifier = assemble("test_resnet", 32, "csra", 4, 2, 0.3, "imagenet").eval()
    options = {"script": "main_BCE", "dataset": "digits", "model": "test_resnet", "img_size": 32}
    options |= {"normalize": "imagenet", "lam": 0.3, "amp": "bf16", "device": "cpu"}
    run = RunFolder.create(tmp_path / "r", options, {"classes": list("abcd")})
    record = {"epoch": 1, "train_loss": 1.0, "mAP": 50.0, "lr": 0.1}
    run.save_epoch(record, {}, classifier.state_dict())
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (20, 3, 40, 50), dtype=torch.uint8, generator=generator)
    targets = np.zeros((20, 4), np.int8)
    ids = [str(i) for i in range(20)]
    return str(run.path), LabelledImages(pixels, list("abcd"), targets, ids), classifier


def test_precision_is_the_run_s_unless_given(stored, capsys):
    path, data, classifier = stored
    assert load_trained(CheckpointOptions(load_from=path)).amp_dtype == torch.bfloat16
    full = load_trained(CheckpointOptions(load_from=path, amp="off"))
    assert full.amp_dtype is None
    with torch.inference_mode():
        expected = classifier(evaluation_transform(32)(data.images)).logits
    np.testing.assert_allclose(score(full, data), expected, atol=1e-5)
    half = score(load_trained(CheckpointOptions(load_from=path)), data)
    assert np.abs(half - expected.numpy()).max() > 1e-4
    assert "device      cpu in bf16" in capsys.readouterr().out


def test_flags_that_agree_with_the_weights_are_admitted(stored):
    path, _, _ = stored
    flags = {"head": "csra", "num_heads": 2, "model": "test_resnet", "img_size": 64}
    found = load_trained(CheckpointOptions(load_from=path, **flags), num_cls=4)
    assert found.settings == {"img_size": 64, "normalize": "imagenet", "lam": 0.3}
