"""Steps made one after the other on a mesh, and the orders that they show."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.noise import Increments
from skneuralde.problems import Problem
from skneuralde.solvers import StepInput, Stepper
from skneuralde.solvers.core.right_hand_side import RightHandSide


@dataclass(frozen=True)
class Noise:
    """Brownian motions on the steps of a mesh of length ``h``: increments and space-time areas (steps, batch, m)."""

    h: float
    w: Tensor
    area: Tensor

    @classmethod
    def draw(cls, end: float, steps: int, *, batch: int = 500, m: int = 1, seed: int = 0) -> Noise:
        generator = torch.Generator().manual_seed(seed)
        h = end / steps
        w, area = torch.randn(2, steps, batch, m, dtype=torch.float64, generator=generator)
        return cls(h, h**0.5 * w, (h / 12) ** 0.5 * area)

    def coarsen(self, factor: int) -> Noise:
        """The same motions on steps that are longer by ``factor``."""
        w, area = (x.unflatten(0, (-1, factor)) for x in (self.w, self.area))
        before = w.cumsum(1) - w
        mean = (before + 0.5 * w + area).mean(1)
        return Noise(self.h * factor, w.sum(1), mean - 0.5 * w.sum(1))

    def __iter__(self):
        return map(Increments, self.w, self.area)

    def __len__(self):
        return len(self.w)

    @property
    def end(self) -> float:
        return self.h * len(self)


def equation_of(problem, end: float) -> RightHandSide:
    lower, upper = torch.tensor([[[0.0]], [[end]]], dtype=torch.float64)
    return RightHandSide(problem, None, lower, upper)


def walk(solver, problem, u0: Tensor, noise: Noise) -> Tensor:
    """State at the end of the mesh, (batch, dim)."""
    equation, u = equation_of(problem, noise.end), u0
    for i, increments in enumerate(noise):
        t = torch.full((len(u), 1), i * noise.h, dtype=torch.float64)
        u = solver.step(StepInput(equation, t, noise.h, u, increments)).u1
    return u


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def slope(sizes, errors) -> float:
    """Exponent of the power law that fits best."""
    x, y = (torch.tensor([math.log(v) for v in values], dtype=torch.float64) for values in (sizes, errors))
    x = x - x.mean()
    return ((x * y).sum() / x.square().sum()).item()


def strong_order(solver, case, *, finest=2**11, steps=(16, 32, 64, 128), batch=500) -> float:
    """Order of the root mean square error at the end; ``case`` knows a problem and its solution there."""
    u0 = case.u0[:1].repeat(batch, 1)
    case.problem.check(torch.zeros(batch, 1, dtype=torch.float64), u0)
    fine = Noise.draw(case.end, finest, batch=batch, m=case.problem.noise_dim(u0.shape[1]))
    exact = case.at_end(u0, fine)
    meshes = [fine.coarsen(finest // n) for n in steps]
    return slope([mesh.h for mesh in meshes], [rms(walk(solver, case.problem, u0, mesh) - exact) for mesh in meshes])


@dataclass(frozen=True)
class OnFineMesh:
    """A problem whose solution is known as that of another method on the finest mesh."""

    problem: Problem
    solver: Stepper
    u0: Tensor
    end: float = 1.0

    def at_end(self, u0: Tensor, noise: Noise) -> Tensor:
        return walk(self.solver, self.problem, u0, noise)
