import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pipeline.cones import labelsets
from pipeline.cones.labelsets import fit_label_sets, posterior

SETS = torch.tensor(
    [[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
).float()


def noisy(rate, images=900, seed=0):
    """True labels, whole sets of `SETS`, and their candidates at a rate a class."""
    generator = torch.Generator().manual_seed(seed)
    true = SETS[torch.randint(3, (images,), generator=generator)]
    flipped = torch.rand(true.shape, generator=generator) < torch.as_tensor(rate)
    return true, (true.bool() | flipped).float()


def test_posterior_is_bayes_rule_times_at_least_one_true():
    """Enumerated over all 2^3 label sets of three candidates."""
    p, rates = torch.tensor([[0.2, 0.5, 0.7]]), torch.tensor([0.1, 0.3, 0.6])
    weight, true = 0.0, torch.zeros(3)
    for labels in torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3):
        if labels.any():
            chance = torch.where(labels > 0, p[0], (1 - p[0]) * rates).prod()
            weight, true = weight + chance, true + chance * labels
    torch.testing.assert_close(posterior(p, rates, torch.ones(1, 3))[0], true / weight)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    st.floats(0, 1),
    st.lists(st.integers(0, 1), min_size=4, max_size=4),
)
def test_posterior_is_a_probability_within_the_candidates(p, rate, candidates):
    candidates = torch.tensor([candidates])
    t = posterior(torch.tensor([p]), torch.full((4,), rate), candidates)
    assert bool(((t >= 0) & (t <= 1)).all())
    assert not t[candidates == 0].any()
    if candidates.sum() == 1:
        assert t.sum() == pytest.approx(1)


def test_without_noise_every_candidate_is_true():
    candidates = torch.tensor([[1, 0, 1, 1]])
    for nonempty in True, False:
        t = posterior(torch.full((1, 4), 0.3), torch.zeros(4), candidates, nonempty)
        assert torch.equal(t, candidates.float())


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2, 0.4])
def test_the_rate_is_found_without_being_told(rate):
    rates = fit_label_sets(noisy(rate)[1]).rates
    assert float(rates.mean()) == pytest.approx(rate, abs=0.015)
    torch.testing.assert_close(rates, torch.full((8,), rate), atol=0.04, rtol=0)


def test_a_class_rarer_than_the_rate_would_make_it_has_a_lower_rate():
    """Noise that spares a class: its rate is what leaves it true in some images."""
    rate = torch.tensor([0.3] * 7 + [0.0])
    candidates = noisy(rate)[1]
    candidates[:, 7] = torch.rand(900, generator=torch.Generator().manual_seed(1)) < 0.1
    for known in None, 0.3:
        rates = fit_label_sets(candidates, known).rates
        assert float(rates[7]) < float(candidates[:, 7].mean())
        torch.testing.assert_close(rates[:7], torch.full((7,), 0.3), atol=0.06, rtol=0)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_known_rate_is_kept(rate):
    assert torch.equal(fit_label_sets(noisy(0.2)[1], rate).rates, torch.full((8,), rate))


def test_images_without_candidates_have_no_true_label_to_count():
    """They leave the bound on the rate where it was: one true label an image that has any."""
    candidates = noisy(0.2)[1]
    empty = torch.cat([candidates, torch.zeros(300, 8)])
    # 900 images of 8 labels, one of them true, have 6,300 false ones; 300 more have 2,400.
    expected = labelsets.most_noise(candidates) * 6300 / 8700
    torch.testing.assert_close(labelsets.most_noise(empty), expected)


def test_company_parts_true_from_false_candidates():
    """At rate 0.4 the sets are still told apart, with no image looked at."""
    true, candidates = noisy(0.4)
    probability, rates = fit_label_sets(candidates)
    t = posterior(probability, rates, candidates)
    assert t[true > 0].mean() > 0.9
    assert t[(candidates - true) > 0].mean() < 0.2


def test_a_labels_own_candidate_does_not_enter_its_probability(monkeypatch):
    """With the mixture given, flipping S_c leaves p_c as it was: it is judged by the others."""
    theta = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.3, 0.9]])
    fit = labelsets.Mixture(theta, torch.full((3,), 0.2), torch.tensor([0.6, 0.4]))
    monkeypatch.setattr(labelsets, "best_fit", lambda *_: fit)
    both = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    p = fit_label_sets(both).probability
    assert p[0, 0] == pytest.approx(float(p[1, 0]))
    # Worked by hand: weights of the sets by S_2 = 1 and S_3 = 0 alone.
    first, second = 0.6 * 0.84 * 0.9 * 0.8, 0.4 * 0.44 * 0.1 * 0.8
    assert p[0, 0] == pytest.approx((0.9 * first + 0.1 * second) / (first + second))


def test_permuting_classes_permutes_the_rates():
    candidates = noisy(torch.tensor([0.05, 0.4] * 4))[1]
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    torch.testing.assert_close(
        fit_label_sets(candidates[:, order]).rates, fit_label_sets(candidates).rates[order]
    )


@pytest.mark.parametrize(
    "candidates",
    [torch.ones(5, 3), torch.zeros(5, 3), torch.ones(4, 1), torch.tensor([[1, 0, 1]])],
    ids=["all", "none", "one class", "one image"],
)
def test_degenerate_candidates_give_finite_probabilities(candidates):
    probability, rates = fit_label_sets(candidates)
    assert bool(((probability > 0) & (probability < 1)).all())
    assert bool(((rates >= 0) & (rates < 1)).all())


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_candidates_are_not_changed(seed):
    candidates = noisy(0.3, images=40, seed=seed)[1]
    before = candidates.clone()
    fit_label_sets(candidates)
    assert torch.equal(candidates, before)
