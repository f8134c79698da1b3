"""Derivatives of random small problems by every method and gradient mode, against central differences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad

from skneuralde import Jump, Problem, solve
from skneuralde.solvers import get_solver, solver_names

NAMES = sorted(name for name in solver_names() if name != "auto")
FIXED = [name for name in NAMES if not (name.startswith("torchdiffeq:") and get_solver(name).adaptive)]
X = torch.tensor([0.8, -0.5, 0.7, 0.4], dtype=torch.float64)


def problem_of(name, k, kind, calculus, has_jumps):
    """An equation in which two numbers ``k`` enter drift, noise and jumps."""
    solver = get_solver(name)

    def drift(t, u):
        late = k[1] * u.sin() if float(t.max()) > 0.1 else 0.0
        return -k[0] * u * u.square().sum(1, keepdim=True) + late + (3.0 * t).cos()

    noises = {
        "diagonal": lambda t, u: 0.2 * (k[1] + u.cos()),
        "additive": lambda t, u: 0.2 * k[1] * torch.ones_like(u),
        "general": lambda t, u: torch.stack([0.2 * (k[1] + u.cos()), 0.1 * u * k[0]], -1),
    }
    jumps = [Jump(2.0, lambda t, u: u * (0.5 + 0.3 * k[1]))] if has_jumps and solver.handles_jumps else ()
    if kind == "none":
        return Problem(drift, jumps=jumps)
    return Problem(drift, noises[kind], jumps=jumps, noise=kind, calculus=calculus)


def by_backward(function):
    x = X.clone().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


def by_forward_mode(function):
    with forward_ad.dual_level():
        ends = [function(forward_ad.make_dual(X, unit)) for unit in torch.eye(4).double()]
        return torch.stack([forward_ad.unpack_dual(end).tangent for end in ends])


def differences(function, step):
    return torch.stack([(function(X + v) - function(X - v)) / (2 * step) for v in step * torch.eye(4).double()])


WAYS = {
    "backward": by_backward,
    "forward mode": by_forward_mode,
    "jacfwd": lambda function: torch.func.jacfwd(function)(X),
    "jacrev": lambda function: torch.func.jacrev(function)(X),
}


@settings(max_examples=8)
@given(st.data())
def test_first_derivatives_along_fixed_steps(data):
    name = data.draw(st.sampled_from(FIXED))
    kind = data.draw(st.sampled_from(get_solver(name).noise_kinds))
    calculus = data.draw(st.sampled_from(["ito", "stratonovich"]))
    has_jumps, seed = data.draw(st.booleans()), data.draw(st.integers(0, 1000))
    mode = data.draw(st.sampled_from(get_solver(name).gradients))

    def end(x, gradient=mode):
        problem = problem_of(name, x[2:], kind, calculus, has_jumps)
        options = {"rtol": None, "dt": 0.1, "random_state": seed, "gradient": gradient}
        return solve(problem, x[:2], [0.0, 0.15, 0.3], solver=name, **options).ys.sin().sum()

    expected = differences(lambda x: end(x, "direct"), 1e-5)
    # Reversible steps are undone up to terms of high order.
    tolerance = 1e-3 if mode == "reversible" else 1e-6
    ways = {"backward": by_backward} if name == "torchsde:milstein" else WAYS
    for way, derivative in ways.items():
        torch.testing.assert_close(derivative(end), expected, rtol=0, atol=tolerance, msg=lambda m, w=way: f"{w}: {m}")


@settings(max_examples=2)
@given(st.data())
def test_second_derivatives_along_fixed_steps(data):
    name = data.draw(st.sampled_from([name for name in FIXED if get_solver(name).handles(None)]))
    mode = data.draw(st.sampled_from(get_solver(name).gradients))

    def end(x):
        problem = problem_of(name, x[2:], "none", "ito", False)
        return solve(problem, x[:2], [0.0, 0.2], solver=name, rtol=None, dt=0.1, gradient=mode).ys.sin().sum()

    def slope(x):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(end(x), x)[0]

    expected = differences(slope, 1e-4)
    for hessian in (torch.func.hessian(end)(X), torch.autograd.functional.hessian(end, X)):
        torch.testing.assert_close(hessian, expected, rtol=0, atol=1e-5)


@settings(max_examples=2)
@given(st.data())
def test_derivatives_along_adaptive_steps(data):
    name = data.draw(st.sampled_from(["tsit5", "dopri5", "etdrk4", "torchdiffeq:dopri8"]))
    mode = data.draw(st.sampled_from(get_solver(name).gradients))
    has_jumps = data.draw(st.booleans())

    def end(x, gradient=mode):
        problem = problem_of(name, x[2:], "none", "ito", has_jumps)
        options = {"rtol": 1e-8, "atol": 1e-8, "stops": [0.1], "random_state": 0, "gradient": gradient}
        return solve(problem, x[:2], [0.0, 0.3], solver=name, **options).ys.sin().sum()

    expected = differences(lambda x: end(x, "direct"), 1e-4)
    ways = ["backward"] if name.startswith("torchdiffeq:") else WAYS
    for way in ways:
        torch.testing.assert_close(WAYS[way](end), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("way", ["forward mode", "jacfwd", "jacrev"])
def test_methods_that_refuse_transforms(way):
    noisy = Problem(lambda t, u: -u, lambda t, u: 0.2 * u)
    with pytest.raises(RuntimeError, match=r"no derivatives inside transforms.*use torch.autograd"):
        WAYS[way](lambda x: solve(noisy, x, [0.0, 1.0], solver="torchsde:milstein", dt=0.5).ys.sum())
    with pytest.raises(RuntimeError, match=r"no derivatives inside transforms.*use torch.autograd"):
        WAYS[way](lambda x: solve(Problem(lambda t, u: -u), x, [0.0, 1.0], solver="torchdiffeq:dopri5").ys.sum())
