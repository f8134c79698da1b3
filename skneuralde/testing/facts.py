"""Checks that a solver states its facts, and that they are consistent."""

from __future__ import annotations

import torch

from skneuralde.problems import Jump, Problem
from skneuralde.solvers import Solver, Stepper
from skneuralde.testing.cases import NOISE_KINDS, require

_MODES = ("direct", "checkpoint", "reversible", "forward")


def check_facts(solver: Solver) -> None:
    """Every fact is stated where it is needed, and only there."""
    name = getattr(solver, "name", "")
    require(isinstance(name, str) and name != "", f"name must be a string that is not empty, got {name!r}")
    require(isinstance(solver.reference, str), f"reference must be a string, got {solver.reference!r}")
    _check_subset("noise_kinds", solver.noise_kinds, ("none", *NOISE_KINDS))
    _check_subset("calculus", solver.calculus, ("ito", "stratonovich"))
    _check_subset("gradients", solver.gradients, _MODES)
    require(
        solver.levy_area in (None, "space-time"), f"levy_area must be None or 'space-time', got {solver.levy_area!r}"
    )
    require(
        solver.increments in ("gaussian", "three-point"),
        f"increments must be 'gaussian' or 'three-point', got {solver.increments!r}",
    )
    noisy = any(map(solver.handles, NOISE_KINDS))
    converges = noisy and solver.increments == "gaussian"
    _check_given("order", solver.order, "'none'", needed=solver.handles(None))
    _check_given("weak_order", solver.weak_order, "a kind of noise", needed=noisy)
    _check_given("strong_order", solver.strong_order, "noise with Gaussian increments", needed=converges)
    if solver.handles("general"):
        require(
            (solver.strong_order or 0.0) <= 0.5,
            "strong_order with general noise is at most 0.5 without the Levy areas of pairs of noises (Clark and "
            f"Cameron, 1980), got {solver.strong_order}",
        )
    if solver.adaptive and isinstance(solver, Stepper):
        order = getattr(solver, "error_order", None)
        require(order is not None and order > 0, f"an adaptive method needs a positive error_order, got {order!r}")


def check_refusal_of_jumps(solver: Solver) -> None:
    """A method that cannot stop where a path jumps refuses jumps."""
    problem = Problem(lambda t, u: -u, jumps=(Jump(1.0, lambda t, u: 0.5 * u),))
    problem.check(torch.zeros(1, 1), torch.ones(1, 1))
    try:
        solver.check(problem)
    except ValueError:
        return
    raise AssertionError("a method with handles_jumps=False must refuse a problem with jumps by a ValueError")


def _check_subset(name: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    require(len(values) > 0 and set(values) <= set(known), f"{name} must hold some of {known}, got {values!r}")


def _check_given(name: str, value: float | None, kind: str, *, needed: bool) -> None:
    require(
        (value is not None) == needed,
        f"{name} must be {'a number' if needed else 'None'}, since noise_kinds "
        f"{'hold' if needed else 'do not hold'} {kind}; got {value!r}",
    )
