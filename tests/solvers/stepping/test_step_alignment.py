import pytest
import torch

from skneuralde.noise import Brownian
from skneuralde.solvers.stepping.step_alignment import DyadicAlignment, FreeSteps, snap
from skneuralde.solvers.stepping.step_noise import DyadicNoise
from tests.stubs import times


def dyadic(stops, furthest=4.0):
    return DyadicAlignment(stops, furthest=furthest)


def target(alignment, elapsed, proposal, seen=torch.inf):
    n = len(elapsed)
    end = torch.full((n, 1), torch.inf, dtype=torch.float64)
    rows = torch.arange(n)
    return alignment.target(rows, times(*elapsed)[:, None], times(*proposal)[:, None], end, torch.full_like(end, seen))[
        :, 0
    ]


@pytest.mark.parametrize(
    ("elapsed", "proposal", "expected"),
    [
        (0.0, 0.3, 0.25),  # the largest part that is not longer than proposed
        (0.0, 0.25, 0.25),
        (0.0, 7.0, 1.0),  # never more than a cell
        (0.25, 0.9, 0.5),  # what was divided is finished first
        (0.5, 0.9, 1.0),
        (0.75, 0.2, 0.875),
        (0.3, 0.5, 0.5),  # from inside a part to its end
        (0.3, 0.1, 0.3125),
        (1.2, 1e-30, 1.2 + 2.0**-31),  # the smallest part
    ],
)
def test_steps_are_parts_of_the_tree(elapsed, proposal, expected):
    reached = target(dyadic(times(10.3)[None]), [elapsed], [proposal]).item()
    assert reached == pytest.approx(expected, rel=0, abs=2.0**-31)
    assert elapsed < reached <= elapsed + max(proposal, 2.0**-30) * 1.0000001


def test_no_step_passes_a_stop():
    irregular = dyadic(times(0.0, 0.1, 0.1, 2.7)[None])
    assert target(irregular, [0.0], [1.0]).item() == 0.1
    assert target(irregular, [0.1], [1.0]).item() == 1.0
    assert target(irregular, [2.5], [1.0]).item() == 2.7
    assert target(irregular, [2.7], [1.0]).item() == 3.0


def test_stops_on_coarse_parts_are_reached_by_whole_parts():
    regular = dyadic(times(0.0, 0.375, 2.0)[None])
    assert target(regular, [0.0], [1.0]).item() == 0.25
    assert target(regular, [0.25], [1.0]).item() == 0.375


def test_every_path_has_its_own_stops():
    stops = torch.stack([times(0.0, 0.375, 3.0), times(0.0, 0.6, torch.inf)])
    alignment = dyadic(stops)
    # Those of the other path do not matter, whether they lie on coarse parts or not.
    assert target(alignment, [0.0, 0.0], [1.0, 1.0]).tolist() == [0.25, 0.6]
    assert target(alignment, [0.25, 0.6], [0.5, 0.5]).tolist() == [0.375, 1.0]


def test_random_walks_on_the_tree_never_skip_what_they_have_looked_at():
    """After a rejection the path comes by the end of the rejected step."""
    generator, alignment = torch.Generator().manual_seed(0), dyadic(times(torch.inf)[None], furthest=50.0)
    elapsed, longest, looked_at = 0.0, 1.0, []
    for _ in range(400):
        length = longest * float(2.0 ** (-3 * torch.rand((), generator=generator, dtype=torch.float64)))
        reached = target(alignment, [elapsed], [length]).item()
        assert all(reached <= point for point in looked_at)
        if torch.rand((), generator=generator) < 0.4:
            looked_at.append(reached)
            longest = 0.9 * (reached - elapsed)
        else:
            elapsed, longest = reached, 1.0
            looked_at = [point for point in looked_at if point > elapsed]
    assert elapsed > 1


@pytest.mark.parametrize("n_hazards", [0, 2])
@pytest.mark.parametrize("whole_parts", [False, True])
def test_noise_is_that_of_the_cells_and_in_the_states_dtype(whole_parts, n_hazards):
    brownian = Brownian(0, torch.arange(3), torch.zeros(3, dtype=torch.int64), 1, cell=0.5)
    rows, zero = torch.arange(3), torch.zeros(3, 1, dtype=torch.float64)
    settings = {"furthest": 10.0, "tabulate": True, "stops": times(1.0)[None], "area": True, "dtype": torch.float32}
    noise = DyadicNoise(brownian, whole_parts=whole_parts, n_hazards=n_hazards, **settings)
    noise = noise.increments(rows, zero, zero + 0.25)
    expected = brownian.cells(0, 1, 2, area=True)
    assert noise.w.dtype == noise.area.dtype == torch.float32
    torch.testing.assert_close(noise.w[:, :1], expected.w[:, 0].float())
    torch.testing.assert_close(noise.area[:, :1], expected.area[:, 0].float())
    assert noise.w.shape == (3, 1 + n_hazards)
    assert not noise.w[:, 1:].any()


def test_without_noise_steps_are_free():
    one = times(1.0)[:, None]
    assert FreeSteps().target(torch.arange(1), 0 * one, 0.3 * one, one, one).item() == 0.3
    assert FreeSteps().target(torch.arange(1), 0.9 * one, 0.3 * one, one, one).item() == 1.0


def test_rounding_is_taken_off_regular_times():
    regular = torch.linspace(0, 1, 30, dtype=torch.float64) / (1 / 29)
    assert torch.equal(snap(regular), torch.arange(30, dtype=torch.float64))
    odd = times(0.1234567, 5.0 + 1e-4)
    assert torch.equal(snap(odd), odd)
