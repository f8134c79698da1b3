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


def errors(name, kind, c, tolerance, operator=False, times=(0.0, END), clock=False):
    """Errors of one path per row of c, (paths, n_times), in units of the tolerance; a clock is a first state."""
    force, integral = FORCINGS[kind]
    field = {"operator": Laplacian(1.0, ndim=1)} if operator else {}

    def drift(t, u, c):
        if not clock:
            return force(t, c) + torch.zeros_like(u)
        time = u[..., :1]
        return torch.cat([torch.ones_like(time), force(time, c)], -1)

    u0 = torch.zeros(len(c), *([8] if operator else []), 2 if clock else 1, dtype=torch.float64)
    ts = torch.tensor(times, dtype=torch.float64)
    ys = solve(Problem(drift, **field), u0, ts, solver=name, context=c, rtol=tolerance, atol=tolerance).ys[0]
    ys = ys[..., 1:] if clock else ys
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


@pytest.mark.parametrize("operator", [False, True])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_clock_among_the_states_is_seen_like_the_time(name, operator):
    """An error estimate that asks whether the drift depends on time, or evaluates it at other times, would not do."""
    tolerance, paths = 1e-4, STEPS[:40]
    error = errors(name, "step", paths, tolerance, operator, clock=True)[:, -1].sort().values
    assert float(error[int(0.95 * len(error)) - 1]) < 200.0
    assert float(error[-1]) < 1000.0
    powers = torch.arange(7.0).double()[:, None]
    assert float(errors(name, "power", powers, 1e-3, operator, clock=True)[:, -1].max()) < 50.0


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
    """Coefficients of a sum of four powers, two cosines (frequency, size) and three steps (time, size)."""
    size = st.floats(-2.0, 2.0, allow_subnormal=False)
    powers = draw(st.lists(size, max_size=4))
    cosines = draw(st.lists(st.tuples(st.floats(0.5, 6.0), size), max_size=2))
    steps = draw(st.lists(st.tuples(st.floats(0.0, END), size), max_size=3))
    cosines, steps = cosines + [(1.0, 0.0)] * (2 - len(cosines)), steps + [(END, 0.0)] * (3 - len(steps))
    return [*powers, *[0.0] * (4 - len(powers)), *(x for pair in cosines + steps for x in pair)]


def terms_at(t, c, integrated):
    """The sum of terms, or its integral from 0, at times (n, 1) for coefficients (n, 14)."""
    powers, frequency, cosine, begin, step = c[:, :4], c[:, 4:8:2], c[:, 5:8:2], c[:, 8::2], c[:, 9::2]
    k = torch.arange(4, dtype=t.dtype)
    if integrated:
        parts = END / (k + 1) * (t / END) ** (k + 1), torch.sin(frequency * t) / frequency, (t - begin).clamp_min(0.0)
    else:
        parts = (t / END) ** k, torch.cos(frequency * t), (t > begin).to(t.dtype)
    sizes = powers, cosine, step
    return sum((size * part).sum(1, keepdim=True) for size, part in zip(sizes, parts, strict=True))


@pytest.mark.parametrize("name", ADAPTIVE)
@settings(max_examples=2)
@given(terms=st.lists(quadratures(), min_size=8, max_size=8))
def test_random_quadratures(name, terms):
    c = torch.tensor(terms, dtype=torch.float64)
    problem = Problem(lambda t, u, c: terms_at(t, c, integrated=False) + torch.zeros_like(u))
    u0, ts = torch.zeros(len(c), 1, dtype=torch.float64), torch.tensor([0.0, END], dtype=torch.float64)
    u = solve(problem, u0, ts, solver=name, context=c, rtol=1e-3, atol=1e-3).ys[0, :, -1]
    times = torch.linspace(0.0, END, 200, dtype=torch.float64)
    exact = torch.cat([terms_at(t.expand(len(c), 1), c, integrated=True) for t in times], 1)
    largest, has_steps = exact.abs().amax(1), (c[:, 9::2] != 0.0).any(1)
    bound = torch.where(has_steps, 1000.0, 50.0) * 1e-3 * (1.0 + largest)
    assert bool(((u[:, 0] - exact[:, -1]).abs() < bound).all())
