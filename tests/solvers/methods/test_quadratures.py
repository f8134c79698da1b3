"""Right-hand sides that depend on time alone, by every adaptive method: no step passes over a change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skneuralde.problems import Laplacian, Problem
from skneuralde.solvers import get_solver, solve, solver_names

ADAPTIVE = [
    name for name in solver_names() if ":" not in name and get_solver(name).adaptive and get_solver(name).handles(None)
]
END = 10.0
FORCINGS = {
    "power": (lambda t, c: t**c, lambda t, c: t ** (c + 1.0) / (c + 1.0)),
    "cosine": (lambda t, c: torch.cos(c * t), lambda t, c: torch.sin(c * t) / c),
    "step": (lambda t, c: (t > c).to(t.dtype), lambda t, c: (t - c).clamp_min(0.0)),
}
STEPS = 10.0 * torch.rand(100, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def errors(name, kind, c, tolerance, operator=False, times=(0.0, END)):
    """Errors of one path per row of c, (paths, n_times), in units of the tolerance."""
    force, integral = FORCINGS[kind]
    field = {"operator": Laplacian(1.0, ndim=1)} if operator else {}
    problem = Problem(lambda t, u, c: force(t, c) + torch.zeros_like(u), **field)
    u0 = torch.zeros(len(c), *([8, 1] if operator else [1]), dtype=torch.float64)
    ts = torch.tensor(times, dtype=torch.float64)
    ys = solve(problem, u0, ts, solver=name, context=c, rtol=tolerance, atol=tolerance).ys[0]
    exact = integral(ts, c)
    largest = (1.0 / c if kind == "cosine" else exact.abs().amax(1, keepdim=True)) + 1.0
    error = (ys.reshape(len(c), len(ts), -1) - exact[..., None]).abs().amax(-1)
    return error / (tolerance * largest)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_powers_of_time(name):
    tolerance = 1e-3 if name == "rock2" else 1e-5
    assert float(errors(name, "power", torch.arange(7.0).double()[:, None], tolerance)[:, -1].max()) < 50.0


@pytest.mark.parametrize("name", ADAPTIVE)
def test_cosines_of_time(name):
    c = torch.tensor([[1.0], [13.0], [40.0]], dtype=torch.float64)
    assert (
        float(errors(name, "cosine", c, 1e-3 if name in ("rock2", "rkc2", "rosenbrock") else 1e-4)[:, -1].max()) < 50.0
    )


@pytest.mark.parametrize("name", ADAPTIVE)
def test_cosine_of_time_with_an_operator(name):
    c = torch.tensor([[1.0], [5.0]], dtype=torch.float64)
    assert float(errors(name, "cosine", c, 1e-3, operator=True)[:, -1].max()) < 50.0


@pytest.mark.parametrize(("operator", "tolerance"), [(False, 1e-3), (False, 1e-6), (True, 1e-4)])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_steps_in_time(name, operator, tolerance):
    error = errors(name, "step", STEPS[:20] if operator else STEPS, tolerance, operator)[:, -1].sort().values
    assert float(error[int(0.95 * len(error)) - 1]) < 200.0
    assert float(error[-1]) < 1000.0


@pytest.mark.parametrize("name", ["bs3", "tsit5", "dopri5", "rkc2"])
def test_dense_output_of_functions_of_time(name):
    times = [0.0, *(END * k / 97.0 for k in range(1, 97)), END]
    assert float(errors(name, "cosine", torch.tensor([[7.0]]).double(), 1e-4, times=times).max()) < 50.0


@pytest.mark.parametrize("name", ["bs3", "tsit5", "dopri5", "rkc2", "rosenbrock"])
@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_dense_output_where_a_method_is_exact(name, rate):
    """Rodas3 solves this equation exactly, so that its embedded method says nothing about the inside of a step."""
    ts = torch.linspace(0.0, END, 200, dtype=torch.float64)
    problem = Problem(lambda t, u: -rate * u**2)
    for tolerance in (1e-3, 1e-5):
        ys = solve(problem, torch.ones(1, dtype=torch.float64), ts, solver=name, rtol=tolerance, atol=tolerance).ys
        assert float((ys[0, :, 0] - 1.0 / (1.0 + rate * ts)).abs().max()) < 50.0 * tolerance


@st.composite
def quadratures(draw):
    """Coefficients of powers, cosines (frequency, size) and steps (time, size)."""
    size = st.floats(-2.0, 2.0, allow_subnormal=False)
    powers = draw(st.lists(size, max_size=4))
    cosines = draw(st.lists(st.tuples(st.floats(0.5, 6.0), size), max_size=2))
    steps = draw(st.lists(st.tuples(st.floats(0.0, END), size), max_size=3))
    return powers, cosines, steps


@pytest.mark.parametrize("name", ADAPTIVE)
@settings(max_examples=6)
@given(terms=quadratures())
def test_random_quadratures(name, terms):
    powers, cosines, steps = terms

    def force(t, u):
        value = torch.zeros_like(u) + sum(a * (t / END) ** k for k, a in enumerate(powers))
        return value + sum(a * torch.cos(w * t) for w, a in cosines) + sum(a * (t > s) for s, a in steps)

    def integral(t):
        value = sum(a * END / (k + 1) * (t / END) ** (k + 1) for k, a in enumerate(powers))
        return (
            value + sum(a * torch.sin(w * t) / w for w, a in cosines) + sum(a * (t - s).clamp_min(0) for s, a in steps)
        )

    ts = torch.tensor([0.0, END], dtype=torch.float64)
    u = solve(Problem(force), torch.zeros(1, dtype=torch.float64), ts, solver=name, rtol=1e-3, atol=1e-3).ys[0, -1]
    largest = float((integral(torch.linspace(0.0, END, 200, dtype=torch.float64)) + 0.0 * ts[0]).abs().max())
    bound = (1000.0 if steps else 50.0) * 1e-3 * (1.0 + largest)
    assert float((u - integral(ts[-1])).abs()) < bound
