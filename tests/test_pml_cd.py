import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pipeline.baselines.pml_cd import (
    BINS,
    PMLCD,
    CurveNetwork,
    bin_of,
    count_bins,
    read_network,
    stretch,
)
from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output

CANDIDATES = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
ROWS = CandidateRows.from_dense(CANDIDATES)
LOGITS = torch.tensor([[2.0, -1.0, 0.5, -3.0], [1.5, -2.0, 0.25, -0.5], [-4.0, 3.0, 0.0, -1.0]])
SIMILARITIES = torch.tensor([[0.9, 0.3, 0.5, 0.1], [0.7, 0.2, 0.6, 0.4], [0.1, 0.8, 0.5, 0.3]])
INDEX = torch.arange(3)


def diagonal(counts):
    """A network whose curves are the upper ends of the bins: 0.05, 0.1, ... 1."""
    return (torch.arange(BINS) + 1.0).div(BINS).expand_as(counts)


diagonal.to = lambda device: diagonal


def batch_loss(method, logits=LOGITS, similarities=SIMILARITIES):
    return method.loss(Output(logits, None, None, similarities), CANDIDATES, INDEX)


def after_warm_up(network=diagonal):
    """A method in its second epoch, which has seen each image once."""
    method = PMLCD(ROWS, network, warm_up=1)
    method.begin_epoch(1)
    batch_loss(method)
    method.begin_epoch(2)
    return method


@given(st.lists(st.integers(0, 10**6), min_size=BINS, max_size=BINS), st.integers(0, 50))
def test_a_curve_rises_to_1_whatever_network_and_counts(counts, seed):
    torch.manual_seed(seed)
    for network in (CurveNetwork(), read_network()):
        curve = network(torch.tensor(counts, dtype=torch.float32))
        assert (curve.diff() >= 0).all()
        assert curve[0] >= 0
        assert curve[-1].item() == pytest.approx(1, abs=1e-5)


def test_a_curve_knows_no_number_of_candidates():
    counts = torch.arange(float(BINS))
    torch.testing.assert_close(read_network()(7 * counts), read_network()(counts))


def test_the_stored_network_doubts_the_lower_of_two_heaps_of_scores_alone():
    heaps = torch.zeros(BINS)
    heaps[[1, 2, 18, 19]] = 10
    curve = read_network()(heaps)
    assert curve[2] < 0.4
    assert curve[18] > 0.85


@given(st.integers(0, 1000))
def test_bins_are_counted_by_class(seed):
    random = np.random.default_rng(seed)
    dense = random.random((9, 4)) < 0.6
    scores = random.random(dense.sum()).astype(np.float32)
    found = count_bins(torch.from_numpy(scores), CandidateRows.from_dense(dense))
    columns = np.nonzero(dense)[1]
    for c in range(4):
        expected, _ = np.histogram(scores[columns == c], BINS, (0, 1))
        assert found[c].tolist() == expected.tolist()


def test_weights_are_clipped_at_both_ends():
    found = stretch(torch.tensor([0.0, 1 / 12, 0.5, 11 / 12, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_the_warm_up_is_bce_of_both_scorers():
    method = PMLCD(ROWS, diagonal, warm_up=2)
    bce = F.binary_cross_entropy_with_logits(LOGITS, CANDIDATES)
    expected = bce + F.binary_cross_entropy(SIMILARITIES, CANDIDATES)
    for epoch in (1, 2):
        method.begin_epoch(epoch)
        found = batch_loss(method)
        torch.testing.assert_close(found["loss"], expected)
        torch.testing.assert_close(found["classifier_loss"], bce)
        assert found["confidence"] == 1


def test_each_scorer_weighs_candidates_by_its_own_score_of_the_pass_before_and_no_others():
    method = after_warm_up()
    losses = (
        F.binary_cross_entropy_with_logits(-LOGITS, CANDIDATES, reduction="none"),
        F.binary_cross_entropy(1 - SIMILARITIES, CANDIDATES, reduction="none"),
    )
    expected = 0
    for loss, before in zip(losses, (LOGITS.sigmoid(), SIMILARITIES)):
        curve = (bin_of(before) + 1) / BINS
        expected += torch.where(CANDIDATES > 0, stretch(curve) * loss, loss).mean()
    found = batch_loss(method, -LOGITS, 1 - SIMILARITIES)["loss"]
    torch.testing.assert_close(found, expected)
    kept = ROWS.read(method.scores[0], INDEX)
    torch.testing.assert_close(kept, (-LOGITS).sigmoid() * CANDIDATES)


def test_a_candidate_of_no_weight_has_no_gradient():
    method = after_warm_up()
    method.curves = torch.zeros_like(method.curves)
    logits, similarities = LOGITS.clone().requires_grad_(), SIMILARITIES.clone().requires_grad_()
    batch_loss(method, logits, similarities)["loss"].backward()
    for gradient in (logits.grad, similarities.grad):
        assert (gradient[CANDIDATES == 1] == 0).all()
        assert (gradient[CANDIDATES == 0] > 0).all()


def test_similarities_at_their_ends_have_a_finite_gradient():
    method = PMLCD(ROWS, diagonal, warm_up=1)
    similarities = (SIMILARITIES > 0.4).float().requires_grad_()
    batch_loss(method, similarities=similarities)["loss"].backward()
    assert similarities.grad.isfinite().all()


def test_a_state_stored_after_the_warm_up_goes_on_like_an_unbroken_one():
    unbroken = after_warm_up(read_network())
    resumed = PMLCD(ROWS, read_network(), warm_up=5)  # as with more epochs in all
    resumed.load_state_dict(unbroken.state_dict())
    for epoch in (None, 3):
        for method in (unbroken, resumed):
            if epoch is not None:
                method.begin_epoch(epoch)
        expected, found = (batch_loss(each, -LOGITS) for each in (unbroken, resumed))
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert expected["confidence"] < 1


def test_what_is_kept_grows_with_the_candidates_alone():
    dense = np.zeros((1000, 500))
    dense[:, 0] = 1
    state = PMLCD(CandidateRows.from_dense(dense), diagonal, 1).state_dict()
    assert [len(table) for table in state["scores"]] == [1001, 1001]
