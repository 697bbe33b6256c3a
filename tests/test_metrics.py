import math

import numpy as np
import pytest
from hypothesis import given, settings
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
    """By class, from its judged images alone."""
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
def test_average_precision_equals_scikit_learn_with_ties_and_unjudged_labels(case):
    ap = average_precision(*case)
    assert ap.dtype == np.float64
    np.testing.assert_allclose(ap, sklearn_average_precision(*case), rtol=0, atol=1e-10)


def test_average_precision_equals_scikit_learn_without_ties():
    scores, targets = random_labels()
    expected = sklearn_average_precision(scores, targets)
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=0, atol=1e-10)


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


def test_labels_not_judged_are_as_if_their_images_were_absent():
    scores, targets = np.float32([[4], [3], [2], [1]]), np.int8([[-1], [1], [-1], [0]])
    assert average_precision(scores, targets).tolist() == [100]
    metrics = multilabel_metrics(scores, targets, threshold=0.5)
    assert (metrics["CP"], metrics["OP"], metrics["OR"]) == (50, 50, 100)


def test_a_class_without_positives_has_no_ap_and_is_left_out_of_everything():
    ap = average_precision(SCORES, TARGETS)
    assert np.isnan(ap).tolist() == [False, False, True, False]
    metrics = multilabel_metrics(SCORES, TARGETS)
    assert metrics["mAP"] == np.nanmean(ap)
    assert metrics["classes_scored"] == 3
    assert type(metrics["classes_scored"]) is int
    # High scores of the class would be false claims, were they counted.
    claimed = SCORES.copy()
    claimed[:, 2] = 0.25
    without = multilabel_metrics(claimed, TARGETS)
    assert values(without).tolist() == values(metrics).tolist()


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


def test_macro_and_micro_averages_of_scikit_learn_where_every_label_is_judged():
    scores, targets = random_labels(unjudged=0)
    metrics = multilabel_metrics(scores, targets)
    for kind, average in (("C", "macro"), ("O", "micro")):
        for name, score in (("P", precision_score), ("R", recall_score)):
            expected = 100 * score(targets, scores > 0, average=average)
            assert metrics[kind + name] == pytest.approx(expected, abs=1e-10)
    overall_f1 = 100 * f1_score(targets, scores > 0, average="micro")
    assert metrics["OF1"] == pytest.approx(overall_f1, abs=1e-10)
    # CF1 is the harmonic mean of the means, which is not the mean of F1 over classes.
    mean_f1 = 100 * f1_score(targets, scores > 0, average="macro")
    assert abs(metrics["CF1"] - mean_f1) > 1e-3


def test_a_score_at_the_threshold_is_not_predicted():
    metrics = multilabel_metrics(np.float32([[0.0], [1e-30]]), np.int8([[1], [1]]))
    assert (metrics["CP"], metrics["CR"]) == (100, 50)


def test_nothing_predicted_gives_zero():
    metrics = multilabel_metrics(np.full((3, 4), -9, np.float32), TARGETS)
    assert values(metrics).tolist() == [0] * 6


def test_of_the_three_highest_scores_those_above_the_threshold_count_the_first_of_a_tie():
    targets = np.int8([[0, 1, 0, 1, 1]])
    # Class 1 leads, then 0 and 2 of the four that tie.
    metrics = multilabel_metrics(np.float32([[5, 7, 5, 5, 5]]), targets)
    assert (metrics["OR_top3"], metrics["CR_top3"]) == pytest.approx((100 / 3, 100 / 3))
    assert metrics["OP_top3"] == 100  # classes 0 and 2 have no positives
    assert metrics["OR"] == 100
    metrics = multilabel_metrics(np.float32([[-5, -2, -5, -5, -5]]), targets)
    assert metrics["OR_top3"] == 0


def test_a_label_not_judged_holds_a_place_of_the_three_but_counts_neither_way():
    # Both classes 0 of image 0 and 3 of image 1 fall behind the three highest.
    scores = np.float32([[1, 2, 3, 4], [4, 3, 2, 1]])
    metrics = multilabel_metrics(scores, np.int8([[1, 1, 1, -1], [1, -1, 0, 1]]))
    # Predicted, judged: classes 1 and 2 of image 0, 0 and 2 of image 1; one of them false.
    assert metrics["OP_top3"] == 75
    assert metrics["OR_top3"] == 60


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_up_to_three_classes_are_all_among_the_three_highest(classes):
    scores, targets = random_labels(classes=classes, unjudged=0)
    metrics = multilabel_metrics(scores, targets)
    for name in ("CP", "CR", "CF1", "OP", "OR", "OF1"):
        assert metrics[f"{name}_top3"] == metrics[name]


def test_one_image():
    metrics = multilabel_metrics(np.float32([[3, 2, -1, -2]]), np.int8([[1, 0, 1, -1]]))
    assert average_precision(np.float32([[3, 2]]), np.int8([[1, 0]]))[0] == 100
    assert metrics["mAP"] == 100
    assert values(metrics).tolist() == pytest.approx([50, 50, 50, 100, 50, 200 / 3])
    assert metrics["classes_scored"] == 2


def test_no_positives_at_all():
    metrics = multilabel_metrics(SCORES, np.minimum(TARGETS, 0))
    assert metrics.pop("classes_scored") == 0
    assert len(metrics) == 13
    assert all(math.isnan(value) for value in metrics.values())


def test_inputs_are_not_changed():
    scores, targets = SCORES.copy(), TARGETS.copy()
    assert multilabel_metrics(scores, targets)["classes_scored"] == 3
    assert scores.tobytes() == SCORES.tobytes()
    assert targets.tobytes() == TARGETS.tobytes()


@pytest.mark.parametrize("function", [average_precision, multilabel_metrics])
class TestErrors:
    def test_shapes_differ(self, function):
        with pytest.raises(ValueError, match=r"Expected .* but got \(3, 4\) and \(3, 3\)"):
            function(SCORES, TARGETS[:, :3])

    def test_one_axis(self, function):
        with pytest.raises(ValueError, match=r"Expected .*\(N, C\), but got \(4,\) and \(4,\)"):
            function(SCORES[0], TARGETS[0])

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_scores_are_not_finite_even_where_not_judged(self, function, value):
        scores, targets = SCORES.copy(), TARGETS.copy()
        scores[1, 2], targets[1, 2] = value, -1
        with pytest.raises(
            ValueError, match=f"Expected finite scores, but got {value} for image 1, class 2"
        ):
            function(scores, targets)

    @pytest.mark.parametrize("value", [2, -2])
    def test_targets_hold_another_value(self, function, value):
        targets = TARGETS.copy()
        targets[2, 1] = value
        with pytest.raises(
            ValueError, match=rf"Expected .*\{{-1, 0, 1\}}, but got {value} for image 2, class 1"
        ):
            function(SCORES, targets)


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
    logits = np.float32([-1000, -600, -90, -2, 0, 2, 30])
    found = probabilities(logits)
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
