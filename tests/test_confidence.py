import torch

from pipeline.cones.confidence import ConfidenceTable, disambiguate


def test_belief_is_p_times_r_over_the_candidates():
    p = torch.tensor([[0.5, 0.2, 0.9]])
    correlation = torch.tensor([[1.0, 0.4, 0.6], [0.0, 1.0, 1.0], [0.5, 0.5, 1.0]])
    # p R = [0.5 + 0.45, 0.2 + 0.2 + 0.45, ...] = [0.95, 0.85, ...]
    belief = disambiguate(p, correlation, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(belief, torch.tensor([[0.95 / 1.8, 0.85 / 1.8, 0.0]]))


def test_belief_sums_to_one_over_the_candidates_and_is_zero_elsewhere():
    candidates = (torch.rand(50, 6) < 0.5).long()
    candidates[0] = 0
    belief = disambiguate(torch.rand(50, 6), torch.rand(6, 6) + torch.eye(6), candidates)
    assert not belief[candidates == 0].any()
    torch.testing.assert_close(belief.sum(dim=1), (candidates.sum(dim=1) > 0).float())


def test_candidates_without_any_probability_share_evenly():
    belief = disambiguate(torch.zeros(1, 4), torch.eye(4), torch.tensor([[1, 0, 1, 0]]))
    torch.testing.assert_close(belief, torch.tensor([[0.5, 0.0, 0.5, 0.0]]))


def test_table_starts_uniform_and_moves_by_one_minus_mu():
    table = ConfidenceTable(torch.tensor([[1, 1, 0], [0, 1, 0]]), mu=0.75)
    assert table.rows.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]
    rows = table.update(torch.tensor([0]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert rows.tolist() == [[0.625, 0.375, 0.0]]
    assert table.rows.tolist() == [[0.625, 0.375, 0.0], [0.0, 1.0, 0.0]]


def test_rows_belong_to_image_ids_whatever_the_order():
    candidates = (torch.rand(8, 5) < 0.6).long()
    belief = candidates * torch.rand(8, 5)
    forward, shuffled = ConfidenceTable(candidates), ConfidenceTable(candidates)
    order = torch.randperm(8)
    forward.update(torch.arange(8), belief)
    shuffled.update(order, belief[order])
    assert torch.equal(forward.rows, shuffled.rows)


def test_state_round_trip():
    candidates = torch.tensor([[1, 1, 0]])
    table, other = ConfidenceTable(candidates), ConfidenceTable(candidates)
    table.update(torch.tensor([0]), torch.tensor([[0.9, 0.1, 0.0]]))
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.rows, table.rows)
