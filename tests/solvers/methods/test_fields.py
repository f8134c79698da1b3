"""Fields: closed forms, travelling waves, independent integrators, gradients, and what `solve` promises."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from skneuralde import Parameter
from skneuralde.datasets import abc_problem
from skneuralde.problems import Advection, Dirichlet, Laplacian, Problem
from skneuralde.solvers import choose_solver, get_solver, solve

SOLVERS = ["rosenbrock", "etdrk4", "rock2", "rock4", "rkc2", "tsit5"]


def noise(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def nothing(t, u):
    return torch.zeros_like(u)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SOLVERS)
def test_heat_modes_decay_at_their_own_rates(name, dtype):
    laplacian = Laplacian([0.5, 0.0], (0.2, 0.5), ("neumann", "periodic"))
    u0 = noise(6, 5, 2).to(dtype)
    ts = torch.tensor([0.0, 0.05, 0.3, 2.0], dtype=torch.float64)
    ys = solve(Problem(nothing, operator=laplacian), u0, ts, solver=name, rtol=1e-5, atol=1e-6).ys[0]
    assert ys.dtype == dtype
    for t, y in zip(ts.tolist(), ys, strict=True):
        exact = laplacian.apply_function(u0[None], lambda z, t=t: torch.exp(t * z))[0]
        torch.testing.assert_close(y, exact, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", SOLVERS)
def test_travelling_wave_of_fisher(name):
    """Ablowitz and Zeppetella (1979): an exact wave of u' = u'' + u (1 - u), of speed 5 / sqrt(6)."""
    x = torch.linspace(-30, 50, 801, dtype=torch.float64)

    def wave(t):
        return ((1 + torch.exp((x - 5 / math.sqrt(6) * t) / math.sqrt(6))) ** -2)[:, None]

    problem = Problem(lambda t, u: u * (1 - u), operator=Laplacian(1.0, 0.1))
    ys = solve(problem, wave(0.0), [0.0, 2.0, 5.0], solver=name, rtol=1e-4, atol=1e-5).ys[0]
    assert (ys[1] - wave(2.0)).abs().max() < 3e-3
    assert (ys[2] - wave(5.0)).abs().max() < 3e-3


def test_speed_of_the_front_of_allen_and_cahn():
    """u' = e^2 u'' + u (1 - u) (u - a) has fronts that move with e (1 - 2 a) / sqrt(2)."""
    a, e, spacing = 0.3, 0.5, 0.05
    x = torch.arange(0, 40, spacing, dtype=torch.float64)
    problem = Problem(lambda t, u: u * (1 - u) * (u - a), operator=Laplacian(e**2, spacing, "neumann_cell"))
    u0 = torch.sigmoid((10 - x) / (e * math.sqrt(2)))[:, None]
    ys = solve(problem, u0, [0.0, 20.0, 60.0], solver="rosenbrock", rtol=1e-5, atol=1e-6).ys[0, ..., 0]
    places = spacing * ys.sum(-1)
    assert (places[2] - places[1]).item() / 40.0 == pytest.approx(e * (1 - 2 * a) / math.sqrt(2), rel=2e-3)


def brusselator(t, u):
    x, y = u.unbind(-1)
    return torch.stack([1 + x**2 * y - 4 * x, 3 * x - x**2 * y], -1)


def gray_scott(t, u):
    x, y = u.unbind(-1)
    return torch.stack([-x * y**2 + 0.04 * (1 - x), x * y**2 - 0.1 * y], -1)


FIELDS = {
    "brusselator": (brusselator, Laplacian([0.02, 0.02], 1 / 39, "neumann", ndim=1), (40, 2)),
    "gray_scott": (gray_scott, Laplacian([0.16, 0.08], (1.0, 1.5), ("periodic", "neumann")), (12, 9, 2)),
}


@functools.cache
def by_scipy(field):
    """The same equation written with numpy and solved by an independent implicit method."""
    law, laplacian, shape = FIELDS[field]
    u0, ts = (0.5 + noise(*shape)).numpy(), [0.0, 0.3, 2.0, 6.0]

    def slope(t, y):
        u = y.reshape(shape)
        spread = np.zeros_like(u)
        for axis, (spacing, boundary) in enumerate(zip(laplacian.axes.spacing, laplacian.axes.boundary, strict=True)):
            width = [(1, 1) if i == axis else (0, 0) for i in range(u.ndim)]
            padded = np.pad(u, width, mode="wrap" if boundary.name == "periodic" else "reflect")
            spread += np.diff(padded, 2, axis) / spacing**2
        rates = laplacian.diffusivity(torch.from_numpy(u)).numpy()
        reaction = law(t, torch.from_numpy(u.reshape(-1, shape[-1]))).numpy().reshape(shape)
        return (reaction + rates * spread).ravel()

    return solve_ivp(slope, (ts[0], ts[-1]), u0.ravel(), "LSODA", ts, rtol=1e-8, atol=1e-9).y.T.reshape(-1, *shape)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("field", FIELDS)
def test_against_scipy(name, field):
    law, laplacian, shape = FIELDS[field]
    u0, ts = 0.5 + noise(*shape), [0.0, 0.3, 2.0, 6.0]
    ys = solve(Problem(law, operator=laplacian), u0, ts, solver=name, rtol=1e-5, atol=1e-6).ys[0]
    assert np.abs(ys.numpy() - by_scipy(field)).max() < 2e-3


@functools.cache
def everything_at_once(name, rtol, atol):
    """Boundary values, a source, advection, the user's own operator, and a law that knows the time."""
    source = noise(5, 4, 2, seed=3)
    operators = [
        Advection([0.3, 0.0]),
        Laplacian([0.4, 0.0], (0.5, 1.0), (Dirichlet(1.0, 0.0), "neumann")),
        lambda u: -0.1 * u * u.mean((1, 2, 3), keepdim=True),
    ]
    problem = Problem([source, lambda t, u: torch.sin(3 * t) - u * u.flip(-1)], operator=operators)
    u0, ts = noise(5, 4, 2), [0.0, 0.5, 2.0]
    return solve(problem, u0, ts, solver=name, rtol=rtol, atol=atol).ys


@pytest.mark.parametrize("name", SOLVERS)
def test_everything_at_once_against_a_dense_method(name):
    expected = everything_at_once("dopri5", 1e-9, 1e-10)
    torch.testing.assert_close(everything_at_once(name, 1e-5, 1e-6), expected, rtol=0, atol=5e-4)


def test_rosenbrock_solves_with_an_operator_of_the_users_own():
    """Of which only products with vectors are known; the same diffusion with its basis tells the answer."""

    def spread(u):
        return 40.0 * (torch.roll(u, 1, 1) + torch.roll(u, -1, 1) - 2 * u)

    u0, ts = noise(20, 1), [0.0, 0.1, 1.0, 5.0]
    own, known = (Problem(lambda t, u: u - u**3, operator=op) for op in (spread, Laplacian(40.0, 1.0, "periodic")))
    expected = solve(known, u0, ts, solver="etdrk4", rtol=1e-8, atol=1e-9).ys
    solution = solve(own, u0, ts, solver="rosenbrock", rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(solution.ys, expected, rtol=0, atol=2e-4)
    assert solution.stats.steps.item() < 60


@functools.cache
def forced_field(name, dt=None):
    problem = Problem(lambda t, u: torch.sin(2 * t) * u - u**3, operator=Laplacian([0.05, 0.0], 0.3, "periodic"))
    x = torch.arange(12, dtype=torch.float64) * 0.3
    u0 = torch.stack([torch.sin(2 * math.pi * x / 3.6), torch.cos(2 * math.pi * x / 3.6)], -1)
    return solve(problem, u0, [0.0, 2.0], solver=name, rtol=None if dt else 1e-12, atol=1e-12, dt=dt).ys


@pytest.mark.parametrize(("name", "order"), [("rosenbrock", 3), ("etdrk4", 4), ("rock2", 2), ("rock4", 4), ("rkc2", 2)])
def test_order_on_a_field(name, order):
    exact = forced_field("dopri5")
    errors = [(forced_field(name, dt) - exact).norm() for dt in (0.1, 0.025)]
    assert math.log(errors[0] / errors[1], 4) > order - 0.15


class Law(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64))

    def forward(self, t, u):
        a, b = u.unbind(-1)
        r = self.rate
        return torch.stack([r[0] * a * b - a**2, torch.sin(t[:, 0]) - r[1] * b - r[2] * a * b], -1)


# Without advection rosenbrock and etdrk4 solve another linear part, and stabilized methods know the spectrum; to the
# others it is one more term of the drift.
CASES = [(name, True) for name in SOLVERS] + [(name, False) for name in ("rosenbrock", "etdrk4", "rock2")]
MODES = [(*case, mode) for case in CASES for mode in get_solver(case[0]).gradients]


def reaction_and_diffusion(others):
    operators = [Laplacian([Parameter(0.5, positive=True), 0.0], (0.5, 0.7), ("neumann", "periodic"))]
    if others:
        operators.append(Advection([0.2, 0.1], (0.5, 0.7), ("neumann", "periodic")))
    return Problem(Law(), operator=operators)


def loss_on_fixed_steps(problem, start, name, mode):
    return solve(problem, start, [0.0, 0.2, 0.5], solver=name, rtol=None, dt=0.1, gradient=mode).ys.sin().sum()


@functools.cache
def finite_differences(name, others):
    """Slopes of the loss in up to five entries of the start and of each parameter."""
    problem, start = reaction_and_diffusion(others), noise(2, 4, 3, 2)
    with torch.no_grad():
        return [
            [central_difference(problem, start, name, tensor.view(-1), i) for i in range(min(tensor.numel(), 5))]
            for tensor in (start, *problem.parameters())
        ]


def central_difference(problem, start, name, entries, i, eps=1e-5):
    sides = []
    for change in (eps, -eps):
        entries[i] += change
        sides.append(loss_on_fixed_steps(problem, start, name, "direct").item())
        entries[i] -= change
    return (sides[0] - sides[1]) / (2 * eps)


@pytest.mark.parametrize(("name", "others", "mode"), MODES)
def test_gradients_are_those_of_finite_differences(name, others, mode):
    problem, start = reaction_and_diffusion(others), noise(2, 4, 3, 2)
    inputs, slopes = [start, *problem.parameters()], finite_differences(name, others)
    if mode == "forward":  # which would carry 48 directions
        inputs, slopes = inputs[1:], slopes[1:]
    else:
        start.requires_grad_()
    gradient = torch.autograd.grad(loss_on_fixed_steps(problem, start, name, mode), inputs)
    for found, expected in zip(gradient, slopes, strict=True):
        assert found.view(-1)[: len(expected)].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["rosenbrock", "etdrk4", "rock2", "rock4", "rkc2"])
def test_adaptive_steps_are_the_same_with_a_gradient(name):
    problem = Problem(Law(), operator=Laplacian([Parameter(0.5, positive=True), 0.0], (0.5, 0.7)))
    start, ts = noise(2, 4, 3, 2), [0.0, 0.2, 3.0]
    with torch.no_grad():
        plain = solve(problem, start, ts, solver=name).ys
    graph = solve(problem, start, ts, solver=name).ys
    assert graph.requires_grad
    torch.testing.assert_close(graph.detach(), plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["rosenbrock", "etdrk4", "rock2", "rock4", "rkc2", "bs3"])
def test_a_field_does_not_know_its_batch_mates(name):
    problem = Problem(brusselator, operator=Laplacian([0.3, 0.1], (0.5, 0.7)))
    u0 = torch.stack([noise(4, 3, 2), 3 + 5 * noise(4, 3, 2, seed=1)])
    together = solve(problem, u0, [0.0, 0.2, 3.0], solver=name)
    for i in range(2):
        alone = solve(problem, u0[i], [0.0, 0.2, 3.0], solver=name)
        torch.testing.assert_close(alone.ys[0], together.ys[0, i], rtol=1e-9, atol=1e-12)
        assert alone.stats.steps.item() == together.stats.steps[0, i]


def test_few_evaluations_for_a_field_that_comes_to_rest():
    u0, ts = noise(30, 30, 3), np.arange(0.0, 101.0, 5.0)
    fine = solve(abc_problem((30, 30)), u0, ts, solver="etdrk4", rtol=1e-8, atol=1e-8).ys[0]
    solution = solve(abc_problem((30, 30)), u0, ts)
    errors = (solution.ys[0] - fine).flatten(1).norm(dim=1) / fine.flatten(1).norm(dim=1)
    assert errors.max() < 1e-3
    assert solution.stats.drift_evaluations < 120


def test_three_axes():
    laplacian = Laplacian(0.5, (0.5, 0.4, 0.3), ("neumann", "periodic", "dirichlet"))
    u0, ts = noise(8, 7, 6, 1), [0.0, 0.4]
    problem = Problem(lambda t, u: u - u**3, operator=laplacian)
    ys = [solve(problem, u0, ts, solver=name, rtol=1e-5, atol=1e-6).ys for name in ("rosenbrock", "rkc2", "etdrk4")]
    torch.testing.assert_close(ys[1], ys[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(ys[2], ys[0], rtol=0, atol=1e-4)


def test_shapes_and_frame():
    problem = Problem(brusselator, operator=Laplacian([0.3, 0.1], (0.5, 0.7)))
    solution = solve(problem, noise(3, 5, 4, 2), [0.0, 0.5], rtol=1e-2)
    assert solution.ys.shape == (1, 3, 2, 5, 4, 2)
    assert solution.stats.steps.shape == (1, 3)
    assert solution.solver == "rosenbrock"
    frame = solution.to_frame()
    assert frame.shape == (6, 40)
    assert frame.columns.names == ["x0", "x1", "field"]
    value = frame.xs((0, 2, 0.5), level=("path", "series", "time"))[(4, 1, "y1")].item()
    assert value == solution.ys[0, 2, 1, 4, 1, 1].item()
    # Nothing tells the number of axes: all of y0 is one field.
    whole = solve(Problem(brusselator, operator=Laplacian([0.3, 0.1])), noise(3, 5, 4, 2), [0.0, 0.1], rtol=1e-2)
    assert whole.ys.shape == (1, 2, 3, 5, 4, 2)


def test_auto_picks_by_structure():
    assert choose_solver(Problem(brusselator, operator=Laplacian(1.0))) == "rosenbrock"
    assert choose_solver(Problem(brusselator, operator=lambda u: -u)) == "tsit5"
    assert choose_solver(Problem(brusselator, operator=[Laplacian(1.0), Advection(1.0)])) == "tsit5"
    assert choose_solver(Problem(brusselator)) == "tsit5"


def test_refused_in_the_users_words():
    problem = Problem(brusselator, operator=Laplacian(1.0, ndim=2))
    with pytest.raises(ValueError, match=r"y0 must have shape \(\*batch, \*grid, fields\), of 3 axes or more"):
        solve(problem, noise(4, 2), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"drift must return shape \(12, 2\)"):
        solve(Problem(lambda t, u: u[:, :1], operator=Laplacian(1.0)), noise(4, 3, 2), [0.0, 1.0])
