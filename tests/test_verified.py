"""The word of a few verified photos on the others."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline.data.noise import cooccurrence_weights, draw, scale_to_rate, uniform_noise
from pipeline.data.verified import (
    Verified,
    check_thresholds,
    describe_noise,
    format_check,
    format_noise,
)
from pipeline.posterior.soft_targets import Evidence, make_targets
from pipeline.posterior.verified import out_of_fold_logits, true_shares, verified_votes


def photos(images=600, classes=8, seed=0):
    """Features (N, 16) and true labels (N, C): two kinds of photos with labels of their own."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 2, images)
    likely = np.where(np.arange(classes) % 2 == kind[:, None], 0.5, 0.05)
    truth = (random.random((images, classes)) < likely).astype(np.uint8)
    truth[np.arange(images), kind + 2 * random.integers(0, classes // 2, images)] = 1
    mixing = random.normal(size=(classes, 16))
    features = truth @ mixing + 0.8 * random.normal(size=(images, 16))
    return torch.tensor(features, dtype=torch.float32), truth


def error(targets, truth, without):
    """Mean distance of the targets of images that are not verified from the truth."""
    rest = np.setdiff1d(np.arange(len(truth)), without)
    return np.abs(targets.float().numpy() - truth)[rest].mean()


def verified(truth, count, seed=0):
    rows = np.sort(np.random.default_rng(seed).permutation(len(truth))[:count])
    return Verified(rows, truth[rows])


@pytest.mark.parametrize("noise", ["uniform", "cooccurring"])
def test_verified_images_bring_all_targets_closer_to_the_truth(noise):
    features, truth = photos()
    if noise == "uniform":
        candidates = uniform_noise(truth.astype(np.int8), 0.3, 0)
    else:
        weights = scale_to_rate(cooccurrence_weights(truth), truth, 0.3)
        candidates = draw(truth, weights, 0)
    known = verified(truth, 60)
    before = make_targets(Evidence(candidates, features)).values
    after = make_targets(Evidence(candidates, features, known)).values
    assert error(after, truth, known.rows) < 0.95 * error(before, truth, known.rows)
    assert (after[known.rows].numpy() == known.truth).all()


def test_missing_labels_are_found_once_a_verified_image_misses_one():
    features, truth = photos()
    candidates = uniform_noise(truth.astype(np.int8), 0.1, 0)
    gone = (truth == 1) & (np.random.default_rng(1).random(truth.shape) < 0.3)
    candidates[gone] = 0
    known = verified(truth, 100)
    targets = make_targets(Evidence(candidates, features, known)).values
    rest = np.ones(len(truth), bool)
    rest[known.rows] = False
    others = (candidates == 0) & rest[:, None]
    found = targets.float().numpy()
    assert found[others & gone].mean() > 4 * found[others & ~gone].mean()
    whole = Verified(known.rows, truth[known.rows] & candidates[known.rows])
    assert not make_targets(Evidence(candidates, features, whole)).values.numpy()[others].any()


@pytest.mark.parametrize("count", [1, 5])
def test_a_few_verified_images_do_no_harm(count):
    features, truth = photos()
    candidates = uniform_noise(truth.astype(np.int8), 0.3, 0)
    before = make_targets(Evidence(candidates, features)).values
    for seed in range(3):
        known = verified(truth, count, seed)
        after = make_targets(Evidence(candidates, features, known)).values
        assert torch.isfinite(after).all()
        assert error(after, truth, known.rows) < 1.15 * error(before, truth, known.rows)


def test_another_sources_probabilities_count_as_far_as_they_agree():
    features, truth = photos()
    candidates = uniform_noise(truth.astype(np.int8), 0.4, 0)
    known = verified(truth, 60)
    good = np.where(truth == 1, 0.95, 0.05).astype(np.float32)
    plain = make_targets(Evidence(candidates, features, known)).values
    helped = make_targets(Evidence(candidates, features, known, good)).values
    misled = make_targets(Evidence(candidates, features, known, 1 - good)).values
    assert error(helped, truth, known.rows) < 0.5 * error(plain, truth, known.rows)
    assert error(misled, truth, known.rows) < 0.8 * error(plain, truth, known.rows)
    alone = make_targets(Evidence(candidates, features, prior=good)).values
    none = make_targets(Evidence(candidates, features)).values
    assert error(alone, truth, []) < 0.8 * error(none, truth, [])


def test_targets_depend_on_the_seed_alone():
    features, truth = photos(200)
    evidence = Evidence(uniform_noise(truth.astype(np.int8), 0.3, 0), features, verified(truth, 20))
    torch.manual_seed(1)
    first = make_targets(evidence, seed=3).values
    torch.manual_seed(2)
    assert (make_targets(evidence, seed=3).values == first).all()


def test_no_image_has_a_part_in_its_own_logits_or_votes():
    features, truth = photos(200)
    targets = torch.from_numpy(truth).half()
    changed = targets.clone()
    changed[7] = 1 - changed[7]
    before, after = (each[7] for each in out_of_fold_logits(features, [targets, changed], 0))
    assert (before == after).all()
    alone = out_of_fold_logits(features, [changed], 0)[0][7]
    assert torch.allclose(alone, after, atol=1e-4)
    rows, labels = torch.arange(20), torch.from_numpy(truth[:20])
    votes = verified_votes(features, rows, labels)
    labels = labels.clone()
    labels[7] = 1 - labels[7]
    moved = verified_votes(features, rows, labels)[7] - votes[7]
    assert moved.abs().max() < 0.02  # by the classes' frequency alone


def test_a_verified_image_held_out_is_judged_by_the_others_alone():
    features, truth = photos()
    candidates = uniform_noise(truth.astype(np.int8), 0.3, 0)
    known = verified(truth, 100)
    held_out = make_targets(Evidence(candidates, features, known)).held_out.float().numpy()
    found = candidates[known.rows] == 1
    assert not held_out[~found].any()
    true, false = held_out[found & (known.truth == 1)], held_out[found & (known.truth == 0)]
    assert true.mean() > false.mean() + 0.2
    # Calibrated: the share of true ones is what was said.
    assert held_out[found].mean() == pytest.approx(known.truth[found].mean(), abs=0.05)
    # Its own truth enters by what the regression learns from the others, hardly.
    lied = known.truth.copy()
    lied[0] = 1 - lied[0]
    again = make_targets(Evidence(candidates, features, Verified(known.rows, lied))).held_out
    assert np.abs(again.float().numpy()[0] - held_out[0]).max() < 0.1


def test_where_nothing_tells_true_labels_no_verified_image_knows_its_own():
    told = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        features = torch.from_numpy(random.normal(size=(300, 32)).astype(np.float32))
        truth = (random.random((300, 8)) < 0.3).astype(np.uint8)
        candidates = uniform_noise(truth.astype(np.int8), 0.4, seed)
        known = verified(truth, 30)
        held_out = make_targets(Evidence(candidates, features, known)).held_out.float().numpy()
        found = candidates[known.rows] == 1
        told.append(roc_auc_score(known.truth[found], held_out[found]))
    assert np.mean(told) < 0.62


def test_shares_of_true_candidates_move_with_the_other_candidates():
    candidates = torch.tensor([[1, 0], [1, 1]]).repeat(200, 1).float()
    true = (
        torch.tensor([[1, 0], [0, 1]]).repeat(200, 1).float()
    )  # the second never beside the first
    share, gain = true_shares(candidates, true)
    assert share.tolist() == pytest.approx([0.5, 1], abs=0.02)
    assert gain[1, 0] < -3
    assert not gain.diagonal().any()
    assert not true_shares(torch.zeros(1, 2), torch.zeros(1, 2))[1].any()


def test_a_single_verified_image_teaches_nothing_of_the_others():
    features, truth = photos(60)
    candidates = uniform_noise(truth.astype(np.int8), 0.3, 0)
    plain = make_targets(Evidence(candidates, features, prior=truth.astype(np.float32))).values
    single = Evidence(candidates, features, verified(truth, 1), truth.astype(np.float32))
    found = make_targets(single).values
    row = verified(truth, 1).rows[0]
    assert found[row].tolist() == truth[row].tolist()
    found[row] = plain[row]
    assert (found == plain).all()


def test_fewer_than_five_verified_images_are_not_held_out():
    features, truth = photos(60)
    assert make_targets(Evidence(truth, features, verified(truth, 4))).held_out is None


def test_thresholds_count_what_they_would_drop():
    probability, true = np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, True, False, True])
    first, *_, last = check_thresholds(probability, true, 0.05)
    assert first == {"threshold": 0.05, "dropped": 0, "expected_precision": None, "precision": None}
    assert (last["threshold"], last["dropped"]) == (0.9, 3)
    assert last["expected_precision"] == pytest.approx(0.7)
    assert last["precision"] == [0.6667, 0.2077, 0.9385, 3]


def test_a_table_of_thresholds_that_drop_nothing_is_left_out():
    true = np.array([True, False])
    drops = format_check(check_thresholds(np.array([0.95, 0.45]), true, 0.5))
    assert [line.split()[0] for line in drops[1:]] == ["below", "0.5", "0.6", "0.7", "0.8", "0.9"]
    assert format_check(check_thresholds(np.array([0.95, 0.92]), true, 0.5)) == []


def test_a_long_name_does_not_widen_the_table_of_noise():
    known = Verified(np.array([0]), np.array([[1, 0]], np.uint8))
    lines = format_noise(describe_noise(np.array([[1, 1]]), known, ["x" * 5000, "dog"]))
    assert max(map(len, lines)) < 100
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "all classes", "x" * 27 + " ... " + "x" * 8, "dog"
    ]  # fmt: skip
