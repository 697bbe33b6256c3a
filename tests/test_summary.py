import json

import numpy as np
import pytest
import torch

from pipeline.data.labelled import LabelledImages
from pipeline.review.candidate_posterior import Decision
from pipeline.review.summary import class_correlation, read_history, summarise

CANDIDATES = np.array([[1, 1, 0], [1, 1, 1]], np.uint8)
TRUTH = np.array([[1, 0, 0], [0, 1, -1]], np.int8)
PROBABILITY = np.array([[0.9, 0.2, 0], [0.4, 0.8, 0.1]])
KEPT = np.array([[1, 0, 0], [1, 1, 0]], np.uint8)
DATA = LabelledImages([None, None], ["a", "b", "c"], TRUTH, ["x", "y"])


def summary(truth):
    decision = Decision(KEPT[CANDIDATES == 1] == 1, 0.3, 0.85)
    return summarise(DATA, truth, CANDIDATES, PROBABILITY, KEPT, decision)


def test_counts_and_rates_of_classes():
    found = summary(None)
    assert (found["images"], found["candidates"], found["dropped"]) == (2, 5, 2)
    assert (found["threshold"], found["expected_precision"]) == (0.3, 0.85)
    assert found["by_class"]["b"] == {"candidates": 2, "dropped": 1, "flip_rate": 1.0}
    # Of c, 0.9 of 1.9 false labels are candidates.
    assert found["by_class"]["c"]["flip_rate"] == pytest.approx(0.9 / 1.9, abs=1e-4)
    for undefined in (found, summary(np.full_like(TRUTH, -1))):  # as where all are verified
        names = ("precision", "recall", "average_precision")
        assert [undefined[name] for name in names] == [None] * 3


def test_the_decision_is_judged_where_the_truth_is_known():
    """False are b of x, dropped, and a of y, kept; what is not judged does not count."""
    found = summary(TRUTH)
    assert (found["precision"], found["recall"]) == (1, 0.5)
    assert found["average_precision"] == 1
    json.dumps(found)


def test_the_correlation_is_the_run_s_or_that_of_the_labels_kept(tmp_path):
    expected = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], np.float32)
    assert np.array_equal(class_correlation(tmp_path, KEPT), expected)
    (tmp_path / "last.pt").write_bytes(b"damaged")
    assert np.array_equal(class_correlation(tmp_path, KEPT), expected)
    learned = torch.rand(3, 3)
    torch.save({"method": {"correlation": learned}}, tmp_path / "last.pt")
    assert np.array_equal(class_correlation(tmp_path, KEPT), learned.numpy())


def test_history_takes_what_there_is(tmp_path):
    assert read_history(tmp_path) == []
    lines = [
        {"epoch": 1, "mAP": None, "confidence": 10**400},
        {"epoch": 2, "mAP": 50.0, "confidence": 0.4},
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_history(tmp_path) == [{"epoch": 1}, lines[1]]
    (tmp_path / "metrics.jsonl").write_text("[1]")
    assert read_history(tmp_path) == []
