import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from pipeline.data.noise import uniform_noise
from utils.metrics import (
    average_precision,
    best_thresholds,
    judge_candidates,
    multilabel_metrics,
    probabilities,
)

NAMES = ("CP", "CR", "CF1", "OP", "OR", "OF1")
SCORES = np.float32([[2, -1, -3, 0.5], [1, 3, -2, -4], [-1, 2, -1, 4]])
TARGETS = np.int8([[1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 1]])


@st.composite
def ranked_labels(draw, lowest=-1):
    """Scores of few values, so that most are tied, and targets, of one random shape."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 6)))
    steps = draw(arrays(np.int8, shape, elements=st.integers(-3, 3)))
    targets = draw(arrays(np.int8, shape, elements=st.integers(lowest, 1)))
    return steps.astype(np.float32) / 4, targets


def random_labels(seed=0, images=200, classes=7, unjudged=0.2):
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(images, classes)).astype(np.float32)
    targets = (generator.random(scores.shape) < 0.3).astype(np.int8)
    targets[generator.random(scores.shape) < unjudged] = -1
    return scores, targets


def sklearn_average_precision(scores, targets):
    """Average precision by class, from its judged images alone."""
    result = np.full(scores.shape[1], np.nan)
    for c in range(scores.shape[1]):
        judged = targets[:, c] >= 0
        if (targets[:, c] == 1).any():
            result[c] = 100 * average_precision_score(targets[judged, c], scores[judged, c])
    return result


def slow_precision_recall(predicted, targets):
    """CP to OF1 with scikit-learn: by class on its judged images, overall on all of these."""
    scored = [c for c in range(targets.shape[1]) if (targets[:, c] == 1).any()]
    judged = [targets[:, c] >= 0 for c in scored]
    true = [targets[rows, c] for rows, c in zip(judged, scored)]
    guess = [predicted[rows, c].astype(np.int8) for rows, c in zip(judged, scored)]
    cp = np.mean([precision_score(t, g, zero_division=0) for t, g in zip(true, guess)])
    cr = np.mean([recall_score(t, g) for t, g in zip(true, guess)])
    pooled = np.concatenate(true), np.concatenate(guess)
    cf1 = 0.0 if cp + cr == 0 else 2 * cp * cr / (cp + cr)
    op, recall = precision_score(*pooled, zero_division=0), recall_score(*pooled)
    return 100 * np.array([cp, cr, cf1, op, recall, f1_score(*pooled, zero_division=0)])


def slow_top(scores, k):
    """An image's k highest scores, the first class's among equals."""
    predicted = np.zeros(scores.shape, bool)
    for image, row in enumerate(scores):
        for c in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]:
            predicted[image, c] = True
    return predicted


def values(metrics, suffix=""):
    return np.array([metrics[name + suffix] for name in NAMES])


def test_average_precision_worked_by_hand():
    # Ranks: true, false, true, (false and true tied): (1/1 + 2/3 + 3/5) / 3.
    scores, targets = np.float32([[5], [4], [3], [1], [1]]), np.int8([[1], [0], [1], [0], [1]])
    expected = 100 * (1 + 2 / 3 + 3 / 5) / 3
    assert average_precision(scores, targets)[0] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100)
@given(ranked_labels())
@example(random_labels())  # without ties
def test_average_precision_equals_scikit_learn_with_ties_and_unjudged_labels(case):
    ap = average_precision(*case)
    assert ap.dtype == np.float64
    np.testing.assert_allclose(ap, sklearn_average_precision(*case), rtol=0, atol=1e-10)


def test_scores_one_float32_step_apart_are_no_tie():
    scores = np.float32([[1], [np.nextafter(np.float32(1), np.float32(2))]])
    assert average_precision(scores, np.int8([[0], [1]])).tolist() == [100]
    assert average_precision(scores, np.int8([[1], [0]])).tolist() == [50]


def test_equal_scores_give_the_prevalence_whatever_the_order_of_images():
    targets = np.int8([[1, 0], [0, 1], [0, 1], [0, -1]])
    scores = np.zeros(targets.shape, np.float32)
    scores[::2] = -0.0  # equal to 0
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        ap = average_precision(scores[order], targets[order])
        np.testing.assert_allclose(ap, [25, 200 / 3])


@settings(max_examples=50)
@given(ranked_labels(), st.randoms(use_true_random=False))
def test_order_of_images_does_not_change_a_bit(case, random):
    scores, targets = case
    order = random.sample(range(len(scores)), len(scores))
    shuffled = multilabel_metrics(scores[order], targets[order])
    expected = multilabel_metrics(scores, targets)
    np.testing.assert_array_equal(list(shuffled.values()), list(expected.values()))
    ap = average_precision(scores, targets)
    assert np.isnan(ap).tolist() == (targets != 1).all(axis=0).tolist()
    np.testing.assert_array_equal(average_precision(scores[order], targets[order]), ap)


def test_permuting_classes_permutes_average_precision_and_leaves_the_means():
    scores, targets = random_labels()
    order = np.random.default_rng(1).permutation(scores.shape[1])
    ap = average_precision(scores, targets)
    assert len(set(ap)) == len(ap)
    np.testing.assert_array_equal(average_precision(scores[:, order], targets[:, order]), ap[order])
    permuted = multilabel_metrics(scores[:, order], targets[:, order])
    assert permuted == pytest.approx(multilabel_metrics(scores, targets), rel=1e-12)


def test_precision_and_recall_worked_by_hand():
    # Class 0: 2 claims, 1 true, of 2. Class 1: 2 claims, 1 true, of 2. Class 3: 2, 1, of 2.
    assert values(multilabel_metrics(SCORES, TARGETS)).tolist() == [50] * 6
    # Above 2.5 only class 1's 3 and class 3's 4, both true; class 0 is never predicted.
    metrics = multilabel_metrics(SCORES, TARGETS, threshold=2.5)
    np.testing.assert_allclose(
        values(metrics), 100 * np.array([2 / 3, 1 / 3, 4 / 9, 1, 1 / 3, 1 / 2])
    )


@settings(max_examples=100)
@given(ranked_labels(), st.sampled_from([-0.5, 0.0, 0.25]), st.integers(1, 7))
@example((SCORES, np.minimum(TARGETS, 0)), 0.0, 3)
@example((SCORES, TARGETS), 9.0, 3)  # nothing is predicted
@example(random_labels(), 0.0, 3)
def test_precision_and_recall_equal_scikit_learn(case, threshold, top_k):
    scores, targets = case
    metrics = multilabel_metrics(scores, targets, threshold, top_k)
    suffix = f"_top{top_k}"
    assert set(metrics) == {"mAP", "classes_scored", *NAMES, *(name + suffix for name in NAMES)}
    if not (targets == 1).any():
        assert metrics["classes_scored"] == 0
        assert all(math.isnan(value) for key, value in metrics.items() if key != "classes_scored")
        return
    expected = slow_precision_recall(scores > threshold, targets)
    np.testing.assert_allclose(values(metrics), expected, atol=1e-9)
    expected = slow_precision_recall(slow_top(scores, top_k) & (scores > threshold), targets)
    np.testing.assert_allclose(values(metrics, suffix), expected, atol=1e-9)
    ap = sklearn_average_precision(scores, targets)
    assert metrics["mAP"] == pytest.approx(np.nanmean(ap), abs=1e-9)
    assert metrics["classes_scored"] == np.isfinite(ap).sum()
    assert type(metrics["classes_scored"]) is int


def test_a_label_not_judged_holds_a_place_of_the_three_but_counts_neither_way():
    # Both classes 0 of image 0 and 3 of image 1 fall behind the three highest.
    scores = np.float32([[1, 2, 3, 4], [4, 3, 2, 1]])
    metrics = multilabel_metrics(scores, np.int8([[1, 1, 1, -1], [1, -1, 0, 1]]))
    # Predicted, judged: classes 1 and 2 of image 0, 0 and 2 of image 1; one of them false.
    assert metrics["OP_top3"] == 75
    assert metrics["OR_top3"] == 60


def test_inputs_are_not_changed():
    scores, targets = SCORES.copy(), TARGETS.copy()
    assert multilabel_metrics(scores, targets)["classes_scored"] == 3
    assert scores.tobytes() == SCORES.tobytes()
    assert targets.tobytes() == TARGETS.tobytes()


def with_value(matrix, image, label, value):
    changed = matrix.copy()
    changed[image, label] = value
    return changed


UNJUDGED = with_value(TARGETS, 1, 2, -1)
INFINITE = [
    (with_value(SCORES, 1, 2, value), UNJUDGED, f"finite .* got {value} for image 1, class 2")
    for value in (np.nan, np.inf, -np.inf)
]


@pytest.mark.parametrize("function", [average_precision, multilabel_metrics])
@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (SCORES, TARGETS[:, :3], r"but got \(3, 4\) and \(3, 3\)"),
        (SCORES[0], TARGETS[0], r".*\(N, C\), but got \(4,\) and \(4,\)"),
        (SCORES, with_value(TARGETS, 2, 1, 2), r"\{-1, 0, 1\}, but got 2 for image 2, class 1"),
        (SCORES, with_value(TARGETS, 2, 1, -2), r"\{-1, 0, 1\}, but got -2 for image 2, class 1"),
        *INFINITE,
    ],
)
def test_wrong_arguments_are_named(function, scores, targets, message):
    with pytest.raises(ValueError, match=f"Expected .*{message}"):
        function(scores, targets)


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_below_one_is_refused(top_k):
    with pytest.raises(ValueError, match=f"Expected top_k of at least 1, but got {top_k}"):
        multilabel_metrics(SCORES, TARGETS, top_k=top_k)


@given(ranked_labels())
def test_no_threshold_has_a_higher_f1(labels):
    scores, targets = labels
    found = best_thresholds(scores, targets)
    for c, threshold in enumerate(found):
        judged = targets[:, c] >= 0
        true, column = targets[judged, c], scores[judged, c]
        if not (true == 1).any():
            assert threshold == 0
            continue
        tried = [-math.inf, *column]
        best = max(f1_score(true, column > other, zero_division=0) for other in tried)
        assert f1_score(true, column > threshold, zero_division=0) == pytest.approx(best)
        assert not (column == threshold).any()


def test_probabilities_are_the_sigmoid_and_keep_the_order_of_scores():
    found = probabilities(np.float32([-1000, -600, -90, -2, 0, 2, 30]))
    np.testing.assert_allclose(found[3:6], [0.11920292, 0.5, 0.88079708])
    assert found[0] == 0
    assert (np.diff(found) > 0).all()


def test_candidate_ap_is_that_of_all_candidates_pooled():
    generator = np.random.default_rng(0)
    targets = (generator.random((40, 6)) < 0.3).astype(np.int8)
    scores = generator.normal(size=(40, 6)).astype(np.float32) + targets
    candidates = uniform_noise(targets, 0.4, seed=1)
    found = judge_candidates(scores, targets, candidates)
    chosen = candidates == 1
    expected = 100 * average_precision_score(targets[chosen], scores[chosen])
    assert found["candidate_AP"] == pytest.approx(expected)
    assert (found["candidates"], found["true_candidates"]) == (chosen.sum(), targets.sum())


def test_scores_outside_the_candidates_and_labels_nobody_knows_do_not_count():
    targets = np.int8([[1, 0, 0, -1], [1, 0, 1, 0]])
    candidates = np.array([[1, 1, 0, 1], [1, 0, 1, 1]])
    scores = np.float32([[3, 2, 9, 9], [1, 9, 4, 0]])
    found = judge_candidates(scores, targets, candidates)
    # In order: 4 true, 3 true, 2 false, 1 true, 0 false.
    assert found["candidate_AP"] == pytest.approx(100 * (1 + 1 + 3 / 4) / 3)
    assert (found["candidates"], found["true_candidates"]) == (5, 3)


@pytest.mark.parametrize("candidates", [[[1, 0]], [[0, 1]], [[0, 0]]])
def test_without_true_or_false_candidates_there_is_no_ranking(candidates):
    found = judge_candidates(np.float32([[1, 2]]), np.int8([[1, 0]]), np.array(candidates))
    assert found["candidate_AP"] is None
