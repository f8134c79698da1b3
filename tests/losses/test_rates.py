"""Losses of paths whose rate of jumps is learned: gradients against finite differences with common random numbers."""

import math

import pytest
import torch

from skneuralde.inference import Model, SolverSettings
from skneuralde.losses import (
    MeanMatching,
    MomentMatching,
    PairedEnergy,
    PathSquaredError,
    PlainMeanMatching,
    PlainMomentMatching,
    RankedProbability,
    SnapshotEnergy,
)
from skneuralde.losses.ensemble import Alternative, Ensemble
from skneuralde.losses.fair import crps_of_members, energy_of_members, fair_crps, fair_energy_score
from skneuralde.problems import Jump, Problem
from skneuralde.solvers import get_solver
from tests.losses.test_fair import paths
from tests.losses.test_proper import bound, snapshots

EULER = SolverSettings(get_solver("euler"), None, torch.tensor(1e-6).double(), 0.5, 100_000, 0.5)
TIMES = (0.0, 0.5, 1.0)
#: The equation's parameters, and how far they are moved.
AT, STEPS = {"rate": 1.5, "pull": 0.5}, {"rate": 0.15, "pull": 0.05}


class Rate(torch.nn.Module):
    """Grows with the state."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, t, u):
        return self.value * (0.3 + torch.sigmoid(2 * u))


class Pull(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, t, u):
        return -self.value * u


def jumping(rate=AT["rate"], pull=AT["pull"]):
    jump = Jump(Rate(rate), lambda t, u, z: u + 1.0 + 0.2 * z, bound=4.0)
    return Model(Problem(Pull(pull), lambda t, u: 0.3 + 0.0 * u, jumps=(jump,)))


def loss_of(kind, n_series, n_paths):
    options = {"times": TIMES, "n_paths": n_paths, "settings": EULER}
    if kind is SnapshotEnergy:
        return snapshots(n_series, **options)
    row = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    spread = torch.linspace(-1, 1, n_series, dtype=torch.float64)[:, None] if issubclass(kind, MomentMatching) else 0.0
    return bound(kind, row.repeat(n_series, 1) + spread, **options)


def mean(loss, model, seed):
    weight = loss.weight[loss.items]
    return weight @ loss.values(model, loss.items, seed=seed) / weight.sum()


def every_series(loss):
    return torch.arange(len(loss.curves.times))


def compare(loss, n_seeds):
    """Gradients and finite differences, and those of plain autograd, (seeds, parameters) each."""
    exact, differences, plain = [], [], []
    for seed in range(n_seeds):
        model, simulate = jumping(), loss.simulate
        parameters = list(model.parameters())
        ensemble = simulate(model, every_series(loss), seed=seed)
        loss.simulate = lambda *_, **options: ensemble  # noqa: B023
        exact.append(torch.stack(torch.autograd.grad(mean(loss, model, seed), parameters, retain_graph=True)))
        loss.simulate = lambda *_, **options: Ensemble(ensemble.paths)  # noqa: B023
        gradient = torch.autograd.grad(mean(loss, model, seed), parameters, allow_unused=True, materialize_grads=True)
        plain.append(torch.stack(gradient))
        loss.simulate = simulate
        # With a gradient, so that their steps, too, stop at the times of branches.
        sides = [
            torch.stack([mean(loss, jumping(**{name: at + sign * STEPS[name]}), seed) for name, at in AT.items()])
            for sign in (1, -1)
        ]
        differences.append(
            (sides[0] - sides[1]).detach() / (2 * torch.tensor(list(STEPS.values()), dtype=torch.float64))
        )
    return torch.stack(exact), torch.stack(differences), torch.stack(plain)


@pytest.mark.parametrize(
    ("kind", "n_series", "n_paths", "n_seeds"),
    [
        (MeanMatching, 400, 5, 10),
        (PlainMeanMatching, 400, 4, 10),
        (PathSquaredError, 400, 3, 10),
        (RankedProbability, 400, 5, 10),
        (PairedEnergy, 400, 5, 10),
        (SnapshotEnergy, 14, 8, 20),
        (MomentMatching, 8, 24, 20),
        (PlainMomentMatching, 8, 48, 15),
    ],
)
def test_gradients_are_those_of_finite_differences(kind, n_series, n_paths, n_seeds):
    exact, differences, plain = compare(loss_of(kind, n_series, n_paths), n_seeds)
    off = exact - differences
    error = off.std(0) / math.sqrt(n_seeds)
    assert (off.mean(0).abs() < 4 * error).all()
    # The law of the jumps matters, and there is the power to see it.
    assert ((plain - differences).mean(0).abs() > 5 * error).any()
    assert (plain[:, 0] == 0).all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("n", [4, 7, 70])
def test_members_of_scores_one_by_one(n, mirrored):
    """Replacing one path changes a score by what that path contributes."""
    x, other = paths(n, 3, 2, mirrored=False), paths(n, 3, 2, mirrored=False, seed=1)
    for score, members in ((fair_crps, crps_of_members), (fair_energy_score, energy_of_members)):
        change = members(other, x, mirrored=mirrored) - members(x, x, mirrored=mirrored)
        for p in (0, n // 2, n - 1):
            replaced = x.clone()
            replaced[p] = other[p]
            expected = score(replaced, mirrored=mirrored) - score(x, mirrored=mirrored)
            torch.testing.assert_close(change[p], expected, rtol=1e-10, atol=1e-12)


def test_an_ensemble_follows_its_alternatives():
    x, y = paths(4, 3, 5, mirrored=False), paths(4, 3, 5, mirrored=False, seed=1)
    weight = torch.arange(12.0, dtype=torch.float64).view(4, 3).requires_grad_()
    ensemble = Ensemble(x, (Alternative(y, weight - weight.detach()),))
    value = ensemble.map(torch.exp).at(torch.tensor([2, 0]), torch.tensor([1, 4])).part(slice(1, 3)).mean(torch.square)
    assert torch.equal(value.detach(), torch.stack([x[1:3, 2, 1], x[1:3, 0, 4]], 1).exp().square().mean(0))
    (slope,) = torch.autograd.grad(value.sum(), weight)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    change = ((2 * y).exp() - (2 * x).exp()) / 2
    expected[1:3, 2], expected[1:3, 0] = change[1:3, 2, 1], change[1:3, 0, 4]
    torch.testing.assert_close(slope, expected)
    # Pairs: of each member where the other stays.
    value = ensemble.pairs(lambda z: z.mean(1).square())
    (slope,) = torch.autograd.grad(value.sum(), weight)
    partner = x[[1, 0, 3, 2]]
    torch.testing.assert_close(slope, (((y + partner) / 2).square() - ((x + partner) / 2).square()).sum(2))


def test_the_jumps_of_mirrored_paths_are_their_own():
    loss = loss_of(RankedProbability, 50, 4)
    model = Model(Problem(None, lambda t, u: 0.0 * u, jumps=(Jump(1.0, lambda t, u: u + 1),)))
    counts = loss.simulate(model, torch.arange(50), seed=0).paths[:, :, -1, 0]
    assert (counts[0::2] != counts[1::2]).any()
