"""Jumps that residuals hint at, against the numbers that made them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skneuralde.inference import ChannelParameters, Residuals, find_jumps
from skneuralde.inference.jumps import mixture_em

N, H = 4000, 0.1


def residuals(seed, sizes=(), rates=(), spreads=(), *, sigma=0.3, claimed=1.0, dim=1):
    """Normal changes with jumps of several kinds, of which the variance is known but for a factor; and the counts."""
    rng = np.random.default_rng(seed)
    change = sigma * math.sqrt(H) * rng.normal(size=(N, dim))
    counts = []
    for size, rate, spread in zip(sizes, rates, spreads, strict=True):
        jumped = rng.random(N) < -math.expm1(-rate * H)
        counts.append(jumped.sum())
        change += jumped[:, None] * (size + spread * rng.normal(size=(N, dim)))
    variance = torch.full((N, dim), claimed * sigma**2 * H, dtype=torch.float64)
    one = torch.ones(N, dtype=torch.float64)
    return Residuals(torch.as_tensor(change), variance, H * one, one), counts


def sought(count, dim=1):
    nothing = torch.zeros(count, N, dim, dtype=torch.float64)
    yes = torch.ones(count, dtype=torch.bool)
    return ChannelParameters(nothing[..., 0] + 1.0, nothing, nothing + 1.0, yes, yes, yes)


def found(seed, channels=None, **options):
    left, counts = residuals(seed, **options)
    count = max(1, len(counts))
    mixed = find_jumps(left, sought(count, left.change.shape[1]) if channels is None else channels, learns_noise=True)
    return mixed, counts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [-3.0, 0.0])
def test_rare_large_jumps(seed, size):
    """A hundredth of the intervals; the standard errors are those of so many jumps that are seen."""
    mixed, (count,) = found(seed, sizes=[size], rates=[0.1], spreads=[1.0], claimed=2.0)
    mean, variance = (x[0].mean(0).item() for x in (mixed.channels.mean, mixed.channels.variance))
    # Jumps smaller than four deviations of the noise, two fifths of a deviation, hide in it where their mean is zero.
    hidden = 0.3 if size == 0.0 else 0.05
    assert mixed.channels.rate[0].mean() * N * H == pytest.approx(count, rel=hidden)
    assert mean == pytest.approx(size, abs=4.0 / math.sqrt(count))
    assert math.sqrt(variance) == pytest.approx(1.0, rel=0.4)
    assert mixed.inflation.item() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_a_single_jump(seed):
    left, _ = residuals(seed)
    left.change[7] += 2.0
    mixed = find_jumps(left, sought(1), learns_noise=True)
    assert mixed.channels.rate[0].mean() * N * H == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 2])
def test_none_where_there_is_none(seed, count):
    left, _ = residuals(seed, claimed=2.0)
    assert find_jumps(left, sought(count), learns_noise=True) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kinds", [((1.5, 0.5), (-3.0, 0.2)), ((-0.5, 1.0), (-4.0, 0.1))])
def test_kinds_are_told_apart(seed, kinds):
    sizes, rates = zip(*kinds, strict=True)
    mixed, counts = found(seed, sizes=sizes, rates=rates, spreads=(0.1, 0.1))
    mean = mixed.channels.mean.mean((1, 2))
    order = mean.argsort(descending=True)
    np.testing.assert_allclose(mean[order], sizes, atol=0.1)
    np.testing.assert_allclose(mixed.channels.rate.mean(1)[order] * N * H, counts, rtol=0.15)


def test_of_different_spread_around_zero():
    mixed, _ = found(0, sizes=(0.0, 0.0), rates=(2.0, 0.1), spreads=(0.5, 4.0))
    rate, spread = mixed.channels.rate.mean(1), mixed.channels.variance.mean((1, 2)).sqrt()
    order = spread.argsort()
    np.testing.assert_allclose(spread[order], (0.5, 4.0), rtol=0.3)
    np.testing.assert_allclose(rate[order], (2.0, 0.1), rtol=0.3)


def test_what_is_known_stays():
    """At a known rate there are jumps, also where they do not show; a known effect is found at its rate."""
    channels = sought(1)
    no = torch.zeros(1, dtype=torch.bool)
    known_rate = replace(channels, rate=torch.full((1, N), 0.4, dtype=torch.float64), learns_rate=no)
    mixed, _ = found(0, known_rate)
    assert (mixed.channels.rate == 0.4).all()
    known_effect = replace(channels, mean=channels.mean - 2.0, variance=0.0 * channels.mean)
    known_effect = replace(known_effect, learns_mean=no, learns_variance=no)
    mixed, (count,) = found(0, known_effect, sizes=[-2.0], rates=[0.2], spreads=[0.0])
    assert (mixed.channels.mean == -2.0).all()
    assert mixed.channels.rate[0].mean() * N * H == pytest.approx(count, rel=0.02)


def test_an_effect_without_chance():
    channels = sought(1)
    channels = replace(channels, variance=0.0 * channels.mean, learns_variance=~channels.learns_rate)
    mixed, (count,) = found(0, channels, sizes=[2.0], rates=[0.1], spreads=[0.0])
    assert mixed.channels.mean.mean().item() == pytest.approx(2.0, abs=0.05)
    assert mixed.channels.rate[0].mean() * N * H == pytest.approx(count, rel=0.02)


def test_several_components_and_weights():
    """A weight of two is the same change twice; a jump moves all components."""
    left, _ = residuals(0, sizes=[np.array([2.0, -1.0])], rates=[0.2], spreads=[0.2], dim=2)
    twice = Residuals(*(torch.cat([x, x]) for x in (left.change, left.variance, left.length, left.weight)))
    channels = sought(1, 2)
    doubled = replace(channels, **{k: torch.cat([getattr(channels, k)] * 2, 1) for k in ("rate", "mean", "variance")})
    heavy = find_jumps(replace(left, weight=2 * left.weight), channels, learns_noise=True)
    other = find_jumps(twice, doubled, learns_noise=True)
    np.testing.assert_allclose(heavy.channels.mean[0, 0], [2.0, -1.0], atol=0.1)
    np.testing.assert_allclose(heavy.channels.mean[:, :1], other.channels.mean[:, :1], rtol=1e-6)
    np.testing.assert_allclose(heavy.inflation, other.inflation, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_likelihood_never_falls(seed, monkeypatch):
    seen = []
    iterate = mixture_em._iterate

    def watched(left, mixed, begun, **options):
        after = iterate(left, mixed, begun, **options)
        seen.append(after.log_likelihood)
        return after

    monkeypatch.setattr(mixture_em, "_iterate", watched)
    monkeypatch.setattr(mixture_em, "_starts", lambda *args: [replace(sought(1), rate=sought(1).rate * 0.5)])
    found(seed, sizes=[-1.0], rates=[0.5], spreads=[0.5])
    assert len(seen) > 3
    assert np.diff(seen).min() > -0.5


def test_rates_that_vanish_in_places():
    """Half of the intervals cannot have a jump."""
    channels = sought(1)
    rate = torch.where(torch.arange(N) % 2 == 0, 2.0, 0.0).double()[None]
    mixed, _ = found(0, replace(channels, rate=rate, learns_rate=~channels.learns_rate))
    assert math.isfinite(mixed.log_likelihood)
    assert torch.equal(mixed.channels.rate, rate)


@pytest.mark.parametrize("moves", [0, 200])
def test_most_changes_are_none(moves):
    """Where nothing moves there is nothing to find; where little does, the noise does not vanish."""
    left, _ = residuals(0)
    left.change[moves:] = 0.0
    mixed = find_jumps(left, sought(1), learns_noise=True)
    assert mixed is None if moves == 0 else mixed.inflation.item() > 0.0
