"""Scores of simulated paths: what is paired with what, what is left out, weights and gradients."""

import math

import pytest
import torch

from skneuralde.inference import Curves, Model
from skneuralde.losses import (
    CurveData,
    CurveObjective,
    MomentMatching,
    PairedEnergy,
    PlainMomentMatching,
    RankedProbability,
    SnapshotData,
    SnapshotEnergy,
    SnapshotObjective,
)
from skneuralde.losses.fair import fair_energy_score
from skneuralde.problems import Problem
from tests.learnable_equations import checked, column
from tests.losses.test_proper import SRA as SETTINGS
from tests.losses.test_proper import TIMES, TRUTH, bound, curves, model, simulate, snapshots

NAN = math.nan


def loss_of(kind, data, **options):
    return snapshots(6, n_paths=8) if kind is SnapshotEnergy else bound(kind, data, n_paths=12, **options)


def mean(loss, fitted, seed=0):
    weight = loss.weight[loss.items]
    return weight @ loss.values(fitted, loss.items, seed=seed) / weight.sum()


@pytest.mark.parametrize("kind", [RankedProbability, PairedEnergy, MomentMatching, PlainMomentMatching, SnapshotEnergy])
def test_gradient_is_that_of_the_values(kind):
    loss, fitted = loss_of(kind, simulate(5)), model(rate=1.1)
    mean(loss, fitted).backward()
    for parameter in fitted.parameters():
        with torch.no_grad():
            parameter += 1e-6
            above = mean(loss, fitted)
            parameter -= 2e-6
            below = mean(loss, fitted)
            parameter += 1e-6
        assert float(parameter.grad) == pytest.approx(float((above - below) / 2e-6), rel=1e-6, abs=1e-8)


def test_energy_pairs_each_time_with_the_observed_one_before():
    data = simulate(2)
    data[0, 2] = NAN
    loss, fitted = (
        bound(PairedEnergy, data, weight=torch.tensor([[1, 1, 1, 2], [1, 1, 3, 1]]).double(), n_paths=8),
        model(),
    )
    residual = loss.simulate(fitted, torch.arange(2), seed=0).paths[..., 0] - data
    zero = torch.zeros_like(residual[:, 0, 0])

    def score(series, left, right):
        before = zero if left is None else residual[:, series, left]
        return fair_energy_score(torch.stack([before, residual[:, series, right]], -1), mirrored=True)

    expected = [
        (score(0, None, 1) + 2 * score(0, 1, 3)) / 3,
        (score(1, None, 1) + 3 * score(1, 1, 2) + score(1, 2, 3)) / 5,
    ]
    torch.testing.assert_close(loss.values(fitted, torch.arange(2), seed=0), torch.stack(expected))
    assert loss.weight.tolist() == [3, 5]


def test_an_output_that_is_missing_leaves_the_vector():
    start = torch.zeros(1, 2, dtype=torch.float64)
    targets = torch.tensor([[[NAN, NAN], [1.0, NAN], [2.0, 3.0]]], dtype=torch.float64)
    given = CurveData(
        curves=curves(1, (0.0, 1.0, 2.0)),
        targets=targets,
        row_weight=torch.ones(1, 3).double(),
        scale=column(1.0, 2.0),
        start=lambda model, items: start[items],
        settings=SETTINGS,
        n_paths=lambda epoch: 4,
    )
    loss = CurveObjective(PairedEnergy(), given)
    still = Model(checked(Problem(None, 1e-12, noise="additive"), 2))
    value = loss.values(still, torch.arange(1), seed=0)
    assert float(value) == pytest.approx((1 + math.sqrt(1 + 4 + 1.5**2)) / 2)
    assert loss.weight.tolist() == [2]


@pytest.mark.parametrize("kind", [RankedProbability, PairedEnergy, MomentMatching])
def test_a_weight_is_a_repetition_of_the_series(kind):
    data, repeats = simulate(4), torch.tensor([1, 3, 2, 1])
    again = torch.arange(4).repeat_interleave(repeats)
    weighted = bound(kind, data, weight=repeats.double()[:, None].expand(4, 4), n_paths=12)
    repeated = bound(kind, data[again], n_paths=12)
    repeated.curves = Curves(repeated.curves.times, repeated.curves.inputs, again)
    # The mean of two mirrored paths is exact here, so that copies of a series may share their noise in the moments.
    torch.testing.assert_close(mean(weighted, model(rate=1.0)), mean(repeated, model(rate=1.0)), rtol=1e-10, atol=0)


def test_a_weight_is_a_repetition_in_snapshots():
    loss, fitted = snapshots(5), model()
    starts, items = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4]), torch.arange(15).repeat_interleave(torch.arange(15) % 3 + 1)
    n = len(starts)
    weighted = SnapshotData(
        curves=loss.curves,
        start_weight=torch.bincount(starts).double(),
        targets=loss.targets,
        place=loss.place,
        weight=torch.bincount(items).double(),
        scale=loss.scale,
        start=loss.start,
        settings=SETTINGS,
        n_paths=lambda epoch: 4,
    )
    states = loss.start(fitted, starts)
    repeated = SnapshotData(
        curves=Curves(curves(n).times, curves(n).inputs, starts),
        start_weight=torch.ones(n).double(),
        targets=loss.targets[items],
        place=loss.place[items],
        weight=torch.ones(len(items)).double(),
        scale=loss.scale,
        start=lambda model, series: states[series],
        settings=SETTINGS,
        n_paths=lambda epoch: 4,
    )
    weighted, repeated = (SnapshotObjective(SnapshotEnergy(), data) for data in (weighted, repeated))
    torch.testing.assert_close(mean(weighted, fitted), mean(repeated, fitted), rtol=1e-10, atol=0)
    values = repeated.values(fitted, torch.arange(len(items)), seed=0)
    part = torch.tensor([3, 0, 17])
    torch.testing.assert_close(repeated.values(fitted, part, seed=0), values[part])


def test_the_distance_of_snapshots_has_its_expectation():
    """Populations drawn by the model's own equation; what is left is due to their finite size."""
    n, rate, _, volatility = 20, *TRUTH.values()
    with torch.no_grad():
        values = torch.stack([mean(snapshots(n, seed=seed), model(), seed=seed) for seed in range(100)])
    decay = torch.exp(-rate * torch.tensor(TIMES[1:]).double())
    given = volatility**2 * (1 - decay**2) / (2 * rate)
    law, apart = (given + (0.4 * decay) ** 2).sqrt(), 2 / math.sqrt(math.pi)
    # Of n squared pairs of observed individuals n are no pairs, and n of the simulated ones have the same start.
    expected = float((apart * (2 * law - given.sqrt())).mean() / n)
    assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / 10
    assert float(values.std()) / 10 < 0.2 * expected
