"""Sparse Jacobians in `rosenbrock`: the same answers as dense and iterated ones, from fewer evaluations."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.sparse import diags

from skneuralde import Parameter
from skneuralde.problems import Jump, Laplacian, Problem, Stencil, pattern_of
from skneuralde.solvers import SolveRequest, Status, choose_solver, get_solver, integrate, solve
from skneuralde.solvers.methods.rosenbrock.sparse_systems import Factors, SparseSystem


def noise(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Spread(torch.nn.Module):
    """div(D(u) grad u) between walls, each field by itself, with ``D = a + b u^2``; parameters a and b."""

    def __init__(self, spacing, a=0.1, b=1.0):
        super().__init__()
        self.spacing = spacing
        self.a, self.b = (torch.nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in (a, b))

    def forward(self, u):
        total = torch.zeros_like(u)
        for axis in range(1, u.ndim - 1):
            n = u.shape[axis] - 1
            low, high = u.narrow(axis, 0, n), u.narrow(axis, 1, n)
            flux = (self.a + self.b * ((low + high) / 2) ** 2).to(u) * (high - low)
            wall = torch.zeros_like(u.narrow(axis, 0, 1))
            total = total + torch.cat([wall, flux, wall], axis).diff(dim=axis) / self.spacing**2
        return total


def brusselator(t, u):
    x, y = u.unbind(-1)
    return torch.stack([1 + x**2 * y - 4 * x, 3 * x - x**2 * y], -1)


def chain(n=500):
    """Species that turn into the next one, and back in pairs, at rates over seven decades in no order."""
    generator = torch.Generator().manual_seed(1)
    rates = torch.logspace(-3, 4, n - 1, dtype=torch.float64)
    on, back = (rates[torch.randperm(n - 1, generator=generator)] for _ in range(2))

    def law(t, u):
        flow = on.to(u) * u[:, :-1] - back.to(u) * u[:, 1:] ** 2
        return -torch.nn.functional.pad(flow, (1, 1)).diff(dim=1)

    return law


def test_solutions_of_sparse_equations():
    """Of a batch, with both derivatives and the second one."""
    pattern = pattern_of(Stencil(periodic=True, coupled=False), (4, 3, 2))
    r, shift, told = noise(2, 24), 9 + noise(2, 1), noise(2, len(pattern.on(torch.device("cpu")).rows), seed=1)
    dense = shift[..., None] * torch.eye(24).double() - pattern.dense(told)
    torch.testing.assert_close(SparseSystem(pattern, told, shift).solve(r), torch.linalg.solve(dense, r))

    def solved(told, shift, r):
        equations = SparseSystem(pattern, told, shift)
        first = equations.solve(r)
        return equations.solve(first.sin())

    inputs = [x[:1].clone().requires_grad_() for x in (told, shift, r)]
    assert torch.autograd.gradcheck(solved, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(solved, inputs)
    directions = tuple(torch.randn_like(x) for x in (told, shift, r))
    _, change = torch.func.jvp(solved, (told, shift, r), directions)
    above, below = (
        solved(*(x + h * d for x, d in zip((told, shift, r), directions, strict=True))) for h in (1e-6, -1e-6)
    )
    torch.testing.assert_close(change, (above - below) / 2e-6, rtol=1e-6, atol=1e-8)


def test_a_singular_matrix_fails_alone():
    pattern = pattern_of(Stencil(), (70,))
    told = torch.zeros(3, len(pattern.on(torch.device("cpu")).rows), dtype=torch.float64)
    told[1, 0] = math.nan
    shift = torch.tensor([[1.0], [1.0], [0.0]], dtype=torch.float64)
    factors = Factors(pattern)
    x = factors.solve(pattern.shifted(told, shift), torch.ones(3, 70).double(), False)
    assert factors.failed.flatten().tolist() == [False, True, True]
    assert x.isnan().all(1).tolist() == [False, True, True]
    assert (x[0] == 1.0).all()


@pytest.mark.parametrize("forced", [False, True])
def test_order(forced):
    """Fixed steps, with and without time in the law, on a grid too large for a dense matrix."""

    def law(t, u):
        return brusselator(t, u) + (torch.sin(3 * t) if forced else 0.0)

    problem = Problem(law, operator=Spread(0.5), sparsity=Stencil(coupled=False))
    u0 = 1 + noise(7, 6, 2)
    ts = [0.0, 0.25]
    expected = solve(problem, u0, ts, solver="dopri5", rtol=1e-11, atol=1e-11).ys[0, -1]
    errors = [(solve(problem, u0, ts, rtol=None, dt=dt).ys[0, -1] - expected).norm().item() for dt in (1 / 64, 1 / 256)]
    assert abs(math.log(errors[0] / errors[1], 4) - 3.0) < 0.15


@pytest.mark.parametrize(("dtype", "rtol", "bound"), [(torch.float64, 1e-5, 3e-3), (torch.float32, 1e-3, 3e-2)])
def test_a_chain_of_reactions_against_scipy(dtype, rtol, bound):
    """States without a grid, at times over seven decades."""
    n, law = 150, chain(150)
    told = diags([1.0, 1.0, 1.0], [-1, 0, 1], shape=(n, n))
    ts = [0.0, 1e-4, 1e-2, 1.0, 1e2, 1e3]
    u0 = noise(n)
    expected = solve_ivp(
        lambda t, y: law(t, torch.from_numpy(y)[None])[0].numpy(),
        (0, ts[-1]), u0.numpy(), "Radau", ts, rtol=1e-7, atol=1e-11, jac_sparsity=told,
    ).y.T  # fmt: skip
    problem = Problem(law, sparsity=told)
    solution = solve(problem, u0.to(dtype), ts, rtol=rtol, atol=1e-3 * rtol)
    assert solution.solver == "rosenbrock"
    assert solution.ys.dtype == dtype
    scale = 1e-3 + np.abs(expected)
    assert (np.abs(solution.ys[0].double().numpy() - expected) / scale).max() < bound
    # Three colours: the right-hand side three times a step, the Jacobian three, and the first step's length.
    made = (solution.stats.steps + solution.stats.rejections).item()
    assert solution.stats.drift_evaluations <= 6 * made + 4
    assert made < (1200 if dtype == torch.float64 else 200)


@pytest.mark.parametrize("shape", [(70, 2), (8, 9, 2), (3, 4, 3, 2)])
def test_the_same_steps_as_iterated_and_as_dense_ones(shape):
    told = [None, Stencil(coupled=False), Stencil()]
    u0, ts = 0.5 + noise(2, *shape), [0.0, 0.05, 0.15]
    solutions = []
    for sparsity in told:
        operators = [Laplacian([0.1, 0.0], 0.5, "neumann_cell", ndim=len(shape) - 1), Spread(0.5)]
        problem = Problem(brusselator, operator=operators, sparsity=sparsity)
        solutions.append(solve(problem, u0, ts, solver="rosenbrock", rtol=1e-3, atol=1e-4))
    for solution in solutions[1:]:
        assert solution.stats.steps.tolist() == solutions[0].stats.steps.tolist()
        torch.testing.assert_close(solution.ys, solutions[0].ys, rtol=0, atol=1e-5)
    assert solutions[1].stats.drift_evaluations < solutions[2].stats.drift_evaluations


def test_a_small_system_is_solved_densely_from_few_evaluations():
    n = 40
    problem = Problem(chain(n), sparsity=Stencil())
    u0, ts = noise(3, n), [0.0, 1.0]
    sparse = solve(problem, u0, ts, solver="rosenbrock", rtol=1e-5)
    dense = solve(Problem(chain(n)), u0, ts, solver="rosenbrock", rtol=1e-5)
    torch.testing.assert_close(sparse.ys, dense.ys)
    assert sparse.stats.steps.tolist() == dense.stats.steps.tolist()


def test_series_of_a_batch_do_not_know_of_each_other():
    u0 = torch.stack([noise(9, 8, 2), 3 * noise(9, 8, 2, seed=1), torch.ones(9, 8, 2).double()])
    operators = [Laplacian(0.0, ndim=2), Spread(0.5)]
    problem = Problem(lambda t, u, c: c * brusselator(t, u), operator=operators, sparsity=Stencil(coupled=False))
    ts = torch.tensor([[0.0, 0.1, 0.5], [0.0, 0.3, torch.nan], [0.0, 1.0, 2.0]], dtype=torch.float64)
    context = torch.tensor([[1.0], [2.0], [0.5]], dtype=torch.float64)
    together = solve(problem, u0, ts, context=context)
    assert len(set(together.stats.steps.flatten().tolist())) > 1
    for i in range(3):
        alone = solve(problem, u0[i], ts[i][~ts[i].isnan()], context=context[i])
        torch.testing.assert_close(together.ys[0, i][: alone.ys.shape[1]], alone.ys[0], rtol=1e-9, atol=1e-12)


def gradient_of(problem, u0, ts, inputs, **options):
    ys = solve(problem, u0, ts, **options).ys
    weights = torch.linspace(-1, 2, ys.numel(), dtype=ys.dtype).view_as(ys)
    return torch.autograd.grad((weights * ys).sum(), inputs)


@pytest.mark.parametrize(("mode", "dt"), [("checkpoint", None), ("direct", None), ("checkpoint", 0.1)])
def test_gradients_against_iterations(mode, dt):
    """Of the start, of a learned law, diffusivity and operator; the times are inside steps."""
    rate, own, law = Parameter(0.2, positive=True), Spread(1.0), torch.nn.Linear(2, 2).double()
    with torch.no_grad():
        law.weight.copy_(torch.tensor([[-1.0, 0.5], [0.3, -0.8]]))
    u0 = (1 + noise(2, 6, 6, 2)).requires_grad_()
    inputs = [u0, *rate.parameters(), *own.parameters(), *law.parameters()]
    found = []
    for sparsity in (Stencil(coupled=False), None):
        operators = [Laplacian([rate, 0.0], 1.0, "neumann_cell", ndim=2), own]
        problem = Problem(lambda t, u: torch.tanh(law(u)), operator=operators, sparsity=sparsity)
        options = {"rtol": None if dt else 1e-3, "dt": dt, "gradient": mode, "solver": "rosenbrock"}
        found.append(gradient_of(problem, u0, [0.0, 0.06, 0.15], inputs, **options))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_gradients_against_finite_differences():
    own = Spread(0.5)
    problem = Problem(brusselator, operator=own, sparsity=Stencil(coupled=False))
    u0, ts = 1 + noise(7, 6, 2), [0.0, 0.1, 0.3]
    options = {"rtol": None, "dt": 0.05}
    found = gradient_of(problem, u0, ts, [own.a, own.b], **options)
    weights = torch.linspace(-1, 2, 3 * u0.numel(), dtype=torch.float64).view(1, 3, *u0.shape)
    for parameter, slope in zip([own.a, own.b], found, strict=True):
        values = []
        for change in (1e-5, -2e-5):
            with torch.no_grad():
                parameter += change
            values.append((weights * solve(problem, u0, ts, **options).ys).sum().item())
        with torch.no_grad():
            parameter += 1e-5
        assert slope.item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_gradients_forward_and_twice():
    own = Spread(0.5)
    problem = Problem(brusselator, operator=own, sparsity=Stencil())
    u0, ts, parameters = 1 + noise(7, 6, 2), [0.0, 0.1, 0.2], [own.a, own.b]
    options = {"rtol": None, "dt": 0.05}
    forward = gradient_of(problem, u0, ts, parameters, gradient="forward", **options)
    direct = gradient_of(problem, u0, ts, parameters, gradient="direct", **options)
    torch.testing.assert_close(forward, direct, rtol=1e-9, atol=1e-11)

    def slope():
        ys = solve(problem, u0, ts, gradient="direct", **options).ys
        return torch.autograd.grad(ys.square().sum(), own.b, create_graph=True)[0]

    (second,) = torch.autograd.grad(slope(), own.b)
    values = []
    for change in (1e-5, -2e-5):
        with torch.no_grad():
            own.b += change
        values.append(slope().item())
    assert second.item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_gradients_of_a_system_without_space():
    """Five hundred states in eight steps."""
    law, n = chain(), 500
    scale = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    problem = Problem(lambda t, u: scale * law(t, u), sparsity=Stencil())
    u0 = noise(n)

    def loss():
        return solve(problem, u0, [0.0, 8e-4], rtol=None, dt=1e-4).ys[0, -1].square().sum()

    (found,) = torch.autograd.grad(loss(), scale)
    values = []
    for change in (1e-6, -2e-6):
        with torch.no_grad():
            scale += change
        values.append(loss().item())
    assert found.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


def test_auto_takes_it():
    """Where somebody told, also without an operator; noise needs another method."""
    assert choose_solver(Problem(lambda t, u: -u, sparsity=Stencil())) == "rosenbrock"
    assert choose_solver(Problem(None, operator=Spread(1.0), sparsity=Stencil())) == "rosenbrock"
    assert choose_solver(Problem(None, operator=Spread(1.0))) == "tsit5"
    assert choose_solver(Problem(lambda t, u: -u, 0.1, sparsity=Stencil())) == "sosri2"


def test_a_wrong_pattern_is_refused_before_any_step():
    problem = Problem(None, operator=lambda u: Spread(1.0)(Spread(1.0)(u)), sparsity=Stencil())
    with pytest.raises(ValueError, match=r"sparsity says that the rate of field 0 at point .* but it does"):
        solve(problem, noise(20, 20, 1), [0.0, 1.0])
    with pytest.raises(ValueError, match="sparsity is for 70 components, but the state has 80"):
        solve(Problem(lambda t, u: -u, sparsity=np.eye(70)), torch.ones(80), [0.0, 1.0])


def test_jumps():
    """At exact times; rates that are integrated along would need a dense matrix."""
    n, law = 100, lambda t, u: torch.nn.functional.pad(u[:, :-1] - u[:, 1:], (0, 1))
    doubled = Jump(2.0, lambda t, u: 2 * u)
    solution = solve(Problem(law, sparsity=Stencil(), jumps=(doubled,)), torch.ones(n), [0.0, 1.0], random_state=3)
    count = int(solution.jump_counts)
    torch.testing.assert_close(solution.ys[0, -1], torch.full((n,), 2.0**count))
    unbounded = Jump(lambda t, u: u[:, 0], lambda t, u: 2 * u)
    with pytest.raises(ValueError, match="integrates rates of jumps without a bound along"):
        solve(Problem(law, sparsity=Stencil(), jumps=(unbounded,)), torch.ones(n), [0.0, 1.0], solver="rosenbrock")


def test_a_path_that_ends_is_told():
    """A law that ends where the first of two paths arrives; the other one goes on."""
    problem = Problem(lambda t, u: -torch.sqrt(u), sparsity=np.eye(70))
    u0 = torch.tensor([[1.0], [9.0]], dtype=torch.float64).expand(2, 70)
    solution = solve(problem, u0, [0.0, 1.0, 3.0], on_error="mask", max_steps=2000)
    assert solution.status[0, 0] != Status.SUCCESS
    assert solution.status[0, 1] == Status.SUCCESS
    assert solution.ys[0, 0, -1].isnan().all()
    for path, exact in ((0, 0.25), (1, 6.25)):
        torch.testing.assert_close(solution.ys[0, path, 1], torch.full((70,), exact).double(), rtol=1e-3, atol=0)


def test_derivatives_of_operators_count_in_iterations_too():
    """So that what a pattern saves can be read off."""
    counts = []
    for sparsity in (None, Stencil()):
        problem = Problem(None, operator=Spread(1 / 15), sparsity=sparsity).flattened((15, 15, 1))
        times = torch.tensor([0.0, 0.05], dtype=torch.float64)
        u0 = noise(1, 225)
        trajectory = integrate(SolveRequest(problem, u0, times, solver=get_solver("rosenbrock")))
        counts.append(trajectory.stats.drift_evaluations / trajectory.stats.steps.item())
    assert counts[1] < 11
    assert counts[0] > 2 * counts[1]


def test_a_pattern_that_was_made_for_inference_serves_gradients():
    weight = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def chain(t, u):
        return weight * (u.roll(1, 1) - u)

    problem, u0 = Problem(chain, sparsity=Stencil(periodic=True)), torch.rand(1, 71, dtype=torch.float64)
    with torch.inference_mode():
        solve(problem, u0, [0.0, 1.0])
    ys = solve(problem, u0, [0.0, 1.0], rtol=1e-6).ys
    (slope,) = torch.autograd.grad(ys[0, -1].square().sum(), weight)
    assert slope < 0.0
