"""Coefficients that depend on time, far from time zero in single precision."""

import math
import warnings

import numpy as np
import pytest
import torch

from skneuralde import Jump, Laplacian, NeuralSDERegressor, Problem, expect, solve

FAR = [1e5, 1e5 + 0.1]
WAVE = Problem(lambda t, u: 100.0 * math.pi * torch.cos(100.0 * math.pi * t) + 0.0 * u)
METHODS = [
    {"solver": "tsit5"},
    {"solver": "bs3"},
    {"solver": "bs3", "rtol": None, "dt": 1e-3},
    {"solver": "torchdiffeq:dopri5"},
    {"solver": "torchdiffeq:rk4", "rtol": None, "dt": 1e-3},
]


def messages(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [
        str(warning.message)
        for warning in caught
        if "see time" in str(warning.message) or "y is" in str(warning.message)
    ]


@pytest.mark.parametrize("options", METHODS, ids=lambda options: str(options))
def test_one_warning_names_the_dtype(options):
    def run(dtype, ts=FAR):
        return solve(WAVE, torch.zeros(1, dtype=dtype), ts, **options)

    (message,) = messages(lambda: run(torch.float32))
    assert "dtype=torch.float64" in message
    assert messages(lambda: run(torch.float64)) == []
    assert abs(run(torch.float64).ys[0, -1]) < 5e-3


@pytest.mark.parametrize(
    "problem",
    [
        Problem(None, lambda t, u: t.cos() + 0.0 * u),
        Problem(lambda t, u: -u, jumps=[Jump(lambda t, u: 1.0 + t[:, 0].cos().square(), lambda t, u: u)]),
        Problem(lambda t, u: -u, jumps=[Jump(1.0, lambda t, u: t.cos() + u)]),
    ],
    ids=["diffusion", "rate", "affect"],
)
def test_every_coefficient_counts(problem):
    y0 = torch.ones(1)
    assert len(messages(lambda: solve(problem, y0, FAR, random_state=0))) == 1
    mean = lambda: expect(problem, y0, FAR, lambda ys: ys[..., -1, 0], n_paths=3, random_state=0)  # noqa: E731
    assert len(messages(mean)) == 1


def test_other_methods_and_equations_of_fields():
    noisy = Problem(lambda t, u: t.cos() * u, lambda t, u: 0.1 * u)
    for solver in ("torchsde:euler", "euler", "sosri2"):
        options = {"rtol": None, "dt": 0.1, "random_state": 0, "solver": solver}
        assert len(messages(lambda o=options: solve(noisy, torch.ones(1), FAR, **o))) == 1
    field = Problem(lambda t, u: t.cos() * u, operator=Laplacian(0.1))
    assert len(messages(lambda: solve(field, torch.ones(4, 1), FAR))) == 1


def test_nothing_is_said_where_time_is_not_seen():
    y0 = torch.ones(1)
    assert messages(lambda: solve(Problem(lambda t, u: -u, 0.1), y0, FAR, random_state=0)) == []
    inputs = lambda t: t.sin()[..., None].float()  # noqa: E731
    assert messages(lambda: solve(Problem(lambda t, u, c: c - u), y0, FAR, context=inputs)) == []
    assert messages(lambda: solve(WAVE, y0, [0.0, 1.0])) == []


def test_a_fit_warns_once():
    y = np.sin(np.arange(40.0)).astype(np.float32)

    def fit(drift, start, y=y):
        model = NeuralSDERegressor(drift=drift, max_iter=2, random_state=0)
        return messages(lambda: model.fit((start + np.arange(40.0)[:, None]).astype(np.float32), y))

    seasonal = [lambda t, u: t.cos() + 0.0 * u, "mlp"]
    (message,) = fit(seasonal, 1e5)
    assert "Give y as float64" in message
    assert fit(seasonal, 0.0) == fit("mlp", 1e5) == fit(seasonal, 1e5, y.astype(np.float64)) == []
