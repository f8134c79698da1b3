"""The published coefficients, proved by the conditions that they must meet, and what the steps do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skneuralde.problems import Problem
from skneuralde.solvers import StepInput, get_solver
from skneuralde.solvers.core.stepper import Increments
from tests.convergence import Noise, OnFineMesh, equation_of, rms, slope, strong_order
from tests.problems_closed_form import fading_noise, geometric, rotating_noise, saturating, stiff_noise, turning

SRI = ["sriw1", "sosri", "sosri2"]
SRA = ["sra1", "sosra"]


def matrix(rows, columns):
    M = torch.zeros(len(rows) + 1, columns, dtype=torch.float64)
    for i, row in enumerate(rows, 1):
        M[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return M


def vectors(*weights):
    return [torch.tensor(w, dtype=torch.float64) for w in weights]


def drift_conditions(tableau):
    """What every method of strong order 1.5 needs of its drift: pairs that must be equal."""
    stages, noises = len(tableau.alpha), len(tableau.beta1)
    (alpha,) = vectors(tableau.alpha)
    kick = matrix(tableau.B0, noises).sum(1)
    return [
        (alpha.sum(), 1),
        (alpha @ matrix(tableau.A0, stages).sum(1), 1 / 2),
        (alpha @ kick, 1),
        (alpha @ kick**2, 3 / 2),
    ]


@pytest.mark.parametrize("name", SRI)
def test_conditions_for_diagonal_noise(name):
    """Roessler (2010), theorem 5.2."""
    tableau = get_solver(name).tableau
    stages, noises = len(tableau.alpha), len(tableau.beta1)
    A1, B1 = matrix(tableau.A1, stages), matrix(tableau.B1, noises)
    betas = vectors(tableau.beta1, tableau.beta2, tableau.beta3, tableau.beta4)
    swing = B1.sum(1)
    moments = [
        (torch.ones_like(swing), (1, 0, 0, 0)),
        (swing, (0, 1, 0, 0)),
        (A1.sum(1), (1, 0, -1, 0)),
        (swing**2, (1, 0, -1, 2)),
        (B1 @ swing, (0, 0, 0, 1)),
    ]
    conditions = drift_conditions(tableau)
    conditions += [
        (beta @ weight, value) for weight, values in moments for beta, value in zip(betas, values, strict=True)
    ]
    mixed = A1 @ matrix(tableau.B0, noises).sum(1)
    conditions.append(((betas[0] / 2 + betas[2] / 3) @ mixed, 0))
    assert len(conditions) == 25
    for left, right in conditions:
        assert abs(left - right) < 1e-12


@pytest.mark.parametrize("name", SRA + SRI)
def test_conditions_for_additive_noise(name):
    """Roessler (2010), theorem 5.1; the methods for diagonal noise meet them with what they keep of their stages."""
    tableau = get_solver(name).tableau
    tableau = tableau.additive if name in SRI else tableau
    beta1, beta2, nodes = vectors(tableau.beta1, tableau.beta2, tableau.c1)
    conditions = [(beta1.sum(), 1), (beta2.sum(), 0), (beta1 @ nodes, 1), (beta2 @ nodes, -1)]
    for left, right in drift_conditions(tableau) + conditions:
        assert abs(left - right) < 1e-12


def test_a_wrong_tableau_is_refused():
    tableau = get_solver("sosri").tableau
    with pytest.raises(ValueError, match=r"row 1 of A1 must sum to the node 0\.25"):
        replace(tableau, c1=(0.25, *tableau.c1[1:]))
    with pytest.raises(ValueError, match="row 1 of B0 must have at most 1 entries"):
        replace(tableau, B0=tableau.B0[::-1])
    with pytest.raises(ValueError, match="A0 must have 3 rows, got 2"):
        replace(tableau, A0=tableau.A0[:2])
    with pytest.raises(ValueError, match=r"beta4 must have 4 entries that sum to 0\.0"):
        replace(tableau, beta4=tableau.alpha)
    with pytest.raises(ValueError, match=r"beta1 \+ beta3 must be the first unit vector"):
        replace(tableau, beta3=tableau.beta4)
    with pytest.raises(ValueError, match="alpha must have 2 entries"):
        replace(get_solver("sra1").tableau, alpha=(1.0,))


def wave():
    """A drift so far from linear that additive noise does not give more than the order promised."""
    problem = Problem(lambda t, u: 2 * torch.sin(4 * u), 1.0, noise="additive")
    return OnFineMesh(problem, get_solver("sra1"), torch.full((1, 1), 0.5, dtype=torch.float64))


MULTIPLICATIVE = {
    "geometric": geometric(),
    "stiff": geometric(rate=-20.0, volatility=1.0, end=0.25),
    "saturating": saturating(),
    "turning": turning(),
}


@pytest.mark.parametrize("case", ["geometric", "saturating", "turning"])
@pytest.mark.parametrize("name", SRI)
def test_strong_order_with_diagonal_noise(name, case):
    assert abs(strong_order(get_solver(name), MULTIPLICATIVE[case]) - 1.5) < 0.3


@pytest.mark.parametrize("name", SRI)
def test_strong_order_with_a_stiff_drift(name):
    """Where the drift dominates, its own order 2 shows."""
    assert 1.5 < strong_order(get_solver(name), MULTIPLICATIVE["stiff"]) < 2.3


@pytest.mark.parametrize("case", [fading_noise(), stiff_noise(), rotating_noise()], ids=["fading", "stiff", "rotating"])
@pytest.mark.parametrize("name", SRA + SRI)
def test_strong_order_with_additive_noise_and_a_linear_drift(name, case):
    """Half an order more than promised."""
    assert abs(strong_order(get_solver(name), case, steps=(64, 128, 256)) - 2) < 0.3


@pytest.mark.parametrize("name", SRA + SRI)
def test_strong_order_with_additive_noise_and_a_nonlinear_drift(name):
    assert abs(strong_order(get_solver(name), wave(), steps=(64, 128, 256)) - 1.5) < 0.3


@pytest.mark.parametrize("name", SRI)
def test_weak_order(name):
    """Moments of geometric Brownian motion, by quadrature over the two normal numbers of a step."""
    points, weights = np.polynomial.hermite_e.hermegauss(12)
    x, y = (torch.as_tensor(axis.reshape(-1, 1)) for axis in np.meshgrid(points, points))
    weights = torch.as_tensor(np.outer(weights, weights).reshape(-1, 1) / weights.sum() ** 2)
    solver, case, sizes, errors = get_solver(name), geometric(), [], []
    for n in (64, 128):
        h = 1 / n
        t = torch.full_like(x, 5.0)
        noise = Increments(h**0.5 * x, (h / 12) ** 0.5 * y)
        growth = solver.step(StepInput(equation_of(case.problem, 10.0), t, h, torch.ones_like(x), noise)).u1
        sizes.append(h)
        errors.append(abs((weights * growth**2).sum().item() ** n - np.exp(1.16)))
    # The second moment of this equation is better than the weak order of `sriw1`.
    assert slope(sizes, errors) > (1.9 if name == "sriw1" else solver.weak_order - 0.1)


# Estimates of the local error.


def local_errors(solver, case, h):
    """Of one step from many states: the estimate, and the error."""
    batch, fine = 1000, 64
    u0 = torch.linspace(0.2, 0.8, batch, dtype=torch.float64)[:, None].repeat(1, case.u0.shape[1])
    t = torch.zeros(batch, 1, dtype=torch.float64)
    case.problem.check(t, u0)
    noise = Noise.draw(h, fine, batch=batch, m=case.problem.noise_dim(u0.shape[1]), seed=3)
    step = solver.step(StepInput(equation_of(case.problem, 10.0), t, h, u0, next(iter(noise.coarsen(fine)))))
    return rms(step.error), rms(step.u1 - case.at_end(u0, noise))


ESTIMATED = {"geometric": geometric(), "turning": turning(), "rotating": rotating_noise(), "wave": wave()}


@pytest.mark.parametrize(
    ("name", "case"),
    [
        (name, case)
        for name in SRA + SRI
        for case in ESTIMATED
        if get_solver(name).handles(ESTIMATED[case].problem.noise)
    ],
)
def test_the_estimate_is_larger_than_the_error(name, case):
    """Of order 1.5, and with additive noise and three stages of the drift that of the error itself."""
    solver, case, sizes = get_solver(name), ESTIMATED[case], (2**-6, 2**-8, 2**-10)
    estimates, errors = zip(*(local_errors(solver, case, h) for h in sizes), strict=True)
    order = 2.0 if case.problem.noise == "additive" and len(solver.tableau.alpha) > 2 else 1.5
    assert abs(slope(sizes, estimates) - order) < 0.15
    assert slope(sizes, errors) > 1.9
    assert all(error < estimate for estimate, error in zip(estimates, errors, strict=True))


@pytest.mark.parametrize("name", SRA + SRI)
def test_error_is_not_blind_to_a_drift_that_knows_only_the_time(name):
    problem = Problem(lambda t, u: torch.cos(t).expand_as(u), 0.7, noise="additive")
    t, u = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    step = get_solver(name).step(StepInput(equation_of(problem, 2.0), t, 0.1, u, Increments(u, u)))
    assert 1e-4 < step.error.abs() < 1e-2


# What a step costs.


@pytest.mark.parametrize(
    ("name", "noise", "drifts", "diffusions"),
    [
        ("sriw1", "diagonal", 2, 4),
        ("sosri", "diagonal", 4, 4),
        ("sosri2", "diagonal", 4, 4),
        ("sriw1", "additive", 2, 3),
        ("sosri", "additive", 4, 4),
        ("sra1", "additive", 2, 2),
        ("sosra", "additive", 3, 3),
    ],
)
def test_evaluations_of_a_step(name, noise, drifts, diffusions):
    problem = Problem(lambda t, u: -u, lambda t, u: 1 + 0.1 * (u if noise == "diagonal" else 0 * u), noise=noise)
    equation = equation_of(problem, 1.0)
    t, u = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    get_solver(name).step(StepInput(equation, t, 0.1, u, Increments(u, u)))
    assert (equation.counter.drift, equation.counter.diffusion) == (drifts, diffusions)


@pytest.mark.parametrize("name", SRA + SRI)
def test_steps_of_every_path_have_their_own_length(name):
    case = rotating_noise()
    solver, u = get_solver(name), torch.tensor([[0.3, 0.1], [1.0, -2.0]], dtype=torch.float64)
    t, h = torch.tensor([[0.1], [0.7]], dtype=torch.float64), torch.tensor([[0.2], [0.05]], dtype=torch.float64)
    w, area = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    equation = equation_of(case.problem, 3.0)
    together = solver.step(StepInput(equation, t, h, u, Increments(w, area)))
    for i in range(2):
        row = slice(i, i + 1)
        alone = solver.step(StepInput(equation, t[row], h[i].item(), u[row], Increments(w[row], area[row])))
        torch.testing.assert_close(alone.u1[0], together.u1[i])
        torch.testing.assert_close(alone.error[0], together.error[i])
