"""Explicit Runge-Kutta pairs for equations without noise: the tableau, and the step that all pairs share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from skneuralde.solvers.core.dense_output import DenseOutput
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper
from skneuralde.solvers.core.stiffness import stiffness_of_stages
from skneuralde.solvers.methods.stages import combine


@dataclass(frozen=True)
class Tableau:
    """Coefficients of a pair whose last stage is the first stage of the next step (first same as last).

    Attributes
    ----------
    nodes : tuple of float
        c, without the first, which is 0.
    matrix : tuple of tuple of float
        The rows of A below the first; the last row is b.
    error : tuple of float
        b less the weights of the embedded method.
    dense : tuple of tuple of float
        For each stage, the coefficients of theta, theta^2, ... of its weight inside the step.
    """

    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]
    dense: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        stages = len(self.nodes) + 1
        if not len(self.matrix) == stages - 1 or not len(self.error) == len(self.dense) == stages:
            raise ValueError("a tableau's parts must agree on the number of stages")
        for i, (node, row) in enumerate(zip(self.nodes, self.matrix, strict=True), 1):
            if len(row) != i or not math.isclose(sum(row), node, abs_tol=1e-13):
                raise ValueError(f"row {i} of the matrix must have {i} entries that sum to the node {node}, got {row}")
        if abs(sum(self.error)) > 1e-13:
            raise ValueError(f"the error weights must sum to 0, got {sum(self.error)}")
        for weight, polynomial in zip((*self.matrix[-1], 0.0), self.dense, strict=True):
            if not math.isclose(sum(polynomial), weight, abs_tol=1e-12):
                raise ValueError(f"dense weights must end at b: expected {weight}, got {sum(polynomial)}")

    @cached_property
    def stability(self) -> float:
        """Length of the interval of the negative real axis on which a step does not amplify."""
        stages = len(self.matrix)
        a = np.array([[*row, *[0.0] * (stages - len(row))] for row in ((), *self.matrix[:-1])])
        b, power, polynomial = np.array(self.matrix[-1]), np.ones(stages), [1.0]
        for _ in range(stages):
            polynomial.append(float(b @ power))
            power = a @ power
        growth = np.polynomial.Polynomial(polynomial)
        roots = np.concatenate([(growth - 1.0).roots(), (growth + 1.0).roots()])
        real = -roots[abs(roots.imag) < 1e-9].real
        return float(real[real > 1e-6].min())

    @property
    def ends_twice(self) -> bool:
        """Whether the last two stages are both at the end of the step."""
        return self.nodes[-2:] == (1.0, 1.0)


class RungeKutta(Stepper, DenseOutput):
    """An explicit Runge-Kutta pair with local extrapolation; a subclass states its facts and its ``tableau``."""

    noise_kinds = ("none",)
    adaptive = True
    tableau: Tableau

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, _, solver_state = inputs
        f = self.start_state(rhs, t, u) if solver_state is None else solver_state
        stages, u1, before = [h * f], u, u
        time_points = rhs.along(t, h, self.tableau.nodes, u.dtype)
        for time_point, row in zip(time_points, self.tableau.matrix, strict=True):
            before, u1 = u1, combine(u, row, stages)
            f = rhs.drift(time_point, u1)
            stages.append(h * f)
        error = combine(torch.zeros_like(u), self.tableau.error, stages)
        stiffness = None
        if self.tableau.ends_twice:
            stiffness = partial(_stiffness, before, u1, stages)
        return Step(u1, error, f, tuple(stages), stiffness=stiffness)

    def start_state(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor | None = None) -> Tensor:
        return rhs.drift(rhs.at(t, u.dtype), u) if f is None else f

    def interpolate(self, theta: Tensor, u0: Tensor, stages: tuple[Tensor, ...]) -> Tensor:
        weights = [_polynomial(coefficients, theta).to(u0.dtype) for coefficients in self.tableau.dense]
        for weight, stage in zip(weights, stages, strict=True):
            u0 = u0 + weight * stage
        return u0


def _stiffness(before: Tensor, u1: Tensor, stages: list[Tensor], scale: Tensor) -> Tensor:
    """Stiffness from the last two stages, whose states are ``before`` and ``u1``."""
    return stiffness_of_stages(u1 - before, stages[-1] - stages[-2], scale)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """``coefficients[0] x + coefficients[1] x^2 + ...``."""
    value = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * x
    return value
