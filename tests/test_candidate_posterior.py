import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.rows import CandidateRows
from pipeline.posterior.label_sets import fit_label_sets
from pipeline.review.candidate_posterior import (
    candidate_posterior,
    decide,
    held_out_posterior,
    likely_labels,
    run_posterior,
)
from utils.options.training import TrainingOptions


def draw(rate=0.3, images=4000, classes=4, seed=0):
    """Logits that are honest log-odds of independent labels, the labels, and their candidates."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, generator=generator) - 1
    true = (torch.rand(logits.shape, generator=generator) < logits.sigmoid()).float()
    flipped = torch.rand(logits.shape, generator=generator) < rate
    return logits, true, (true.bool() | flipped).float()


@pytest.mark.parametrize("of_candidates", [False, True])
def test_honest_scores_give_honest_probabilities(of_candidates):
    """Among candidates of probability 0.6 to 0.7, about so many are true; images with none too."""
    logits, true, candidates = draw()
    rates = torch.full((4,), 0.3)
    if of_candidates:
        p = logits.double().sigmoid()
        logits = (p + (1 - p) * 0.3).logit().float()
    some = true.sum(dim=1) > 0  # what an image's candidates are assumed to hold
    probability = candidate_posterior(logits[some], candidates[some], rates, of_candidates)
    assert not probability[candidates[some] == 0].any()
    for low in (0.2, 0.4, 0.6, 0.8):
        chosen = (probability > low) & (probability < low + 0.1)
        assert true[some][chosen].mean() == pytest.approx(low + 0.05, abs=0.08)


@pytest.mark.parametrize(
    ("options", "of_candidates"),
    [
        (TrainingOptions(recipe="posterior", noise_rate=0.2), False),
        (TrainingOptions(recipe="paper"), True),
        (TrainingOptions(script="main_BCE", loss="bce-forward", noise_rate=0.2), False),
        (TrainingOptions(script="main_BCE", loss="bce"), True),
    ],
)
def test_a_runs_posterior_follows_its_loss_and_its_parts(options, of_candidates):
    logits, _, candidates = draw(images=400)
    logits[::2] += 1
    labels = candidates.numpy().astype(np.uint8)
    rates = fit_label_sets(CandidateRows.from_dense(candidates), options.noise_rate).rates
    parts = [np.arange(0, 400, 2), np.arange(1, 400, 2)]
    probability = run_posterior(logits.numpy(), labels, options, parts)
    for part in parts:
        expected = candidate_posterior(logits[part], candidates[part], rates, of_candidates)
        np.testing.assert_allclose(probability[part], expected.numpy(), atol=1e-6)
    assert abs(probability - run_posterior(logits.numpy(), labels, options)).max() > 0.01


def test_a_constant_error_does_not_matter():
    logits, _, candidates = draw()
    rates = torch.full((4,), 0.3)
    found = candidate_posterior(logits + 2, candidates, rates, False)
    expected = candidate_posterior(logits, candidates, rates, False)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_candidates_keep_the_order_of_their_scores_however_strong_the_shift(noise):
    """Where each image has one true label the shift grows without bound, but nothing ties."""
    generator = torch.Generator().manual_seed(0)
    true = torch.eye(10)[torch.randint(10, (3000,), generator=generator)]
    candidates = (true.bool() | (torch.rand(true.shape, generator=generator) < 0.3)).float()
    logits = 6 * true - 4 + noise * torch.randn(true.shape, generator=generator)
    probability = candidate_posterior(logits, candidates, torch.full((10,), 0.3), False)
    chosen = candidates > 0
    assert len(probability[chosen].unique()) > 0.95 * chosen.sum()
    first = probability.argmax(dim=1)
    best = logits.masked_fill(~chosen, -torch.inf).argmax(dim=1)
    assert (first == best).float().mean() > 0.95  # classes are shifted a little differently


def test_scores_below_the_noise_rate_keep_their_order():
    """A classifier of candidates that finds a label rarer than noise alone would make it."""
    logits = torch.linspace(-6, -1.5, 10)[:, None].expand(10, 4)  # q of 0.002 to 0.18
    candidates = torch.ones(10, 4)
    probability = candidate_posterior(logits, candidates, torch.full((4,), 0.3), True)
    assert (probability.diff(dim=0) > 0).all()


def test_as_many_are_probable_as_the_rate_leaves():
    logits, true, candidates = draw()
    probability = candidate_posterior(logits, candidates, torch.full((4,), 0.3), False)
    torch.testing.assert_close(probability.sum(dim=0), true.sum(dim=0), atol=0, rtol=0.06)


def test_without_noise_all_candidates_are_sure():
    logits, true, _ = draw()
    probability = candidate_posterior(logits, true, torch.zeros(4), True)
    torch.testing.assert_close(probability, true, atol=0.01, rtol=0)


MANY = st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), min_size=1, max_size=60)


@given(MANY, st.floats(0, 1), st.integers(0, 70))
def test_no_image_loses_its_last_candidate(entries, share, budget):
    rows = np.array(sorted(row for row, _ in entries))
    probability = np.array([p for _, p in entries])
    for flags in ({"threshold": share}, {"precision": share}, {"budget": budget}):
        kept, threshold, expected = decide(probability, rows, **flags)
        assert set(rows[kept]) == set(rows)
        assert (expected is None) == kept.all()
        assert (probability[~kept] <= threshold).all()
        best = [probability[rows == row].max() for row in set(rows)]
        assert all(max(probability[(rows == r) & kept]) == b for r, b in zip(set(rows), best))
        if "precision" in flags and expected is not None:
            assert expected >= share - 1e-9
        if "budget" in flags:
            assert (~kept).sum() == min(budget, len(rows) - len(set(rows)))


def test_the_expected_precision_holds_for_millions():
    """float32, as the probabilities come, cannot sum so many."""
    probability = np.linspace(0, 1, 3_000_000, dtype=np.float32)
    rows = np.arange(len(probability)) // 3
    kept, _, expected = decide(probability, rows, precision=0.97)
    assert expected >= 0.97
    assert (1 - probability[~kept].astype(float)).mean() == pytest.approx(0.97, abs=1e-4)


def test_nothing_is_decided_on_nothing():
    assert decide(np.zeros(0, np.float32), np.zeros(0, int)).kept.tolist() == []


def test_the_threshold_is_where_dropping_ends():
    rows, probability = np.zeros(5, int), np.array([0.1, 0.9, 0.3, 0.5, 0.7])
    assert decide(probability, rows).kept.tolist() == [False, True, False, True, True]
    kept, threshold, expected = decide(probability, rows, precision=0.7)
    assert (kept.tolist(), threshold) == ([False, True, False, False, True], 0.7)
    assert expected == pytest.approx(1 - (0.1 + 0.3 + 0.5) / 3)
    assert decide(probability, rows, budget=0)[1:] == (0.1, None)


def test_unseen_images_get_as_large_a_share_of_each_probability_as_the_training_images():
    random = np.random.default_rng(0)
    labels = (random.random((90, 5)) < 0.6).astype(np.uint8)
    logits = random.normal(size=(90, 5)).astype(np.float32)
    targets = random.random((30, 5)).astype(np.float32) * labels[:30]
    targets[3] = -1
    options = TrainingOptions(dataset="digits", recipe="posterior", targets="neighbours")
    of_test, inside = (logits[30:], labels[30:]), labels[30:] == 1
    found = held_out_posterior(*of_test, options, labels[:30], targets)
    assert (found[~inside] == 0).all()
    known = targets[(labels[:30] == 1) & (targets >= 0)]
    for share in (0.1, 0.5, 0.9):
        expected = np.quantile(known, share)
        assert np.quantile(found[inside], share) == pytest.approx(expected, abs=0.03)
    assert (np.diff(found[inside][np.argsort(logits[30:][inside])]) >= 0).all()
    without = held_out_posterior(*of_test, options, labels[:30])
    assert without[inside].min() >= 0
    assert (without != found).any()


def test_the_likeliest_labels_are_none_of_the_candidates_and_none_of_known_images():
    p = np.array([[0.1, 0.9, 0.3, 0.7], [0.5, 0.2, 0.4, 0.3], [0.5, 0.2, 0.4, 0.3]])
    found = np.array([[0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    columns, probability = likely_labels(p, found, np.array([False, False, True]), 2)
    assert columns.tolist() == [[3, 2], [-1, -1], [-1, -1]]
    assert probability.tolist() == [[0.7, 0.3], [0, 0], [0, 0]]
    assert likely_labels(p[:1], found[:1], np.array([False]), 5)[0].tolist() == [[3, 2, 0, -1]]


def test_targets_made_before_training_say_how_many_and_the_classifier_which():
    random = np.random.default_rng(0)
    labels = (random.random((30, 5)) < 0.6).astype(np.uint8)
    logits = random.normal(size=(30, 5)).astype(np.float32)
    targets = random.random((30, 5)).astype(np.float32) * labels
    options = TrainingOptions(dataset="digits", recipe="posterior", targets="neighbours")
    parts = [np.arange(0, 30, 2), np.arange(1, 30, 2)]
    probability = run_posterior(logits, labels, options, parts, targets)
    assert (probability[labels == 0] == 0).all()
    for part in parts:
        inside = labels[part] == 1
        assert (np.sort(probability[part][inside]) == np.sort(targets[part][inside])).all()
        order = np.argsort(logits[part][inside])
        assert (np.diff(probability[part][inside][order]) >= 0).all()
