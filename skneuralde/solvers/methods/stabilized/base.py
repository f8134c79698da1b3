"""Stabilized explicit methods, whose number of stages follows the stiffness of the equation."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.spectral_radius import Spectrum
from skneuralde.solvers.core.stepper import Step, StepInput, Stepper

#: A step that needs more stages is rejected.
MOST_STAGES = 20_000


class Advance(NamedTuple):
    """A step of given stages: the new state, the drift there, and the error estimate."""

    u1: Tensor
    f1: Tensor
    error: Tensor


class Stabilized(Stepper):
    """A stabilized Runge-Kutta method, whose number of stages follows the spectral radius, path by path.

    Its stability interval on the negative real axis grows with the square of the number of stages.
    """

    noise_kinds = ("none",)
    adaptive = True

    @abstractmethod
    def stages(self, z: float) -> int:
        """The number of stages that a step with ``abs(h) * spectral radius = z`` needs."""

    @abstractmethod
    def advance(self, rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, f: Tensor, s: int) -> Advance:
        """A step of s stages from states u with drift f; ``h (batch, 1)``."""

    def start_state(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor | None = None) -> Tensor:
        now = rhs.at(t, u.dtype)
        return _pack(rhs.drift(now, u) if f is None else f, Spectrum.estimate(rhs, now, u))

    def step(self, inputs: StepInput) -> Step:
        rhs, t, h, u, _, solver_state = inputs
        if solver_state is None:
            solver_state = self.start_state(rhs, t, u)
        f, spectrum = _unpack(solver_state, u.shape[1])
        spectrum = spectrum.renewed(rhs, t, u)
        length = h if isinstance(h, Tensor) else torch.full_like(u[:, :1], h)
        needed = [self._stages(x.item()) for x in (length.detach().abs() * spectrum.radius)[:, 0]]
        u1, f1, error = self._by_stages(rhs, t, length, u, f, needed)
        rejected = torch.tensor([s > MOST_STAGES for s in needed], device=u.device)[:, None]
        error = torch.where(rejected, torch.inf, error)
        older = Spectrum(spectrum.radius, spectrum.vector, spectrum.age + 1.0)
        stages = (length * f, length * f1, u1 - u)
        radius = (length.abs() * spectrum.radius).double()
        return Step(u1, error, _pack(f1, older), stages, stiffness=lambda scale: radius)

    def _stages(self, z: float) -> int:
        # A spectral radius that is not finite leads to a rejection, too.
        return self.stages(z) if z < MOST_STAGES**2 else MOST_STAGES + 1

    def _by_stages(self, rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, f: Tensor, needed: list[int]) -> Advance:
        """Advance all paths that need the same number of stages together."""
        if len(set(needed)) == 1:
            return self.advance(rhs, t, h, u, f, self._allowed(needed[0]))
        whole = Advance(u, u, u)
        for s in sorted(set(needed)):
            rows = torch.tensor([i for i, other in enumerate(needed) if other == s], device=u.device)
            part = self.advance(rhs.select(rows), t[rows], h[rows], u[rows], f[rows], self._allowed(s))
            whole = Advance(*(old.index_copy(0, rows, new) for old, new in zip(whole, part, strict=True)))
        return whole

    def _allowed(self, s: int) -> int:
        """The number of stages to make; few for a step that will be rejected."""
        return s if s <= MOST_STAGES else self.stages(0.0)


def _pack(f: Tensor, spectrum: Spectrum) -> Tensor:
    """Solver state: the drift and the spectrum, with one row per path."""
    return torch.cat([f, spectrum.vector, spectrum.radius, spectrum.age], 1)


def _unpack(solver_state: Tensor, n: int) -> tuple[Tensor, Spectrum]:
    f, vector, radius, age = solver_state.split([n, n, 1, 1], 1)
    return f, Spectrum(radius.detach(), vector.detach(), age.detach())
