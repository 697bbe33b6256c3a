import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline import methods
from pipeline.baselines.verified import candidate_rates
from pipeline.data.rows import CandidateRows
from pipeline.data.verified import Verified, shown
from pipeline.model.classifier import Output
from pipeline.posterior.soft_targets import Evidence
from utils.errors import UserError
from utils.options.choices import NEED_VERIFIED
from utils.options.training import TrainingOptions

FOUND = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
KNOWN = Verified(np.array([0, 2]), np.array([[1, 0, 0], [1, 0, 1]], np.uint8))
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [1.5, -2.0, 0.25], [-4.0, 3.0, 0.0], [1.0, 0.5, -0.5]])


def loss_of(name, index, verified=KNOWN):
    options = TrainingOptions(script="main_BCE", loss=name)
    candidates = shown(FOUND, verified)
    rows = CandidateRows.from_dense(candidates)
    method = methods.make_method(rows, 1, options, Evidence(FOUND, verified=verified))
    method.begin_epoch(1)
    batch = torch.from_numpy(candidates[index]).float()
    return method.loss(Output(LOGITS[index], None, None), batch, torch.tensor(index))["loss"]


def bce(index):
    known = torch.from_numpy(shown(FOUND, KNOWN)[index]).float()
    return F.binary_cross_entropy_with_logits(LOGITS[index], known)


def test_verified_images_alone_are_the_loss():
    torch.testing.assert_close(loss_of("verified-only", [0, 1, 2, 3]), bce([0, 2]))
    assert loss_of("verified-only", [1, 3]) == 0


def test_verified_images_count_half():
    found = loss_of("verified-half", [0, 1, 2, 3])
    torch.testing.assert_close(found, (bce([0, 2]) + bce([1, 3])) / 2)


def test_gold_correction_expects_the_candidates_that_verified_images_have():
    """Where candidates are as likely as counted, their loss has no gradient in the mean."""
    of_true, of_false = candidate_rates(FOUND[KNOWN.rows], KNOWN.truth)
    p = LOGITS[1].sigmoid()
    q = torch.tensor(of_true).clamp(1e-3, 1 - 1e-3) * p
    q = q + torch.tensor(of_false).clamp(1e-3, 1 - 1e-3) * (1 - p)
    expected = F.binary_cross_entropy(q.float(), torch.from_numpy(FOUND[1]).float())
    torch.testing.assert_close(loss_of("gold", [1]), expected)
    torch.testing.assert_close(loss_of("gold", [0, 2]), bce([0, 2]))


def test_gold_correction_is_bce_where_candidates_are_the_truth():
    truth = Verified(KNOWN.rows, FOUND[KNOWN.rows])
    expected = F.binary_cross_entropy_with_logits(LOGITS, torch.from_numpy(FOUND).float())
    torch.testing.assert_close(loss_of("gold", [0, 1, 2, 3], truth), expected, rtol=0.02, atol=0)


def test_rates_are_counted_by_class_and_drawn_to_their_mean():
    found = np.array([[1, 1], [1, 0], [1, 0], [1, 0]])
    truth = np.array([[1, 0], [0, 0], [0, 0], [0, 0]])
    of_true, of_false = candidate_rates(found, truth)
    assert of_true.tolist() == [1, 1]
    assert of_false.tolist() == pytest.approx([(3 + 8 / 7) / 5, (1 + 8 / 7) / 6])


@pytest.mark.parametrize("name", NEED_VERIFIED)
def test_extreme_logits_have_a_finite_gradient(name):
    options = TrainingOptions(script="main_BCE", loss=name)
    rows = CandidateRows.from_dense(FOUND)
    method = methods.make_method(rows, 1, options, Evidence(FOUND, verified=KNOWN))
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    batch = torch.from_numpy(FOUND[[0, 1]]).float()
    method.loss(Output(logits, None, None), batch, torch.tensor([0, 1]))["loss"].backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NEED_VERIFIED)
def test_without_verified_images_they_are_refused(name):
    options = TrainingOptions(script="main_BCE", loss=name)
    with pytest.raises(UserError, match=f"--loss {name} needs verified images: give --verified N"):
        methods.check_verified(options, None)
    methods.check_verified(options, KNOWN)
    methods.check_verified(TrainingOptions(script="main_BCE", loss="bce"), None)


def test_a_training_refuses_them_before_it_reads_weights(assert_refused, tmp_path):
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    flags = f"--dataset digits --partial_rate 0.2 --freeze --weights {broken}"
    assert_refused("--loss gold needs verified images", f"main_BCE {flags} --loss gold")
