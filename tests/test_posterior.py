import pytest
import torch
import torch.nn.functional as F

from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from pipeline.posterior.label_sets import posterior
from pipeline.posterior.method import OFFSET_EPOCHS, Posterior, variance_weights
from utils.options.choices import ABLATIONS


def draw(images=600, classes=5, rate=0.3, seed=0):
    """Independent true labels, and their candidates."""
    generator = torch.Generator().manual_seed(seed)
    true = (torch.rand(images, classes, generator=generator) < 0.3).float()
    true[true.sum(dim=1) == 0, 0] = 1
    flipped = torch.rand(images, classes, generator=generator) < rate
    return true, (true.bool() | flipped).float()


def output_of(logits):
    return Output(logits, torch.zeros(len(logits), 2, 1, 1), torch.zeros(*logits.shape, 1, 1))


TRUE, CANDIDATES = draw()
INDEX = torch.arange(len(CANDIDATES))
ROWS, CHOSEN = CandidateRows.from_dense(CANDIDATES), CANDIDATES > 0


def dense(table):
    """(N, C) of a table of `ROWS`, 0 outside the candidates."""
    return ROWS.read(table, INDEX)


def random_logits(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(CANDIDATES.shape, generator=generator)


def restored_to_the_end(method):
    """The offset has faded, and the context prior hardly counts."""
    method.seen, method.epoch = OFFSET_EPOCHS * len(CANDIDATES), 10**9
    return method


def test_without_noise_it_is_bce():
    """Candidates known to be free of noise: targets are the labels, all weights 1."""
    method = restored_to_the_end(Posterior(CandidateRows.from_dense(TRUE), rate=0.0))
    logits = random_logits()
    loss = method.loss(output_of(logits), TRUE, INDEX)["loss"]
    expected = F.binary_cross_entropy_with_logits(logits, TRUE)
    torch.testing.assert_close(loss, expected)


def test_a_classifier_that_knows_nothing_has_the_classes_frequencies():
    """Logits of 0 stand for each class's frequency before any training."""
    method = Posterior(ROWS, rate=0.3)
    method.loss(output_of(torch.zeros(CANDIDATES.shape)), CANDIDATES, INDEX)
    probability = method.logits[:-1].sigmoid()
    by_class = torch.stack([probability[ROWS.columns == c].mean() for c in range(5)])
    torch.testing.assert_close(by_class, TRUE.mean(dim=0), atol=0.08, rtol=0)


def test_the_offset_fades_with_the_images_seen():
    method, logits = Posterior(ROWS), random_logits()
    for epoch in range(OFFSET_EPOCHS + 2):
        method.loss(output_of(logits), CANDIDATES, INDEX)
        left = max(0, OFFSET_EPOCHS - epoch) / OFFSET_EPOCHS
        expected = (logits + left * method.offset)[CHOSEN]
        torch.testing.assert_close(method.logits[:-1], expected)


def test_gradient_is_gain_times_prediction_minus_target():
    method = Posterior(ROWS)
    method.begin_epoch(1)
    logits = random_logits().requires_grad_()
    losses = method.loss(output_of(logits), CANDIDATES, INDEX)
    losses["loss"].backward()
    shifted = logits.detach() + method.offset
    p = (shifted + dense(method.context_prior)).sigmoid()
    targets = posterior(p, method.rates, CANDIDATES)
    expected = method.variance_weight * (shifted.sigmoid() - targets) / logits.numel()
    torch.testing.assert_close(logits.grad, expected)
    assert not losses["posterior_loss"].requires_grad


def test_without_all_its_parts_a_known_rate_is_forward_correction():
    """The gradient is that of -log(p + (1 - p) rho) on candidates, of -log(1 - p) elsewhere."""
    candidates = torch.cat([torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]]), CANDIDATES])
    rows = CandidateRows.from_dense(candidates)
    method = Posterior(rows, 0.3, without=ABLATIONS["posterior"])
    method.begin_epoch(1)
    candidates = candidates[:1]
    logits = torch.tensor([[0.3, 1.0, -1.0, 0.5, -2.0]]).requires_grad_()
    method.loss(output_of(logits), candidates, torch.tensor([0]))["loss"].backward()
    found, logits.grad = logits.grad, None
    p = logits.sigmoid()
    seen = torch.where(candidates > 0, p + (1 - p) * 0.3, 1 - p)
    (-seen.log()).mean().backward()
    torch.testing.assert_close(found, logits.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("part", ABLATIONS["posterior"])
def test_a_part_left_out_leaves_the_others(part):
    """What is stored and trained on without it, against the method whole."""
    whole, method = Posterior(ROWS), Posterior(ROWS, without=[part])
    logits = random_logits()
    for each in whole, method:
        each.begin_epoch(1)
    loss = method.loss(output_of(logits), CANDIDATES, INDEX)["loss"]
    shifted = logits if part == "offset" else logits + whole.offset
    prior = torch.zeros(()) if part == "context_prior" else dense(whole.context_prior)
    start = torch.zeros(()) if part == "offset" else dense(whole.logits)

    def targets_of(log_odds):
        return posterior(log_odds.sigmoid(), whole.rates, CANDIDATES, part != "nonempty")

    weight = variance_weights(targets_of(start + prior)[CHOSEN], ROWS)
    if part == "variance_weight":
        weight = torch.ones(5)
    targets = targets_of(shifted + prior)
    expected = F.binary_cross_entropy_with_logits(shifted, targets, reduction="none")
    torch.testing.assert_close(loss, (weight * expected).mean())


def test_the_weight_of_the_context_prior_falls_with_the_epochs():
    method = Posterior(ROWS)
    before = method.candidate_posterior()
    method.begin_epoch(4)
    p = (dense(method.logits) + 0.25 * dense(method.context_prior)).sigmoid()
    expected = posterior(p, method.rates, CANDIDATES)[CHOSEN]
    torch.testing.assert_close(method.candidate_posterior(), expected)
    assert not torch.equal(before, method.candidate_posterior())


def test_gain_is_the_ratio_of_variances_and_bounded():
    soft = torch.tensor([[0.9, 0.5, 1.0], [0.1, 0.5, 0.0]])  # 0.16 where labels have 0.25
    rows = CandidateRows.from_dense(torch.ones(2, 3))
    found = variance_weights(soft.flatten(), rows)
    torch.testing.assert_close(found, torch.tensor([0.25 / 0.16, 5.0, 1.0]))


def test_gain_counts_the_labels_that_are_no_candidates():
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(CANDIDATES.shape, generator=generator) * CANDIDATES
    mean, spread = targets.mean(dim=0), targets.var(dim=0, correction=0)
    expected = (mean * (1 - mean) / spread).clamp(1, 5)
    torch.testing.assert_close(variance_weights(targets[CHOSEN], ROWS), expected)


def test_gain_falls_as_the_classifier_learns():
    method = Posterior(ROWS)
    method.begin_epoch(1)
    first = method.variance_weight
    method.loss(output_of(8 * (TRUE - 0.5)), CANDIDATES, INDEX)
    method.begin_epoch(2)
    assert (method.variance_weight < first).all()


def test_rows_stay_with_their_images():
    method = Posterior(ROWS)
    index = torch.tensor([7, 3])
    logits = random_logits()[:2].requires_grad_()
    method.loss(output_of(logits), CANDIDATES[index], index)
    expected = (logits.detach() + method.offset) * CANDIDATES[index]
    torch.testing.assert_close(dense(method.logits)[index], expected)
    assert not method.logits.requires_grad
    changed = (dense(method.logits) != method.offset * CANDIDATES).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [3, 7]


def test_a_restored_method_goes_on_as_before():
    first = Posterior(ROWS)
    first.loss(output_of(random_logits()), CANDIDATES, INDEX)
    first.begin_epoch(2)
    state = first.state_dict()
    second = Posterior(ROWS, rate=0.1)
    second.load_state_dict(state)
    losses = [m.loss(output_of(random_logits(5)), CANDIDATES, INDEX) for m in (first, second)]
    assert torch.equal(losses[0]["loss"], losses[1]["loss"])


def test_confidence_of_every_candidate_is_stored():
    values = Posterior(ROWS).state_dict()["confidence"]["values"]
    assert values.shape == ROWS.columns.shape
    lone = (ROWS.count == 1).repeat_interleave(ROWS.count)
    assert lone.any()
    assert (values[lone] > 0.999).all()


def test_a_state_of_all_labels_is_refused():
    """As older versions stored it; `experiment.restore` says which checkpoint it is of."""
    method = Posterior(ROWS)
    with pytest.raises(ValueError, match="something else than a tensor of"):
        method.load_state_dict(method.state_dict() | {"company": torch.zeros(CANDIDATES.shape)})
