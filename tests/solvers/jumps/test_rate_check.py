"""Rates of jumps that are negative, above their bound or no numbers."""

import math
import re

import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.noise import PoissonProcesses
from skneuralde.solvers import SolveRequest, SolverError, Status, get_solver, integrate

#: Adaptive and fixed steps, each with rates that are integrated and with rates that are thinned.
WAYS = [
    ("tsit5", {"rtol": 1e-3}, None),
    ("tsit5", {"rtol": 1e-3}, 50.0),
    ("rosenbrock", {"rtol": 1e-3}, None),
    ("bs3", {"rtol": None, "dt": 0.25}, None),
    ("bs3", {"rtol": None, "dt": 0.25}, 50.0),
]


def run(problem, u0, times, name, steps, rows=None, *, context=None, on_error="mask", **options):
    rows = torch.arange(len(u0)) if rows is None else torch.as_tensor(rows)
    request = SolveRequest(
        problem,
        u0[rows],
        torch.tensor(times, dtype=torch.float64),
        solver=get_solver(name),
        context=None if context is None else context[rows],
        poisson=PoissonProcesses(1, rows, torch.zeros_like(rows), len(problem.jumps)),
        on_error=on_error,
        **steps,
        **options,
    )
    return integrate(request)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize(("name", "steps", "bound"), WAYS)
def test_a_rate_that_rounding_takes_below_zero_counts_as_zero(name, steps, bound, side_steps):
    """x'' = -x from 1 with the rate 1 - x, which is zero at every multiple of 2 pi."""
    jump = Jump(lambda t, u: 4.0 * (1.0 - u[:, 0]), lambda t, u: u, bound=None if bound is None else 10.0)
    circle = Problem(lambda t, u: torch.stack([u[:, 1], -u[:, 0]], 1), jumps=(jump,))
    u0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(9, 2)
    times = [0.0, *(2.0 * math.pi + 0.01 * k for k in (-1, 0, 1)), 6.5]
    result = run(circle, u0, times, name, steps, side_steps=side_steps)
    assert (result.status == Status.SUCCESS).all()
    assert abs(len(result.jumps.path) / 9 - 4.0 * (6.5 - math.sin(6.5))) < 4 * math.sqrt(25.0 / 9)


FALLING = (lambda t, u, c: c - t[:, 0:1], lambda t, u: u + 1.0)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize(("name", "steps", "bound"), WAYS)
def test_a_path_with_a_negative_rate_ends_alone(name, steps, bound, side_steps):
    """The rate c - t is negative from c on, within the tolerance up to a thousandth of c behind it."""
    problem = Problem(None, jumps=(Jump(*FALLING, bound=bound), Jump(1.0, lambda t, u: u + 0.1)))
    context, times = column(5.0, 0.5, 4.0, 1.0), [0.0, 0.3, 0.45, 0.9, 3.5]
    options = {"context": context, "side_steps": side_steps, "atol": 1e-8}
    both = run(problem, torch.zeros(4, 1).double(), times, name, steps, **options)
    assert both.status.tolist() == [0, Status.INVALID_RATE] * 2
    assert both.values[[0, 2]].isfinite().all()
    assert both.values[1, :2].isfinite().all()
    assert both.values[[1, 3], -1].isnan().all()
    if bound is None:
        expected = context[[1, 3], 0] * 1.001
        torch.testing.assert_close(both.reached[[1, 3]], expected, rtol=1e-3, atol=0.0)
    alone = run(problem, torch.zeros(4, 1).double(), times, name, steps, [0, 2], **options)
    assert torch.equal(both.values[[0, 2]], alone.values)
    assert (both.reached[[1, 3]] < 3.5).all()


@pytest.mark.parametrize(("name", "steps", "bound"), WAYS)
@pytest.mark.parametrize(
    ("rate", "reason"),
    [
        (lambda t, u: 45.0 - 40.0 * t, "must be finite and not negative: it is -"),
        (lambda t, u: 45.0 + (1.0 - t).sqrt(), "must be finite and not negative: it is nan"),
        (lambda t, u: 45.0 + 20.0 * (t > 1.0), "exceeds its bound 50: it is 65"),
    ],
)
def test_the_error_names_channel_time_and_value(rate, reason, name, steps, bound):
    if bound is None and "bound" in reason:
        pytest.skip("there is no bound")
    problem = Problem(None, jumps=(Jump(0.1, lambda t, u: u), Jump(rate, lambda t, u: u, bound=bound)))
    with pytest.raises(SolverError, match=re.escape(f"jumps[1].rate {reason}")) as caught:
        run(problem, torch.zeros(3, 1).double(), [0.0, 1.5], name, steps, on_error="raise")
    assert caught.value.status == Status.INVALID_RATE
    time = float(re.search(r"at t = (\S+) and u = \[", str(caught.value)).group(1))
    assert 0.95 < time < 1.5


def test_what_counts_as_zero_is_a_share_of_the_largest_rate_so_far():
    for share, fails in ((0.9e-3, False), (1.2e-3, True)):
        for bound in (None, 20.0):
            rate = Jump(lambda t, u, s=share: u + torch.where(t < 1.0, 4.0, -4.0 * s), lambda t, u: u, bound=bound)
            run = solve(Problem(None, jumps=(rate,)), [0.0], [0.0, 2.0], n_paths=3, random_state=0, on_error="mask")
            assert (run.status == (Status.INVALID_RATE if fails else 0)).all()
    early = Jump(lambda t, u: u + torch.where(t > 1.0, 4.0, -4e-3 * (t > 0.0)), lambda t, u: u)
    result = solve(Problem(None, jumps=(early,)), [0.0], [0.0, 2.0], random_state=0, on_error="mask", max_steps=500)
    assert result.status.item() == Status.INVALID_RATE


def test_rates_at_the_start():
    """Those that make no sense are refused before any work; rounding is not."""
    tiny = Jump(lambda t, u: 1.0 - u[:, 0], lambda t, u: u)
    assert solve(Problem(None, jumps=(tiny,)), [1.0 + 1e-12], [0.0, 1.0], random_state=0).status.item() == 0
    with pytest.raises(ValueError, match=r"jumps\[0\].rate must be finite and not negative: it is -1 at t = 0"):
        solve(Problem(None, jumps=(tiny,)), [2.0], [0.0, 1.0], random_state=0)
    for rate in (lambda t, u: 1.0 - u[:, 0], lambda t, u: (1.0 - u[:, 0]).sqrt()):
        problem = Problem(None, jumps=(Jump(rate, lambda t, u: u),))
        masked = solve(problem, [[0.0], [2.0], [0.5]], [0.0, 1.0], random_state=0, on_error="mask")
        assert masked.status.flatten().tolist() == [0, Status.INVALID_RATE, 0]
    for name, steps, bound in WAYS:
        jump = Jump(lambda t, u: 1.0 - u[:, 0], lambda t, u: u, bound=bound)
        result = run(Problem(None, jumps=(jump,)), column(0.0, 2.0, 0.5), [0.0, 1.0], name, steps)
        assert result.status.tolist() == [0, Status.INVALID_RATE, 0]
        assert result.reached.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
@pytest.mark.parametrize(("name", "steps", "bound"), [WAYS[0], WAYS[1], WAYS[4]])
def test_gradients_of_the_other_paths(name, steps, bound, gradient):
    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.1, dtype=torch.float64))

        def forward(self, t, u):
            return self.scale * u

    def slope(rows, keep):
        scale = Scale()
        problem = Problem(None, jumps=(Jump(FALLING[0], scale, bound=bound),))
        options = {"context": column(4.0, 1.0, 3.0), "gradient": gradient}
        values = run(problem, torch.ones(3, 1).double(), [0.0, 0.7, 1.5], name, steps, rows, **options).values
        with torch.no_grad():
            plain = run(problem, torch.ones(3, 1).double(), [0.0, 0.7, 1.5], name, steps, rows, **options).values
        torch.testing.assert_close(values, plain, equal_nan=True)
        return torch.autograd.grad(values[keep].sum(), scale.scale)[0]

    torch.testing.assert_close(slope([0, 1, 2], [0, 2]), slope([0, 2], [0, 1]))


@pytest.mark.parametrize(("name", "steps", "bound"), WAYS)
def test_the_error_of_a_side_step_names_its_rate(name, steps, bound):
    """The main mesh does not end in the time in which the rate is negative."""
    problem = Problem(None, jumps=(Jump(lambda t, u: 1.0 - t[:, 0], lambda t, u: u, bound=bound),))
    with pytest.raises(SolverError, match=r"jumps\[0\].rate must be finite and not negative: it is -0.* at t = 1\.0"):
        run(problem, column(1.0, 1.0, 1.0), [0.0, 0.5, 1.1], name, steps, side_steps=True, on_error="raise")
