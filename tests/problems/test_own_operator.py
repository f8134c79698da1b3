"""An operator written outside of the package, in a module of its own, works wherever the package's own do."""

import copy
import importlib.util
import pickle
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skneuralde import Laplacian, NeuralPDEField, Problem, Stencil, solve

SOURCE = '''
"""Fourth-order smoothing, ``-k lap(lap u)``."""

import torch

from skneuralde.problems import Axes, Operator, neighbours, value_of


class Smoothing(Operator):
    def __init__(self, k, spacing=1.0, boundary="periodic"):
        super().__init__()
        self.axes = Axes.read(spacing, boundary, None)
        self.ndim = self.axes.ndim
        self.k = k

    def laplacian(self, u):
        total = torch.zeros_like(u)
        for axis, spacing, boundary in self.axes.on(u.shape[1:-1]):
            before, after = neighbours(u, axis, boundary)
            total = total + (before - 2 * u + after) / spacing**2
        return total

    def forward(self, u):
        return -value_of(self.k, u) * self.laplacian(self.laplacian(u))
'''
N = 12
WAVE = torch.sin(2 * torch.pi * torch.arange(N, dtype=torch.float64) / N)[:, None]
#: The wave is an eigenvector of the second difference.
EIGENVALUE = -4 * np.sin(np.pi / N) ** 2


@pytest.fixture
def smoothing(tmp_path, monkeypatch):
    assert len(SOURCE.strip().splitlines()) <= 30
    (tmp_path / "own_operator.py").write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("own_operator", tmp_path / "own_operator.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "own_operator", module)
    spec.loader.exec_module(module)
    return module.Smoothing


@pytest.mark.parametrize("solver", ["dopri5", "rock2", "rosenbrock", "etdrk4"])
def test_it_is_solved(smoothing, solver):
    operators = [Laplacian(0.5, boundary="periodic"), smoothing(0.5)]
    problem = Problem(None, operator=operators, sparsity=Stencil(2, periodic=True) if solver == "rosenbrock" else None)
    problem = pickle.loads(pickle.dumps(copy.deepcopy(problem)))
    last = solve(problem, WAVE, [0.0, 3.0], solver=solver, rtol=1e-6, atol=1e-9).ys[0, -1]
    rate = 0.5 * EIGENVALUE - 0.5 * EIGENVALUE**2
    torch.testing.assert_close(last, WAVE * np.exp(3.0 * rate), rtol=1e-3, atol=1e-5)


def test_its_axes_count(smoothing):
    assert Problem(None, operator=smoothing(1.0, (0.5, 0.5))).state_ndim == 3
    with pytest.raises(ValueError, match="different numbers of axes"):
        Problem(None, operator=[smoothing(1.0, (0.5, 0.5)), Laplacian(1.0, ndim=1)])


def test_its_parameter_is_learned(smoothing):
    ts = np.linspace(0.0, 1.0, 4)
    start = WAVE + 0.5 * WAVE.roll(3, 0) ** 2
    y = (
        solve(Problem(None, operator=smoothing(2.0)), start, ts, solver="rosenbrock", rtol=1e-8, atol=1e-8)
        .ys[0]
        .numpy()
    )
    given = smoothing(torch.nn.Parameter(torch.tensor(1.5, dtype=torch.float64)))
    model = NeuralPDEField(None, diffusivity=None, operator=given, boundary="periodic", max_iter=25, random_state=0)
    fitted = clone(model).fit(ts[:, None], y)
    assert float(given.k.detach()) == 1.5
    again = pickle.loads(pickle.dumps(fitted))
    (learned,) = again.problem_.operator.others
    assert isinstance(learned, smoothing)
    assert float(learned.k.detach()) == pytest.approx(2.0, rel=0.02)
    np.testing.assert_allclose(again.predict(ts[:, None]), fitted.predict(ts[:, None]))
