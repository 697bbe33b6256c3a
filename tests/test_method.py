import pytest
import torch
import torch.nn.functional as F

from pipeline.cones import released
from pipeline.cones.correlation import cooccurrence, scale_rows
from pipeline.cones.loss import negative_suppression_loss
from pipeline.cones.method import CoNeS, Steps
from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from tests.helpers import PAPER

CANDIDATES = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])


def random_output(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 4, generator=generator).requires_grad_()
    features = torch.rand(4, 6, 3, 3, generator=generator)
    return Output(logits, features, torch.randn(4, 4, 3, 3, generator=generator))


def make_method(**changes):
    settings = PAPER | {"clusters": 2, "memory": 8} | changes
    return CoNeS(CandidateRows.from_dense(CANDIDATES), feature_dim=6, **settings)


INDEX = torch.arange(4)


def test_loss_is_bce_plus_beta_times_the_suppression_loss():
    output, method = random_output(), make_method(beta=0.3, mu=0.0)
    candidates = CANDIDATES.float()
    losses = method.loss(output, candidates, INDEX)
    correlation = scale_rows(cooccurrence(method.confidence.rows))
    evidence = (output.logits.sigmoid() @ correlation) * candidates
    confidence = evidence / evidence.sum(dim=1, keepdim=True)
    size = candidates.sum(dim=1, keepdim=True)
    labels = ((confidence > 1 / size) | (size == 1)).float() * candidates
    bce = F.binary_cross_entropy_with_logits(output.logits, candidates)
    suppression = negative_suppression_loss(output.logits, candidates, labels, 3.0)
    torch.testing.assert_close(losses["loss"], bce + 0.3 * suppression)
    torch.testing.assert_close(losses["suppression_loss"], suppression.detach())
    expected = confidence.detach()[CANDIDATES > 0]
    torch.testing.assert_close(method.confidence.values[:-1], expected)


def test_only_the_logits_get_a_gradient():
    output = random_output()
    features = output.features.requires_grad_()
    cams = output.cams.requires_grad_()
    losses = make_method().loss(output, CANDIDATES.float(), INDEX)
    losses["loss"].backward()
    assert output.logits.grad.abs().sum() > 0
    assert features.grad is None
    assert cams.grad is None
    assert not any(value.requires_grad for name, value in losses.items() if name != "loss")


def test_correlation_is_refreshed_from_epoch_2_on():
    method = make_method(gamma=0.5)
    for seed in range(4):
        method.loss(random_output(seed), CANDIDATES.float(), INDEX)
    before = method.correlation
    method.begin_epoch(1)
    assert torch.equal(method.correlation, before)
    method.begin_epoch(2)
    assert not torch.allclose(method.correlation, before)


@pytest.mark.parametrize("steps", [Steps(), released.STEPS])
def test_a_stored_state_goes_on_like_an_unbroken_one(steps):
    unbroken, resumed = make_method(steps=steps), make_method(steps=steps)
    for method in (unbroken, resumed):
        for seed in range(3):
            method.loss(random_output(seed), CANDIDATES.float(), INDEX)
    fresh = make_method(steps=steps)
    fresh.load_state_dict(resumed.state_dict())
    for method in (unbroken, fresh):
        method.begin_epoch(2)
    losses = [m.loss(random_output(9), CANDIDATES.float(), INDEX) for m in (unbroken, fresh)]
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
    assert torch.equal(unbroken.correlation, fresh.correlation)


@pytest.mark.parametrize("name", Steps._fields)
def test_each_released_step_changes_what_is_learned(name):
    """Every difference of the released code acts on its own."""
    changed = Steps()._replace(**{name: getattr(released.STEPS, name)})
    results = []
    for steps in (Steps(), changed):
        method = make_method(steps=steps, gamma=0.5, mu=0.5)
        for epoch in range(1, 4):
            method.begin_epoch(epoch)
            for seed in range(3):
                method.loss(random_output(seed), CANDIDATES.float(), INDEX)
        loss = method.loss(random_output(9), CANDIDATES.float(), INDEX)["loss"]
        results.append([loss.detach(), method.correlation, method.memory.rows])
    assert not all(torch.allclose(a, b) for a, b in zip(*results))


def test_a_state_of_all_labels_is_refused():
    """As older versions stored it; `experiment.restore` says which checkpoint it is of."""
    method = make_method()
    state = method.state_dict() | {"confidence": {"rows": torch.rand(4, 4)}}
    with pytest.raises(KeyError):
        method.load_state_dict(state)
