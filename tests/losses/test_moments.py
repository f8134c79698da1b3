"""Moments over repeated paths: what is estimated, at which times, and in which units."""

import math

import pytest
import torch

from skneuralde.inference import Model
from skneuralde.losses import CurveData, MomentMatching, MomentObjective, PlainMomentMatching
from skneuralde.losses.ensemble import Ensemble
from skneuralde.problems import Problem
from tests.learnable_equations import Level, checked
from tests.losses.test_curves import EULER, SIGMA, SPREAD, Volatility
from tests.losses.test_proper import bound, model, simulate

NAN = math.nan


def doubled():
    """du = sigma u dW by two steps of Euler's method: the variance is SPREAD times the start squared."""
    return Model(checked(Problem(None, Volatility(SIGMA)), 1))


@pytest.mark.parametrize("weight", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.5)])
def test_the_simulated_variance_is_unbiased(weight):
    start = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    weight = torch.tensor(weight, dtype=torch.float64)
    data = torch.stack([start, torch.tensor([0.0, 1.0, 3.0]).double()], 1)
    loss = bound(
        MomentMatching, data, weight=weight[:, None].expand(3, 2), n_paths=12, times=(0.0, 1.0), settings=EULER
    )
    n = float(weight.sum())
    mean = float(weight @ data[:, 1] / n)
    variance = float(weight @ (data[:, 1] - mean).square() / (n - 1))
    assert float(loss.mean) == pytest.approx(mean)
    assert float(loss.std) == pytest.approx(math.sqrt(variance))
    # What the data's variance estimates: copies of a series have noise of their own.
    expected = SPREAD * float(weight @ start.square()) / n + float(weight @ (start - weight @ start / n).square()) / (
        n - 1
    )
    estimates = []
    with torch.no_grad():
        for seed in range(1500):
            residual = (loss.simulate(doubled(), torch.arange(3), seed=seed).paths[:6, :, 1] - loss.mean) / loss.std
            pairs = residual.unflatten(0, (-1, 2))
            first = pairs.mean(1)
            statistics = first.mean(0), pairs.square().mean((0, 1)), first.square().mean(0)
            estimates.append(float(loss.variance(statistics, 3)) * variance)
    estimates = torch.tensor(estimates)
    error = float(estimates.std()) / math.sqrt(len(estimates))
    assert abs(float(estimates.mean()) - expected) < 4 * error
    assert error < 0.05 * expected


def test_distances_are_in_standard_errors():
    """At an equation whose moments are known, from very many paths."""
    data = simulate(6)
    loss, still = bound(MomentMatching, data, n_paths=1200), model(volatility=0.3)
    n = 6
    with torch.no_grad():
        paths = loss.simulate(still, torch.arange(n), seed=0).paths[:, :, 1:, 0]
        distances = loss.distances(
            Ensemble(((paths - loss.mean.T) / loss.std.T).flatten(1)[:, :, None][:, _by_entry(loss)])
        )
    mean, std = data[:, 1:].mean(0), data[:, 1:].std(0)
    expected = (paths.mean((0, 1)) - mean) / (std / math.sqrt(n))
    torch.testing.assert_close(distances[0, :, 0], expected)
    half = torch.tensor((n - 1) / 2, dtype=torch.float64)
    within, between = paths.var(0).mean(0), paths.mean(0).var(0)
    log_variance = (within + between).log() - (std.square().log() - (half.digamma() - half.log()))
    torch.testing.assert_close(distances[1, :, 0], log_variance / torch.polygamma(1, half).sqrt(), rtol=5e-3, atol=5e-3)


def _by_entry(loss):
    """Positions of the loss's entries among (series, later times), flat."""
    series, place = loss.entries.unbind(1)
    return series * 3 + place - 1


def test_a_log_variance_has_no_bias_at_few_series():
    """Over many data sets of three series the distances average to zero at the truth, and to one squared."""
    distances = []
    with torch.no_grad():
        for seed in range(300):
            loss = bound(MomentMatching, simulate(3, seed=seed, spread=0.0), n_paths=60, first=3 * seed)
            paths = loss.simulate(model(), loss.all_series, seed=seed).paths
            series, place = loss.entries.unbind(1)
            residual = (paths[:, series, place] - loss.mean[loss.time_of]) / loss.std[loss.time_of]
            distances.append(loss.distances(Ensemble(residual))[1, :, 0])
    distances = torch.stack(distances)
    error = distances.std(0) / math.sqrt(len(distances))
    assert (distances.mean(0).abs() < 4 * error).all()
    assert ((distances.std(0) - 1).abs() < 0.2).all()
    # Without the correction of log s^2 it would be seen.
    assert (loss.log_variance / loss.log_variance_error > 6 * error[:, None]).all()


def test_halves_take_the_monte_carlo_error_away():
    data = simulate(20, spread=0.0)
    halves, plain = (bound(kind, data, n_paths=12) for kind in (MomentMatching, PlainMomentMatching))
    exact = bound(MomentMatching, data, n_paths=8000)
    with torch.no_grad():
        expected = float(exact.values(model(), exact.items, seed=0).mean())
        values = [
            [float(loss.values(model(), loss.items, seed=s).mean()) for s in range(400)] for loss in (halves, plain)
        ]
    values = torch.tensor(values)
    error = values.std(1) / math.sqrt(400)
    assert abs(values[0].mean() - expected) < 4 * error[0]
    assert values[1].mean() - expected > 4 * error[1]


def test_times_of_single_series_are_left_out_in_words():
    data = simulate(3)
    data[1:, 3] = NAN
    with pytest.warns(UserWarning, match="leaves out 1 of 3 times"):
        loss = bound(MomentMatching, data)
    assert loss.items.tolist() == [0, 1]
    assert loss.weight.tolist() == [2, 2, 0]
    with pytest.raises(ValueError, match=r"two or more.*'nll'.*'energy'.*'mean'"):
        bound(MomentMatching, simulate(1))


def test_series_without_a_difference_are_refused():
    data = simulate(3)
    data[:, 2] = 1.5
    with pytest.raises(ValueError, match=r"at time 1 output 0 is the same"):
        bound(MomentMatching, data)


def test_outputs_are_counted_one_by_one():
    data = simulate(4)
    targets = torch.stack([data, data], -1)
    targets[:, 0] = NAN
    targets[0, 1, 1] = NAN
    given = CurveData(
        curves=bound(MomentMatching, data).curves,
        targets=targets,
        row_weight=torch.ones(4, 4).double(),
        scale=torch.ones(2).double(),
        start=lambda m, items: data[items, :1].expand(-1, 2),
        settings=EULER,
        n_paths=lambda epoch: 12,
    )
    with_gap = MomentObjective(MomentMatching(), given)
    assert with_gap.count[0].tolist() == [4, 3]
    two = Model(checked(Problem(lambda t, u: 1.0 - u, Level(0.5), noise="additive"), 2))
    assert with_gap.values(two, with_gap.items, seed=0).isfinite().all()
