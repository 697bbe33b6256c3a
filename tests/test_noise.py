import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.data import noise
from pipeline.data.candidates import realised_rate

shapes = st.tuples(st.integers(1, 8), st.integers(1, 6))
target_arrays = arrays(np.int8, shapes, elements=st.integers(-1, 1))
seeds = st.integers(0, 2**63)


def weights_of(elements):
    """Targets with weights of the same shape."""
    return target_arrays.flatmap(
        lambda targets: st.tuples(
            st.just(targets), arrays(np.float64, targets.shape, elements=elements)
        )
    )


# Drawing


@given(target_arrays, st.floats(0, 0.99), seeds)
def test_uniform_candidates_are_zeros_and_ones_that_hold_every_true_label(targets, rate, seed):
    before = targets.copy()
    candidates = noise.uniform_noise(targets, rate, seed)
    assert (candidates.shape, candidates.dtype) == (targets.shape, np.uint8)
    assert set(np.unique(candidates)) <= {0, 1}
    assert candidates[targets == 1].all()
    np.testing.assert_array_equal(targets, before)


@given(weights_of(st.floats(0, 1)), seeds)
def test_candidates_of_any_weights_hold_every_true_label(drawn, seed):
    targets, weights = drawn
    for probability in (
        weights,
        weights[0],
        noise.cooccurrence_weights(targets),
        noise.score_weights(100 * weights - 50),
        noise.scale_to_rate(weights, targets, 0.0),
    ):
        assert noise.draw(targets, probability, seed)[targets == 1].all()


def test_a_seed_gives_this_draw_on_every_machine():
    targets = np.array([[1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 0]], np.int8)
    expected = [[1, 0, 0, 1], [1, 1, 0, 1], [1, 0, 0, 1]]
    assert noise.uniform_noise(targets, 0.4, seed=5).tolist() == expected
    assert noise.uniform_noise(targets, 0.4, seed=6).tolist() != expected


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 0.99])
def test_the_realised_rate_is_near_the_one_asked_for_and_counts_difficult_labels(rate):
    targets = np.random.default_rng(0).choice(np.int8([-1, 0, 1]), (5000, 20))
    candidates = noise.uniform_noise(targets, rate, seed=1)
    assert realised_rate(candidates, targets) == pytest.approx(rate, abs=0.006)
    assert candidates[targets == -1].mean() == pytest.approx(rate, abs=0.01)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match=r"Expected a noise rate in \[0, 1\) but got"):
        noise.uniform_noise(np.zeros((2, 2), np.int8), rate, 0)


def test_probabilities_are_for_all_for_classes_or_for_each_label():
    targets = np.zeros((400, 3), np.int8)
    by_class = np.array([0.0, 0.5, 1.0])
    alike = noise.draw(targets, by_class, 2)
    np.testing.assert_array_equal(alike, noise.draw(targets, np.tile(by_class, (400, 1)), 2))
    np.testing.assert_array_equal(noise.draw(targets, 0.5, 2)[:, 1], alike[:, 1])
    assert alike.mean(axis=0) == pytest.approx(by_class, abs=0.06)
    each = np.random.default_rng(3).integers(0, 2, targets.shape)
    np.testing.assert_array_equal(noise.draw(targets, each, 2), each)


# Weights


def slow_cooccurrence(targets):
    images = [{c for c, target in enumerate(row) if target == 1} for row in targets]

    def share(c, t):
        with_t = [image for image in images if t in image]
        return sum(c in image for image in with_t) / len(with_t)

    return [
        [
            np.mean([share(c, t) for t in image])
            if image
            else sum(c in other for other in images) / len(images)
            for c in range(targets.shape[1])
        ]
        for image in images
    ]


@given(target_arrays)
def test_cooccurrence_weights_agree_with_a_slow_loop(targets):
    weights = noise.cooccurrence_weights(targets)
    np.testing.assert_allclose(weights, slow_cooccurrence(targets), atol=1e-12)
    assert (weights >= 0).all()
    assert (weights <= 1 + 1e-12).all()


def test_score_weights_are_the_sigmoid_in_thousandths():
    scores = np.array([[-1000.0, -1, 0, 1, 1000], [-20, -7, 2, 7, 20]], np.float32)
    with np.errstate(all="raise"):
        weights = noise.score_weights(scores)
    assert weights.tolist() == [[0, 0.269, 0.5, 0.731, 1], [0, 0.001, 0.881, 0.999, 1]]


@given(arrays(np.float32, st.integers(1, 30), elements=st.floats(-1000, 1000, width=32)))
def test_score_weights_rise_with_the_score_within_0_and_1(scores):
    weights = noise.score_weights(np.sort(scores))
    assert (np.diff(weights) >= 0).all()
    assert weights.min() >= 0
    assert weights.max() <= 1
    np.testing.assert_array_equal(weights, np.round(weights, 3))
    np.testing.assert_allclose(
        noise.score_weights(-scores), 1 - noise.score_weights(scores), atol=1e-9
    )


# Scaling


# Weights of noise are shares of a thousand or of the images, but any size will do.
@given(weights_of(st.just(0) | st.floats(1e-6, 1e6)), st.floats(0, 0.99))
def test_scaled_probabilities_have_the_rate_and_keep_proportions(drawn, rate):
    targets, weights = drawn
    before = weights.copy()
    others = targets != 1
    reachable = (weights[others] > 0).mean() if others.any() else 0
    if rate > reachable:
        with pytest.raises(ValueError, match=f"a rate of at most {reachable:.4f} here, but got"):
            noise.scale_to_rate(weights, targets, rate)
        return
    probability = noise.scale_to_rate(weights, targets, rate)
    assert probability.shape == weights.shape
    assert probability.min() >= 0
    assert probability.max() <= 1
    if others.any():
        assert probability[others].mean() == pytest.approx(rate, abs=1e-9)
    cut = probability == 1
    factors = probability[~cut & (weights > 0)] / weights[~cut & (weights > 0)]
    if len(factors):
        np.testing.assert_allclose(factors, factors[0], rtol=1e-9)
        # What is cut would be above 1.
        assert (weights[cut] * factors[0] >= 1 - 1e-9).all()
    assert (probability[weights == 0] == 0).all()
    np.testing.assert_array_equal(weights, before)


def test_the_highest_reachable_rate_takes_every_label_of_weight():
    weights = np.array([[0.001, 5.0, 0.0, 1.0]])
    probability = noise.scale_to_rate(weights, np.zeros((1, 4), np.int8), 0.75)
    assert probability[0] == pytest.approx([1, 1, 0, 1])


@pytest.mark.filterwarnings("error")
def test_without_false_labels_only_a_rate_of_zero_can_be_had():
    every = np.ones((2, 3), np.int8)
    assert noise.scale_to_rate(np.ones((2, 3)), every, 0.0).shape == (2, 3)
    with pytest.raises(ValueError, match="at most 0.0000"):
        noise.scale_to_rate(np.ones((2, 3)), every, 0.1)


@given(target_arrays, st.floats(0, 0.99), seeds)
def test_labels_are_left_out_but_never_an_images_last(targets, share, seed):
    candidates = noise.uniform_noise(targets, 0.3, seed)
    left = noise.leave_out(candidates, targets, share, seed)
    true = targets == 1
    assert (left[~true] == candidates[~true]).all()
    assert (left.max(axis=1, initial=0) >= true.any(axis=1)).all()
    assert share > 0 or (left == candidates).all()


def test_the_share_left_out_is_the_one_asked_for_and_the_seeds():
    targets = np.ones((500, 20), np.int8)
    left = noise.leave_out(np.ones((500, 20), np.uint8), targets, 0.2, 0)
    assert abs(1 - left.mean() - 0.2) < 0.01
    assert (left != noise.leave_out(np.ones((500, 20), np.uint8), targets, 0.2, 1)).any()
