"""Derivatives of solutions in the times at which they start and are saved."""

import pytest
import torch
from torch.autograd import forward_ad

from skneuralde import Jump, Laplacian, Problem, expect, solve

TS = torch.tensor([0.1, 0.4, 1.0], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
TIGHT = {"rtol": 1e-8, "atol": 1e-8}


def drift(t, u):
    return torch.stack([-0.7 * u[:, 0] * u[:, 1] + t[:, 0].sin(), u[:, 0].sin() * t[:, 0]], 1)


def value(ts, **options):
    ys = solve(Problem(drift), [1.0, 0.5], ts, **{**TIGHT, **options}).ys
    return ys[0].square().sum(-1) @ WEIGHTS


def differences(function, x, step=1e-4):
    return torch.stack([(function(x + unit) - function(x - unit)) / (2 * step) for unit in step * torch.eye(len(x))])


def slope(ts, **options):
    ts = ts.clone().requires_grad_()
    return torch.autograd.grad(value(ts, **options), ts)[0]


CASES = [
    *({"solver": "tsit5", "gradient": mode} for mode in ("direct", "checkpoint", "forward")),
    {"solver": "rosenbrock", "rtol": 1e-7},
    {"solver": "etdrk4"},
    {"solver": "tsit5", "rtol": None, "dt": 0.01},
    {"solver": "ees25", "rtol": None, "dt": 1e-3, "gradient": "reversible"},
    {"solver": "torchdiffeq:dopri5"},
    {"solver": "torchdiffeq:rk4", "rtol": None, "dt": 0.01},
]


@pytest.mark.parametrize("options", CASES, ids=lambda options: options["solver"])
def test_every_method_has_the_derivative_of_the_solution(options):
    expected = differences(value, TS)
    torch.testing.assert_close(slope(TS, **options), expected, rtol=0, atol=1e-5)


def test_forward_mode_and_second_derivatives():
    torch.testing.assert_close(torch.func.jacfwd(value)(TS), slope(TS))
    torch.testing.assert_close(torch.func.jacrev(value)(TS), slope(TS))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(TS, torch.ones_like(TS))
        torch.testing.assert_close(forward_ad.unpack_dual(value(dual, gradient="checkpoint")).tangent, slope(TS).sum())
    curvature = differences(slope, TS)
    for hessian in (torch.func.hessian(value), lambda ts: torch.autograd.functional.hessian(value, ts)):
        torch.testing.assert_close(hessian(TS), curvature, rtol=0, atol=1e-6)


def test_a_learned_duration():
    """u = exp(-k t): the derivative in k and t is (k t - 1) exp(-k t)."""
    k, end = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.7, 1.3))
    u = solve(Problem(lambda t, u: -k * u), [1.0], [0.0, end], gradient="checkpoint", **TIGHT).ys[0, -1, 0]
    (rate,) = torch.autograd.grad(u, end, create_graph=True)
    (mixed,) = torch.autograd.grad(rate, k)
    assert abs(rate + k * u) < 1e-12
    assert abs(mixed - (k * end - 1.0) * torch.exp(-k * end)) < 1e-7


def test_rows_with_times_of_their_own_backwards_and_with_inputs():
    switch = lambda t: torch.where(t > 0.5, 2.0, t)[..., None]  # noqa: E731
    ts = torch.tensor([[0.0, 0.2, 0.5], [1.0, 0.5, torch.nan]], dtype=torch.float64, requires_grad=True)
    problem = Problem(lambda t, u, c: c * u)
    ys = solve(problem, [[1.0], [1.0]], ts, context=switch, stops=[0.5], **TIGHT).ys
    (found,) = torch.autograd.grad(ys[0, :, :, 0].nan_to_num(0.0).sum(), ts)
    # u = exp(t^2 / 2) on the first row, exp(2 (t - 1)) on the second.
    first, second = torch.exp(0.5 * ts[0, 1:].detach() ** 2), torch.exp(torch.tensor(-1.0).double())
    expected = torch.tensor([[0.0, 0.2, 0.5], [-2.0 * second, 2.0 * second, 0.0]]).double()
    expected[0, 1:] *= first
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_fields_and_times_that_are_no_leaf():
    field = Problem(lambda t, u: u * (1.0 - u), operator=Laplacian(0.1, 0.3))
    start = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)[:, None]
    end = lambda ts: solve(field, start, ts, rtol=1e-7, atol=1e-7).ys[0, -1].sum()  # noqa: E731
    ts = torch.tensor([0.0, 0.5], dtype=torch.float64)
    moving = ts.clone().requires_grad_()
    (found,) = torch.autograd.grad(end(1.0 * moving), moving)
    torch.testing.assert_close(found, differences(end, ts, 1e-3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("random", [{"diffusion": 0.1}, {"jumps": (Jump(1.0, lambda t, u: 2.0 * u),)}])
def test_random_solutions_have_none(random):
    ts, problem = TS.clone().requires_grad_(), Problem(lambda t, u: -u, **random)
    with pytest.raises(ValueError, match=r"no derivative in time: give ts.detach\(\)"):
        solve(problem, [1.0], ts)
    with pytest.raises(ValueError, match=r"give ts.detach\(\)"):
        expect(problem, [1.0], ts, lambda ys: ys[..., -1, 0], n_paths=2)
    assert solve(problem, [1.0], ts.detach()).ys.isfinite().all()
    with torch.no_grad():
        assert solve(problem, [1.0], ts).to_frame().shape == (3, 1)
