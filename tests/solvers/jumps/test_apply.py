import math

import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.noise import PoissonProcesses
from skneuralde.solvers import SolveRequest, SolverError, get_solver, integrate

N = 20_000
TIMES = [0.0, 0.3, 1.0]


def standard_error(x):
    return x.std() / len(x) ** 0.5


@pytest.mark.parametrize("name", ["euler", "sosri2", "torchsde:srk"])
def test_halving_jumps_on_geometric_brownian_motion(name):
    problem = Problem(lambda t, u: 0.1 * u, lambda t, u: 0.2 * u, jumps=(Jump(2.0, lambda t, u: u / 2),))
    end = solve(problem, [1.0], TIMES, solver=name, rtol=None, dt=0.05, n_paths=N, random_state=0).ys[:, -1, 0]
    # Euler's bias is a tenth of the standard error here.
    assert abs(end.mean() - math.exp(0.1 - 1.0)) < 4 * standard_error(end)
    second = math.exp(2 * 0.1 + 0.04 - 2 * 0.75)
    assert abs(end.square().mean() - second) < 4 * standard_error(end.square())


def test_thinned_rate_that_grows_with_time():
    problem = Problem(None, jumps=(Jump(lambda t, u: t, lambda t, u: u + 1, bound=1.0),))
    counts = solve(problem, [0.0], TIMES, solver="euler", dt=0.5, n_paths=N, random_state=0).ys[:, :, 0]
    for k, mean in ((1, 0.045), (2, 0.5)):
        assert abs(counts[:, k].mean() - mean) < 4 * (mean / N) ** 0.5
        assert abs(counts[:, k].var() - mean) < 4 * ((mean + 2 * mean**2) / N) ** 0.5


def test_an_exceeded_bound_is_told():
    problem = Problem(None, jumps=(Jump(lambda t, u: 3 * t, lambda t, u: u + 1, bound=1.0),))
    with pytest.raises(SolverError, match=r"jumps\[0\].rate exceeds its bound 1: it is .* at t = .* and u = "):
        solve(problem, [0.0], TIMES, solver="euler", dt=0.5, n_paths=100, random_state=0)


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
def test_gradients_lead_through_affects(gradient):
    class Scale(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

        def forward(self, t, u):
            return self.scale * u

    def value(scale):
        jump = Jump(lambda t, u: 2.0 + torch.sin(t), scale, bound=3.0)
        problem = Problem(lambda t, u: 0.1 * u, lambda t, u: 0.2 * u, jumps=(jump,))
        ys = solve(problem, [1.0], TIMES, solver="euler", dt=0.1, n_paths=20, random_state=0, gradient=gradient).ys
        return ys.square().sum()

    at = Scale(0.5)
    (slope,) = torch.autograd.grad(value(at), at.scale)
    expected = (value(Scale(0.5 + 1e-5)) - value(Scale(0.5 - 1e-5))) / 2e-5
    torch.testing.assert_close(slope, expected.detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("side_steps", [False, True])
def test_a_save_at_a_jump_holds_the_state_after_it(side_steps):
    problem = Problem(None, jumps=(Jump(2.0, lambda t, u: u + 1),))
    poisson = PoissonProcesses(0, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 1)
    at = poisson.arrivals(0, torch.full((1, 1), 8.0, dtype=torch.float64)) / 2.0
    times = torch.cat([torch.zeros(1, 1, dtype=torch.float64), at], 1)
    u0 = torch.zeros(1, 1, dtype=torch.float64)
    values = integrate(
        SolveRequest(problem, u0, times, solver=get_solver("euler"), poisson=poisson, dt=0.3, side_steps=side_steps)
    ).values
    assert values[0, :, 0].tolist() == list(range(times.shape[1]))


def test_jumps_are_never_left_out():
    problem = Problem(None, jumps=(Jump(2.0, lambda t, u: u + 1),))
    times = torch.tensor(TIMES, dtype=torch.float64)
    with pytest.raises(ValueError, match="needs Poisson processes"):
        integrate(
            SolveRequest(problem, torch.zeros(1, 1, dtype=torch.float64), times, solver=get_solver("euler"), dt=0.1)
        )
    with pytest.raises(ValueError, match="torchdiffeq:dopri5"):
        solve(problem, [0.0], TIMES, solver="torchdiffeq:dopri5")


@pytest.mark.parametrize(
    ("options", "rate", "leap"),
    [
        ({"rtol": 1e-2}, 20.0, False),
        ({"rtol": 1e-2}, lambda t, u: 20.0 + 0.0 * t, False),
        ({"rtol": None, "dt": 0.125}, 20.0, False),
        ({"rtol": None, "dt": 0.125}, lambda t, u: 20.0 + 0.0 * t, False),
        ({"rtol": None, "dt": 0.125}, lambda t, u: 20.0 + 0.0 * t, True),
    ],
)
def test_nothing_is_told_where_times_only_pad(options, rate, leap):
    times = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.3, torch.nan]], dtype=torch.float64)
    jumps = (Jump(rate, lambda t, u: u + 1.0, leap=leap),)
    problem = Problem(lambda t, u: -u, lambda t, u: 0.1 * u, jumps=jumps)
    start = torch.ones(2, 1, dtype=torch.float64)
    ys = solve(problem, start, times, random_state=0, n_paths=20, **options).ys[..., 0]
    assert bool(ys[:, 1, 2].isnan().all())
    assert bool(ys[:, 0].isfinite().all())
    assert bool(ys[:, 1, :2].isfinite().all())
