from functools import partial

import pytest
import torch

from skneuralde.noise import Brownian, IncrementTable
from skneuralde.noise import increment_table as module


def brownian(n, dim=2):
    return Brownian(4, torch.arange(n), torch.zeros(n, dtype=torch.int64), dim, cell=0.3)


def intervals(n, generator):
    """Dyadic parts of five cells, a few of no length, and some arbitrary ones."""
    level = torch.randint(0, 12, (n,), generator=generator)
    part = 2.0 ** -level.double()
    begin = (torch.rand(n, generator=generator, dtype=torch.float64) * 5 / part).floor() * part
    end = begin + part
    end[::7] = begin[::7]
    end[3::11] = begin[3::11] + 0.37 * part[3::11]
    return begin, end


@pytest.mark.parametrize(("room", "levels"), [(2**21, 3), (2000, 1), (0, 0)])
def test_looking_up_is_the_same_as_asking(room, levels, monkeypatch):
    monkeypatch.setattr(module, "_MAX_KEPT", room)
    n, generator = 50, torch.Generator().manual_seed(0)
    noise = brownian(n)
    table = IncrementTable(noise, 5)
    rows = torch.arange(n)
    for turn in range(60):
        if turn == 30:
            rows = torch.tensor([3, 3, 17, 40])
        begin, end = intervals(len(rows), generator)
        chosen = noise.select(rows)
        found, asked = chosen.over(begin, end, partial(table.part, rows, chosen)), chosen.over(begin, end)
        assert torch.equal(found[0], asked[0])
        assert torch.equal(found[1], asked[1])
    assert table.levels >= levels
    assert table.kept.numel() <= 2 * room


def test_a_batch_of_one_has_the_same_noise():
    n, generator = 30, torch.Generator().manual_seed(1)
    noise = brownian(n)
    together = IncrementTable(noise, 5)
    begin, end = intervals(n, generator)
    for _ in range(10):
        w, area = noise.over(begin, end, partial(together.part, torch.arange(n), noise))
    for i in range(0, n, 7):
        one = noise.select(torch.tensor([i]))
        part = partial(IncrementTable(one, 5).part, torch.tensor([0]), one)
        alone = one.over(begin[i : i + 1], end[i : i + 1], part)
        assert torch.equal(alone[0][0], w[i])
        assert torch.equal(alone[1][0], area[i])


def test_paths_that_have_arrived_ask_for_nothing():
    noise = brownian(3)
    end = torch.full((3,), 5.0, dtype=torch.float64)
    w, area = noise.over(end, end, partial(IncrementTable(noise, 5).part, torch.arange(3), noise))
    assert not w.any()
    assert not area.any()
