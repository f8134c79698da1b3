"""Explicit methods for diffusion: as many stages as the equation is stiff, few of them for its accuracy."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.solvers.core.right_hand_side import RightHandSide
from skneuralde.solvers.core.stepper import Step
from skneuralde.solvers.methods.stabilized.spectral_radius import Spectrum
from skneuralde.solvers.stepping.adaptive import AdaptiveStepper

#: A step that needs more stages is refused, and tried again shorter.
MOST_STAGES = 20_000


class Advance(NamedTuple):
    """A step before its end is looked at: the new state, and an estimate of the error if the stages tell it."""

    u1: Tensor
    error: Tensor | None


class Stabilized(AdaptiveStepper):
    """A Runge-Kutta method whose number of stages follows the spectral radius, path by path.

    Stable along the negative real axis, as far as the square of the number of stages.
    """

    noise_kinds = ("none",)
    first_same_as_last = True
    handles_stiffness = True

    @abstractmethod
    def stages(self, z: float) -> int:
        """The number of stages that a step with ``abs(h) * spectral radius = z`` needs."""

    @abstractmethod
    def advance(self, rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, f: Tensor, s: int) -> Advance:
        """A step of s stages from states u with drift f; ``h (batch, 1)``."""

    @abstractmethod
    def compare(self, h: Tensor, u: Tensor, f: Tensor, u1: Tensor, f1: Tensor) -> Tensor:
        """An estimate of the error from both ends of a step, where the stages do not tell it."""

    def first_carry(self, rhs: RightHandSide, t: Tensor, u: Tensor, f: Tensor) -> Tensor:
        return _pack(f, Spectrum.estimate(rhs, rhs.at(t, u.dtype), u))

    def resume(self, rhs: RightHandSide, t: Tensor, u: Tensor) -> Tensor:
        return self.first_carry(rhs, t, u, rhs.drift(rhs.at(t, u.dtype), u))

    def step(
        self,
        rhs: RightHandSide,
        t: Tensor,
        h: Tensor | float,
        u: Tensor,
        noise: Increments | None,
        state: Tensor | None,
    ) -> Step:
        if state is None:
            state = self.resume(rhs, t, u)
        f, spectrum = _unpack(state, u.shape[1])
        spectrum = spectrum.renewed(rhs, t, u)
        length = h if isinstance(h, Tensor) else torch.full_like(u[:, :1], h)
        needed = [self._stages(x.item()) for x in (length.detach().abs() * spectrum.radius)[:, 0]]
        u1, error = self._by_stages(rhs, t, length, u, f, needed)
        f1 = rhs.drift(rhs.at(t + h, u.dtype), u1)
        if error is None:
            error = self.compare(length, u, f, u1, f1)
        refused = torch.tensor([s > MOST_STAGES for s in needed], device=u.device)[:, None]
        error = torch.where(refused, torch.inf, error)
        older = Spectrum(spectrum.radius, spectrum.vector, spectrum.age + 1.0)
        return Step(u1, error, _pack(f1, older), (length * f, length * f1, u1 - u))

    def _stages(self, z: float) -> int:
        # A spectral radius that is not finite is that of no step.
        return self.stages(z) if z < MOST_STAGES**2 else MOST_STAGES + 1

    def _by_stages(
        self, rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, f: Tensor, needed: list[int]
    ) -> tuple[Tensor, Tensor | None]:
        """Advance all paths that need the same number of stages together."""
        if len(set(needed)) == 1:
            return self.advance(rhs, t, h, u, f, self._allowed(needed[0]))
        u1, error = u, None
        for s in sorted(set(needed)):
            rows = torch.tensor([i for i, other in enumerate(needed) if other == s], device=u.device)
            part = self.advance(rhs.select(rows), t[rows], h[rows], u[rows], f[rows], self._allowed(s))
            u1 = u1.index_copy(0, rows, part.u1)
            if part.error is not None:
                error = torch.zeros_like(u) if error is None else error
                error = error.index_copy(0, rows, part.error)
        return u1, error

    def _allowed(self, s: int) -> int:
        """A step that is refused anyway costs little."""
        return s if s <= MOST_STAGES else self.stages(0.0)


def _pack(f: Tensor, spectrum: Spectrum) -> Tensor:
    """What a step leaves to the next one, with one row per path."""
    return torch.cat([f, spectrum.vector, spectrum.radius, spectrum.age], 1)


def _unpack(carry: Tensor, n: int) -> tuple[Tensor, Spectrum]:
    f, vector, radius, age = carry.split([n, n, 1, 1], 1)
    return f, Spectrum(radius.detach(), vector.detach(), age.detach())
