"""Stochastic Runge-Kutta methods for additive noise: the tableau, and the step that all methods share."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.controllers import AveragedErrorController
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper
from skneuralde.solvers.methods.stages import combine, widened

#: Node at which g is compared with its interpolation from the ends of a step.
_PROBE = 0.45


@dataclass(frozen=True)
class SRATableau:
    """Coefficients of a method for additive noise; A0 and B0 are strictly lower triangular.

    Attributes
    ----------
    c0 : tuple of float
        Nodes of the drift, without the first, which is 0.
    c1 : tuple of float
        Nodes of the diffusion.
    A0, B0 : tuple of tuple of float
        Weights of the drifts and of the diffusions in the stages of the drift below the first.
    alpha : tuple of float
        Weights of the drifts in the step.
    beta1, beta2 : tuple of float
        Weights of the diffusions in the step: times dW, and times the mean of W - W(t) over the step.
    """

    c0: tuple[float, ...]
    c1: tuple[float, ...]
    A0: tuple[tuple[float, ...], ...]
    B0: tuple[tuple[float, ...], ...]
    alpha: tuple[float, ...]
    beta1: tuple[float, ...]
    beta2: tuple[float, ...]

    def __post_init__(self) -> None:
        check_rows("A0", self.A0, self.c0)
        check_rows("B0", self.B0, (None,) * len(self.c0))
        check_weights("alpha", self.alpha, stages=len(self.c0) + 1, total=1.0)
        check_weights("beta1", self.beta1, stages=len(self.c1), total=1.0)
        check_weights("beta2", self.beta2, stages=len(self.c1), total=0.0)

    @cached_property
    def nodes(self) -> tuple[float, ...]:
        """Nodes of all stages of the drift, then of the diffusion."""
        return (0.0, *self.c0, *self.c1)

    @cached_property
    def alpha_correction(self) -> tuple[float, ...]:
        """Alpha less the weights of Euler's method."""
        return less_first(self.alpha)

    @cached_property
    def beta_correction(self) -> tuple[tuple[float, float], ...]:
        """For each stage of the diffusion, beta1 less the weight of Euler's method, and beta2."""
        return tuple(zip(less_first(self.beta1), self.beta2, strict=True))


def check_rows(name: str, rows: tuple[tuple[float, ...], ...], sums: tuple[float | None, ...]) -> None:
    """Refuse rows that do not lie below the diagonal, or do not have the given sums (None: any sum)."""
    if len(rows) != len(sums):
        raise ValueError(f"{name} must have {len(sums)} rows, got {len(rows)}")
    for i, (row, total) in enumerate(zip(rows, sums, strict=True), 1):
        if len(row) > i:
            raise ValueError(f"row {i} of {name} must have at most {i} entries, got {row}")
        if total is not None and not math.isclose(sum(row), total, abs_tol=1e-13):
            raise ValueError(f"row {i} of {name} must sum to the node {total}, got {row}")


def check_weights(name: str, weights: tuple[float, ...], *, stages: int, total: float) -> None:
    """Refuse weights of the wrong number or sum."""
    if len(weights) != stages or not math.isclose(sum(weights), total, abs_tol=1e-12):
        raise ValueError(f"{name} must have {stages} entries that sum to {total}, got {weights}")


def less_first(weights: tuple[float, ...]) -> tuple[float, ...]:
    """The weights less those of the method with the first stage only."""
    return (weights[0] - 1.0, *weights[1:])


def path_mean(noise: Increments) -> Tensor:
    """Mean of W - W(t) over the step: the iterated integral I(1,0) over h."""
    assert noise.area is not None
    return torch.add(noise.area, noise.w, alpha=0.5)


def additive_step(
    tableau: SRATableau,
    rhs: RightHandSide,
    t: Tensor,
    h: Tensor | float,
    u: Tensor,
    noise: Increments,
    probe: float | None = None,
) -> Step:
    """Euler's step plus a correction of order h^1.5, which is also the error estimate.

    With ``probe``, a node between the diffusion's own, the error of the integral of g dW is part of the estimate.
    """
    w, mean = noise.w, path_mean(noise)
    nodes = tableau.nodes if probe is None else (*tableau.nodes, probe)
    time_points = rhs.along(t, h, nodes, u.dtype)
    of_drift, of_diffusion = time_points[: len(tableau.alpha)], time_points[len(tableau.alpha) : len(tableau.nodes)]
    h = widened(h, u)
    k, g = [h * rhs.drift(of_drift[0], u)], [rhs.diffusion(time_point, u) for time_point in of_diffusion]
    kicks = [rhs.apply_noise(value, mean) for value in g[: len(tableau.c0)]]
    for i, (time_point, drifts, diffusions) in enumerate(zip(of_drift[1:], tableau.A0, tableau.B0, strict=True), 1):
        inner = combine(combine(u, drifts, k), diffusions, kicks[:i])
        k.append(h * rhs.drift(time_point, inner))
    correction = combine(torch.zeros_like(u), tableau.alpha_correction, k)
    for value, (of_w, of_mean) in zip(g, tableau.beta_correction, strict=True):
        correction = correction + rhs.apply_noise(value, torch.add(of_w * w, mean, alpha=of_mean))
    error, sizes = correction, list(map(size_of, g))
    if probe is not None:
        between = rhs.diffusion(time_points[-1], u)
        first, last = g[tableau.c1.index(0.0)], g[tableau.c1.index(1.0)]
        defect = size_of(between - torch.lerp(first, last, probe))
        error = error.abs().addcmul(defect, torch.as_tensor(h).sqrt())
        sizes.append(size_of(between))
    return Step(u + k[0] + rhs.apply_noise(g[0], w) + correction, error, diffusion=reduce(torch.maximum, sizes))


def size_of(g: Tensor) -> Tensor:
    """Size (batch, dim) of a value of the diffusion."""
    return g.abs() if g.ndim == 2 else g.square().sum(-1).sqrt()


class SRA(Stepper):
    """A stochastic Runge-Kutta step for additive noise.

    The step is that of Euler and Maruyama plus a correction of order h^1.5 with the leading term f' g I(1,0). The
    correction is the error estimate: that of the embedded Euler step, so that the error of the step itself is smaller.
    Adaptive steps also estimate the error of the integral of g dW from the curvature of g, which takes one evaluation
    more unless g is constant.
    """

    calculus = ("ito", "stratonovich")
    noise_kinds = ("additive",)
    strong_order = 1.5
    weak_order = 2.0
    levy_area = "space-time"
    adaptive = True
    error_order = 1.5
    controller = AveragedErrorController()
    tableau: SRATableau
    probe: float | None = None

    def prepare(self, rhs: RightHandSide, t: Tensor, u: Tensor, *, rtol: float | None, n_hazards: int) -> SRA:
        if rtol is None or rhs.has_steady_noise(t, u):
            return self
        tuned = copy(self)
        tuned.probe = _PROBE
        return tuned

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, noise, _ = inputs
        assert noise is not None
        return additive_step(self.tableau, rhs, t, h, u, noise, self.probe)
