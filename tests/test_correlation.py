import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import cosine_similarity

from pipeline.cones import correlation, released
from pipeline.cones.correlation import (
    class_directions,
    cooccurrence,
    scale_rows,
    update_correlation,
)
from pipeline.data.rows import CandidateRows


def random_memory(classes=4, rows=12, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    memory = torch.rand(classes, rows, dim, generator=generator)
    return memory, torch.full((classes,), rows)


@pytest.mark.parametrize("dense_speed", [0, 10**9], ids=["pair counts", "dense product"])
@given(st.integers(0, 10**6))
def test_cooccurrence_is_that_of_the_dense_product_however_it_is_counted(dense_speed, seed):
    generator = torch.Generator().manual_seed(seed)
    candidates = (torch.rand(20, 6, generator=generator) < 0.3).float()
    together = candidates.T @ candidates
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlation, "DENSE_SPEED", dense_speed)
        patch.setattr(correlation, "DENSE_IMAGES", 7)
        found = cooccurrence(CandidateRows.from_dense(candidates))
    assert torch.equal(found, together / together.diagonal()[:, None].clamp(min=1))


def test_released_scaling_divides_columns():
    matrix = torch.tensor([[1.0, 2.0, 2.0], [1.0, 1.0, 0.0], [3.0, 5.0, 1.0]])
    expected = torch.tensor([[1.0, 2.0, 0.25], [0.25, 1.0, 0.0], [0.75, 5.0, 1.0]])
    torch.testing.assert_close(released.scale(matrix), expected)


def test_one_fit_a_class_equals_the_mean_cosine_of_every_pair():
    memory, count = random_memory()
    directions, ready = class_directions(memory, count, clusters=3)
    assert ready.all()
    for i in range(4):
        for j in range(4):
            centroids = [
                KMeans(3, n_init=1, random_state=0).fit(memory[c].numpy()).cluster_centers_
                for c in (i, j)
            ]
            expected = cosine_similarity(*centroids).mean()
            assert abs(float(directions[i] @ directions[j]) - expected) < 1e-6


def test_a_memory_in_half_precision_is_clustered_in_single():
    memory, count = random_memory()
    halved = memory.bfloat16()
    found, _ = class_directions(halved, count, clusters=3)
    expected, _ = class_directions(halved.float(), count, clusters=3)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_one_cluster_gives_the_normalised_mean():
    memory, count = random_memory()
    mean = memory.mean(dim=1)
    found, _ = class_directions(memory, count, clusters=1)
    torch.testing.assert_close(found, mean / mean.norm(dim=1, keepdim=True))


def test_scaled_rows_sum_to_one_off_the_diagonal():
    scaled = scale_rows(torch.rand(5, 5))
    assert torch.equal(scaled.diagonal(), torch.ones(5))
    torch.testing.assert_close(scaled.sum(dim=1), torch.full((5,), 2.0))


def test_only_rows_in_use_are_clustered():
    memory, _ = random_memory()
    memory[:, 5:] = 1e6
    directions, ready = class_directions(memory, torch.tensor([5, 5, 2, 0]), clusters=3)
    alone, _ = class_directions(memory[:, :5], torch.tensor([5, 5, 2, 0]), clusters=3)
    assert ready.tolist() == [True, True, False, False]
    assert torch.equal(directions, alone)
    assert not directions[2:].any()


def test_as_many_prototypes_as_clusters_are_enough():
    memory = torch.zeros(2, 4, 2)
    memory[:, :3] = torch.tensor([[3.0, 0.0], [0.0, 5.0], [0.6, 0.8]])
    directions, ready = class_directions(memory, torch.tensor([3, 2]), clusters=3)
    assert ready.tolist() == [True, False]
    # Each prototype is a centroid: the mean of (1, 0), (0, 1) and (0.6, 0.8).
    torch.testing.assert_close(directions, torch.tensor([[1.6 / 3, 0.6], [0.0, 0.0]]))


def test_classes_that_are_not_ready_keep_row_and_column():
    old = scale_rows(torch.rand(4, 4, generator=torch.Generator().manual_seed(1)))
    directions = torch.rand(4, 6)
    ready = torch.tensor([True, True, False, True])
    new = update_correlation(old, directions, ready, gamma=0.5)
    assert torch.equal(new[2], old[2])
    assert torch.equal(new[:, 2], old[:, 2])
    assert not torch.allclose(new[0, 1], old[0, 1])
    torch.testing.assert_close(new.sum(dim=1), torch.full((4,), 2.0))


def test_a_class_that_was_always_alone_is_related_by_its_prototypes():
    alone = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 1]])
    directions = torch.tensor([[1.0, 0], [0.6, 0.8], [0.8, 0.6]])
    ready = torch.ones(3, dtype=torch.bool)
    new = update_correlation(alone, directions, ready, gamma=0.5)
    torch.testing.assert_close(new[0], torch.tensor([1.0, 0.6 / 1.4, 0.8 / 1.4]))
    torch.testing.assert_close(new.sum(dim=1), torch.full((3,), 2.0))


def test_a_class_unlike_every_other_keeps_its_row():
    old = scale_rows(torch.rand(3, 3))
    directions = torch.tensor([[-1.0, 0], [1, 0], [1, 0]])
    new = update_correlation(old, directions, torch.ones(3, dtype=torch.bool), gamma=0.0)
    assert torch.equal(new[0], old[0])
    assert new[1, 0] == 0


def test_gamma_one_changes_nothing_and_gamma_zero_is_the_scaled_similarity():
    old = scale_rows(torch.rand(4, 4))
    directions, ready = torch.rand(4, 6), torch.ones(4, dtype=torch.bool)
    torch.testing.assert_close(update_correlation(old, directions, ready, gamma=1.0), old)
    torch.testing.assert_close(
        update_correlation(old, directions, ready, gamma=0.0), scale_rows(directions @ directions.T)
    )


def test_update_leaves_its_arguments_alone():
    old = scale_rows(torch.rand(3, 3))
    before = old.clone()
    update_correlation(old, torch.rand(3, 2), torch.ones(3, dtype=torch.bool), 0.99)
    released.update_correlation(old, torch.rand(3, 2), torch.ones(3, dtype=torch.bool), 0.99)
    assert torch.equal(old, before)


def test_released_update_rescales_the_columns_of_the_mixture():
    old = torch.tensor([[1.0, 0.2, 0.8], [0.5, 1.0, 0.5], [0.9, 0.1, 1.0]])
    directions = torch.eye(3)
    new = released.update_correlation(old, directions, torch.ones(3, dtype=torch.bool), 0.5)
    off = np.array([[0, 0.1, 0.4], [0.25, 0, 0.25], [0.45, 0.05, 0]])
    expected = off / off.sum(axis=1)[None, :] + np.eye(3)
    np.testing.assert_allclose(new.numpy(), expected, rtol=1e-6)
