import pytest
import torch

from pipeline import amp
from pipeline.amp import choose_amp
from pipeline.model.classifier import assemble

CPU = torch.device("cpu")


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return assemble("test_resnet", 32, "csra", 3, 1, 0.1, "none")


def choose(classifier):
    return choose_amp(classifier, batch=4, img_size=32, classes=3, device=CPU)


@pytest.mark.parametrize(("speed", "chosen"), [(3.0, "bf16"), (1.1, "off"), (0.3, "off")])
def test_the_second_precision_has_to_be_clearly_faster(
    speed, chosen, classifier, monkeypatch, capsys
):
    monkeypatch.setattr(amp, "ratio", lambda functions: speed)
    assert choose(classifier) == chosen
    assert capsys.readouterr().out == (
        f"--amp auto: {chosen}, bf16 is {speed:.2f} times as fast as full precision\n"
    )


def test_it_changes_neither_weights_nor_random_numbers(classifier):
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    random = torch.get_rng_state()
    assert choose(classifier) in ("off", "bf16")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_no_step_is_tried_where_one_image_already_takes_long(classifier, monkeypatch):
    def never(*arguments):
        raise AssertionError("a step was tried")

    seconds = iter([1.0, 9.0, 0.1, 0.9, 0.1, 0.9, 0.1, 0.3])
    monkeypatch.setattr(amp, "train_step", never)
    monkeypatch.setattr(amp, "timed", lambda function: next(seconds))
    assert choose(classifier) == "off"


def test_the_best_of_some_rounds_counts_and_the_warm_up_does_not(monkeypatch):
    seconds = iter([100.0, 1.0, 2.0, 3.0, 4.0, 1.5, 2.5, 9.0])
    monkeypatch.setattr(amp, "timed", lambda function: next(seconds))
    assert amp.ratio([int, int], rounds=3) == pytest.approx(2.0 / 1.5)


def test_one_slow_pass_does_not_rule_a_precision_out(classifier, monkeypatch):
    passes = [1.0, 9.0, 0.1, 0.3, 0.1, 0.1, 0.1, 0.3]  # the warm-up of each, then three rounds
    seconds = iter([*passes, 1.0, 1.0, 0.4, 0.2, 0.4, 0.2, 0.4, 0.2])
    monkeypatch.setattr(amp, "timed", lambda function: next(seconds))
    assert choose(classifier) == "bf16"
