"""Solvers for the curves of training, for paths and for moments."""

from __future__ import annotations

import math
from typing import Any

import torch

from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.config.setup import Methods
from skneuralde.inference import SolverSettings
from skneuralde.losses import Loss
from skneuralde.problems import FieldProblem, Problem
from skneuralde.solvers import Solver, Stepper, auto_solver, get_controller, get_solver
from skneuralde.terms import is_constant_rate

#: Fixed steps per median gap between observations, if dt is not given; fewer for methods of weak order two.
_STEPS_PER_GAP, _FEW_STEPS_PER_GAP = 10, 4
#: Length of the cells of the noise grid, in median gaps. No adaptive step with noise is longer than a cell.
_GAPS_PER_CELL = 16


def choose_methods(
    estimator: Any,
    problem: Problem,
    scales: Scales,
    loss: Loss,
    dtype: torch.dtype,
    device: torch.device,
    points: int = 1,
) -> Methods:
    """The solvers of curves in training, of paths and of moments, with their tolerances.

    With noise, the local error of an adaptive method may be as large as that of a prediction with a divergence of
    ``rtol`` nats from the exact one: ``sqrt(2 * rtol)`` standard deviations of y, whatever the size of the state.
    """
    training, paths, moments = choose_solvers(estimator.solver, problem, loss, len(scales.state[1]) * points)
    controller = get_controller(estimator.controller)
    scale = torch.as_tensor(scales.state[1], dtype=dtype).repeat(points).to(device)
    smallest = 10.0 * torch.finfo(dtype).eps
    with_noise = problem.diffusion is not None

    def method(solver: Solver, on_paths: bool, fixed: bool = False) -> SolverSettings:
        dt = None
        if fixed or not solver.adaptive:
            accurate = (solver.weak_order or 0.0) >= 2.0 or (solver.strong_order or 0.0) >= 1.5
            steps = _FEW_STEPS_PER_GAP if accurate else _STEPS_PER_GAP
            dt = scales.spacing / steps if estimator.dt is None else estimator.dt
        by_noise = with_noise and on_paths
        is_controlled = dt is None and isinstance(solver, Stepper)
        return SolverSettings(
            solver,
            rtol=None if fixed else smallest if by_noise else estimator.rtol,
            atol=(estimator.atol + (math.sqrt(2.0 * estimator.rtol) if by_noise else 0.0)) * scale,
            dt=dt,
            max_steps=estimator.max_steps,
            cell=_GAPS_PER_CELL * scales.spacing if dt is None else dt,
            hazard_rtol=estimator.rtol,
            controller=controller if is_controlled else None,
        )

    # Unbounded rates need adaptive steps.
    steady = loss.compares_paths or len(problem.jumps) > 0
    steady = steady and not _unbounded(problem) and _is_auto(estimator.solver)
    methods = Methods(
        training=method(training, True, steady),
        paths=method(paths, True),
        moments=None if moments is None else method(moments, False),
    )
    used = [one for one in (methods.training, methods.paths, methods.moments) if one is not None]
    if controller is not None and all(one.controller is None for one in used):
        raise ValueError(
            f"controller={estimator.controller!r} has no effect: solver {paths.name!r} takes steps of a fixed size, or "
            "controls its steps by itself. Leave controller out, or use an adaptive solver such as 'tsit5' or 'sosri2'."
        )
    return methods


def _unbounded(problem: Problem) -> list[int]:
    """The channels of jumps with a varying rate that has no bound."""
    return [k for k, jump in enumerate(problem.jumps) if jump.bound is None and not is_constant_rate(jump.rate)]


def _is_auto(solver: str | Solver) -> bool:
    return isinstance(solver, str) and solver == "auto"


def choose_solvers(
    given: str | Solver, problem: Problem, loss: Loss, n_states: int
) -> tuple[Solver, Solver, Solver | None]:
    """Solvers of curves in training, of paths, and of moments (None for local linearisation).

    The solver that the caller gave is used for all purposes that it suits. Moments are an equation without noise; paths
    that are returned to the caller need a strongly convergent method. For the other purposes "auto" chooses, and
    ``solver_stats_`` reports the choice.
    """
    strong = auto_solver(problem, n_states)
    weak = get_solver("platen")
    if _is_auto(given):
        suits = loss.suits_weak_solvers and problem.diffusion is not None and weak.handles(problem.noise)
        suits = suits and not len(problem.jumps)  # between jumps its three-valued increments are too few to average
        if isinstance(problem, FieldProblem) and problem.drift.diffusion is not None and problem.sparsity is None:
            # A step costs a fraction of the implicit one's, which pays off for stiff reactions only.
            return get_solver("etdrk4"), strong, None
        return (weak if suits else strong), strong, None
    solver = get_solver(given)
    if problem.diffusion is None:
        solver.check(problem)
        return solver, solver, solver
    without_noise, with_noise = solver.handles(None), solver.handles(problem.noise)
    if loss.of_transitions and not without_noise:
        raise ValueError(
            f"solver={solver.name!r} cannot propagate moments, which loss={loss.name!r} needs: moments are an equation "
            "without noise. Use solver='auto' or a method for ordinary equations such as 'tsit5', or loss='mean' to "
            "train on paths."
        )
    if not loss.of_transitions and not with_noise:
        solver.check(problem)
    converges = with_noise and solver.strong_order is not None
    return (
        solver if with_noise else strong,
        solver if converges else strong,
        solver if without_noise else None,
    )
