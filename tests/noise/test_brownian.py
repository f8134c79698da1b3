import math
from functools import reduce
from itertools import pairwise

import pytest
import torch

from skneuralde.noise import DEPTH, Brownian, Increments, floor_log2, power_of_two


def brownian(n, *, cell=0.5, seed=0, dim=2, start=0.0, sign=None):
    return Brownian(seed, torch.arange(n), torch.zeros(n, dtype=torch.int64), dim, start=start, cell=cell, sign=sign)


def full(n, t):
    return torch.full((n,), float(t), dtype=torch.float64)


def over(noise, a, b):
    n = len(noise.path)
    return Increments(*noise.between(full(n, a), full(n, b)))


def joined(parts):
    """Noise of intervals that follow each other: pairs of Increments and a length in cells."""

    def join(first, second):
        (a, length_a), (b, length_b) = first, second
        length = length_a + length_b
        w = a.w + b.w
        integral = length_a * (a.w / 2 + a.area) + length_b * (a.w + b.w / 2 + b.area)
        return Increments(w, integral / length - w / 2), length

    return reduce(join, parts)[0]


def whitened(noise, length):
    """Increments and areas over their standard deviations, columns of a matrix; ``length`` in units of time."""
    return torch.cat([noise.w / length**0.5, noise.area / (length / 12) ** 0.5], 1)


def assert_white(columns):
    """Independent standard normals: mean, covariance and fourth moments, each within five standard errors."""
    n, k = columns.shape
    assert columns.mean(0).abs().max() < 5 / n**0.5
    assert (columns.T @ columns / n - torch.eye(k)).abs().max() < 5 * (2 / n) ** 0.5
    assert ((columns**4).mean(0) - 3).abs().max() < 5 * (96 / n) ** 0.5
    # Not only uncorrelated: squares of different columns ignore each other, too.
    squares = columns**2 - 1
    assert (squares.T @ squares / n / 2 - torch.eye(k)).abs().max() < 5 * (14 / n) ** 0.5


@pytest.mark.parametrize(("level", "count"), [(0, 3), (1, 4), (3, 4)])
def test_parts_of_cells_are_brownian(level, count):
    n = 20_000
    w, area = brownian(n, dim=1).cells(0, count, level, area=True)
    length = 0.5 / 2**level
    assert_white(torch.cat([w[..., 0] / length**0.5, area[..., 0] / (length / 12) ** 0.5], 1))


def test_a_path_at_arbitrary_times_is_brownian():
    n = 40_000
    noise = brownian(n, dim=1, cell=1.0)
    times = [0.0, 0.1, 0.37, 0.375, 0.7, 1.0, 1.9]
    parts = [whitened(over(noise, a, b), b - a) for a, b in pairwise(times)]
    assert_white(torch.cat(parts, 1))


@pytest.mark.parametrize("level", [1, 3, 6])
def test_halves_add_up_to_the_whole(level):
    noise = brownian(5)
    fine = noise.cells(2 * 2**level, 3 * 2**level, level, area=True)
    parts = [(Increments(w, area), 2.0**-level) for w, area in zip(fine.w.unbind(1), fine.area.unbind(1), strict=True)]
    whole, (w, area) = joined(parts), noise.cells(2, 3, area=True)
    torch.testing.assert_close(whole.w, w[:, 0])
    torch.testing.assert_close(whole.area, area[:, 0])
    assert torch.equal(noise.cells(2 * 2**level, 3 * 2**level, level).w, fine.w)


def test_part_of_the_halved_cells_is_the_same_part():
    noise = brownian(4)
    part, whole = noise.cells(5, 23, 3, area=True), noise.cells(0, 40, 3, area=True)
    torch.testing.assert_close(part.w, whole.w[:, 5:23], rtol=0, atol=0)
    torch.testing.assert_close(part.area, whole.area[:, 5:23], rtol=0, atol=0)


@pytest.mark.parametrize(("level", "index"), [(0, 1), (1, 3), (2, 5), (5, 40), (11, 4001)])
def test_a_dyadic_interval_is_the_node_of_the_tree(level, index):
    noise = brownian(6)
    w, area = noise.cells(index, index + 1, level, area=True)
    node_w, node_area = noise.over(full(6, index / 2**level), full(6, (index + 1) / 2**level))
    torch.testing.assert_close(node_w, w[:, 0])
    torch.testing.assert_close(node_area, area[:, 0])


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-9])
def test_increments_and_areas_add_up_at_arbitrary_times(scale):
    noise, generator = brownian(7, start=full(7, 3.0)), torch.Generator().manual_seed(0)
    t = torch.sort(1.25 + scale * torch.rand(9, generator=generator, dtype=torch.float64) * 4).values
    total = over(noise, t[0], t[-1])
    parts = joined([(over(noise, a, b), float(b - a)) for a, b in pairwise(t)])
    tolerance = 1e-6 * scale**0.5
    torch.testing.assert_close(parts.w, total.w, rtol=0, atol=tolerance)
    torch.testing.assert_close(parts.area, total.area, rtol=0, atol=tolerance)


@pytest.mark.parametrize("place", [0.25, 0.5, 0.3, 1 - 1e-9])
def test_tiny_parts_of_a_step_keep_their_digits(place):
    """A sum over a cell with a difference of 1e-9 in it must not lose the increment's own size."""
    n, length = 4000, 1e-9
    noise = brownian(n, dim=1, cell=1.0)
    part = over(noise, place, place + length)
    length = float(full(1, place + length) - full(1, place))
    assert (whitened(part, length).var(0) - 1).abs().max() < 5 * (2 / n) ** 0.5


def test_the_finest_dyadic_interval_has_its_variance():
    n = 4000
    noise = brownian(n, dim=1, cell=1.0)
    begin = 0.5 + 3 * 2.0**-DEPTH
    part = over(noise, begin, begin + 2.0**-DEPTH)
    assert (whitened(part, 2.0**-DEPTH).var(0) - 1).abs().max() < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("place", [0.0, 0.5, 0.3])
@pytest.mark.parametrize("halvings", [DEPTH - 1, DEPTH, DEPTH + 1, DEPTH + 4])
def test_dyadic_intervals_add_up_where_the_tree_ends(place, halvings):
    """Inside a leaf there are no nodes, even where a time is as round as a node's ends."""
    noise, cut = brownian(20, cell=1.0), place + 2.0**-halvings
    parts = joined([(over(noise, place, cut), cut - place), (over(noise, cut, 1.0), 1.0 - cut)])
    whole = over(noise, place, 1.0)
    torch.testing.assert_close(parts.w, whole.w, rtol=0, atol=1e-13)
    torch.testing.assert_close(parts.area, whole.area, rtol=0, atol=1e-13)


def test_no_interval_has_no_noise():
    noise = brownian(3)
    for place in (0.0, 0.3, 2.0):
        part = over(noise, place, place)
        assert (part.w == 0).all()
        assert (part.area == 0).all()


def test_nothing_depends_on_position_in_the_batch_or_on_other_times():
    whole, some = brownian(10), brownian(10).select(torch.tensor([7, 2, 2]))
    t0, t1 = full(10, 0.246), full(10, 3.8)
    assert torch.equal(some.between(t0[:3], t1[:3])[0], whole.between(t0, t1)[0][[7, 2, 2]])
    assert torch.equal(some.cells(0, 4).w, whole.cells(0, 4).w[[7, 2, 2]])
    late = torch.where(torch.arange(10) == 3, t1, 100.0)
    for part in range(2):
        assert torch.equal(whole.between(t0, late)[part][3], whole.between(t0, t1)[part][3])


def test_seed_path_series_and_dimension_all_matter():
    n = 20_000
    paths, zero = torch.arange(n), torch.zeros(n, dtype=torch.int64)
    columns = [
        Brownian(seed, paths + shift, zero + series, 2, cell=1.0).cells(0, 1).w[:, 0]
        for seed, shift, series in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]
    assert_white(torch.cat(columns, 1))


def test_a_mirrored_path_has_the_opposite_noise():
    sign = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    plain, mirrored = brownian(3), brownian(3, sign=sign)
    for ask in (
        lambda noise: noise.cells(0, 8, 2, area=True),
        lambda noise: noise.between(full(3, 0.1), full(3, 5.3)),
        lambda noise: (noise.three_point(full(1, 3.0)[None], full(1, 0.5)[None]),),
    ):
        for a, b in zip(ask(plain), ask(mirrored), strict=True):
            torch.testing.assert_close(b, a * sign.view(-1, *[1] * (a.ndim - 1)))


def test_three_point_numbers_share_five_moments_with_the_increments():
    n, length = 60_000, 0.7
    begin = torch.arange(3, dtype=torch.float64)[None]
    points = brownian(n, dim=1, cell=2.0).three_point(begin, torch.full_like(begin, length / 2.0))[..., 0]
    values = points.unique()
    torch.testing.assert_close(values, (3 * length) ** 0.5 * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))
    share = (points != 0).double().mean(0)
    assert (share - 1 / 3).abs().max() < 5 * (2 / 9 / n) ** 0.5
    white = points / length**0.5
    assert (white.T @ white / n - torch.eye(3)).abs().max() < 5 * (2 / n) ** 0.5
    assert abs((white**4).mean() - 3) < 5 * (18 / 3 / n) ** 0.5
    assert abs((white**3).mean()) < 5 * (9 / n) ** 0.5


@pytest.mark.parametrize("cell", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cell_must_have_a_length(cell):
    with pytest.raises(ValueError, match="cell must be a positive number"):
        brownian(1, cell=cell)


def test_global_random_states_are_left_alone():
    before = torch.random.get_rng_state()
    brownian(3).between(full(3, 0.1), full(3, 0.7))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_powers_of_two_are_exact():
    exponents = torch.arange(-60, 60)
    assert power_of_two(exponents).tolist() == [math.ldexp(1.0, int(k)) for k in exponents]
    assert torch.equal(floor_log2(power_of_two(exponents)), exponents)
    assert floor_log2(torch.tensor([0.9999, 1.0, 1.9999, 3.5e-5], dtype=torch.float64)).tolist() == [-1, 0, 0, -15]
