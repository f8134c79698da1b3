"""Learning jumps from the default start: what steps too few and small to find anything by themselves end at."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from skneuralde import MLP, NeuralJumpDiffusion

N, NOISE = 2000, 0.1


def walk(seed, kinds, dim=1):
    """A random walk with jumps ``(chance, mean, deviation)`` of several kinds."""
    rng = np.random.default_rng(seed)
    change = NOISE * rng.normal(size=(N, dim))
    for chance, mean, std in kinds:
        jumped = rng.random(N) < chance
        change += jumped[:, None] * (mean + std * rng.normal(size=(N, dim)))
    return np.arange(float(N))[:, None], np.cumsum(change, axis=0)


def briefly(n_channels=1, **options):
    """A few steps of Adam, which move a bias by a hundredth."""
    if n_channels > 1:
        options |= {"jump_rate": ("mlp",) * n_channels, "jump_affect": ("gaussian",) * n_channels}
    return NeuralJumpDiffusion(
        **{"inputs": (), "optimizer": "adam", "max_iter": 2, "random_state": 0, "n_predict_paths": 2, **options}
    )


def jumps_of(model):
    """Rate, mean and deviation of every channel."""
    at = torch.zeros(1, 1, dtype=torch.float64)
    with torch.no_grad():
        parts = [
            (jump.rate(at, at), jump.affect.mean(at, at), jump.affect.std(at, at)) for jump in model.problem_.jumps
        ]
    return np.array([[float(x) for x in row] for row in parts])


@pytest.mark.parametrize("seed", range(4))
def test_rare_large_jumps(seed):
    """Ten or so, thirty times the noise."""
    model = briefly().fit(*walk(seed, [(0.005, -3.0, 0.5)]))
    ((rate, mean, std),) = jumps_of(model)
    assert rate == pytest.approx(0.005, abs=3.0 * math.sqrt(0.005 / N))
    assert mean == pytest.approx(-3.0, abs=0.6)
    assert std == pytest.approx(0.5, rel=0.6)


@pytest.mark.parametrize("seed", range(4))
def test_heavy_tails(seed):
    """Every seventh change has a jump of twice the noise: as likely as the truth, although few show by themselves."""
    chance, std = 0.15, 0.25
    X, y = walk(seed, [(chance, 0.0, std)])
    model = briefly().fit(X, y)
    change = np.diff(y[:, 0])
    truth = (1 - chance) * norm.pdf(change, 0, NOISE) + chance * norm.pdf(change, 0, math.hypot(NOISE, std))
    assert np.nansum(model.log_likelihood(X, y)) > np.log(truth).sum() - 1.0
    assert model.diffusion_field([[0.0]])[0, 0] == pytest.approx(NOISE, rel=0.1)


@pytest.mark.parametrize("kinds", [[(0.05, 0.8, 0.1), (0.02, -2.0, 0.3)], [(0.15, 0.0, 0.3), (0.01, 0.0, 4.0)]])
@pytest.mark.parametrize("seed", range(2))
def test_kinds_are_told_apart(seed, kinds):
    model = briefly(2).fit(*walk(seed, kinds))
    found = sorted(jumps_of(model).tolist(), key=lambda row: -row[0])
    for (rate, mean, std), (chance, size, spread) in zip(found, kinds, strict=True):
        assert rate == pytest.approx(chance, rel=0.5)
        assert mean == pytest.approx(size, abs=0.1 + 3.0 * spread / math.sqrt(chance * N))
        assert std == pytest.approx(spread, rel=0.6)


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_no_jumps_in_a_pure_diffusion(seed, n_channels):
    X, y = walk(seed, [])
    model = briefly(n_channels, max_iter=10).fit(X, y)
    assert np.nanmean(model.jump_probability(X, y)) < 0.005


def test_steps_go_on_from_there():
    """A network of the state, which alone tells where jumps are frequent, ends where they are."""
    rng = np.random.default_rng(0)
    y = np.zeros(3000)
    for k in range(1, len(y)):
        falls = rng.random() < 0.25 * (y[k - 1] > 0)
        y[k] = 0.9 * y[k - 1] + 0.05 + NOISE * rng.normal() - 0.8 * falls
    model = NeuralJumpDiffusion(hidden_layer_sizes=(8,), learning_rate_init=0.01, max_iter=25, random_state=0)
    model.fit(np.arange(3000.0)[:, None], y)
    low, high = model.intensity_field([-0.3, 0.4])
    assert high > 0.15 > 0.06 > low


def test_what_is_given_stays():
    """A module's own start, and known numbers, are nobody else's business."""

    class Rate(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.log = torch.nn.Parameter(torch.tensor(0.3).log())

        def forward(self, t, u):
            return self.log.exp().expand(len(u))

    X, y = walk(0, [(0.01, -3.0, 0.1)])
    untouched = {"learning_rate_init": 1e-12}
    model = briefly(jump_rate=Rate(), **untouched).fit(X, y)
    assert model.intensity_field([0.0])[0] == pytest.approx(0.3)
    model = briefly(jump_rate=0.01, jump_affect=lambda t, u, z: u - 3.0 + 0.2 * z, diffusion=0.3, **untouched).fit(X, y)
    at = torch.zeros(1, 1, dtype=torch.float64)
    assert model.jump_affect_(at, at, None, at).item() == -3.0
    assert model.diffusion_field([0.0])[0] == 0.3
    mixed = briefly(jump_rate=[0.002, "mlp"], jump_affect=MLP(), **untouched).fit(X, y)
    assert mixed.intensity_field([0.0])[0] == pytest.approx(0.01, rel=0.5)
    assert mixed.jump_affect_(at, at, None, at).item() == pytest.approx(-3.0, abs=0.1)


def test_a_warm_start_goes_on_where_it_was():
    X, y = walk(0, [(0.01, -3.0, 0.1)])
    model = briefly(warm_start=True, max_iter=1, learning_rate_init=1e-12).fit(X, y)
    before = jumps_of(model)
    other = walk(1, [(0.1, 2.0, 0.1)])
    np.testing.assert_allclose(jumps_of(model.fit(*other)), before, rtol=1e-6)


def test_several_components_and_gaps():
    """Jumps of two components at once, at irregular times, some rows empty; rates are per unit of time."""
    X, y = walk(0, [(0.05, np.array([2.0, -1.0]), 0.1)], dim=2)
    keep = np.random.default_rng(1).random(N) < 0.8
    y[::50] = np.nan
    model = briefly().fit(60.0 * X[keep], y[keep])
    jump = model.problem_.jumps[0]
    at = torch.zeros(1, 2, dtype=torch.float64)
    np.testing.assert_allclose(jump.affect.mean(at[:, :1], at).detach()[0], [2.0, -1.0], atol=0.25)
    assert float(jump.rate(at[:, :1], at).detach()) == pytest.approx(0.05 / 60.0, rel=0.3)
