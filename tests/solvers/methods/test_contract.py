"""What every solver promises, whatever package it comes from."""

import math

import pytest
import torch

from skneuralde.noise import Brownian
from skneuralde.problems import Problem
from skneuralde.solvers import SolveRequest, Status, get_solver, integrate, solver_names
from tests.problems_closed_form import forced_noise, geometric, oscillator

NAMES = solver_names()
DETERMINISTIC = [name for name in NAMES if get_solver(name).handles(None)]
ADAPTIVE = [name for name in DETERMINISTIC if get_solver(name).adaptive]
FIXED = [name for name in DETERMINISTIC if not get_solver(name).adaptive]
DIAGONAL = [name for name in NAMES if get_solver(name).handles("diagonal")]
ADDITIVE = [name for name in NAMES if get_solver(name).handles("additive")]
NOISY = [name for name in NAMES if name in DIAGONAL or name in ADDITIVE]
SHARED_STEP = [name for name in ADAPTIVE if name.startswith("torchdiffeq")]

TIMES = torch.tensor([0.0, 0.77, 2.0, 3.0], dtype=torch.float64)


def brownian(n, *, dim=1, cell=1.0, seed=0):
    return Brownian(seed, torch.arange(n), torch.zeros(n, dtype=torch.int64), dim, cell=cell)


def settings(name, accuracy=1e-4):
    """Arguments under which a solver does something sensible."""
    solver = get_solver(name)
    if solver.adaptive and not solver.handles(None):
        accuracy = max(accuracy, 1e-3)  # a tolerance of 1e-6 takes 100,000 steps of order 1.5
    return {"solver": solver, "rtol": accuracy, "atol": accuracy, "dt": None if solver.adaptive else 0.05}


def noisy_problem(name, drift, size):
    """Noise in proportion to the state; where the method cannot treat it, constant noise or none."""
    if name in DIAGONAL:
        return Problem(drift, lambda t, u: size * u, calculus=noisy_calculus(name))
    return Problem(drift, (lambda t, u: size * torch.ones_like(u)) if name in ADDITIVE else None, noise="additive")


def tight(name):
    """A tolerance that is tight for the method's order and not slow."""
    solver = get_solver(name)
    if solver.order == 2:
        return 1e-5 if getattr(solver, "error_order", 2) == 2 else 1e-6
    return 1e-6 if name == "rosenbrock" else 1e-7


def noisy_calculus(name):
    return "ito" if "ito" in get_solver(name).calculus else "stratonovich"


def slope(errors, ratio):
    return math.log(errors[0] / errors[-1]) / math.log(ratio)


@pytest.mark.parametrize("name", FIXED)
def test_order_without_noise(name):
    case, solver = oscillator(), get_solver(name)
    errors = []
    for dt in (0.04, 0.01):
        end = torch.tensor([0.0, 3.0], dtype=torch.float64)
        values = integrate(SolveRequest(case.problem, case.u0, end, solver=solver, dt=dt)).values
        errors.append((values[:, -1] - case.exact(case.u0, 3.0, None)).abs().max())
    assert abs(slope(errors, 4) - solver.order) < 0.2


@pytest.mark.parametrize("name", ADAPTIVE)
def test_error_follows_the_tolerance(name):
    case = oscillator()
    exact = torch.stack([case.exact(case.u0, t, None) for t in TIMES.tolist()], 1)
    errors = [
        (integrate(SolveRequest(case.problem, case.u0, TIMES, **settings(name, rtol))).values - exact).abs().max()
        for rtol in (1e-3, tight(name))
    ]
    # The least accurate adaptive method loses some of its promise over the whole interval.
    assert errors[0] < 0.5
    assert errors[1] < 1e-2
    assert errors[1] < 2e-2 * errors[0]


@pytest.mark.parametrize("name", [name for name in DIAGONAL if get_solver(name).strong_order])
def test_strong_order(name):
    solver, case = get_solver(name), geometric(noisy_calculus(name))
    n = 200
    noise = brownian(n)
    exact = case.exact(1.0, 1.0, noise.cells(0, 1).w[:, 0])
    u0, times = torch.ones(n, 1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    errors = [
        (
            integrate(SolveRequest(case.problem, u0, times, solver=solver, noise=noise, rtol=None, dt=dt)).values[:, -1]
            - exact
        )
        .square()
        .mean()
        .sqrt()
        for dt in (2**-3, 2**-6)
    ]
    # One noise commutes, so that some methods do better here than they promise in general.
    assert slope(errors, 8) > solver.strong_order - 0.15


@pytest.mark.parametrize("name", ADDITIVE)
@pytest.mark.parametrize("dt", [0.1, 0.3])
def test_additive_noise_has_its_exact_variance_at_every_time(name, dt):
    case, n = forced_noise(), 4000
    case.problem.check(torch.zeros(1, 1, dtype=torch.float64), case.u0)
    times = torch.tensor([0.0, 0.05, 0.3, 0.77, 1.0], dtype=torch.float64)
    u0 = case.u0.repeat(n, 1)
    values = integrate(
        SolveRequest(case.problem, u0, times, solver=get_solver(name), noise=brownian(n), rtol=None, dt=dt)
    ).values
    spread = values[:, 1:, 0].var(0) / times[1:]
    assert (spread / 0.49 - 1).abs().max() < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("name", [name for name in NAMES if get_solver(name).handles("general")])
def test_general_noise_is_the_same_as_diagonal_with_one_component(name):
    calculus = noisy_calculus(name)
    u0, times = torch.ones(4, 1, dtype=torch.float64), TIMES
    values = []
    for kind in ("diagonal", "general"):
        problem = geometric(calculus, kind).problem
        problem.check(torch.zeros(1, 1, dtype=torch.float64), u0[:1])
        values.append(
            integrate(
                SolveRequest(problem, u0, times, solver=get_solver(name), noise=brownian(4), rtol=None, dt=0.1)
            ).values
        )
    torch.testing.assert_close(values[0], values[1])


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_finite_differences(name):
    rate = torch.tensor(0.3, dtype=torch.float64)
    noisy = name in NOISY

    def value(rate, start):
        problem = noisy_problem(name, lambda t, u: -rate * u**2 + torch.sin(t), 0.2 + rate)
        noise = brownian(2) if noisy else None
        # So tight that the mesh's dependence on the parameters does not show.
        arguments = settings(name, 1e-9 if name in ("tsit5", "dopri5") else tight(name))
        if noisy:
            arguments |= {"rtol": None, "dt": 0.05}
        u0 = start * torch.tensor([[1.0], [2.0]], dtype=torch.float64)
        return integrate(SolveRequest(problem, u0, TIMES, noise=noise, **arguments)).values.square().sum()

    start = torch.tensor(1.1, dtype=torch.float64)
    inputs = (rate.clone().requires_grad_(), start.clone().requires_grad_())
    gradient = torch.autograd.grad(value(*inputs), inputs)
    eps = 1e-4
    expected = [
        (value(rate + eps, start) - value(rate - eps, start)) / (2 * eps),
        (value(rate, start + eps) - value(rate, start - eps)) / (2 * eps),
    ]
    tolerance = 2e-3 if get_solver(name).adaptive and not noisy else 1e-6
    torch.testing.assert_close(torch.stack(gradient), torch.stack(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_dtype_is_kept_and_far_times_are_exact(name, dtype):
    """In float32 times this far from zero could not even tell one step from the next."""
    noisy = name in NOISY

    def drift(t, u):
        assert t.dtype == u.dtype == dtype
        assert t.shape == (len(u), 1)
        return -u

    problem = noisy_problem(name, drift, 0.1)
    start = 1e8
    times = start + TIMES
    noise = Brownian(0, torch.arange(3), torch.zeros(3, dtype=torch.int64), 2, start=start, cell=0.05)
    u0 = torch.ones(3, 2, dtype=dtype)
    values = integrate(SolveRequest(problem, u0, times, noise=noise if noisy else None, **settings(name))).values
    assert values.dtype == dtype
    if not noisy:
        torch.testing.assert_close(values[0, :, 0], torch.exp(-TIMES).to(dtype), rtol=0.12, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SHARED_STEP])
@pytest.mark.parametrize("side_steps", [False, True])
def test_a_path_does_not_know_its_batch_mates(name, side_steps):
    noisy = name in NOISY
    problem = noisy_problem(name, lambda t, u: torch.sin(u) + torch.sin(t), 0.3)
    u0 = torch.tensor([[0.1], [5.0], [-1.0]], dtype=torch.float64)
    times = torch.full((3, 4), torch.nan, dtype=torch.float64)
    times[0] = TIMES
    times[1, :3] = torch.tensor([0.5, 0.5, 4.25])
    times[2, :1] = 1.0
    noise = Brownian(5, torch.arange(3), torch.arange(3), 1, start=times[:, 0], cell=0.05)
    arguments = settings(name)
    together = integrate(
        SolveRequest(problem, u0, times, noise=noise if noisy else None, side_steps=side_steps, **arguments)
    ).values
    for i in range(3):
        rows = torch.tensor([i])
        alone = integrate(
            SolveRequest(
                problem,
                u0[rows],
                times[rows],
                noise=noise.select(rows) if noisy else None,
                side_steps=side_steps,
                **arguments,
            )
        ).values
        # Another package's methods see a time of their own, which rounds differently.
        rounding = 1e-12 if ":" in name else 0.0
        torch.testing.assert_close(alone[0], together[i], rtol=rounding, atol=rounding, equal_nan=True)


@pytest.mark.parametrize("name", SHARED_STEP)
def test_every_path_of_a_shared_step_meets_the_tolerance(name):
    problem = Problem(lambda t, u: -u * torch.tensor([[1.0], [40.0]], dtype=torch.float64)[: len(u)])
    u0 = torch.ones(2, 1, dtype=torch.float64)
    times = torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.1, torch.nan]], dtype=torch.float64)
    values = integrate(SolveRequest(problem, u0, times, solver=get_solver(name), rtol=1e-6, atol=1e-6)).values[..., 0]
    exact = torch.exp(-torch.stack([times[0], 40 * times[1]]))
    torch.testing.assert_close(values, exact, rtol=0, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("side_steps", [False, True])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_backwards_in_time_undoes_forwards(name, side_steps):
    case = oscillator()
    arguments = settings(name, tight(name)) | (
        {} if get_solver(name).adaptive else {"dt": 2e-3 if get_solver(name).order == 1 else 2e-2}
    )
    end = case.exact(case.u0, 3.0, None)
    values = integrate(SolveRequest(case.problem, end, TIMES.flip(0), side_steps=side_steps, **arguments)).values
    torch.testing.assert_close(values[:, -1], case.u0, rtol=0, atol=2e-2 if get_solver(name).order <= 2 else 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_coefficients_are_never_called_outside_the_interval(name):
    seen = []

    def drift(t, u):
        seen.append(t.detach().flatten())
        return -u

    problem = noisy_problem(name, drift, 0.1)
    times = torch.tensor([[0.2, 0.5], [0.3, 1.7]], dtype=torch.float64)
    noise = Brownian(0, torch.arange(2), torch.arange(2), 1, start=times[:, 0], cell=0.05) if name in NOISY else None
    for side_steps in (False, True):
        integrate(
            SolveRequest(
                problem,
                torch.ones(2, 1, dtype=torch.float64),
                times,
                noise=noise,
                side_steps=side_steps,
                **settings(name, 1e-2),
            )
        )
    assert min(t.min() for t in seen) >= 0.2
    assert max(t.max() for t in seen) <= 1.7


@pytest.mark.parametrize("name", NAMES)
def test_a_solution_that_explodes_ends_with_a_status(name):
    problem = noisy_problem(name, lambda t, u: u**3, 0.1)
    u0 = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    noise = brownian(2) if name in NOISY else None
    times = torch.tensor([0.0, 0.02, 4.0], dtype=torch.float64)
    trajectory = integrate(
        SolveRequest(problem, u0, times, noise=noise, on_error="mask", max_steps=2000, **settings(name, 1e-2))
    )
    assert trajectory.status[1] in (Status.NON_FINITE, Status.STEP_TOO_SMALL)
    assert trajectory.values[1, 2].isnan().all()
    assert trajectory.reached[1] < 4.0
    if name not in SHARED_STEP:
        assert trajectory.status[0] == Status.SUCCESS
        assert (trajectory.values[0].abs() < 1).all()
        assert trajectory.values[1, 1].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_bounded_and_counted(name):
    noisy = name in NOISY
    problem = noisy_problem(name, lambda t, u: torch.sin(20 * t) * u, 0.1)
    u0, noise = torch.ones(2, 1, dtype=torch.float64), brownian(2) if noisy else None
    trajectory = integrate(
        SolveRequest(problem, u0, TIMES, noise=noise, on_error="mask", max_steps=5, **settings(name, 1e-6))
    )
    assert (trajectory.status == Status.MAX_STEPS).all()
    assert trajectory.values[:, 0].isfinite().all()
    assert trajectory.values[:, -1].isnan().all()
    assert (trajectory.stats.steps + trajectory.stats.rejections <= 5).all()
    assert trajectory.stats.drift_evaluations > 0
    assert (trajectory.stats.diffusion_evaluations > 0) == noisy


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_told(name):
    solver = get_solver(name)
    assert solver.name == name
    assert solver.reference
    assert solver.noise_kinds
    assert set(solver.noise_kinds) <= {"none", "diagonal", "additive", "general"}
    assert (solver.order is not None) == ("none" in solver.noise_kinds)
    assert (solver.weak_order is not None) == bool(set(solver.noise_kinds) - {"none"})
    assert solver.strong_order is not None or solver.increments != "gaussian" or solver.weak_order is None


@pytest.mark.parametrize("name", NAMES)
def test_global_random_states_are_left_alone(name):
    import numpy as np

    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    problem = noisy_problem(name, lambda t, u: -u, 0.1)
    noise = brownian(2) if name in NOISY else None
    integrate(SolveRequest(problem, torch.ones(2, 1, dtype=torch.float64), TIMES, noise=noise, **settings(name, 1e-2)))
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
