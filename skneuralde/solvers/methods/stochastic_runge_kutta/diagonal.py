"""Stochastic Runge-Kutta methods for diagonal noise: the tableau, and the step that all methods share."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import torch
from torch import Tensor

from skneuralde.solvers.core.controllers import AveragedErrorController
from skneuralde.solvers.core.right_hand_side import RightHandSide, TimePoint
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper
from skneuralde.solvers.methods.stages import combine, widened
from skneuralde.solvers.methods.stochastic_runge_kutta.additive import (
    SRATableau,
    additive_step,
    check_rows,
    check_weights,
    less_first,
    path_mean,
    resolved_share,
    without_area,
)
from skneuralde.solvers.methods.stochastic_runge_kutta.mixing import (
    ADVICE,
    LONGEST_STEP,
    error_so_far,
    mixed_terms,
    mixing_components,
)


@dataclass(frozen=True)
class SRITableau:
    """Coefficients of a method for diagonal noise; A0, B0, A1 and B1 are strictly lower triangular.

    Stages of the drift that no other stage uses are left out.

    Attributes
    ----------
    c0, c1 : tuple of float
        Nodes of the drift and of the diffusion, without the first ones, which are 0.
    A0, B0 : tuple of tuple of float
        Weights of the drifts and of the diffusions in the stages of the drift below the first.
    A1, B1 : tuple of tuple of float
        The same weights in the stages of the diffusion.
    alpha : tuple of float
        Weights of the drifts in the step.
    beta1, beta2, beta3, beta4 : tuple of float
        Weights of the diffusions in the step: times I(1), I(1,1) / sqrt(h), I(1,0) / h and I(1,1,1) / h.
    """

    c0: tuple[float, ...]
    c1: tuple[float, ...]
    A0: tuple[tuple[float, ...], ...]
    B0: tuple[tuple[float, ...], ...]
    A1: tuple[tuple[float, ...], ...]
    B1: tuple[tuple[float, ...], ...]
    alpha: tuple[float, ...]
    beta1: tuple[float, ...]
    beta2: tuple[float, ...]
    beta3: tuple[float, ...]
    beta4: tuple[float, ...]

    def __post_init__(self) -> None:
        check_rows("A0", self.A0, self.c0)
        check_rows("B0", self.B0, (None,) * len(self.c0))
        check_rows("A1", self.A1, self.c1)
        check_rows("B1", self.B1, (None,) * len(self.c1))
        check_weights("alpha", self.alpha, stages=len(self.c0) + 1, total=1.0)
        for name, total in (("beta1", 1.0), ("beta2", 0.0), ("beta3", 0.0), ("beta4", 0.0)):
            check_weights(name, getattr(self, name), stages=len(self.c1) + 1, total=total)
        if any(abs(b1 + b3) > 1e-13 for b1, b3 in zip(less_first(self.beta1), self.beta3, strict=True)):
            raise ValueError(f"beta1 + beta3 must be the first unit vector, got {self.beta1} and {self.beta3}")

    @cached_property
    def nodes(self) -> tuple[float, ...]:
        """Nodes of the first stages, then of the other stages of the drift, then of the diffusion."""
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
    def additive(self) -> SRATableau:
        """The method for additive noise to which this one reduces."""
        used = [i for i, pair in enumerate(zip(self.beta1, self.beta3, strict=True)) if any(pair)]
        nodes = (0.0, *self.c1)
        c1, beta1, beta3 = (tuple(row[i] for i in used) for row in (nodes, self.beta1, self.beta3))
        return SRATableau(self.c0, c1, self.A0, self.B0, self.alpha, beta1, beta3)


class SRI(Stepper):
    """A stochastic Runge-Kutta step for diagonal and additive noise, in the Ito sense.

    The order is reached if each component of g depends only on its own component of the state. Otherwise the noise does
    not commute: the double integrals of the noise are then approximated by their means given increments and areas, and
    adaptive steps see what is missing of them, which gives strong order 1/2.

    The step is one of order 1, Milstein's without derivatives, plus a correction of order h^1.5. The error estimate
    is this correction without its term f' g I(1,0), if the method has three stages of the drift or more: the error of
    the step itself is smaller. With noise that does not depend on the state, g is evaluated like that of
    methods for additive noise.
    """

    calculus = ("ito",)
    noise_kinds = ("diagonal", "additive")
    strong_order = 1.5
    weak_order = 1.5
    levy_area = "space-time"
    adaptive = True
    error_order = 1.5
    controller = AveragedErrorController()
    tableau: SRITableau
    is_adaptive = True
    is_additive = False  #: whether g does not depend on the state
    follows_time = False  #: whether the estimate for such a g has the part of g
    mixing: tuple[int, ...] = ()  #: components of the state that other components of g read

    def prepare(self, rhs: RightHandSide, t: Tensor, u: Tensor, *, rtol: float | None, n_hazards: int) -> SRI:
        tuned = copy(self)
        tuned.is_adaptive = rtol is not None
        tuned.is_additive = rhs.is_noise_additive(t, u)
        if tuned.is_additive:
            tuned.follows_time = tuned.is_adaptive and not rhs.has_steady_noise(t, u)
            return tuned
        tuned.mixing = mixing_components(rhs, t, u)
        if tuned.mixing:
            tuned.advice, tuned.longest_step = ADVICE, LONGEST_STEP
        return tuned

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, noise, _ = inputs
        assert noise is not None
        if self.is_additive or rhs.has_additive_noise:
            tableau, adaptive, follows_time = self.tableau.additive, self.is_adaptive, self.follows_time
            return additive_step(tableau, rhs, t, h, u, noise, is_adaptive=adaptive, follows_time=follows_time)
        w, mean = noise.w, path_mean(noise)
        time_points = rhs.along(t, h, self.tableau.nodes, u.dtype)
        h = widened(h, u)
        root = h**0.5
        k, g = self._evaluate_stages(rhs, time_points, h, u, mean, root)
        square = w * w
        swing, drift_area, triple = (square - h) / (2.0 * root), mean - w, w * (square / (6.0 * h) - 0.5)
        embedded, kick = u + k[0], torch.zeros_like(u)
        # Stage by stage, since the rounding of a matrix product would depend on the size of the batch. beta1 is beta3
        # with the sign changed, except for the first stage, which Euler's step has.
        for i, value in enumerate(g):
            beta2, beta3, beta4 = self.tableau.beta2[i], self.tableau.beta3[i], self.tableau.beta4[i]
            weight = torch.add(w, swing, alpha=beta2) if i == 0 else beta2 * swing
            embedded = torch.addcmul(embedded, weight, value)
            kick = torch.addcmul(kick, torch.add(beta3 * drift_area, triple, alpha=beta4), value)
        u1 = embedded + combine(kick, self.tableau.alpha_correction, k)
        missing = None
        if self.mixing:
            mixed, missing = mixed_terms(rhs, time_points[0], h, u, g[0], noise, self.mixing)
            u1 = u1 + mixed
        if not self.is_adaptive:
            return Step(u1)
        error = combine(torch.zeros_like(u), self.tableau.drift_error, k)
        error = error + resolved_share(rhs, h) * kick
        if missing is not None:
            error = torch.hypot(error, error_so_far(rhs, t, h, missing))
        return Step(u1, error, diffusion=torch.maximum(g[0].abs(), g[-1].abs()))

    def _evaluate_stages(
        self,
        rhs: RightHandSide,
        time_points: list[TimePoint],
        h: Tensor | float,
        u: Tensor,
        mean: Tensor,
        root: Tensor | float,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The drifts times h, and the diffusions."""
        tableau = self.tableau
        start, *time_points = time_points
        of_drift, of_diffusion = time_points[: len(tableau.c0)], time_points[len(tableau.c0) :]
        f, value = rhs.coefficients(start, u)
        assert value is not None
        k, g = [h * f], [value]
        kicks: list[Tensor] = []
        swings: list[Tensor] = []
        drift_stages = zip(of_drift, tableau.A0, tableau.B0, strict=True)
        diffusion_stages = zip(of_diffusion, tableau.A1, tableau.B1, strict=True)
        for drift_stage, (time_point, drifts, diffusions) in zip_longest(drift_stages, diffusion_stages):
            swings.append(root * g[-1])
            value = rhs.diffusion(time_point, combine(combine(u, drifts, k), diffusions, swings))
            if drift_stage is not None:
                time_point, drifts, diffusions = drift_stage
                kicks.append(mean * g[-1])
                k.append(h * rhs.drift(time_point, combine(combine(u, drifts, k), diffusions, kicks)))
            g.append(value)
        return k, g
