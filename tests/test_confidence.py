import hypothesis.strategies as st
import torch
from hypothesis import given

from pipeline.cones.confidence import ConfidenceTable, disambiguate
from pipeline.data.rows import CandidateRows


def table_of(candidates, mu=0.99):
    return ConfidenceTable(CandidateRows.from_dense(candidates), mu)


def update(table, index, disambiguated):
    """The images' new confidence, (B, C)."""
    batch = table.rows.batch(index)
    return batch.spread(table.update(batch, disambiguated))


def test_disambiguation_is_p_times_r_over_the_candidates():
    p = torch.tensor([[0.5, 0.2, 0.9]])
    correlation = torch.tensor([[1.0, 0.4, 0.6], [0.0, 1.0, 1.0], [0.5, 0.5, 1.0]])
    # p R = [0.5 + 0.45, 0.2 + 0.2 + 0.45, ...] = [0.95, 0.85, ...]
    disambiguated = disambiguate(p, correlation, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(disambiguated, torch.tensor([[0.95 / 1.8, 0.85 / 1.8, 0.0]]))


def test_disambiguation_sums_to_one_over_the_candidates_and_is_zero_elsewhere():
    candidates = (torch.rand(50, 6) < 0.5).long()
    candidates[0] = 0
    disambiguated = disambiguate(torch.rand(50, 6), torch.rand(6, 6) + torch.eye(6), candidates)
    assert not disambiguated[candidates == 0].any()
    torch.testing.assert_close(disambiguated.sum(dim=1), (candidates.sum(dim=1) > 0).float())


def test_candidates_without_any_probability_share_evenly():
    disambiguated = disambiguate(torch.zeros(1, 4), torch.eye(4), torch.tensor([[1, 0, 1, 0]]))
    torch.testing.assert_close(disambiguated, torch.tensor([[0.5, 0.0, 0.5, 0.0]]))


@given(st.integers(0, 10**6))
def test_every_update_is_that_of_a_dense_table_bit_for_bit(seed):
    generator = torch.Generator().manual_seed(seed)
    candidates = (torch.rand(9, 5, generator=generator) < 0.4).float()
    dense = candidates / candidates.sum(dim=1, keepdim=True).clamp(min=1)
    table = table_of(candidates, mu=0.9)
    for _ in range(4):
        index = torch.randperm(9, generator=generator)[:4]
        p = torch.rand(4, 5, generator=generator)
        disambiguated = disambiguate(p, torch.eye(5) + 0.1, candidates[index])
        dense[index] = 0.9 * dense[index] + (1 - 0.9) * disambiguated
        assert torch.equal(update(table, index, disambiguated), dense[index])
    assert torch.equal(table.rows.read(table.values, torch.arange(9)), dense)
