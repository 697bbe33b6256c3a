import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cones import released
from pipeline.cones.loss import (
    log_negative_loss,
    negative_suppression_loss,
    select_pseudo_labels,
    suppression_weights,
)

R = st.floats(1.05, 50)


def random_batch(seed, images=4, classes=6):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(images, classes, generator=generator)
    return logits, (torch.rand(images, classes, generator=generator) < 0.4).float()


@given(st.integers(0, 1000), R)
def test_non_candidates_share_one_over_n(seed, r):
    logits, candidates = random_batch(seed)
    weights = suppression_weights(logits, candidates, r)
    n = (1 - candidates).sum(dim=1)
    shares = (weights * (1 - candidates)).sum(dim=1)
    torch.testing.assert_close(shares[n > 0], (1 / n)[n > 0])
    assert torch.equal(weights[candidates > 0], torch.ones(int(candidates.sum())))


@given(st.integers(0, 1000), st.floats(1.5, 8))
def test_weights_minimise_the_damped_loss(seed, r):
    """phi is the minimum of sum phi^r l under sum phi = 1/n: no shift within it is better."""
    logits, candidates = random_batch(seed, images=1)
    logits, candidates = logits.double(), candidates.double()
    candidates[0, :2] = 0
    phi = suppression_weights(logits, candidates, r)[0].double()
    loss = F.softplus(logits[0])

    def damped(weights):
        return float((weights**r * loss * (1 - candidates[0])).sum())

    shift = 1e-3 * float(phi[:2].min())
    for sign in (1, -1):
        moved = phi.clone()
        moved[0] += sign * shift
        moved[1] -= sign * shift
        assert damped(moved) >= damped(phi) * (1 - 1e-6)


def test_weight_worked_by_hand_at_r_3():
    # l = ln 2 and 4 ln 2: shares l^(-1/2) = 1 : 1/2, over n = 2.
    logits = torch.tensor([[0.0, math.log(15.0), 3.0]])
    weights = suppression_weights(logits, torch.tensor([[0.0, 0.0, 1.0]]), r=3.0)
    torch.testing.assert_close(weights, torch.tensor([[1 / 3, 1 / 6, 1.0]]))


def test_large_r_splits_evenly_and_r_near_one_takes_the_easiest():
    logits, candidates = torch.tensor([[-3.0, 0.0, 3.0, 1.0]]), torch.tensor([[0.0, 0, 0, 1]])
    even = suppression_weights(logits, candidates, r=1e6)[0, :3]
    torch.testing.assert_close(even, torch.full((3,), 1 / 9))
    easiest = suppression_weights(logits, candidates, r=1.001)[0, :3]
    torch.testing.assert_close(easiest, torch.tensor([1 / 3, 0.0, 0.0]))


def test_released_weights_agree_with_the_paper_s_at_r_2_only():
    logits, candidates = random_batch(0)
    paper = suppression_weights(logits, candidates, 2.0)
    torch.testing.assert_close(released.suppression_weights(logits, candidates, 2.0), paper)
    at_3 = released.suppression_weights(logits, candidates, 3.0)
    assert (at_3 > suppression_weights(logits, candidates, 3.0))[candidates == 0].all()


def test_released_weight_follows_its_formula():
    logits, r = torch.tensor([[0.3, -1.0, 2.0]]), 3.0
    losses = F.softplus(logits)
    denominator = (1 / (r * losses)).sum() ** (1 / (r - 1))
    expected = (1 / 3) * (1 / (r * losses)) ** (1 / (r - 1)) / denominator
    torch.testing.assert_close(released.suppression_weights(logits, torch.zeros(1, 3), r), expected)


@pytest.mark.parametrize("weights", [suppression_weights, released.suppression_weights])
def test_saturated_logits_and_full_rows_stay_finite(weights):
    logits = torch.tensor([[-200.0, 200.0, -200.0], [1e4, -1e4, 0.0], [50.0, 0.0, -50.0]])
    candidates = torch.tensor([[0.0, 0, 1], [0, 0, 1], [1, 1, 1]])
    logits.requires_grad_()
    loss = negative_suppression_loss(logits, candidates, candidates, 3.0, weights)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert torch.equal(weights(logits, candidates, 3.0)[2], torch.ones(3))


def test_log_negative_loss_is_continuous_where_it_changes_form():
    logits = torch.linspace(-25, 5, 200)
    exact = F.softplus(logits.double()).log()
    torch.testing.assert_close(log_negative_loss(logits).double(), exact, atol=1e-5, rtol=1e-5)


@given(st.integers(0, 1000))
def test_permuting_classes_keeps_the_loss(seed):
    logits, candidates = random_batch(seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        negative_suppression_loss(
            logits[:, order], candidates[:, order], candidates[:, order], 3.0
        ),
        negative_suppression_loss(logits, candidates, candidates, 3.0),
    )


def test_no_gradient_flows_through_the_weights():
    logits, candidates = random_batch(3)
    weights = suppression_weights(logits, candidates, 3.0)
    logits.requires_grad_()
    negative_suppression_loss(logits, candidates, candidates, 3.0).backward()
    expected = weights * (logits.detach().sigmoid() - candidates) / logits.numel()
    torch.testing.assert_close(logits.grad, expected)


def test_pseudo_labels_are_above_uniform_and_a_lone_candidate_is_true():
    candidates = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    confidence = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0] * 4])
    expected = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert select_pseudo_labels(confidence, candidates).tolist() == expected
    # The released code asks for strictly more than 1/1 of a lone candidate.
    assert released.select_pseudo_labels(confidence, candidates)[1].sum() == 0


@pytest.mark.parametrize("size", [2, 3, 7, 20])
def test_uniform_confidence_which_training_starts_from_takes_no_label_for_true(size):
    candidates = (torch.arange(20) < size).float()[None]
    confidence = candidates / size
    assert not select_pseudo_labels(confidence, candidates).any()
    confidence[0, 0] += 0.01  # the least that is learned decides
    assert select_pseudo_labels(confidence, candidates)[0].nonzero().tolist() == [[0]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((torch.zeros(1, 3), torch.zeros(1, 2), torch.zeros(1, 3), 3.0), "of one shape"),
        ((torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2), 3.0), "within candidates"),
        ((torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2), 1.0), "r > 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        negative_suppression_loss(*arguments)
