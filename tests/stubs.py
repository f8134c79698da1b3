"""Test doubles: methods that do one thing only, so that the loops around them can be tested alone."""

from __future__ import annotations

import torch

from skneuralde.losses import Objective
from skneuralde.solvers import DenseOutput, Step, Stepper


class ExactLine(Stepper):
    """Follows du = f(t) exactly if f is constant on a step, and notes the steps that it makes."""

    name = "exact_line"

    def __init__(self):
        self.calls = []

    def step(self, inputs):
        rhs, t, h, u, *_ = inputs
        self.calls.append((t.flatten().tolist(), h if isinstance(h, float) else h.flatten().tolist()))
        return Step(u + h * rhs.drift(rhs.at(t, u.dtype), u))


class ToldError(Stepper, DenseOutput):
    """Makes an Euler step whose error is whatever it is told: ``error(t, h)``, both (n, 1)."""

    name = "told_error"
    adaptive = True
    order = error_order = 1

    def __init__(self, error):
        self.error = error
        self.tried = []

    def step(self, inputs):
        rhs, t, h, u, *_ = inputs
        self.tried.append((t.flatten().tolist(), h.flatten().tolist()))
        u1 = u + h * rhs.drift(rhs.at(t, u.dtype), u)
        return Step(u1, self.error(t, h).expand_as(u).to(u.dtype), None, (u1 - u,))

    def interpolate(self, theta, u0, stages):
        return u0 + theta.to(u0.dtype) * stages[0]


def times(*values):
    """Float64 times."""
    return torch.tensor(values, dtype=torch.float64)


class Point(torch.nn.Module):
    """A model that is nothing but its weights."""

    def __init__(self, *start: float):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))


class ToldLoss(Objective):
    """A loss that is whatever it is told: ``loss(w, item)``; it notes what it is asked."""

    def __init__(self, loss, weight):
        self.loss = loss
        self.weight = torch.as_tensor(weight, dtype=torch.float64)
        self.asked, self.seeds, self.epochs = [], [], []

    def start_epoch(self, model, epoch):
        self.epochs.append(epoch)

    def values(self, model, items, *, seed):
        self.asked.append(items.tolist())
        self.seeds.append(seed)
        return torch.stack([self.loss(model.w, item) for item in items.tolist()])
