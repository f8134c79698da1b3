"""Gradients with respect to default arguments that are learned, by every mode."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skneuralde import Advection, Jump, Laplacian, Parameter, Problem, expect, solve
from skneuralde.solvers import get_solver

Y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
OPTIONS = {"rtol": None, "dt": 0.1, "random_state": 0}


def late(t, u, k):
    """A function that does not use k at first, so that a look at one step does not find it."""
    since = t[0] - 0.35
    return 10.0 * since**3 * (-k * u.sin()) - 0.2 * u if since > 0.0 else -0.2 * u


class Held:
    def __init__(self, k):
        self.k = k

    def __call__(self, t, u):
        return late(t, u, self.k)


class Module(torch.nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, t, u):
        return late(t, u, self.k)


PLACES = {
    "default": lambda k: lambda t, u, k=k: late(t, u, k),
    "bound": lambda k: functools.partial(late, k=k),
    "list": lambda k: lambda t, u, ks=[k]: late(t, u, ks[0]),
    "object": Held,
    "method": lambda k: Held(k).__call__,
    "module": Module,
}
KINDS = {
    "torch": lambda: torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64)),
    "free": lambda: Parameter(0.7),
    "positive": lambda: Parameter(0.7, positive=True),
    "bounded": lambda: Parameter(0.7, bounds=(0.0, 2.0)),
}


def gradient(function, tensor, **options):
    return torch.autograd.grad(function(**options), tensor)[0].item()


def difference(function, tensor, step=1e-5):
    with torch.no_grad():
        start = tensor.clone()
        tensor.copy_(start + step)
        above = function()
        tensor.copy_(start - step)
        below = function()
        tensor.copy_(start)
    return (above - below).item() / (2 * step)


@settings(max_examples=8)
@given(
    place=st.sampled_from(sorted(PLACES)),
    kind=st.sampled_from(sorted(KINDS)),
    solver=st.sampled_from(["tsit5", "euler", "sosri2", "ees25"]),
)
def test_against_differences(place, kind, solver):
    k = KINDS[kind]()
    tensor = k.raw if isinstance(k, Parameter) else k
    noisy = solver in ("euler", "sosri2", "ees25")
    # The same object twice: in the drift and in the noise.
    problem = Problem(PLACES[place](k), (lambda t, u, k=k: 0.2 * k * u.cos()) if noisy else None)
    assert [id(p) for p in problem.parameters()] == [id(tensor)]

    def end(**given):
        return solve(problem, Y0, [0.0, 1.0], solver=solver, **OPTIONS, **given).ys[..., -1, :].square().sum()

    expected = difference(end, tensor)
    for mode in get_solver(solver).gradients:
        # A reversible step is undone up to its own error.
        tolerance = 1e-5 if mode == "reversible" else 1e-7
        assert gradient(end, tensor, gradient=mode) == pytest.approx(expected, abs=tolerance)
        assert isinstance(tensor, torch.nn.Parameter)
    assert (k.raw if isinstance(k, Parameter) else k) is tensor


@pytest.mark.parametrize("solver", ["rosenbrock", "etdrk4", "rock2", "tsit5"])
def test_fields(solver):
    k, speed = Parameter(0.1, positive=True), Parameter(0.3)
    law = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    operator = [Laplacian(k, 0.3), Advection(speed, 0.3), lambda u, k=k: k * u * (1 - u)]
    problem = Problem(lambda t, u, r=law: r * u * (1 - u), operator=operator)
    start = 0.5 + 0.3 * torch.sin(torch.arange(4.0, dtype=torch.float64))[:, None]

    def end(**given):
        return solve(problem, start, [0.0, 0.5], solver=solver, rtol=None, dt=0.25, **given).ys[-1].square().sum()

    for tensor in (k.raw, speed.raw, law):
        expected = difference(end, tensor, step=1e-4)
        for mode in ("direct", "checkpoint", "forward"):
            assert gradient(end, tensor, gradient=mode) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("rate", [Parameter(2.0, positive=True), Parameter(2.0, bounds=(0.0, 5.0)), Parameter(2.0)])
def test_a_rate_of_jumps(rate):
    """The mean of a value that halves at a rate is exp(-rate / 2)."""
    problem = Problem(None, jumps=[Jump(rate, lambda t, u: u / 2)])
    mean = expect(problem, [1.0], [0.0, 1.0], lambda ys: ys[..., -1, 0], n_paths=10_000, random_state=0)
    (slope,) = torch.autograd.grad(mean, rate.raw)
    (unit,) = torch.autograd.grad(rate(), rate.raw)
    exact = torch.exp(torch.tensor(-1.0)).item()
    # Standard errors: 0.0025 of the mean, 0.002 of the slope.
    assert mean.item() == pytest.approx(exact, abs=0.006)
    assert (slope / unit).item() == pytest.approx(-exact / 2, abs=0.005)
    assert solve(problem, [[1.0]] * 3, [0.0, 1.0], random_state=0).ys.shape == (1, 3, 2, 1)


def test_the_size_of_jumps_and_a_constant_drift():
    size, drift = Parameter(0.5), Parameter([0.1, -0.2])
    problem = Problem(drift, 0.3, jumps=[Jump(3.0, lambda t, u, z, c=size: u + c * z)])

    def end(**given):
        return solve(problem, Y0, [0.0, 1.0], solver="euler", **OPTIONS, **given).ys[-1].square().sum()

    for mode in ("direct", "checkpoint", "forward"):
        assert gradient(end, size.raw, gradient=mode) == pytest.approx(difference(end, size.raw), abs=1e-7)
    assert solve(problem, Y0.float(), [0.0, 1.0], solver="euler", dt=0.1).ys.dtype == torch.float32


def test_float32_states_take_numbers_of_any_dtype():
    for k in (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)), Parameter([1.0, 1.0])):
        for function in (lambda t, u, k=k: -k * u, Held(k), *([Module(k)] if isinstance(k, Parameter) else [])):
            assert solve(Problem(function), Y0.float(), [0.0, 1.0]).ys.dtype == torch.float32
        assert solve(Problem(lambda t, u, k=k: -k * u), [1.0, 2.0], [0.0, 1.0]).ys.dtype == torch.float64
