import numpy as np
import pytest

from pipeline import methods
from pipeline.cones import released
from pipeline.cones.method import Steps
from pipeline.data.rows import CandidateRows
from pipeline.posterior.method import Posterior
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
