import pytest
import torch
from torch import nn

from pipeline import optimisation
from pipeline.model.backbone import Backbone
from pipeline.model.classifier import Classifier
from pipeline.model.heads import CSRA


def test_groups_hold_every_parameter_once_with_its_rate():
    trunk = Backbone("test_resnet", 64)
    classifier = Classifier(trunk, CSRA(trunk.feature_dim, 3, 1, 0.1))
    groups = optimisation.parameter_groups(classifier, lr=0.01, lr_head=0.1)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in classifier.parameters())
    optimizer = torch.optim.SGD(groups)
    optimisation.scale_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.05]


def test_momentum_starts_from_zero():
    """The fused form would leave it uninitialised where a first step of fp16 overflows."""
    trunk = Backbone("test_resnet", 64)
    classifier = Classifier(trunk, CSRA(trunk.feature_dim, 3, 1, 0.1))
    optimizer = optimisation.make_optimizer(classifier, 0.01, 0.1, 0.9, 1e-4)
    for parameter in classifier.parameters():
        assert not optimizer.state[parameter]["momentum_buffer"].any()


def test_adam_has_the_same_groups():
    trunk = Backbone("test_resnet", 64)
    classifier = Classifier(trunk, CSRA(trunk.feature_dim, 3, 1, 0.1))
    optimizer = optimisation.make_optimizer(classifier, 0.01, 0.1, 0.9, 1e-4, "adam")
    assert isinstance(optimizer, torch.optim.Adam)
    assert [group["base_lr"] for group in optimizer.param_groups] == [0.01, 0.1]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}


def test_an_empty_group_is_refused():
    classifier = Classifier(Backbone("test_resnet", 64), nn.Identity())
    with pytest.raises(ValueError, match="Expected parameters in Identity"):
        optimisation.parameter_groups(classifier, 0.01, 0.1)


def test_without_warm_up_the_rate_starts_full():
    assert optimisation.step_schedule(0, 5)(0) == 1.0
