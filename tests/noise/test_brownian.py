from itertools import pairwise

import pytest
import torch

from skneuralde.noise import Brownian


def brownian(n, *, cell=0.5, seed=0, dim=2, origin=0.0):
    return Brownian(seed, torch.arange(n), torch.zeros(n, dtype=torch.int64), dim, origin=origin, cell=cell)


def full(n, t):
    return torch.full((n,), t, dtype=torch.float64)


def test_cells_have_the_variance_of_their_length_and_are_independent():
    dw = brownian(2000).cells(0, 50)
    n = dw.numel()
    assert abs(dw.mean()) < 5 * (0.5 / n) ** 0.5
    assert abs(dw.var() / 0.5 - 1) < 5 * (2 / n) ** 0.5
    flat = dw.flatten(0, 1) / 0.5**0.5
    assert abs((flat[:, 0] * flat[:, 1]).mean()) < 5 / len(flat) ** 0.5
    assert abs((dw[:, 1:] * dw[:, :-1]).mean() / 0.5) < 5 / n**0.5
    assert abs((dw[1:] * dw[:-1]).mean() / 0.5) < 5 / n**0.5


@pytest.mark.parametrize("level", [1, 3, 6])
def test_halved_cells_add_up_to_the_cell(level):
    noise = brownian(5)
    fine = noise.cells(2 * 2**level, 5 * 2**level, level)
    torch.testing.assert_close(fine.unflatten(1, (3, 2**level)).sum(2), noise.cells(2, 5))
    n = 3000
    fine = brownian(n).cells(0, 2**level, level)
    assert abs(fine.var() / (0.5 / 2**level) - 1) < 5 * (2 / fine.numel()) ** 0.5
    halves = fine.unflatten(1, (-1, 2))
    assert abs((halves[:, :, 0] * halves[:, :, 1]).mean() * 2**level / 0.5) < 5 * (2 / fine.numel()) ** 0.5


def test_part_of_the_halved_cells_is_the_same_part():
    noise = brownian(4)
    torch.testing.assert_close(noise.cells(5, 23, 3), noise.cells(0, 40, 3)[:, 5:23], rtol=0, atol=0)


def test_increments_agree_with_cells_of_every_level():
    noise = brownian(6)
    for level, first, last in [(0, 0, 3), (2, 3, 9), (10, 700, 1500)]:
        width = 0.5 / 2**level
        expected = noise.cells(first, last, level).sum(1)
        torch.testing.assert_close(noise.increment(full(6, first * width), full(6, last * width)), expected)


def test_increments_add_up_at_arbitrary_times():
    noise = brownian(7, origin=full(7, 3.0))
    t = torch.sort(torch.rand(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 + 1).values
    total = noise.increment(full(7, t[0]), full(7, t[-1]))
    parts = sum(noise.increment(full(7, a), full(7, b)) for a, b in pairwise(t))
    torch.testing.assert_close(parts, total)
    torch.testing.assert_close(noise.increment(full(7, t[-1]), full(7, t[0])), -total)


def test_increments_inside_a_cell_have_brownian_covariance():
    n = 20_000
    noise = brownian(n, dim=1, cell=1.0)
    times = [0.0, 0.1, 0.37, 0.7, 1.3]
    steps = torch.cat([noise.increment(full(n, a), full(n, b)) for a, b in pairwise(times)], 1)
    lengths = torch.tensor(times, dtype=torch.float64).diff()
    scaled = steps / lengths.sqrt()
    covariance = scaled.T @ scaled / n
    assert (covariance - torch.eye(4)).abs().max() < 5 * (2 / n) ** 0.5


def test_nothing_depends_on_position_in_the_batch_or_on_other_times():
    whole, some = brownian(10), brownian(10).select(torch.tensor([7, 2, 2]))
    t0, t1 = full(10, 0.123), full(10, 1.9)
    assert torch.equal(some.increment(t0[:3], t1[:3]), whole.increment(t0, t1)[[7, 2, 2]])
    assert torch.equal(some.cells(0, 4), whole.cells(0, 4)[[7, 2, 2]])
    late = torch.where(torch.arange(10) == 3, t1, 50.0)
    assert torch.equal(whole.increment(t0, late)[3], whole.increment(t0, t1)[3])


def test_seed_path_series_and_dimension_all_matter():
    paths = torch.tensor([0, 1, 0])
    series = torch.tensor([0, 0, 1])
    dw = Brownian(0, paths, series, 2, cell=1.0).cells(0, 1)
    other = Brownian(1, paths, series, 2, cell=1.0).cells(0, 1)
    assert len(torch.cat([dw, other]).unique()) == 12


def test_areas_have_their_variance_and_ignore_the_increments():
    n = 20_000
    noise = brownian(n, dim=1, cell=1.0)
    t0, t1 = full(n, 0.25), full(n, 0.75)
    area, w = noise.area(t0, t1), noise.increment(t0, t1)
    assert abs(area.var() * 24 - 1) < 5 * (2 / n) ** 0.5
    assert abs((area * w).mean() * 48**0.5) < 5 / n**0.5
    assert abs((area * noise.area(t1, t1 + 0.5)).mean() * 24) < 5 / n**0.5


@pytest.mark.parametrize("cell", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cell_must_have_a_length(cell):
    with pytest.raises(ValueError, match="cell must be a positive number"):
        brownian(1, cell=cell)


def test_global_random_states_are_left_alone():
    before = torch.random.get_rng_state()
    brownian(3).increment(full(3, 0.1), full(3, 0.7))
    assert torch.equal(torch.random.get_rng_state(), before)
