"""Jacobians, Hessians and transforms of functions that solve an equation."""

import pytest
import torch
from torch.autograd import forward_ad

from skneuralde import Laplacian, Problem, solve
from skneuralde.solvers import get_solver
from skneuralde.solvers.gradients.replay import GRADIENTS

Y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)


def drift(t, u):
    return torch.stack([-0.7 * u[:, 0] * u[:, 1], u[:, 0].sin()], 1)


QUIET, NOISY = Problem(drift), Problem(drift, lambda t, u: 0.3 * u.cos())
#: Fixed steps.
CASES = [
    *((QUIET, {"solver": name, "rtol": None, "dt": 0.1}) for name in ("tsit5", "rosenbrock", "rock2", "rkc2")),
    *((NOISY, {"solver": name, "rtol": None, "dt": 0.1}) for name in ("euler", "sosri2", "ees25")),
]
IDS = [options["solver"] for _, options in CASES]


def differences(function, x, step):
    units = step * torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape)
    return torch.stack([(function(x + unit) - function(x - unit)) / (2 * step) for unit in units], -1)


def by_forward_mode(function):
    def jacobian(y0):
        columns = []
        for unit in torch.eye(len(y0), dtype=y0.dtype):
            with forward_ad.dual_level():
                columns.append(forward_ad.unpack_dual(function(forward_ad.make_dual(y0, unit))).tangent)
        return torch.stack(columns, -1)

    return jacobian


JACOBIANS = {
    "jacfwd": torch.func.jacfwd,
    "jacrev": torch.func.jacrev,
    "backward": lambda f: lambda x: torch.autograd.functional.jacobian(f, x),
    "forward mode": by_forward_mode,
}
HESSIANS = {
    "backward": lambda f: lambda x: torch.autograd.functional.hessian(f, x),
    "torch.func": torch.func.hessian,
    "reverse twice": lambda f: torch.func.jacrev(torch.func.grad(f)),
}


def end(problem, options, gradient):
    return lambda y0: solve(problem, y0, [0.0, 1.0], random_state=0, gradient=gradient, **options).ys.flatten()[-2:]


def modes(options):
    return [mode for mode in GRADIENTS if mode in get_solver(options["solver"]).gradients]


@pytest.mark.parametrize(("problem", "options"), CASES, ids=IDS)
def test_first_and_second_derivatives(problem, options):
    expected = differences(end(problem, options, "direct"), Y0, 1e-5)
    curvature = differences(
        lambda x: differences(lambda y: end(problem, options, "direct")(y).square().sum(), x, 1e-4), Y0, 1e-3
    )
    for mode in modes(options):
        function = end(problem, options, mode)
        for jacobian in JACOBIANS.values():
            torch.testing.assert_close(jacobian(function)(Y0), expected, rtol=0, atol=1e-6)
        for hessian in HESSIANS.values():
            found = hessian(lambda y0, f=function: f(y0).square().sum())(Y0)
            torch.testing.assert_close(found, curvature, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["direct", "checkpoint", "forward"])
def test_derivatives_along_adaptive_steps(mode):
    options = {"rtol": 1e-10, "atol": 1e-10}
    expected = differences(end(QUIET, options, "direct"), Y0, 1e-4)
    for jacobian in JACOBIANS.values():
        torch.testing.assert_close(jacobian(end(QUIET, options, mode))(Y0), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("operators", [1, 2])
@pytest.mark.parametrize("diffusivity", [0.1, [0.1, 0.0], [0.1, 0.2]])
def test_hessians_of_fields(diffusivity, operators):
    """In the parameters of the reaction and of another operator, by the default solver."""
    fields = 1 if diffusivity == 0.1 else 2
    start = torch.rand(8, fields, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(a, mode):
        others = [lambda u: a[1] * (u.roll(1, 1) - u).square()][: operators - 1]
        reaction = lambda t, u: a[0] * u * (1.0 - u.sum(-1, keepdim=True))  # noqa: E731
        field = Problem(reaction, operator=[Laplacian(diffusivity, 0.3), *others])
        return solve(field, start, [0.0, 0.3], rtol=None, dt=0.1, gradient=mode).ys[-1, -1].square().sum()

    a = torch.tensor([0.7, 0.3], dtype=torch.float64)
    expected = differences(lambda x: differences(lambda y: loss(y, "checkpoint"), x, 1e-4), a, 1e-3)
    for mode in ("auto", "forward", *(["direct"] if operators == 2 else [])):
        found = torch.autograd.functional.hessian(lambda x, mode=mode: loss(x, mode), a)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    if operators == 1:  # then the default solver is rosenbrock
        with pytest.raises(RuntimeError, match="need gradient='checkpoint' or 'forward'"):
            torch.autograd.functional.hessian(lambda x: loss(x, "direct"), a)


@pytest.mark.parametrize("mode", ["auto", "checkpoint", "forward"])
def test_a_gradient_penalty_is_trained(mode):
    """d/da of (d u(1) / d u(0))^2 for u' = -a u is -2 exp(-2 a)."""
    rate = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    y0 = torch.ones(1, dtype=torch.float64, requires_grad=True)
    ys = solve(Problem(lambda t, u: -rate * u), y0, [0.0, 1.0], rtol=1e-8, atol=1e-8, gradient=mode).ys
    (slope,) = torch.autograd.grad(ys[0, -1, 0], y0, create_graph=True)
    slope.square().sum().backward()
    assert abs(rate.grad + 2.0 * torch.exp(-2.0 * rate.detach())) < 1e-6


def test_vmap_is_refused_in_words():
    batch = Y0.expand(3, 2)
    with pytest.raises(ValueError, match=r"torch.vmap cannot map a solver.*y0 of shape \(batch, dim\)"):
        torch.vmap(end(QUIET, {}, "auto"))(batch)
    with pytest.raises(ValueError, match="cannot map a solver"):
        torch.vmap(lambda a: solve(Problem(lambda t, u: -a * u), Y0, [0.0, 1.0]).ys)(batch[:, 0])


@pytest.mark.parametrize("before", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize(("problem", "options"), CASES, ids=IDS)
def test_what_a_call_keeps_serves_all_later_ones(problem, options, before):
    y0 = Y0.clone().requires_grad_()
    with before():
        solve(problem, y0, [0.0, 1.0], random_state=0, **options)
    for mode in modes(options):
        (slope,) = torch.autograd.grad(end(problem, options, mode)(y0).sum(), y0)
        assert slope.isfinite().all()
    torch.func.jacrev(torch.func.jacrev(end(problem, options, "auto")))(Y0)
    assert torch.autograd.grad(end(problem, options, "auto")(y0).sum(), y0)[0].isfinite().all()


@pytest.mark.parametrize("jacobian", ["jacfwd", "jacrev", "forward mode"])
def test_fields_inside_transforms(jacobian):
    def end(y0, solver):
        field = Problem(lambda t, u: u * (1.0 - u), operator=Laplacian(0.1, 0.3))
        return solve(field, y0[:, None], [0.0, 0.3], solver=solver, rtol=None, dt=0.1).ys[-1, -1].flatten()

    start = torch.linspace(0.1, 0.8, 6, dtype=torch.float64)
    expected = differences(lambda y0: end(y0, "rock2"), start, 1e-5)
    found = JACOBIANS[jacobian](lambda y0: end(y0, "rock2"))(start)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    with pytest.raises(RuntimeError, match="fields by solver='rosenbrock' have no derivatives inside transforms"):
        JACOBIANS[jacobian](lambda y0: end(y0, "auto"))(start)
