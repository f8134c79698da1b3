"""How finely jumps must be resolved for a tolerance."""

import math

import pytest
import torch

from skneuralde.inference import LocalLinearisation, Mixture, Model, calibrate_jumps
from skneuralde.inference.calibration.jumps import divergence
from skneuralde.problems import Jump, Problem
from tests.learnable_equations import column, direct


def calibrated(problem, h, rtol=1e-3, n=20):
    state = torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    transitions = direct(state, torch.full((n,), h, dtype=torch.float64))
    return calibrate_jumps(Model(problem), transitions, LocalLinearisation(), rtol=rtol)


def random_walk(rate):
    return Problem(0.1, 0.3, jumps=(Jump(rate, lambda t, u, z: u + 1.0 + z),))


def test_where_the_time_of_a_jump_does_not_matter_one_is_enough():
    assert calibrated(random_walk(0.5), 0.1).nodes == 1


@pytest.mark.parametrize(("rate", "most"), [(0.01, 2), (0.3, 2), (1.0, 2), (3.0, 4), (10.0, 6)])
def test_numbers_of_jumps_follow_the_rate(rate, most):
    """More than so many have a probability below 1e-4."""
    assert calibrated(random_walk(rate), 0.08).most == most


def test_times_are_told_apart_where_they_matter():
    reset = Problem(lambda t, u: -u, 0.5, jumps=(Jump(0.1, lambda t, u: torch.full_like(u, 3.0)),))
    nodes = [calibrated(reset, 1.0, rtol=rtol).nodes for rtol in (1.0, 1e-3, 1e-5)]
    assert nodes[0] < nodes[1] < nodes[2]


def test_nothing_to_look_at():
    none = direct(torch.zeros(0, 1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    assert calibrate_jumps(Model(random_walk(1.0)), none, LocalLinearisation(), rtol=1e-3).nodes == 1


def test_divergence_of_shifted_normal_laws():
    """Half the square of the shift."""
    shift = 0.1
    laws = [
        Mixture(column(0.0)[:, None], column(m)[:, None, None], column(1.0)[:, None, None, None], (0,))
        for m in (0.0, shift)
    ]
    assert divergence(*laws) == pytest.approx(shift**2 / 2, rel=1e-3)
    assert divergence(laws[0], laws[0]) == 0.0
    wrong = Mixture(*(torch.full_like(x, math.nan) for x in (laws[0].log_weight, laws[0].means, laws[0].covs)), (0,))
    assert divergence(laws[0], wrong) == math.inf
