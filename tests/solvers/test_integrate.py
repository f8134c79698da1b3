import pickle

import pytest
import torch

from skneuralde.noise import Brownian
from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, SolverError, get_solver, integrate
from skneuralde.solvers.core.right_hand_side import InputsOverTime
from tests.stubs import times

ONE = torch.ones(1, 1, dtype=torch.float64)
DECAY = Problem(lambda t, u: -u)
NOISY = Problem(lambda t, u: -u, 0.1)
EULER, TSIT5 = get_solver("euler"), get_solver("tsit5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver": EULER}, "takes steps of a fixed size: give dt"),
        ({"dt": 0.0}, "dt must be a positive number, got 0.0"),
        ({"dt": float("nan")}, "dt must be a positive number"),
        ({"rtol": 1e-16}, "rtol must be at least ten machine epsilons of torch.float64"),
        ({"rtol": float("nan")}, "rtol must be at least"),
        ({"atol": -1.0}, "atol must not be negative"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1"),
        ({"max_steps": 10.5}, "max_steps must be an integer of at least 1, got 10.5"),
        ({"dt": "a"}, "dt must be a number or None, got 'a'"),
        ({"rtol": "tight"}, "rtol must be a number or None"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'mask'"),
        ({"times": times(0, 1).float()}, "times must be float64"),
        ({"times": times(0, 2, 1)}, "times must be monotone"),
        ({"times": times(torch.nan, 1)}, "times must be monotone"),
        ({"times": times(0, torch.nan, 1)[None]}, "times must be monotone"),
        ({"problem": NOISY, "solver": EULER, "dt": 0.1}, "needs noise"),
        ({"u0": ONE.float(), "rtol": 1e-7}, "ten machine epsilons of torch.float32"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    arguments = {"problem": DECAY, "u0": ONE, "times": times(0, 1), "solver": TSIT5} | changes
    problem, u0, ts = (arguments.pop(key) for key in ("problem", "u0", "times"))
    with pytest.raises(ValueError, match=message):
        integrate(SolveRequest(problem, u0, ts, **arguments))


def test_noise_does_not_run_backwards():
    noise = Brownian(0, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 1, cell=0.1)
    with pytest.raises(ValueError, match="cannot be solved backwards"):
        integrate(SolveRequest(NOISY, ONE, times(1, 0), solver=EULER, noise=noise, dt=0.1))


def test_one_time_is_the_initial_state():
    for solver in (EULER, TSIT5, get_solver("torchdiffeq:dopri5")):
        values = integrate(SolveRequest(DECAY, ONE, times(3), solver=solver, dt=0.1)).values
        assert torch.equal(values, ONE[:, None])


@pytest.mark.parametrize("solver", [EULER, TSIT5, get_solver("torchdiffeq:dopri5")])
@pytest.mark.parametrize("side_steps", [False, True])
def test_inputs_over_time_follow_their_path(solver, side_steps):
    """Every path has its own input c = rate * t, in every way in which inputs can be given."""
    rate = times(1.0, -2.0, 3.0)[:, None]
    problem = Problem(lambda t, u, c: c + 0 * u)
    ts = torch.stack([times(0, 0.33, 2), times(0, 1, torch.nan), times(1, 0.7, 0)])
    u0 = torch.zeros(3, 1, dtype=torch.float64)

    class OnGrid:
        calls = 0

        def __call__(self, t):
            assert t.shape == (3,)
            return rate * t[:, None]

        def on_grid(self, t):
            OnGrid.calls += 1
            return (rate * t)[..., None]

    arguments = {"solver": solver, "side_steps": side_steps, "dt": 1e-3 if solver is EULER else None}
    exact = (0.5 * rate * (ts**2 - ts[:, :1] ** 2))[..., None]
    for context in (lambda t: rate * t[:, None], OnGrid()):
        values = integrate(SolveRequest(problem, u0, ts, context=context, **arguments)).values
        torch.testing.assert_close(values, exact, rtol=0, atol=5e-3, equal_nan=True)
    assert OnGrid.calls > 0 or solver is not TSIT5

    constant = integrate(SolveRequest(Problem(lambda t, u, c: c + 0 * u), u0, ts, context=rate, **arguments)).values
    torch.testing.assert_close(constant, (rate * (ts - ts[:, :1]))[..., None], rtol=0, atol=1e-9, equal_nan=True)


def test_inputs_of_rows_named_several_times():
    asked = []

    def function(t):
        asked.append(t)
        return torch.stack([t, torch.arange(3.0, dtype=torch.float64)], -1)

    inputs = InputsOverTime(function, times(100, 200, 300))
    rows = torch.tensor([2, 0, 2, 2])
    t = times(1, 2, 3, 4)
    assert torch.equal(inputs.select(rows)(t), torch.stack([t, rows.double()], -1))
    assert len(asked) == 3
    assert all(set(x[1:2].tolist()) == {200} for x in asked)
    again = inputs.select(rows).select(torch.tensor([3, 1]))
    assert torch.equal(again(times(5, 6)), torch.stack([times(5, 6), times(2, 0)], -1))


def test_gradient_flows_through_the_inputs():
    rate = times(1.0, -2.0)[:, None].requires_grad_()
    problem = Problem(lambda t, u, c: c * u)
    u0 = torch.ones(2, 1, dtype=torch.float64)
    for context in (rate, lambda t: rate * torch.ones_like(t)[:, None]):
        values = integrate(
            SolveRequest(problem, u0, times(0, 1), solver=TSIT5, context=context, rtol=1e-9, atol=1e-9)
        ).values
        (gradient,) = torch.autograd.grad(values[:, 1].sum(), rate)
        torch.testing.assert_close(gradient, rate.exp(), rtol=1e-6, atol=0)


def test_an_error_survives_pickling():
    with pytest.raises(SolverError) as caught:
        integrate(SolveRequest(DECAY, ONE, times(0, 100), solver=TSIT5, max_steps=3))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert (copy.status, copy.time, copy.n_steps) == (caught.value.status, caught.value.time, caught.value.n_steps)
