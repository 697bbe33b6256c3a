import numpy as np
import pytest
import torch

from pipeline import methods
from pipeline.cones import released
from pipeline.cones.method import Steps
from pipeline.data.rows import CandidateRows
from pipeline.data.verified import Verified
from pipeline.model.classifier import Output
from pipeline.posterior.method import Posterior, variance_weights
from pipeline.posterior.soft_targets import Evidence
from utils.options.choices import ABLATIONS, FORMER_ABLATIONS, LOSSES, PREDICT_TRUTH, RECIPES
from utils.options.command_line import parse_options

FOUND = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0]])
CANDIDATES = CandidateRows.from_dense(FOUND)


def make(flags):
    options = parse_options("main_CoNeS", ["--dataset", "digits", *flags.split()])
    return methods.make_method(CANDIDATES, 4, options, Evidence(FOUND))


def test_every_recipe_and_loss_has_a_method_and_no_name_is_left_over():
    assert set(methods.METHODS) == {*RECIPES, *LOSSES}
    assert set(PREDICT_TRUTH) <= set(methods.METHODS)


def test_the_steps_that_can_be_ablated_are_those_of_a_recipe():
    assert ABLATIONS["paper"] == Steps._fields


@pytest.mark.parametrize("part", Steps._fields)
def test_an_ablated_step_is_the_released_one_and_no_other_is(part):
    assert make(f"--recipe paper --ablate {part}").steps._asdict() == {
        name: getattr(released.STEPS if name == part else Steps(), name) for name in Steps._fields
    }


def test_all_steps_ablated_are_the_released_recipe():
    assert make(f"--ablate {' '.join(Steps._fields)}").steps == released.STEPS


@pytest.mark.parametrize(("former", "part"), FORMER_ABLATIONS.items())
def test_a_part_is_known_by_its_former_name_too(former, part):
    assert make(f"--recipe posterior --ablate {former}").without == {part}


def test_posterior_is_told_what_to_leave_out(capsys):
    method = make("--recipe posterior --ablate variance_weight offset --noise_rate 0.1")
    assert isinstance(method, Posterior)
    assert method.without == {"variance_weight", "offset"}
    assert "noise rate, given: 0.100 to 0.100 by class" in capsys.readouterr().out


@pytest.mark.parametrize("frozen", [False, True])
def test_targets_weigh_classes_by_variance_where_the_trunk_is_trained_whole(frozen):
    flags = f"--recipe posterior --targets neighbours {'--freeze' if frozen else ''}"
    options = parse_options("main_CoNeS", ["--dataset", "digits", *flags.split()])
    features = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    verified = Verified(np.array([0, 1]), FOUND[:2])
    first = methods.make_method(CANDIDATES, 4, options, Evidence(FOUND, features, verified))
    resumed = methods.make_method(CANDIDATES, 4, options, Evidence(FOUND))
    resumed.load_state_dict(first.state_dict())
    logits, candidates = torch.zeros(3, 3), torch.from_numpy(FOUND)
    output = Output(logits, logits, logits, logits)
    losses = [m.loss(output, candidates, torch.arange(3))["loss"] for m in (first, resumed)]
    weight = torch.ones(3) if frozen else variance_weights(first.of_candidates[:-1], CANDIDATES)
    assert frozen or (weight > 1).any()
    expected = np.log(2) * weight.mean()  # of logits of 0, whatever the targets
    torch.testing.assert_close(losses, [expected, expected])


# Numbers at the ends of their ranges.

IMAGES, CLASSES, CHANNELS = 12, 3, 8
EXTREMES = {
    "usual": {},
    "all labels are candidates": {"candidates": np.ones((IMAGES, CLASSES))},
    "no label is a candidate": {"candidates": np.zeros((IMAGES, CLASSES))},
    "one class": {"candidates": np.arange(IMAGES)[:, None] % 2},
    "one class, all candidates": {"candidates": np.ones((IMAGES, 1))},
    "one image a batch": {"batch": 1},
    "all images alike": {"alike": True},
    "saturated scores": {"scale": 1e4},
    "scores beyond half precision": {"scale": 1e6},
    "scores of zero": {"scale": 0.0},
}


WAYS = [f"--loss {name}" for name in LOSSES] + [
    "--recipe released --clusters 2",
    "--recipe paper --clusters 2",
    "--recipe posterior --targets classifier",
    "--recipe posterior --targets neighbours",
]


@pytest.mark.parametrize("extreme", EXTREMES.values(), ids=EXTREMES)
@pytest.mark.parametrize("flags", WAYS)
def test_losses_and_gradients_are_finite_whatever_the_numbers(flags, extreme):
    found = np.eye(IMAGES, CLASSES) + np.eye(IMAGES, CLASSES, -2)
    found = extreme.get("candidates", found).astype(np.uint8)
    script = "main_BCE" if "--loss" in flags else "main_CoNeS"
    options = parse_options(script, ["--dataset", "digits", *flags.split()])
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(IMAGES, CHANNELS, 2, 2, generator=generator)
    weight = torch.randn(found.shape[1], CHANNELS, generator=generator)
    if extreme.get("alike"):
        features = torch.ones_like(features)
    verified = Verified(np.arange(4), found[:4])
    evidence = Evidence(found, features.mean(dim=(2, 3)), verified)
    rows = CandidateRows.from_dense(found)
    method = methods.make_method(rows, CHANNELS, options, evidence)
    for epoch in (1, 2, options.total_epoch):
        method.begin_epoch(epoch)
        for index in torch.arange(IMAGES).split(extreme.get("batch", 4)):
            maps = torch.einsum("cd,bdhw->bchw", weight, features[index])
            logits = (extreme.get("scale", 1.0) * maps.mean(dim=(2, 3))).requires_grad_()
            output = Output(logits, features[index], maps, logits.sigmoid())
            losses = method.loss(output, rows.dense(index), index)
            losses["loss"].backward()
            assert all(torch.isfinite(loss) for loss in losses.values()), losses
            assert torch.isfinite(logits.grad).all()
