import pytest
import torch

from pipeline.cones import prototypes, released
from pipeline.cones.prototypes import PrototypeMemory, batch_prototypes


def test_prototype_is_the_mean_over_the_class_s_pixels():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 6, 2, 4, generator=generator)
    pixels = torch.rand(3, 5, 2, 4, generator=generator) < 0.4
    pixels[:, 2] = False
    prototypes, seen = batch_prototypes(features, pixels)
    assert seen.tolist() == [True, True, False, True, True]
    for c in (0, 1, 3, 4):
        chosen = [features[b, :, y, x] for b, y, x in pixels[:, c].nonzero().tolist()]
        torch.testing.assert_close(prototypes[c], torch.stack(chosen).mean(dim=0))
    assert torch.equal(prototypes[2], torch.zeros(6))


def test_released_prototype_divides_by_all_pixels():
    features = torch.full((1, 1, 1, 4), 8.0)
    pixels = torch.tensor([[[[True, False, False, False]], [[False] * 4]]])
    means, seen = released.batch_prototypes(features, pixels)
    assert means.tolist() == [[2.0], [0.0]]
    assert seen.tolist() == [True, False]
    assert batch_prototypes(features, pixels)[0].tolist() == [[8.0], [0.0]]


@pytest.mark.parametrize(
    ("seen", "stored"),
    [
        ([1, 1, 1, 1], [4, 3, 2, 1]),
        ([1, 1, 0, 1], [4, 2, 0, 1]),
        ([0, 1, 1, 0], [0, 3, 2, 0]),
        ([0, 0, 0, 1], [0, 0, 0, 4]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_released_reverses_the_classes_that_were_seen(seen, stored):
    means, seen = torch.arange(1.0, 5)[:, None], torch.tensor(seen) > 0
    found = []
    for order in (prototypes.class_order, released.class_order):
        memory = PrototypeMemory(classes=4, dim=1, size=1)
        memory.add(*order(means, seen))
        assert memory.count.tolist() == seen.int().tolist()
        found.append((memory.rows[:, 0, 0] * seen).tolist())
    assert found == [(means[:, 0] * seen).tolist(), stored]


def test_half_precision_features_are_averaged_in_float32():
    features = torch.full((1, 1, 64, 64), 1.0, dtype=torch.bfloat16)
    prototypes, _ = batch_prototypes(features, torch.ones(1, 1, 64, 64, dtype=torch.bool))
    assert prototypes.dtype == torch.float32
    assert prototypes.item() == 1.0


def test_memory_keeps_the_newest_rows_of_each_class():
    memory = PrototypeMemory(classes=2, dim=1, size=3)
    for value in range(1, 6):
        memory.add(torch.full((2, 1), float(value)), torch.tensor([True, value == 2]))
    assert sorted(memory.rows[0].flatten().tolist()) == [3.0, 4.0, 5.0]
    assert memory.rows[1, 0].item() == 2.0
    assert memory.count.tolist() == [5, 1]


def memory_of(monkeypatch, bytes_, **keywords):
    monkeypatch.setattr(prototypes, "MEMORY_BYTES", bytes_)
    return PrototypeMemory(classes=4, dim=8, size=16, **keywords)


@pytest.mark.parametrize(
    ("budget", "least", "kept", "dtype"),
    [
        (4 * 8 * 16 * 4, 1, 16, torch.float32),
        (4 * 8 * 16 * 4 - 1, 1, 16, torch.bfloat16),
        (4 * 8 * 16 * 2 - 1, 1, 15, torch.bfloat16),
        (4 * 8 * 2, 5, 5, torch.bfloat16),
        (4 * 8 * 16 * 4, 20, 20, torch.float32),
    ],
)
def test_a_memory_too_large_is_halved_and_then_shortened(
    budget, least, kept, dtype, monkeypatch, capsys
):
    memory = memory_of(monkeypatch, budget, least=least)
    assert memory.rows.shape == (4, kept, 8)
    assert memory.rows.dtype == dtype
    said = capsys.readouterr().out
    assert (f"prototypes: {kept} instead of 16 a class" in said) == (kept < 16)


def test_half_precision_keeps_what_float16_could_not(monkeypatch):
    memory = memory_of(monkeypatch, 4 * 8 * 16 * 2)
    memory.add(torch.full((4, 8), 1e6), torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(
        memory.rows[:, 0].float(), torch.full((4, 8), 1e6), rtol=4e-3, atol=0
    )
