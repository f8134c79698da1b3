"""Functions of callers that write, raise, forget their form, or are no functions of (t, u)."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skneuralde import Jump, Problem, solve
from skneuralde._calls import CallGuard, form_is_set
from skneuralde.solvers import SolverError

TS = torch.linspace(0, 1, 5, dtype=torch.float64)
GRADIENTS = ["direct", "checkpoint", "forward"]


class Own(Exception):
    """An exception of the caller."""


def halves(t, u):
    if float(t[0]) > 0.3:
        u.mul_(0.5)
    return -u


def clamps(t, u):
    return -u.clamp_(0.0, 1.0)


def adds_to_time(t, u):
    t += 0.1
    return -u


def numpy_halves(t, u):
    if float(t[0].detach()) > 0.3:
        u.detach().numpy()[...] *= 0.5
    return -u


def data_halves(t, u):
    if float(t[0]) > 0.3:
        u.data.mul_(0.5)
    return -u


def halved(t, u):
    return -torch.where(t > 0.3, 0.5, 1.0) * u


@pytest.mark.parametrize("function", [halves, clamps, adds_to_time])
@pytest.mark.parametrize("solver", ["auto", "bs3", "rosenbrock", "rock2", "euler"])
@pytest.mark.parametrize("learns", [False, True])
def test_a_drift_that_writes_into_its_arguments_is_refused(function, solver, learns):
    y0, ts = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=learns), TS.clone()
    with pytest.raises(ValueError, match=r"drift changes [ut] in place"):
        solve(Problem(function), y0, ts, solver=solver, dt=0.1)
    assert torch.equal(ts, TS)
    assert y0.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("function", [numpy_halves, data_halves])
@pytest.mark.parametrize("solver", ["auto", "bs3", "euler"])
def test_what_torch_does_not_count_reaches_nobody(function, solver):
    written, right = (solve(Problem(f), [1.0, 2.0], TS, solver=solver, dt=0.05) for f in (function, halved))
    torch.testing.assert_close(written.ys, right.ys, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("place", ["diffusion", "rate", "affect", "context", "operator"])
def test_every_function_is_refused_where_it_writes(place):
    late, gentle, y0 = [False], lambda t, u: 0.1 * u, [1.0, 2.0]

    def writes(*arguments):
        if late[0] and len(arguments[-1]):
            arguments[-1].add_(0.0)
        late[0] = float(arguments[0].flatten()[0]) != 0.0 or place == "operator"
        return 0.1 * arguments[-1] if place != "rate" else 3.0 + 0.0 * arguments[-1][:, 0]

    problem = {
        "diffusion": lambda: Problem(gentle, writes),
        "rate": lambda: Problem(gentle, jumps=(Jump(writes, gentle, bound=4.0),)),
        "affect": lambda: Problem(gentle, jumps=(Jump(20.0, writes),)),
        "context": lambda: Problem(lambda t, u, c: -u),
        "operator": lambda: Problem(gentle, operator=writes),
    }[place]()
    if place == "operator":
        y0 = [[1.0], [2.0]]
    context = (lambda t: writes(t)[..., None]) if place == "context" else None
    with pytest.raises(ValueError, match=f"{place} changes .* in place"):
        solve(problem, y0, TS, context=context, random_state=0)


def test_a_tensor_that_is_returned_again_is_refused():
    kept = {}

    def drift(t, u):
        return kept.setdefault(len(u), torch.empty_like(u)).copy_(-u)

    with pytest.raises(ValueError, match="writes into a tensor that it has returned before"):
        solve(Problem(drift), [1.0, 2.0], TS)


@pytest.mark.parametrize(
    ("late", "message"),
    [
        (lambda u: u[:, :1], r"drift.* must keep to the shape .* returned shape \(1, 1\)"),
        (lambda u: u.T, r"returned shape \(2, 1\)"),
        (lambda u: u.float(), "of torch.float32"),
        (lambda u: u.tolist(), "it returned list"),
    ],
)
@pytest.mark.parametrize("solver", ["auto", "rosenbrock", "euler"])
def test_a_change_of_form_is_refused_with_its_time(late, message, solver):
    def drift(t, u):
        return -u if float(t[0]) < 0.5 else late(u)

    with pytest.raises(ValueError, match=message):
        solve(Problem([drift, 1.0]) if solver == "auto" else Problem(drift), [1.0, 2.0], TS, solver=solver, dt=0.1)


FACTOR = torch.ones(2, 2, dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize(
    "problem",
    [
        lambda: Problem(None, lambda t, u: FACTOR),
        lambda: Problem(lambda t, u: FACTOR),
        lambda: Problem(lambda t, u: -u * FACTOR),
        lambda: Problem(None, lambda t, u: torch.ones(2, 2, 3, dtype=u.dtype), noise="general"),
        lambda: Problem(None, lambda t, u: FACTOR, noise="additive"),
        lambda: Problem(None, jumps=(Jump(lambda t, u: FACTOR[0], 0.0),)),
        lambda: Problem(None, jumps=(Jump(1.0, lambda t, u: FACTOR),)),
        lambda: Problem(None, jumps=(Jump(1.0, lambda t, u, z: u + z, marks=lambda z: FACTOR),)),
    ],
)
def test_no_shape_fits_by_chance(n, problem):
    with pytest.raises((ValueError, RuntimeError)):
        solve(problem(), torch.ones(n, 2, dtype=torch.float64), TS, solver="auto", dt=0.1)


def test_no_context_fits_by_chance():
    def context(t):
        return torch.stack([t.sin(), t.cos()]) if t.shape == (2,) else torch.zeros(2, *t.shape)

    with pytest.raises(ValueError, match="context must have shape"):
        solve(Problem(lambda t, u, c: -u, 0.1), [1.0], TS, n_paths=2, context=context)


class Counts(torch.nn.Module):
    """A decay that is NaN from its call number ``last`` on."""

    def __init__(self, last):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
        self.last, self.calls = last, 0

    def forward(self, t, u):
        self.calls += 1
        return -self.rate * u if self.calls < self.last else torch.nan * u


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize(("solver", "last"), [("tsit5", 10), ("tsit5", 32), ("rosenbrock", 30), ("euler", 40)])
def test_a_drift_that_counts_its_calls_is_named(gradient, solver, last):
    problem = Problem(Counts(last))
    with pytest.raises((ValueError, SolverError), match=r"not a function of \(t, u\)"):
        solve(problem, [1.0, 2.0], TS, solver=solver, dt=0.01, gradient=gradient).ys.sum().backward()


def test_a_gradient_whose_steps_differ_from_the_solution_is_refused():
    solution = solve(Problem(Counts(122)), [1.0], TS, solver="euler", dt=0.01, gradient="checkpoint")
    with pytest.raises(ValueError, match=r"not a function of \(t, u\)"):
        solution.ys.sum().backward()


def test_a_random_drift_is_refused():
    with pytest.raises(ValueError, match=r"not a function of \(t, u\): two calls"):
        solve(Problem(lambda t, u: torch.randn_like(u)), [1.0], TS)


@given(
    call=st.integers(4, 60),
    fault=st.sampled_from(["write", "raise", "shape", "dtype"]),
    solver=st.sampled_from(["auto", "tsit5", "rosenbrock", "euler", "ees25"]),
    gradient=st.sampled_from(GRADIENTS),
)
def test_a_fault_at_any_call_comes_through_in_words(call, fault, solver, gradient):
    calls = [0]

    def drift(t, u):
        calls[0] += 1
        if calls[0] == call and fault == "write":
            u.mul_(0.5)
        if calls[0] == call and fault == "raise":
            raise Own
        value = -u
        return {"shape": value[:, :1], "dtype": value.float()}.get(fault, value) if calls[0] == call else value

    y0 = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=fault != "write")
    caught = None
    try:
        end = solve(Problem(drift), y0, TS, solver=solver, gradient=gradient, dt=0.05).ys.sum()
        if end.requires_grad:
            end.backward()
    except (ValueError, Own) as error:
        caught = error
    assert caught is None or isinstance(caught, Own) == (fault == "raise")
    assert (caught is not None) == (calls[0] >= call)
    assert y0.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "dates",
    [
        pd.date_range("2020", periods=2),
        pd.date_range("2020", periods=2, tz="UTC"),
        pd.period_range("2020", periods=2, freq="D"),
        pd.Series(pd.date_range("2020", periods=2)),
        pd.timedelta_range("1D", periods=2),
        list(pd.date_range("2020", periods=2).to_pydatetime()),
        pd.date_range("2020", periods=2).values.astype("datetime64[D]"),
    ],
)
def test_dates_are_refused_in_words(dates):
    with pytest.raises(ValueError, match="ts holds dates or durations"):
        solve(Problem(0.0), [1.0], dates)
    with pytest.raises(ValueError, match="stops holds dates or durations"):
        solve(Problem(0.0), [1.0], TS, stops=dates)


def test_a_new_form_replaces_the_one_before():
    guard, t, u = CallGuard(len, "drift", ("t", "u")), torch.zeros(3, 1), torch.zeros(3, 2)
    for shape, other in (((3, 2), (3, 2, 1)), ((3, 2, 1), (3, 2))):
        with form_is_set():
            guard.coefficient(lambda t, u, shape=shape: torch.zeros(shape), t, u)
        with pytest.raises(ValueError, match="must keep to the shape of its first value"):
            guard.coefficient(lambda t, u, other=other: torch.zeros(other), t, u)
        assert guard.coefficient(lambda t, u, shape=shape: torch.zeros(shape), t, u).shape == shape
