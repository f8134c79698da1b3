"""Checks of the steps of a method: error estimate, dense output, solver state, gradients, jumps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skneuralde.problems import Jump, Problem
from skneuralde.solvers import DenseOutput, Solver, Step, StepInput, Stepper, solve
from skneuralde.testing.cases import (
    StuartLandau,
    brownian,
    finest_slope,
    fixed,
    require,
    rms,
    settings,
    solution,
    some_noise,
    tensor,
    tight,
)

_TIMES = tensor([0.0, 0.33, 1.0])


def _first_step(solver: Stepper, case: StuartLandau, h: float) -> tuple[Stepper, Step]:
    """The stepper that is prepared for the equation, and its step from the start."""
    rhs, t = case.rhs(), case.start
    stepper = solver.prepare(rhs, t, case.u0, rtol=None, n_hazards=0)
    return stepper, stepper.step(StepInput(rhs, t, torch.full_like(t, h), case.u0))


def check_error_order(solver: Stepper) -> None:
    """The error estimate shrinks as ``error_order`` says."""
    case = StuartLandau()

    def error(h: float) -> float:
        estimate = _first_step(solver, case, h)[1].error
        if estimate is None:
            raise AssertionError("an adaptive method must return an error estimate")
        return rms(estimate)

    measured = finest_slope(solver.error_order, error)
    require(
        abs(measured - solver.error_order) < 0.3,
        f"expected an error estimate of order {solver.error_order}, measured {measured:.2f}",
    )


def check_dense_output(solver: Stepper) -> None:
    """Inside a step the error is of the method's order in the step size, at the ends it is that of the step."""
    assert solver.order is not None
    case = StuartLandau()
    if not _first_step(solver, case, 0.1)[0].can_interpolate(case.rhs()):  # type: ignore[attr-defined]
        case = StuartLandau(autonomous=True)
    theta = torch.linspace(0.2, 0.8, 4, dtype=torch.float64)[:, None]

    def error(h: float) -> float:
        stepper, step = _first_step(solver, case, h)
        assert isinstance(stepper, DenseOutput)
        return rms(stepper.interpolate(theta, case.u0, step.stages) - case.exact(theta * h))

    measured = finest_slope(solver.order, error)
    require(measured > solver.order - 0.2, f"expected an error of order {solver.order}, measured {measured:.2f}")
    stepper, step = _first_step(solver, case, 0.1)
    assert isinstance(stepper, DenseOutput)
    for end, expected in ((0.0, case.u0), (1.0, step.u1)):
        worst = float((stepper.interpolate(torch.full_like(theta, end), case.u0, step.stages) - expected).abs().max())
        require(worst < 1e-12, f"expected the step's own state at its fraction {end}, measured {worst:.1e} off")


def check_solver_state(solver: Stepper) -> None:
    """A step starts from the state of the step before as well as afresh, as it does after a jump."""
    case, h = StuartLandau(), 2.0**-6
    rhs, length = case.rhs(), torch.full_like(case.start, 2.0**-6)
    stepper, first = _first_step(solver, case, h)
    end, left = case.start + h, first.solver_state
    fresh = stepper.start_state(rhs, end, first.u1)
    told = stepper.start_state(rhs, end, first.u1, rhs.drift(rhs.at(end, torch.float64), first.u1))
    shapes = [None if state is None else (tuple(state.shape), state.dtype) for state in (left, fresh, told)]
    require(
        shapes[0] == shapes[1] == shapes[2],
        f"expected solver states of one shape and dtype from a step and from start_state, got {shapes}",
    )
    nexts = [stepper.step(StepInput(rhs, end, length, first.u1, None, state)).u1 for state in (left, fresh, told, None)]
    # The state that a step leaves may be as inaccurate as the step.
    assert solver.order is not None
    most = 10.0 * float((nexts[1] - case.exact(2.0 * h)).abs().max()) + 1e-13
    for state, bound in zip(nexts, (most, 0.0, 1e-14, 1e-14), strict=True):
        worst = float((state - nexts[1]).abs().max())
        require(worst <= bound, f"expected the same step from a fresh solver state up to {bound:.1e}, got {worst:.1e}")


class _Reaction(nn.Module):
    """A drift with a parameter."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = nn.Parameter(tensor(rate))

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        return torch.sin(t) - self.rate * u**2


def _value(solver: Solver, drift: _Reaction, start: Tensor, arguments: dict[str, Any]) -> Tensor:
    """A number that depends smoothly on a parameter of the drift and on the initial state."""
    problem = some_noise(solver, drift, 0.4)
    noise = brownian(2) if problem.diffusion is not None else None
    u0 = start * tensor([[1.0], [2.0]])
    return solution(solver, problem, u0, _TIMES, noise=noise, **arguments).square().sum()


def _gradient(solver: Solver, arguments: dict[str, Any]) -> Tensor:
    drift, start = _Reaction(0.3), tensor(1.1).requires_grad_()
    return torch.stack(torch.autograd.grad(_value(solver, drift, start, arguments), (drift.rate, start)))


def check_gradient(solver: Solver) -> None:
    """The gradient is that of finite differences."""
    # The steps count as constants, so that the gradient of an adaptive solution is right up to its tolerance.
    trials = [(fixed(solver), 1e-6 if isinstance(solver, Stepper) else 2e-2)]
    if solver.adaptive and isinstance(solver, Stepper) and solver.handles(None):
        trials.append((settings(solver, tight(solver)), 2e-3))
    rate, start, eps = 0.3, tensor(1.1), 1e-4
    for arguments, most in trials:
        expected = torch.stack(
            [
                _value(solver, _Reaction(rate + eps), start, arguments)
                - _value(solver, _Reaction(rate - eps), start, arguments),
                _value(solver, _Reaction(rate), start + eps, arguments)
                - _value(solver, _Reaction(rate), start - eps, arguments),
            ]
        ).detach() / (2.0 * eps)
        gradient = _gradient(solver, arguments)
        worst = float(((gradient - expected) / (1.0 + expected.abs())).abs().max())
        require(
            worst < most,
            f"expected {expected.tolist()} by finite differences, measured a gradient of {gradient.tolist()}",
        )


def check_gradient_modes(solver: Solver) -> None:
    """All ways to compute the gradient give the same one."""
    direct = _gradient(solver, fixed(solver) | {"gradient": "direct"})
    for mode in solver.gradients:
        gradient = _gradient(solver, fixed(solver) | {"gradient": mode})
        worst = float(((gradient - direct) / (1.0 + direct.abs())).abs().max())
        # Only the steps back of a reversible method have an error of their own.
        require(
            worst < (1e-5 if mode == "reversible" else 1e-9),
            f"expected {direct.tolist()} as with 'direct', measured {gradient.tolist()} with {mode!r}",
        )


def check_jumps(solver: Solver) -> None:
    """Steps end where a path jumps: a state that grows at rate 1 and is halved by each jump is exact."""
    noisy = some_noise(solver, lambda t, u: torch.ones_like(u), 0.0)
    jumps = (Jump(3.0, lambda t, u: 0.5 * u),)
    problem = Problem(noisy.drift, noisy.diffusion, jumps=jumps, noise=noisy.noise, calculus=noisy.calculus)
    arguments: list[dict[str, Any]] = [{"rtol": None, "dt": 0.1}]
    if solver.adaptive and solver.handles(None):
        arguments.append({"rtol": 1e-3, "dt": None})
    for chosen in arguments:
        found = solve(problem, [1.0], [0.0, 0.7, 2.0], solver=solver, n_paths=4, random_state=0, **chosen)
        require(bool((found.jump_counts > 0).all()), f"expected jumps of every path, got {found.jump_counts.tolist()}")
        for path, times in enumerate(found.jump_times[0]):
            expected, now = 1.0, 0.0
            for t in times[times.isfinite()].tolist():
                expected, now = 0.5 * (expected + t - now), t
            expected += 2.0 - now
            measured = float(found.ys[path, -1, 0])
            require(abs(measured - expected) < 1e-6, f"expected {expected} after the jumps, measured {measured}")
