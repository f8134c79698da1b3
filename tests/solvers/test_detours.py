"""Paths that share a mesh and leave it where they jump make the steps of paths that have meshes of their own."""

import pytest
import torch

from skneuralde import Jump, Problem, solve
from skneuralde.solvers import detours

TIMES = [0.0, 0.25, 0.3, 1.0]


class Scale(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, t, u):
        return self.scale * u


def run(monkeypatch, overhead, name, *, scale=None, rate=2.0, n_paths=60, **options):
    made = []
    after = detours.Detours.after
    with monkeypatch.context() as patch:
        patch.setattr(detours, "_OVERHEAD", overhead)
        patch.setattr(detours.Detours, "after", lambda self, k, *a: (made.append(k), after(self, k, *a))[1])
        jumps = (
            Jump(rate, (lambda t, u: 0.7 * u) if scale is None else scale),
            Jump(lambda t, u: rate * (1.0 + t), lambda t, u, z: u + 0.1 * z, bound=3.0 * rate),
        )
        noisy = name not in ("bs3", "rosenbrock")
        problem = Problem(lambda t, u: torch.sin(3 * t) - u, (lambda t, u: 0.3 * u) if noisy else None, jumps=jumps)
        options = {"rtol": None, "dt": 0.125, "random_state": 0, "n_paths": n_paths, **options}
        solution = solve(problem, [1.0, 2.0], TIMES, solver=name, **options)
    return solution, made


@pytest.mark.parametrize("rate", [2.0, 12.0])
@pytest.mark.parametrize("name", ["euler", "milstein", "sosri2", "platen", "ees25", "bs3", "rosenbrock"])
def test_the_same_paths(monkeypatch, name, rate):
    ours, made = run(monkeypatch, 0, name, rate=rate)
    theirs, none = run(monkeypatch, 10**9, name, rate=rate)
    assert made
    assert not none
    torch.testing.assert_close(ours.ys, theirs.ys, rtol=1e-11, atol=1e-13)
    for mine, other in zip((*ours.jump_times, *ours.jump_marks), (*theirs.jump_times, *theirs.jump_marks), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(ours.stats.steps, theirs.stats.steps)
    torch.testing.assert_close(ours.stats.smallest_step, theirs.stats.smallest_step, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "forward"])
def test_the_same_gradients(monkeypatch, gradient):
    slopes = []
    for overhead in (0, 10**9):
        scale = Scale()
        ys = run(monkeypatch, overhead, "sosri2", scale=scale, n_paths=20, gradient=gradient)[0].ys
        slopes.append(torch.autograd.grad(ys.square().sum(), scale.scale)[0])
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=0)


def test_paths_that_explode_and_paths_that_need_too_many_steps(monkeypatch):
    for options in ({"max_steps": 12}, {"max_steps": 3}):
        ours, theirs = (run(monkeypatch, x, "euler", on_error="mask", **options)[0] for x in (0, 10**9))
        assert (ours.status != 0).any()
        assert torch.equal(ours.status, theirs.status)
        torch.testing.assert_close(ours.ys, theirs.ys, rtol=0, atol=0, equal_nan=True)
    burst = Problem(None, lambda t, u: 0.1 * u, jumps=(Jump(2.0, lambda t, u: u * 1e200),))
    statuses = []
    for overhead in (0, 10**9):
        monkeypatch.setattr(detours, "_OVERHEAD", overhead)
        steps = {"solver": "euler", "dt": 0.25, "n_paths": 50, "random_state": 0}
        statuses.append(solve(burst, [1.0], TIMES, on_error="mask", **steps).status)
    assert torch.equal(*statuses)
    assert 0 < (statuses[0] != 0).sum() < 50


def test_only_where_it_pays(monkeypatch):
    overhead = detours._OVERHEAD
    assert not run(monkeypatch, overhead, "euler", n_paths=100)[1]
    assert run(monkeypatch, overhead, "euler", n_paths=20_000)[1]
