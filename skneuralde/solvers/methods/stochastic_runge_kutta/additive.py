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

#: Node in the middle of a step at which g is compared with its interpolation from the ends, and how far another may be.
_MIDDLE, _NEAR = 0.45, 0.25
#: Length of the finest noise, relative to the interval of integration: at most four leaves of its tree.
_FINEST = 1e-9


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
    def drift_error(self) -> tuple[float, ...]:
        """Weights of the drifts in the error estimate."""
        return without_area(self.alpha_correction, self.c0, self.B0)

    @cached_property
    def probes(self) -> tuple[float, float]:
        """Nodes in the middle and at the end at which g is compared with a straight line; own ones where possible."""
        middle = min(self.c1, key=lambda node: abs(node - _MIDDLE))
        end = min(self.c1, key=lambda node: abs(node - 1.0))
        return (middle if abs(middle - _MIDDLE) < _NEAR else _MIDDLE), (end if math.isclose(end, 1.0) else 1.0)

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


def without_area(
    correction: tuple[float, ...], nodes: tuple[float, ...], kicks: tuple[tuple[float, ...], ...]
) -> tuple[float, ...]:
    """The weights nearest to those of a correction of Euler's drift that leave out the term f' g I(1,0).

    A step of order 1.5 has this term right. As an error it would be that of Euler's method, which is hundreds of times
    larger along a path. What remains has the same term of order h^2 of the drift along itself. Two stages cannot tell
    the two terms apart, and keep their weights.
    """
    if len(correction) < 3:
        return correction
    conditions = torch.tensor(
        [[1.0] * len(correction), [0.0, *map(sum, kicks)], [0.0, *nodes]], dtype=torch.float64
    )  # sums of weights times 1, g and f
    weights = torch.tensor(correction, dtype=torch.float64)
    excess = conditions @ weights - torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)
    return tuple((weights - torch.linalg.pinv(conditions) @ excess).tolist())


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
    *,
    is_adaptive: bool,
    follows_time: bool,
) -> Step:
    """A step of order 1.5, with an error estimate if ``is_adaptive``, of g in time, too, if it ``follows_time``."""
    w, mean = noise.w, path_mean(noise)
    probes = [node for node in tableau.probes if node not in tableau.c1] if follows_time else []
    time_points = rhs.along(t, h, (*tableau.nodes, *probes), u.dtype)
    of_drift, of_diffusion = time_points[: len(tableau.alpha)], time_points[len(tableau.alpha) :]
    length, h = h, widened(h, u)
    k, g = [h * rhs.drift(of_drift[0], u)], [rhs.diffusion(time_point, u) for time_point in of_diffusion]
    kicks = [rhs.apply_noise(value, mean) for value in g[: len(tableau.c0)]]
    for i, (time_point, drifts, diffusions) in enumerate(zip(of_drift[1:], tableau.A0, tableau.B0, strict=True), 1):
        inner = combine(combine(u, drifts, k), diffusions, kicks[:i])
        k.append(h * rhs.drift(time_point, inner))
    kick = torch.zeros_like(u)
    for value, (of_w, of_mean) in zip(g, tableau.beta_correction, strict=False):
        kick = kick + rhs.apply_noise(value, torch.add(of_w * w, mean, alpha=of_mean))
    u1 = u + k[0] + rhs.apply_noise(g[0], w) + combine(kick, tableau.alpha_correction, k)
    if not is_adaptive:
        return Step(u1)
    error = combine(torch.zeros_like(u), tableau.drift_error, k).abs()
    if follows_time:
        values = dict(zip((*tableau.c1, *probes), g, strict=True))
        start, (middle, end) = values[0.0], (values[node] for node in tableau.probes)
        along_line = rhs.apply_noise(start - g[0], w) + rhs.apply_noise(end - start, w - mean)
        defect = size_of(middle - torch.lerp(start, end, tableau.probes[0]))
        share = resolved_share(rhs, length)
        error = error + share * torch.hypot(kick - along_line, defect * torch.as_tensor(length).abs().sqrt())
    return Step(u1, error, diffusion=reduce(torch.maximum, map(size_of, g)))


def resolved_share(rhs: RightHandSide, h: Tensor | float) -> Tensor:
    """Share of the noise of a step in which a jump of g in time would be looked for.

    It vanishes for steps as short as the finest noise: wherever g jumps in these, the state changes by some 1e-5 of
    what the noise does to it in the whole time.
    """
    shortest = _FINEST * (rhs.upper - rhs.lower)
    return (1.0 - shortest / h).clamp_min(0.0).sqrt().to(torch.as_tensor(h).dtype)


def size_of(g: Tensor) -> Tensor:
    """Size (batch, dim) of a value of the diffusion."""
    return g.abs() if g.ndim == 2 else g.square().sum(-1).sqrt()


class SRA(Stepper):
    """A stochastic Runge-Kutta step for additive noise.

    The error estimate has two parts. The drift's is the difference from a step whose drift has order 1, with the same
    term f' g I(1,0) if the method has three stages or more: the error of the step itself is smaller. That of the
    integral of g dW follows from the curvature of g in time, which takes one evaluation more unless g is constant.
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
    is_adaptive = True
    follows_time = False  #: whether the estimate has the part of g

    def prepare(self, rhs: RightHandSide, t: Tensor, u: Tensor, *, rtol: float | None, n_hazards: int) -> SRA:
        tuned = copy(self)
        tuned.is_adaptive = rtol is not None
        tuned.follows_time = tuned.is_adaptive and not rhs.has_steady_noise(t, u)
        return tuned

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, noise, _ = inputs
        assert noise is not None
        adaptive, follows_time = self.is_adaptive, self.follows_time
        return additive_step(self.tableau, rhs, t, h, u, noise, is_adaptive=adaptive, follows_time=follows_time)
