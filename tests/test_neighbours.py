"""Votes of photos that look alike, and targets made of them."""

import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.posterior import neighbours
from pipeline.posterior.label_sets import posterior
from pipeline.posterior.neighbours import (
    candidate_targets,
    nearest,
    vote,
    vote_probability,
    vote_rates,
)
from utils.errors import UserError


def groups(count=5, size=60, seed=0):
    """Features (N, 8) of `count` kinds of photos, and the kind of each."""
    random = torch.Generator().manual_seed(seed)
    kind = torch.arange(count).repeat_interleave(size)
    centre = torch.randn(count, 8, generator=random) * 5
    return centre[kind] + torch.randn(len(kind), 8, generator=random), kind


def test_neighbours_are_of_the_same_kind_and_never_the_image_itself():
    features, kind = groups()
    found = nearest(features, 10)
    assert (kind[found.rows] == kind[:, None]).float().mean() > 0.95
    assert not (found.rows == torch.arange(len(kind))[:, None]).any()
    assert torch.allclose(found.weight.sum(dim=1), torch.ones(len(kind)))
    assert (found.weight.diff(dim=1) <= 1e-6).all()  # the nearest counts most


@pytest.mark.parametrize("images", [2, 3, 5])
def test_few_images_have_fewer_neighbours(images):
    found = nearest(torch.randn(images, 4), 40)
    assert found.rows.shape[1] <= images - 1
    assert torch.allclose(found.weight.sum(dim=1), torch.ones(images))


def test_blocks_change_nothing(monkeypatch):
    features, _ = groups()
    whole = nearest(features, 10)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    assert (nearest(features, 10).rows == whole.rows).all()
    labels = torch.eye(5).repeat_interleave(60, dim=0)
    in_blocks = vote(whole, labels)
    monkeypatch.setattr(neighbours, "BLOCK", 1024)
    assert (vote(whole, labels) == in_blocks).all()


def test_an_index_finds_nearly_the_same(monkeypatch):
    pytest.importorskip("faiss")
    features, _ = groups()
    exact = nearest(features, 10).rows
    monkeypatch.setattr(neighbours, "SEARCHED", 100)
    near = nearest(features, 10).rows
    assert not (near == torch.arange(len(near))[:, None]).any()
    same = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(exact, near)]
    assert sum(same) / exact.numel() > 0.8


def test_without_faiss_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(neighbours, "SEARCHED", 1)
    with pytest.raises(UserError, match="pip install faiss-cpu"):
        nearest(torch.randn(5, 3))


def test_an_image_has_no_part_in_its_own_vote():
    features, _ = groups()
    labels = torch.zeros(len(features), 2)
    found = nearest(features, 10)
    labels[7, 1] = 1
    assert vote(found, labels)[7, 1] == 0
    assert vote(found, labels)[found.rows[7, 0], 0] == 0


@given(rate=st.floats(0, 0.6), seed=st.integers(0, 99))
def test_the_rate_of_votes_is_that_of_the_noise(rate, seed):
    features, kind = groups()
    random = torch.Generator().manual_seed(seed)
    true = torch.nn.functional.one_hot(kind, 5)
    noise = torch.rand(true.shape, generator=random) < rate
    votes = vote(nearest(features), (true | noise).float())
    assert (vote_rates(votes) - rate).abs().max() < 0.2


def test_a_class_that_most_images_have_is_no_noise():
    votes = torch.zeros(100, 10)
    votes[:, 0] = 0.8
    assert vote_rates(votes).max() < 0.02


def test_no_candidate_is_ruled_out_by_its_neighbours():
    votes = torch.zeros(1000, 3)
    votes[:500, 0] = 1
    p = vote_probability(votes, torch.full((3,), 0.02))
    assert (p[500:, 0] > 0.05).all()
    assert (p[:500, 0] > 0.8).all()


@pytest.mark.parametrize("nonempty", [True, False])
def test_targets_are_bayes_rule_given_that_one_is_true(nonempty):
    random = torch.Generator().manual_seed(0)
    p = torch.rand(50, 6, generator=random) * 0.9 + 0.05
    candidates = (torch.rand(50, 6, generator=random) < 0.5).to(torch.uint8)
    rates = torch.linspace(0, 0.5, 6)
    found = candidate_targets(p, rates, candidates, nonempty)
    assert torch.allclose(found.float(), posterior(p, rates, candidates, nonempty), atol=1e-3)
