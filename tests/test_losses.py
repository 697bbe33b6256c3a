import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pipeline import methods
from pipeline.baselines import losses
from pipeline.baselines.forward_correction import forward_bce_loss, noise_counts
from pipeline.baselines.losses import asl_loss, hill_loss, large_loss, smoothing_loss, splc_loss
from pipeline.data.rows import CandidateRows
from pipeline.model.classifier import Output
from pipeline.posterior.soft_targets import Evidence
from tests.helpers import SMALL, read_json, read_records
from utils.options.choices import LOSSES, NEED_VERIFIED
from utils.options.training import TrainingOptions

CANDIDATES = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
LOGITS = torch.tensor([[2.0, -1.0, 0.5, -3.0], [1.5, -2.0, 0.25, -0.5], [-4.0, 3.0, 0.0, -1.0]])
WITHOUT_VERIFIED = [name for name in LOSSES if name not in NEED_VERIFIED]
SEEDS = st.integers(0, 1000)


def random_batch(seed, images=4, classes=6):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(images, classes, generator=generator)
    return logits, (torch.rand(images, classes, generator=generator) < 0.4).float()


def bce(logits, candidates):
    return F.binary_cross_entropy_with_logits(logits, candidates)


def gradient(function, logits, *arguments, **keywords):
    """Gradient of the sum over entries: a mean's, times their number."""
    logits = logits.clone().requires_grad_()
    (function(logits, *arguments, **keywords) * logits.numel()).backward()
    return logits.grad


def one(logit):
    return torch.tensor([[logit]])


POSITIVE, NEGATIVE = one(1.0), one(0.0)


def make(name, candidates=CANDIDATES, noise_rate=None):
    options = TrainingOptions(script="main_BCE", loss=name, noise_rate=noise_rate)
    evidence = Evidence(np.asarray(candidates))
    return methods.make_method(CandidateRows.from_dense(candidates), 1, options, evidence)


def loss_of(method, logits, candidates):
    output = Output(logits, None, None, logits.float().sigmoid())
    return method.loss(output, candidates, torch.arange(len(logits)))


# What all have in common.


def test_no_two_choices_of_the_flag_are_the_same_loss():
    logits = torch.tensor([[2.0, -1.0, 3.0, -0.5]])
    values = set()
    for name in WITHOUT_VERIFIED:
        method = make(name, noise_rate=0.3)
        method.begin_epoch(50)
        found = loss_of(method, logits, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))["loss"]
        values.add(round(found.item(), 6))
    assert len(values) == len(WITHOUT_VERIFIED)


def test_bce_is_the_mean_over_entries():
    found = loss_of(make("bce"), LOGITS, CANDIDATES)["loss"]
    torch.testing.assert_close(found, bce(LOGITS, CANDIDATES))


@pytest.mark.parametrize("name", WITHOUT_VERIFIED)
@pytest.mark.parametrize("epoch", [1, 2, 600])
def test_extreme_logits_have_a_finite_loss_and_gradient(name, epoch):
    logits = torch.tensor([[-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4]] * 2, requires_grad=True)
    candidates = torch.tensor([[1.0] * 7, [0.0] * 7])
    method = make(name, candidates)
    for number in {1, epoch}:
        method.begin_epoch(number)
        loss = loss_of(method, logits, candidates)["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert loss >= 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", WITHOUT_VERIFIED)
def test_candidates_are_raised_and_the_others_lowered(name):
    """The sign that all share, at moderate scores in the first epoch."""
    logits = torch.zeros(3, 4, requires_grad=True)
    method = make(name)
    method.begin_epoch(1)
    loss_of(method, logits, CANDIDATES)["loss"].backward()
    assert (logits.grad[CANDIDATES == 1] < 0).all()
    assert (logits.grad[CANDIDATES == 0] > 0).all()


@pytest.mark.parametrize("name", WITHOUT_VERIFIED)
def test_the_loss_is_a_mean_and_knows_no_order(name):
    """Twice the batch, or its classes permuted, is the same loss."""
    order = torch.tensor([2, 0, 3, 1])

    def loss(logits, candidates):
        method = make(name, candidates)
        method.begin_epoch(1)
        return loss_of(method, logits, candidates)["loss"]

    whole = loss(LOGITS, CANDIDATES)
    torch.testing.assert_close(loss(LOGITS.repeat(2, 1), CANDIDATES.repeat(2, 1)), whole)
    torch.testing.assert_close(loss(LOGITS[:, order], CANDIDATES[:, order]), whole)


@pytest.mark.parametrize("name", WITHOUT_VERIFIED)
def test_half_precision_logits_are_taken_in_float32(name):
    method = make(name)
    method.begin_epoch(1)
    half = loss_of(method, LOGITS.bfloat16(), CANDIDATES)["loss"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss_of(method, LOGITS, CANDIDATES)["loss"])


@pytest.mark.parametrize("name", WITHOUT_VERIFIED)
def test_a_state_stored_within_an_epoch_goes_on_like_an_unbroken_one(name):
    """The engine does not begin an epoch anew that was broken off."""
    unbroken = make(name)
    for epoch in (1, 2):
        unbroken.begin_epoch(epoch)
        for seed in range(2):
            loss_of(unbroken, *random_batch(seed, 3, 4))
    resumed = make(name)
    resumed.load_state_dict(unbroken.state_dict())
    for epoch in (None, 3, 4):
        for method in (unbroken, resumed):
            if epoch is not None:
                method.begin_epoch(epoch)
        for seed in (5, 6):
            batch = random_batch(seed, 3, 4)
            expected, found = (loss_of(method, *batch) for method in (unbroken, resumed))
            assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", WITHOUT_VERIFIED)
def test_arguments_are_left_as_they_were(name):
    logits, candidates = LOGITS.clone(), CANDIDATES.clone()
    method = make(name, candidates)
    for epoch in (1, 2):
        method.begin_epoch(epoch)
        loss_of(method, logits, candidates)
    assert torch.equal(logits, LOGITS)
    assert torch.equal(candidates, CANDIDATES)


# Forward correction.


@given(SEEDS)
def test_forward_correction_at_rate_0_is_bce_to_the_last_bit(seed):
    logits, candidates = random_batch(seed)
    rate = torch.tensor(0.0)
    assert torch.equal(forward_bce_loss(logits, candidates, rate), bce(logits, candidates))
    found = gradient(forward_bce_loss, logits, candidates, rate)
    torch.testing.assert_close(found, gradient(bce, logits, candidates))


@given(SEEDS, st.floats(0.01, 0.99))
def test_forward_correction_is_bce_of_the_candidate_s_probability(seed, rate):
    logits, candidates = random_batch(seed)
    p = logits.double().sigmoid()
    expected = F.binary_cross_entropy(p + (1 - p) * rate, candidates.double())
    found = forward_bce_loss(logits, candidates, torch.tensor(rate))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


@given(SEEDS, st.floats(0, 0.99))
def test_its_gradient_is_bce_s_against_the_posterior(seed, rate):
    logits, candidates = random_batch(seed)
    p = logits.sigmoid()
    posterior = candidates * p / (p + (1 - p) * rate)
    found = gradient(forward_bce_loss, logits, candidates, torch.tensor(rate))
    torch.testing.assert_close(found, p - posterior, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found, gradient(bce, logits, posterior), rtol=1e-4, atol=1e-5)


def test_noise_counts_worked_by_hand():
    # p = 1/2, rho = 1/4: t = 4/5 on the two candidates, and 0 on the third label.
    counts = noise_counts(torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor(0.25))
    torch.testing.assert_close(counts, torch.tensor([0.4, 1.4], dtype=torch.float64))


def test_the_rate_starts_from_one_true_label_an_image():
    # |S| is 2, 2 and 1: two of the nine labels beside the first one are candidates.
    for candidates, rate in (
        (CANDIDATES, 2 / 9),
        (torch.ones(2, 3), 0.99),
        (torch.zeros(2, 3), 1e-3),
        (torch.ones(2, 1), 1e-3),
    ):
        assert make("bce-forward", candidates).rate.item() == pytest.approx(rate)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_calibrated_scores_give_the_rate_that_made_the_candidates(rate):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2000, 20, generator=generator) - 2
    true = torch.rand(2000, 20, generator=generator) < logits.sigmoid()
    candidates = (true | (torch.rand(2000, 20, generator=generator) < rate)).float()
    method = make("bce-forward", candidates)
    for epoch in range(1, 60):
        method.begin_epoch(epoch)
        for rows in torch.arange(2000).split(500):
            loss_of(method, logits[rows], candidates[rows])
    assert method.rate.item() == pytest.approx(rate, abs=0.01)


def test_the_rate_changes_between_epochs_only_and_is_reported():
    method = make("bce-forward")
    method.begin_epoch(1)
    start = method.rate
    rates = [loss_of(method, LOGITS, CANDIDATES)["noise_rate"] for _ in range(2)]
    assert rates == [start, start]
    false, labels = noise_counts(LOGITS, CANDIDATES, start)
    method.begin_epoch(2)
    torch.testing.assert_close(loss_of(method, LOGITS, CANDIDATES)["noise_rate"], false / labels)
    false, labels = noise_counts(LOGITS, CANDIDATES, false / labels)
    method.begin_epoch(3)
    torch.testing.assert_close(method.rate, false / labels)  # of one epoch, not of all so far


def test_a_given_rate_stays():
    method = make("bce-forward", noise_rate=0.3)
    for epoch in (1, 2, 3):
        method.begin_epoch(epoch)
        losses = loss_of(method, LOGITS, CANDIDATES)
        assert losses["noise_rate"].item() == 0.3
    expected = forward_bce_loss(LOGITS, CANDIDATES, torch.tensor(0.3))
    torch.testing.assert_close(losses["loss"], expected)


@pytest.mark.parametrize("logit", [-50.0, 50.0])
def test_the_rate_stays_in_its_range_where_all_are_candidates(logit):
    candidates = torch.ones(2, 3)
    method = make("bce-forward", candidates)
    for epoch in (1, 2, 3):
        method.begin_epoch(epoch)
        loss_of(method, torch.full((2, 3), logit), candidates)
        assert 0 <= method.rate.item() <= 0.99


# Focal loss, ASL, smoothing.


def test_focal_loss_worked_by_hand():
    # At p = 1/2: (1/2)^2 ln 2, weighed by 0.25 for a positive and 0.75 for a negative.
    for label, alpha in ((POSITIVE, 0.25), (NEGATIVE, 0.75)):
        expected = alpha * 0.25 * math.log(2)
        assert losses.focal_loss(one(0.0), label).item() == pytest.approx(expected)


@given(SEEDS)
def test_without_their_parts_focal_loss_is_half_of_bce_and_the_others_are_bce(seed):
    logits, candidates = random_batch(seed)
    expected = bce(logits, candidates)
    found = losses.focal_loss(logits, candidates, alpha=0.5, gamma=0.0)
    torch.testing.assert_close(found, expected / 2)
    assert torch.equal(smoothing_loss(logits, candidates, epsilon=0.0), expected)
    plain = {"gamma_pos": 0.0, "gamma_neg": 0.0, "clip": 0.0}
    torch.testing.assert_close(asl_loss(logits, candidates, **plain), expected)
    found = gradient(asl_loss, logits, candidates, **plain)
    torch.testing.assert_close(found, gradient(bce, logits, candidates))


@given(SEEDS)
def test_asl_s_gradient_is_that_of_its_formula(seed):
    """Of the weights too."""
    logits = random_batch(seed)[0].double()
    p = logits.sigmoid()
    shifted = (p - 0.05).clamp(min=0)
    slope = shifted**4 / (1 - shifted) - 4 * shifted**3 * (-shifted).log1p()
    found = gradient(asl_loss, logits, torch.zeros_like(logits))
    torch.testing.assert_close(found, slope * p * (1 - p))
    found = gradient(asl_loss, logits, torch.ones_like(logits))  # gamma+ is 0: BCE
    torch.testing.assert_close(found, p - 1)


def test_asl_worked_by_hand():
    # p = 1/2, p_m = 0.45.
    assert asl_loss(one(0.0), NEGATIVE).item() == pytest.approx(-(0.45**4) * math.log(0.55))
    assert asl_loss(one(0.0), POSITIVE).item() == pytest.approx(math.log(2))


def test_smoothing_is_least_at_the_smoothed_label():
    best = torch.tensor([[0.95, 0.05]]).logit()
    candidates = torch.tensor([[1.0, 0.0]])
    found = gradient(smoothing_loss, best, candidates)
    torch.testing.assert_close(found, torch.zeros(1, 2), rtol=0, atol=1e-6)
    for shift in (-0.1, 0.1):
        assert smoothing_loss(best + shift, candidates) > smoothing_loss(best, candidates)


# Losses made for labels that are missing.


def test_hill_worked_by_hand():
    assert hill_loss(one(0.0), NEGATIVE).item() == pytest.approx(1 * 0.5**2)
    # p_m = sigmoid(1 - 1) = 1/2.
    assert hill_loss(one(1.0), POSITIVE).item() == pytest.approx(0.25 * math.log(2))


def test_hill_lets_a_negative_of_a_very_high_score_be():
    logits = torch.tensor([[-10.0, 0.0, 10.0]])
    low, middle, high = gradient(hill_loss, logits, torch.zeros(1, 3))[0]
    assert gradient(bce, logits, torch.zeros(1, 3))[0, 2] > 0.99
    assert high.abs() < 1e-6
    assert low.abs() < 1e-6
    assert middle.item() == pytest.approx(3 * 0.5**2 * 0.5**2)  # 3 p^2 (1 - p)^2 at lambda 1.5


def test_splc_takes_a_likely_negative_for_true_from_epoch_2_on():
    likely = one(0.5)  # p = 0.622 > 0.6
    p = likely.sigmoid().item()
    first, later = (splc_loss(likely, NEGATIVE, epoch).item() for epoch in (1, 2))
    assert first == pytest.approx(-(p**2) * math.log(1 - p))
    assert later == pytest.approx(-((1 - p) ** 2) * math.log(p))
    assert gradient(splc_loss, likely, NEGATIVE, 1) > 0
    assert gradient(splc_loss, likely, NEGATIVE, 2) < 0


@pytest.mark.parametrize("epoch", [1, 2, 9])
def test_splc_leaves_positives_and_doubted_negatives_alone(epoch):
    p, doubted = 0.5987, one(0.4)
    expected = -(p**2) * math.log(1 - p)
    assert splc_loss(doubted, NEGATIVE, epoch).item() == pytest.approx(expected, rel=1e-3)
    for logit in (-2.0, 0.5, 4.0):  # the margin is a positive's, whatever its score
        p = one(logit - 1.0).sigmoid().item()
        expected = -((1 - p) ** 2) * math.log(p)
        assert splc_loss(one(logit), POSITIVE, epoch).item() == pytest.approx(expected, rel=1e-4)


# Large losses.


def left_out(logits, candidates, epoch, percent):
    """Entries where LL-R passes no gradient on."""
    return gradient(large_loss, logits, candidates, epoch, False, percent) == 0


@given(SEEDS, st.integers(2, 8), st.floats(0.2, 30))
def test_a_share_of_all_entries_is_left_out_among_candidates_only(seed, epoch, percent):
    logits, candidates = random_batch(seed)
    logits = logits.clamp(max=12)  # above 16.6 a candidate's gradient is 0 anyway
    count = math.ceil(candidates.numel() * (epoch - 1) * percent / 100)
    lowest = sorted(logits[candidates == 1].tolist())[:count]
    expected = torch.isin(logits, torch.tensor(lowest)) & (candidates == 1)
    assert torch.equal(left_out(logits, candidates, epoch, percent), expected)


def test_of_equal_losses_all_are_left_out():
    candidates = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert torch.equal(left_out(torch.zeros(2, 2), candidates, 2, 25), candidates == 1)


@pytest.mark.parametrize("correct", [False, True])
def test_large_losses_of_the_first_epoch_or_without_candidates_are_bce(correct):
    assert torch.equal(large_loss(LOGITS, CANDIDATES, 1, correct), bce(LOGITS, CANDIDATES))
    nothing = torch.zeros(3, 4)
    assert torch.equal(large_loss(LOGITS, nothing, 9, correct), bce(LOGITS, nothing))


# The candidates' logits, largest loss first: -4 (alone in its image), -2, -1, 0.25, 2.
@pytest.mark.parametrize(("percent", "rejected"), [(0.2, [-4.0]), (16, [-4.0, -2.0])])
def test_the_largest_candidate_losses_are_rejected_or_corrected(percent, rejected):
    """Also the last candidate of an image; a non-candidate never, however large its loss."""
    large = torch.isin(LOGITS, torch.tensor(rejected)) & (CANDIDATES == 1)
    plain = gradient(bce, LOGITS, CANDIDATES)
    rejecting = gradient(large_loss, LOGITS, CANDIDATES, 2, False, percent)
    torch.testing.assert_close(rejecting, plain.masked_fill(large, 0.0))
    corrected = gradient(large_loss, LOGITS, CANDIDATES, 2, True, percent)
    torch.testing.assert_close(corrected, torch.where(large, LOGITS.sigmoid(), plain))
    loss = large_loss(LOGITS, CANDIDATES, 2, True, percent)
    torch.testing.assert_close(loss, bce(LOGITS, CANDIDATES.masked_fill(large, 0.0)))


def test_ll_r_leaves_out_what_ll_ct_takes_for_false():
    worst = LOGITS == -4.0
    plain = gradient(bce, LOGITS, CANDIDATES)
    for name, instead in (("ll-r", torch.zeros(3, 4)), ("ll-ct", LOGITS.sigmoid())):
        method = make(name)
        method.begin_epoch(2)
        found = gradient(lambda z, method=method: loss_of(method, z, CANDIDATES)["loss"], LOGITS)
        torch.testing.assert_close(found, torch.where(worst, instead, plain))


def test_the_share_grows_each_epoch_to_all_candidates():
    candidates = torch.ones(10, 100)
    logits = torch.linspace(-3, 3, 1000).reshape(10, 100)
    for epoch, count in ((1, 0), (2, 2), (4, 6), (501, 1000), (900, 1000)):
        grad = gradient(large_loss, logits, candidates, epoch, False)
        assert int((grad == 0).sum()) == count


@pytest.mark.parametrize("correct", [False, True])
def test_a_loss_that_is_no_number_is_not_left_out(correct):
    logits = torch.where(LOGITS == -1.0, torch.nan, LOGITS)
    assert large_loss(logits, CANDIDATES, 2, correct, 16).isnan()


# From the shell.


def train(devkit, *flags):
    """A command line of a small training."""
    data = ["--dataset", "voc07", "--path_images", devkit, "--partial_rate", 0.2]
    return ["main_BCE", *data, *SMALL, *flags]


def test_the_flag_chooses_what_is_trained(run_script, devkit):
    for name in ("bce", "asl"):
        flags = ["--total_epoch", 1, "--loss", name, "--output_dir", name]
        run_script(*train(devkit, *flags))
        options = read_json(name, "config.json")["options"]
        assert (options["loss"], options["noise_rate"]) == (name, None)
    first, second = (read_records(name)[0]["train_loss"] for name in ("bce", "asl"))
    assert second < first


def test_a_given_noise_rate_reaches_the_loss_and_another_is_refused(
    run_script, assert_refused, devkit
):
    flags = "--loss bce-forward --noise_rate 0.3 --total_epoch 1 --output_dir r".split()
    run_script(*train(devkit, *flags))
    assert read_records("r")[0]["noise_rate"] == pytest.approx(0.3)
    for flag, message in (("--noise_rate 0.2", "0.2 differs from the 0.3"), ("--loss asl", "asl")):
        assert_refused(message, f"main_BCE --resume r {flag}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--loss none", "but got 'none'"),
        ("--noise_rate 0.2", "--noise_rate is for --loss bce-forward"),
        ("--loss asl --noise_rate 0", "--noise_rate is for --loss bce-forward"),
        ("--loss bce-forward --noise_rate 1", "at most 0.99, but got 1"),
    ],
)
def test_a_wrong_flag_is_bad_usage(flags, message, assert_refused, devkit):
    assert_refused(message, *train(devkit, *flags.split()), status=2)


def test_other_scripts_do_not_take_the_flags_of_baselines(assert_refused):
    for script in ("main_CoNeS", "main_real"):
        message = "unrecognized arguments: --loss asl"
        assert_refused(message, f"{script} --dataset files --loss asl", status=2)
