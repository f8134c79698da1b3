"""Gradients through fields: what they cost, and that every way gives the same."""

import pytest
import torch

from skneuralde import Parameter
from skneuralde.datasets import abc_source
from skneuralde.problems import Laplacian, Problem
from skneuralde.solvers import solve
from tests.solvers.methods.test_fields import CASES, noise, reaction_and_diffusion


class Hidden(torch.nn.Module):
    """A network of three fields that counts its calls."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Parameter(torch.randn(3, 50, dtype=torch.float64, generator=generator))
        self.last = torch.nn.Parameter(0.1 * torch.randn(50, 3, dtype=torch.float64, generator=generator))
        self.points = 0

    def forward(self, t, u):
        self.points += len(u)
        return torch.tanh(u @ self.first) @ self.last - u


class Held:
    """A saved tensor, counted for as long as a graph holds it."""

    def __init__(self, tensor, meter):
        self.tensor, self.meter = tensor, meter
        meter.add(tensor.numel() * tensor.element_size())

    def __del__(self):
        self.meter.add(-self.tensor.numel() * self.tensor.element_size())


class Meter:
    """Bytes that graphs hold: now, and at most."""

    def __init__(self):
        self.now = self.most = 0

    def add(self, size):
        self.now += size
        self.most = max(self.now, self.most)

    def __enter__(self):
        self.hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: Held(x, self), lambda held: held.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error):
        self.hooks.__exit__(*error)


def training_step(mode, grid=(20, 20)):
    law = Hidden()
    problem = Problem([abc_source(grid), law], operator=Laplacian([100.0, 0.0, 0.0], ndim=2))
    ts = torch.arange(0.0, 101.0, 5.0, dtype=torch.float64)
    with torch.no_grad():
        solve(problem, noise(*grid, 3), ts)
    alone, law.points = law.points, 0
    with Meter() as meter:
        loss = solve(problem, noise(*grid, 3), ts, gradient=mode).ys.square().sum()
        gradient = torch.autograd.grad(loss, list(law.parameters()))
    return gradient, meter.most, law.points / alone


def test_by_default_one_step_is_held_at_a_time(monkeypatch):
    # With hooks on what is saved, torch never lets go of a graph that was to be retained.
    plain = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, retain_graph=None, **rest: plain(*args, **rest))
    gradient, size, work = training_step("auto")
    expected, whole, _ = training_step("direct")
    for a, b in zip(gradient, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert size < whole / 8
    # On the classic grid of 100 x 100 points the graph stays far below a gigabyte.
    assert size * (100 / 20) ** 2 < 0.2e9
    # The law is asked in the search, and once more where the gradient is found.
    assert work < 2.2


@pytest.mark.parametrize(("name", "others"), CASES)
def test_every_way_gives_the_same_with_adaptive_steps(name, others):
    """Fields of different stiffness, so with steps of their own, and times inside steps, at ends and at the start."""
    problem = reaction_and_diffusion(others)
    start = torch.stack([noise(4, 3, 2), 3 * noise(4, 3, 2, seed=1)]).requires_grad_()
    ts = torch.tensor([[0.0, 0.1, 0.2, 0.35, 1.0], [0.0, 0.3, 0.7, torch.nan, torch.nan]], dtype=torch.float64)
    inputs = [start, *problem.parameters()]

    def gradient(mode):
        ys = solve(problem, start, ts, solver=name, gradient=mode).ys
        return torch.autograd.grad(ys.nan_to_num(nan=0.0).sin().sum(), inputs)

    for a, b in zip(gradient("checkpoint"), gradient("direct"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["rosenbrock", "etdrk4", "rock2", "rock4"])
def test_forward_mode_for_a_diffusivity(name):
    rate = Parameter(0.5, positive=True)
    problem = Problem(lambda t, u: u * (1 - u), operator=Laplacian(rate, 0.3))
    u0, ts = noise(12, 1), [0.0, 0.1, 0.5]

    def gradient(mode):
        loss = solve(problem, u0, ts, solver=name, gradient=mode).ys.square().sum()
        return torch.autograd.grad(loss, list(problem.parameters()))

    for a, b in zip(gradient("forward"), gradient("direct"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-9)
