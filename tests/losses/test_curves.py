"""Losses of whole curves, on equations whose every expectation is known.

Two steps of Euler's method for du = sigma u dW from 1 give (1 + sigma w1) (1 + sigma w2): of mean 1, of variance
(1 + sigma^2 / 2)^2 - 1, and the mean of two mirrored paths has variance sigma^4 / 4.
"""

import math

import pytest
import torch

from skneuralde.inference import Curves, InputPath, Model, SolverSettings
from skneuralde.losses import (
    CurveData,
    CurveObjective,
    LeastSquares,
    MeanMatching,
    PairedEnergy,
    PathSquaredError,
    PlainMeanMatching,
    RankedProbability,
)
from skneuralde.problems import Problem
from skneuralde.solvers import get_solver
from tests.learnable_equations import Level, column

NAN = math.nan
SIGMA = 0.7
EULER = SolverSettings(get_solver("euler"), 1e-3, torch.tensor(1e-6).double(), 0.5, 100_000, 0.5)


def given(states):
    return lambda model, items: states[items]


def objective(kind, targets, *, times=(0.0, 1.0), weight=None, scale=1.0, start=None, dtype=torch.float64, **options):
    """The loss of series that start at one, one per row of targets ``(n, n_times)``."""
    targets = torch.as_tensor(targets, dtype=dtype)[..., None]
    n, n_times = targets.shape[:2]
    inputs = InputPath(torch.zeros(n, 0, dtype=dtype), column()[None].repeat(n, 1), torch.zeros(n, 0, 0), "next")
    times = torch.as_tensor(times, dtype=torch.float64).expand(n, n_times)
    weight = torch.ones(n, n_times, dtype=dtype) if weight is None else torch.as_tensor(weight, dtype=dtype)
    start = torch.ones(n, 1, dtype=dtype) if start is None else start
    data = CurveData(
        curves=Curves(times, inputs, torch.arange(n)),
        targets=targets,
        row_weight=weight,
        scale=torch.tensor([scale], dtype=dtype),
        start=given(start),
        settings=EULER,
        **options,
    )
    return CurveObjective(kind(), data)


class Volatility(Level):
    """sigma u, with sigma to be learned."""

    def forward(self, t, u):
        return self.log_value.exp() * u


def geometric(sigma=SIGMA):
    return Problem(None, Volatility(sigma))


def expectation(loss, sigma=SIGMA, seed=0):
    """Mean and standard error of the values, and of their derivatives in log sigma."""
    eps = 1e-4
    with torch.no_grad():
        values, above, below = (
            loss.values(Model(geometric(sigma * math.exp(move))), torch.arange(len(loss)), seed=seed)
            for move in (0.0, eps, -eps)
        )
    slope = (above - below) / (2 * eps)
    root = math.sqrt(len(values))
    return (float(values.mean()), float(values.std() / root)), (float(slope.mean()), float(slope.std() / root))


MANY, PATHS, OFFSET = 8000, 6, 0.1
SPREAD = (1 + SIGMA**2 / 2) ** 2 - 1
DATA = torch.tensor([[NAN, 1 + OFFSET]], dtype=torch.float64).repeat(MANY, 1)


def test_debiased_mean_matching_does_not_see_the_variance():
    loss = objective(MeanMatching, DATA, n_paths=lambda epoch: PATHS)
    (value, error), (slope, slope_error) = expectation(loss)
    assert abs(value - OFFSET**2) < 4 * error
    assert abs(slope) < 4 * slope_error
    assert error < 0.1 * SIGMA**4 / (2 * PATHS)  # else the plain square would pass as well


def test_an_odd_number_of_paths_is_as_unbiased():
    (value, error), _ = expectation(objective(MeanMatching, DATA, n_paths=lambda epoch: 5))
    assert abs(value - OFFSET**2) < 4 * error


def test_the_plain_square_adds_the_variance_of_the_mean():
    loss = objective(PlainMeanMatching, DATA, n_paths=lambda epoch: PATHS)
    (value, error), (slope, slope_error) = expectation(loss)
    assert abs(value - (OFFSET**2 + SIGMA**4 / (2 * PATHS))) < 4 * error
    assert abs(slope - 2 * SIGMA**4 / PATHS) < 4 * slope_error


def test_squared_errors_of_paths_are_smallest_without_noise():
    loss = objective(PathSquaredError, DATA, n_paths=lambda epoch: PATHS)
    (value, error), (slope, slope_error) = expectation(loss)
    assert abs(value - (OFFSET**2 + SPREAD)) < 4 * error
    assert abs(slope - 2 * SIGMA**2 - SIGMA**4) < 4 * slope_error
    assert slope > 20 * slope_error
    # Even where the data have noise of just that size.
    generator = torch.Generator().manual_seed(1)
    noisy = torch.cat(
        [DATA[:, :1], 1 + SPREAD**0.5 * torch.randn(MANY, 1, generator=generator, dtype=torch.float64)], 1
    )
    loss = objective(PathSquaredError, noisy, n_paths=lambda epoch: PATHS)
    values = [expectation(loss, sigma)[0][0] for sigma in (SIGMA, 0.3, 0.01)]
    assert values == sorted(values, reverse=True)


def test_least_squares():
    growth = Model(Problem(lambda t, u: torch.ones_like(u)))
    targets = [[NAN, 1.5, 2.0], [NAN, 0.0, 5.0]]
    loss = objective(
        LeastSquares, targets, times=(0.0, 1.0, 2.0), start=column(0.0, 1.0)[:, None], scale=0.5, weight=[[1, 1, 3]] * 2
    )
    values = loss.values(growth, torch.tensor([1, 0]), seed=0)
    # Solutions (1, 2) and (2, 3): residuals (-0.5, 0) and (2, -2), in units of 0.5.
    torch.testing.assert_close(values, column((4.0**2 + 3 * 4.0**2) / 4, 1.0 / 4))
    assert loss.weight.tolist() == [4, 4]
    assert not loss.stochastic


@pytest.mark.parametrize(
    "kind", [LeastSquares, MeanMatching, PlainMeanMatching, PathSquaredError, RankedProbability, PairedEnergy]
)
def test_missing_targets_have_no_gradient_at_all(kind):
    targets = torch.tensor([[NAN, 1.0, NAN], [NAN, NAN, NAN]], dtype=torch.float64)
    level = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    late = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    # ``late`` acts after the last observation only.
    drift = Problem(lambda t, u: (t >= 1) * late.repeat(len(u) // len(late), 1) - 0.1 * u)
    loss = objective(kind, targets, times=(0.0, 1.0, 2.0), start=level, n_paths=lambda epoch: 4)
    values = loss.values(Model(drift), torch.arange(2), seed=0)
    assert values[0] > 0 or kind is MeanMatching
    assert values[1] == 0
    values.sum().backward()
    assert level.grad[0].abs() > 0 or abs(float(values[0])) < 1e-12
    assert level.grad[1] == 0
    assert not late.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padded_series_and_series_without_data_are_finite(dtype):
    times = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, NAN], [0.0, NAN, NAN]], dtype=torch.float64)
    targets = torch.tensor([[NAN, 1.0, 2.0], [NAN, 3.0, NAN], [NAN, NAN, NAN]])
    zero = torch.zeros(3, 1, dtype=dtype)
    rate = torch.tensor(1.0, dtype=dtype, requires_grad=True)
    model = Model(Problem(lambda t, u: rate.expand_as(u)))
    loss = objective(LeastSquares, targets, times=times, dtype=dtype, start=zero)
    values = loss.values(model, torch.arange(3), seed=0)
    assert values.tolist() == [0, 4, 0]
    assert loss.items.tolist() == [0, 1]
    values.sum().backward()
    assert rate.grad == -4
    # A selection is cut to its own longest series.
    assert loss.values(model, torch.tensor([1]), seed=0).tolist() == [4]


@pytest.mark.parametrize("kind", [LeastSquares, MeanMatching, PlainMeanMatching, PathSquaredError, RankedProbability])
def test_a_weight_is_a_repetition(kind):
    model = Model(geometric(SIGMA) if kind is not LeastSquares else Problem(lambda t, u: 1.0 - u))
    targets = torch.tensor([[NAN, 0.5, 1.0], [NAN, 2.0, -1.0]])
    options = {} if kind is LeastSquares else {"n_paths": lambda epoch: 4}
    weighted = objective(kind, targets, times=(0.0, 1.0, 2.0), weight=[[1, 1, 2], [1, 0, 3]], **options)
    cells = torch.tensor([[NAN, 0.5, NAN], [NAN, NAN, -1.0], [NAN, NAN, -1.0], [NAN, NAN, 1.0], [NAN, NAN, 1.0]])
    single = objective(kind, cells, times=(0.0, 1.0, 2.0), **options)
    single.curves = Curves(single.curves.times, single.curves.inputs, torch.tensor([0, 1, 1, 0, 0]))
    by_cell = single.values(model, torch.arange(5), seed=0)
    values = weighted.values(model, torch.arange(2), seed=0)
    torch.testing.assert_close(values[0], (by_cell[0] + by_cell[3] + by_cell[4]) / 3)
    torch.testing.assert_close(values[1], by_cell[1])
    assert weighted.weight.tolist() == [3, 3]


@pytest.mark.parametrize("kind", [MeanMatching, PlainMeanMatching, PathSquaredError, RankedProbability, PairedEnergy])
def test_seed_fixes_the_noise_and_items_keep_theirs(kind):
    model = Model(geometric(SIGMA))
    loss = objective(kind, DATA[:6], n_paths=lambda epoch: PATHS)
    everything = loss.values(model, torch.arange(6), seed=1)
    assert loss.stochastic
    assert torch.equal(everything, loss.values(model, torch.arange(6), seed=1))
    assert (everything != loss.values(model, torch.arange(6), seed=2)).all()
    items = torch.tensor([5, 0, 3])
    torch.testing.assert_close(loss.values(model, items, seed=1), everything[items], rtol=1e-12, atol=1e-14)


def test_schedule_of_paths():
    model = Model(geometric(SIGMA))
    loss = objective(PathSquaredError, DATA[:3], n_paths=lambda epoch: 10 * epoch)
    assert loss.paths == 10
    few = loss.values(model, torch.arange(3), seed=0)
    loss.start_epoch(model, 4)
    assert loss.paths == 40
    assert (loss.values(model, torch.arange(3), seed=0) != few).all()
