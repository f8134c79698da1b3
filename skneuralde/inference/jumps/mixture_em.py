"""Which jumps the residuals of an equation without jumps hint at: a mixture of normal laws, by EM."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

#: Jumps that are tried first: their size, in deviations of the diffusion, and the share of intervals that have one.
_STARTS = ((1.5, 0.3), (3.0, 0.1), (8.0, 0.01))
#: Iterations from every start and, at most, from the best place that these reach.
_FIRST_ITERATIONS, _MOST_ITERATIONS = 15, 200
#: Gain in log likelihood, in nats, below which nothing more is to be had.
_LEAST_GAIN = 1e-3
#: The least variance of the noise, in units of the robust one: where many changes are equal it would vanish.
_LEAST_NOISE = 0.05
#: The median absolute deviation of a normal law times this is its standard deviation.
_MAD = 1.4826
_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Residuals:
    """What an equation without jumps leaves of n changes.

    Attributes
    ----------
    change : Tensor of shape (n, dim)
        Changes that it does not expect.
    variance : Tensor of shape (n, dim)
        The variance that it gives to them.
    length : Tensor of shape (n,)
        Over which time.
    weight : Tensor of shape (n,)
    """

    change: Tensor
    variance: Tensor
    length: Tensor
    weight: Tensor


@dataclass(frozen=True)
class ChannelParameters:
    """Jumps of several kinds in n intervals, and what of them is not known.

    Attributes
    ----------
    rate : Tensor of shape (channel, n)
        Jumps per unit of time.
    mean, variance : Tensor of shape (channel, n, dim)
        Of what a jump adds to the state.
    learns_rate, learns_mean, learns_variance : bool Tensor of shape (channel,)
        What is sought, as constants. The rest is known.
    """

    rate: Tensor
    mean: Tensor
    variance: Tensor
    learns_rate: Tensor
    learns_mean: Tensor
    learns_variance: Tensor


@dataclass(frozen=True)
class MixtureFit:
    """Residuals as jumps, and normal changes of mean ``trend * length`` and of ``inflation`` times the variance.

    Both are (dim,); ``log_likelihood`` is a sum over the residuals.
    """

    channels: ChannelParameters
    trend: Tensor
    inflation: Tensor
    log_likelihood: float = -math.inf


def find_jumps(residuals: Residuals, channels: ChannelParameters, *, learns_noise: bool) -> MixtureFit | None:
    """The jumps that make residuals likeliest; where all rates are sought, only if they do so clearly.

    The components of a residual are taken as independent, and intervals with several jumps as if they had one: this is
    where learning starts. EM (Dempster, Laird and Rubin, 1977) from several sizes, of which the likeliest
    is kept. As if each channel had been seen to jump once more, at the size that it started with, no spread vanishes.

    Parameters
    ----------
    residuals : Residuals
    channels : ChannelParameters
        As they are now; what is sought of them is not read.
    learns_noise : bool
        Whether the residuals' variance may be wrong by a factor.

    Returns
    -------
    MixtureFit or None
        None where all rates are sought and an equation without jumps is as good, by the Bayesian information criterion,
        or where residuals have no likelihood.
    """
    noise, trend = _robust(residuals, learns_noise)
    climb = partial(_climb, residuals, learns_noise=learns_noise)
    tried = []
    # Effects without chance have a spread at first, by which they reach for their jumps.
    spread = replace(channels, learns_variance=channels.learns_mean | channels.learns_variance)
    for start in _starts(residuals, spread, noise):
        begun = MixtureFit(start, trend, noise)
        tried.append((climb(begun, begun, _FIRST_ITERATIONS), begun))
    reached, begun = max(tried, key=lambda pair: np.nan_to_num(pair[0].log_likelihood, nan=-math.inf))
    best = climb(reached, begun, _MOST_ITERATIONS)
    if not torch.equal(spread.learns_variance, channels.learns_variance):
        found = best.channels
        without = _replaced(channels, found.rate, found.mean, found.variance)
        best = climb(replace(best, channels=without, log_likelihood=-math.inf), begun, _MOST_ITERATIONS)
    if not math.isfinite(best.log_likelihood):
        return None
    if not bool(channels.learns_rate.all()):
        return best
    sought = len(channels.rate) + residuals.change.shape[1] * int(
        channels.learns_mean.sum() + channels.learns_variance.sum()
    )
    clear = 0.5 * sought * math.log(max(2.0, float(residuals.weight.sum())))
    return best if best.log_likelihood > _alone(residuals, learns_noise) + clear else None


def _robust(residuals: Residuals, learns_noise: bool) -> tuple[Tensor, Tensor]:
    """Inflation of the variance and trend by medians."""
    whole = residuals.change / residuals.variance.sqrt()
    centre = whole.median(0).values
    spread = _MAD * (whole - centre).abs().median(0).values
    # More than half of the changes being the same says nothing of their spread.
    spread = torch.where(spread > 0.0, spread, whole.square().mean(0).sqrt())
    trend = (residuals.change / residuals.length[:, None]).median(0).values
    return (spread.square() if learns_noise else torch.ones_like(spread)), trend


def _alone(residuals: Residuals, learns_noise: bool) -> float:
    """Log likelihood of the residuals without jumps."""
    weight = residuals.weight[:, None]
    precision = weight / residuals.variance
    length = residuals.length[:, None]
    trend = (precision * length * residuals.change).sum(0) / (precision * length.square()).sum(0)
    squares = (residuals.change - trend * length).square() / residuals.variance
    inflation = (weight * squares).sum(0) / weight.sum(0) if learns_noise else torch.ones_like(trend)
    log_density = -0.5 * (squares / inflation + inflation.log() + residuals.variance.log() + _LOG_2PI)
    return float((weight * log_density).sum())


def _starts(residuals: Residuals, channels: ChannelParameters, noise: Tensor) -> list[ChannelParameters]:
    """Channels of different sizes around zero, and, where there are several, of different signs."""
    count = len(channels.rate)
    deviation = (noise * residuals.variance.median(0).values).sqrt()
    rate = 1.0 / residuals.length.median()
    starts = []
    for chosen in itertools.combinations_with_replacement(_STARTS, count):
        sizes = torch.stack([size * deviation for size, _ in chosen])[:, None]
        shares = residuals.length.new_tensor([share for _, share in chosen])[:, None] / count
        signs = residuals.length.new_tensor([(-1.0) ** k for k in range(count)])[:, None, None]
        shifts = [signs, -signs] if count > 1 else []
        if len(set(chosen)) == count:
            shifts.append(0.0 * signs)
        starts += [_replaced(channels, shares * rate, shift * sizes, sizes.square()) for shift in shifts]
    return starts


def _replaced(channels: ChannelParameters, rate: Tensor, mean: Tensor, variance: Tensor) -> ChannelParameters:
    """The same with these values of what is sought, ``(channel, 1)`` and ``(channel, 1, dim)``."""
    return replace(
        channels,
        rate=torch.where(channels.learns_rate[:, None], rate, channels.rate),
        mean=torch.where(channels.learns_mean[:, None, None], mean, channels.mean),
        variance=torch.where(channels.learns_variance[:, None, None], variance, channels.variance),
    )


def _climb(residuals: Residuals, mixed: MixtureFit, begun: MixtureFit, most: int, *, learns_noise: bool) -> MixtureFit:
    """So many iterations of EM, or until nothing is gained; ``begun`` is the start."""
    for _ in range(most):
        after = _iterate(residuals, mixed, begun, learns_noise=learns_noise)
        if not after.log_likelihood > mixed.log_likelihood + _LEAST_GAIN:
            return after
        mixed = after
    return mixed


def _iterate(residuals: Residuals, mixed: MixtureFit, begun: MixtureFit, *, learns_noise: bool) -> MixtureFit:
    """One of them; the log likelihood is that before it."""
    channels = mixed.channels
    length, weight = residuals.length, residuals.weight
    noise = mixed.inflation * residuals.variance
    off = residuals.change - mixed.trend * length[:, None]
    expected = channels.rate * length
    total = expected.sum(0)
    log_none = -total
    tiny = torch.finfo(total.dtype).tiny
    log_some = (-torch.expm1(-total)).clamp_min(tiny).log() + (expected / total.clamp_min(tiny)).clamp_min(tiny).log()
    surprise = off - channels.mean
    spread = noise + channels.variance
    density = -0.5 * (surprise.square() / spread + spread.log() + _LOG_2PI).sum(-1)
    density_none = -0.5 * (off.square() / noise + noise.log() + _LOG_2PI).sum(-1)
    joint = torch.cat([(log_none + density_none)[None], log_some + density])
    log_likelihood = float(weight @ joint.logsumexp(0))
    share = joint.softmax(0) * weight
    none, some = share[0], share[1:]
    gain = channels.variance / spread
    size, rest = channels.mean + gain * surprise, channels.variance * (1.0 - gain)
    count = some.sum(1)[:, None, None]
    mean = (some[..., None] * size).sum(1, keepdim=True) / count.clamp_min(tiny)
    squares = (some[..., None] * (rest + (size - mean).square())).sum(1, keepdim=True)
    variance = (squares + begun.channels.variance) / (count + 1.0)
    # As often as the intervals with a jump say, where several in one of them count as one.
    rate = -torch.log1p(-(some.sum(1) / weight.sum()).clamp_max(0.9)) / (weight @ length / weight.sum())
    left = some[..., None] * ((off - size).square() + rest)
    squares = (none[:, None] * off.square() + left.sum(0)) / residuals.variance
    inflation = mixed.inflation
    if learns_noise:
        inflation = torch.maximum(squares.sum(0) / weight.sum(), _LEAST_NOISE * begun.inflation)
    pull = none[:, None] * off + (some[..., None] * (off - size)).sum(0)
    precision = length[:, None] / residuals.variance
    trend = mixed.trend + (precision * pull).sum(0) / (precision * (weight * length)[:, None]).sum(0)
    return MixtureFit(_replaced(channels, rate[:, None], mean, variance), trend, inflation, log_likelihood)
