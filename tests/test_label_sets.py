import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pipeline.data import rows as rows_module
from pipeline.data.rows import CandidateRows
from pipeline.posterior import label_sets
from pipeline.posterior.label_sets import LabelSets, fit_label_sets, posterior, posterior_of_rows

SETS = torch.tensor(
    [[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
).float()


def noisy(rate, images=900, seed=0):
    """True labels, whole sets of `SETS`, and their candidates at a rate a class."""
    generator = torch.Generator().manual_seed(seed)
    true = SETS[torch.randint(3, (images,), generator=generator)]
    flipped = torch.rand(true.shape, generator=generator) < torch.as_tensor(rate)
    return true, (true.bool() | flipped).float()


def fit(candidates, *arguments, **keywords):
    return fit_label_sets(CandidateRows.from_dense(candidates), *arguments, **keywords)


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
    rates = fit(noisy(rate)[1]).rates
    assert float(rates.mean()) == pytest.approx(rate, abs=0.015)
    torch.testing.assert_close(rates, torch.full((8,), rate), atol=0.04, rtol=0)


def test_a_class_rarer_than_the_rate_would_make_it_has_a_lower_rate():
    """Noise that spares a class: its rate is what leaves it true in some images."""
    candidates = noisy(torch.tensor([0.3] * 7 + [0.0]))[1]
    candidates[:, 7] = torch.rand(900, generator=torch.Generator().manual_seed(1)) < 0.1
    for known in None, 0.3:
        rates = fit(candidates, known).rates
        assert float(rates[7]) < float(candidates[:, 7].mean())
        torch.testing.assert_close(rates[:7], torch.full((7,), 0.3), atol=0.06, rtol=0)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_known_rate_is_kept(rate):
    assert torch.equal(fit(noisy(0.2)[1], rate).rates, torch.full((8,), rate))


def test_labels_that_say_nothing_of_each_other_are_noise_but_for_one_an_image():
    """Each is by chance as often as any other: all could be false, were there no true one."""
    generator = torch.Generator().manual_seed(0)
    candidates = (torch.rand(900, 8, generator=generator) < 0.3).float()
    labelled = candidates.any(dim=1).sum()
    bound = (candidates.sum() - labelled) / (candidates.numel() - labelled)
    assert float(fit(candidates).rates.mean()) <= float(bound) + 1e-6
    assert float(bound) < 0.25


def test_images_without_candidates_have_no_true_label_to_count():
    """They leave the bound on the rate where it was: one true label an image that has any."""
    candidates = noisy(0.2)[1]
    empty = torch.cat([candidates, torch.zeros(300, 8)])
    # 900 images of 8 labels, one of them true, have 6,300 false ones; 300 more have 2,400.
    expected = label_sets.most_noise(CandidateRows.from_dense(candidates)) * 6300 / 8700
    found = label_sets.most_noise(CandidateRows.from_dense(empty))
    torch.testing.assert_close(found, expected)


def test_the_context_prior_parts_true_from_false_candidates():
    """At rate 0.4 the sets are still told apart, with no image looked at."""
    true, candidates = noisy(0.4)
    probability, rates = fit(candidates)
    t = posterior_of_rows(probability, rates, CandidateRows.from_dense(candidates))
    is_true = true[candidates > 0] > 0
    assert t[is_true].mean() > 0.9
    assert t[~is_true].mean() < 0.2


def test_a_labels_own_candidate_does_not_enter_its_probability(monkeypatch):
    """Worked by hand, with the mixture given: weights of the sets by the other two labels."""
    theta = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.3, 0.9]])
    mixture = label_sets.Mixture(theta, torch.full((3,), 0.2), torch.tensor([0.6, 0.4]))
    monkeypatch.setattr(label_sets, "best_fit", lambda *_: mixture)
    p = fit(torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])).probability
    # Of label 1 by S_2 = 1 and S_3 = 0 alone.
    first, second = 0.6 * 0.84 * 0.9 * 0.8, 0.4 * 0.44 * 0.1 * 0.8
    assert p[0] == pytest.approx((0.9 * first + 0.1 * second) / (first + second))
    # Of label 2 by S_1, of both images, and S_3 = 0.
    for found, seen in ((p[1], (0.92, 0.28)), (p[2], (0.08, 0.72))):
        first, second = 0.6 * seen[0] * 0.9 * 0.8, 0.4 * seen[1] * 0.1 * 0.8
        assert found == pytest.approx((0.8 * first + 0.3 * second) / (first + second), rel=1e-5)


def dense_fit(candidates, sets=10, iterations=150, starts=2):
    """Do what `fit_label_sets` says it does, with every matrix whole and in float64."""
    observed = candidates.double()
    images, classes = observed.shape
    labelled = observed.any(dim=1).sum()
    most = (observed.sum() - labelled) / (observed.numel() - labelled)

    def joint_of(theta, rates, share):
        present, absent = theta + (1 - theta) * rates, (1 - theta) * (1 - rates)
        return observed @ present.log().T + (1 - observed) @ absent.log().T + share.log()

    def em(seed, rates=None, prevalence=None):
        known = rates is not None
        generator = torch.Generator().manual_seed(seed)
        member = torch.rand(images, sets, generator=generator) ** 3
        member = (member / member.sum(dim=1, keepdim=True)).double()
        rates = rates if known else (0.7 * most).clamp(1e-4, 0.99).repeat(classes)
        theta = torch.full((sets, classes), 0.5).double()
        for iteration in range(iterations):
            size, together = member.sum(dim=0), member.T @ observed
            true = together * theta / (theta + (1 - theta) * rates)
            if iteration == 0:
                seen = together / size[:, None]
                theta = ((seen - rates) / (1 - rates)).clamp(0.02, 0.95)
            elif prevalence is None:
                theta = (true - 0.5).clamp(min=1e-3) / (size[:, None] + 1)
            else:
                theta = (true + prevalence) / (size[:, None] + 1)
            theta, old_rates = theta.clamp(1e-5, 0.999), rates
            share = (size + 1) / (images + sets)
            joint = joint_of(theta, rates, share)
            member = joint.softmax(dim=1)
            if not known and iteration > 5:
                true = observed * (member @ (theta / (theta + (1 - theta) * rates)))
                flipped, false = (observed - true).sum(dim=0), (1 - true).sum(dim=0)
                pull = 0.05 * images
                rates = (flipped + pull * flipped.sum() / false.sum()) / (false + pull)
                rates = rates.clamp(1e-4, 0.99)
        return joint.logsumexp(dim=1).mean(), theta, rates, old_rates, share

    def best(*arguments):
        return max((em(seed, *arguments) for seed in range(starts)), key=lambda each: each[0])

    rates = best()[2]
    rates = rates * (most / rates.mean()).clamp(max=1)
    frequency = observed.mean(dim=0)
    error = (rates * (1 - rates) / images).sqrt()
    rates = torch.minimum(rates, frequency - error).clamp(0, 0.99)
    _, theta, _, _, share = best(rates, (frequency - rates) / (1 - rates))
    member = joint_of(theta, rates, share).softmax(dim=1)
    present = 1 / (theta + (1 - theta) * rates)
    p = (member @ (present * theta)) / (member @ present)
    return LabelSets(p[candidates > 0].float(), rates.float())


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_fit_is_that_of_dense_matrices(rate, monkeypatch):
    """With images in blocks and chunks, and some without candidates."""
    candidates = noisy(rate, images=500, seed=3)[1]
    candidates[::50] = 0
    monkeypatch.setattr(label_sets, "BLOCK", 128)
    monkeypatch.setattr(rows_module, "CHUNK_ENTRIES", 300)
    found, expected = fit(candidates, iterations=40), dense_fit(candidates, iterations=40)
    torch.testing.assert_close(found.rates, expected.rates, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.probability, expected.probability, atol=1e-4, rtol=0)


def test_many_images_are_fitted_by_some_of_them(monkeypatch):
    """The mixture is that of every fourth; what is known of all of them, their number, enters."""
    candidates = noisy(0.3, images=3600)[1]
    whole = fit(candidates)
    monkeypatch.setattr(label_sets, "MOST_IMAGES", 900)
    calls = []
    best_fit = label_sets.best_fit

    def spy(observed, *arguments):
        calls.append(observed.rows)
        return best_fit(observed, *arguments)

    monkeypatch.setattr(label_sets, "best_fit", spy)
    part = fit(candidates)
    for rows in calls:
        assert torch.equal(rows.columns, CandidateRows.from_dense(candidates[::4]).columns)
    assert part.probability.shape == whole.probability.shape
    torch.testing.assert_close(part.rates, whole.rates, atol=0.05, rtol=0)
    assert (part.probability - whole.probability).abs().mean() < 0.05


@pytest.mark.parametrize("nonempty", [True, False])
def test_the_posterior_of_rows_is_that_of_the_batch(nonempty):
    generator = torch.Generator().manual_seed(0)
    candidates = (torch.rand(30, 6, generator=generator) < 0.4).float()
    p, rates = torch.rand(30, 6, generator=generator), torch.rand(6, generator=generator)
    rows, chosen = CandidateRows.from_dense(candidates), candidates > 0
    found = posterior_of_rows(p[chosen], rates, rows, nonempty)
    torch.testing.assert_close(found, posterior(p, rates, candidates, nonempty)[chosen])


@pytest.mark.parametrize(
    "candidates",
    [torch.ones(5, 3), torch.zeros(5, 3), torch.ones(4, 1), torch.tensor([[1, 0, 1]])],
    ids=["all", "none", "one class", "one image"],
)
def test_degenerate_candidates_give_finite_probabilities(candidates):
    probability, rates = fit(candidates)
    assert bool(((probability > 0) & (probability < 1)).all())
    assert bool(((rates >= 0) & (rates < 1)).all())


@settings(max_examples=10)
@given(st.integers(0, 99))
def test_candidates_are_not_changed(seed):
    candidates = noisy(0.3, images=40, seed=seed)[1]
    before = candidates.clone()
    fit(candidates)
    assert torch.equal(candidates, before)
