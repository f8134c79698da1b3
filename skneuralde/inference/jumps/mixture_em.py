"""Expectation maximisation (EM) for jumps in the residuals of an equation without jumps."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

#: Start values: the size of jumps, in standard deviations of the diffusion, and the share of intervals with a jump.
_STARTS = ((1.5, 0.3), (3.0, 0.1), (8.0, 0.01))
#: Iterations from every start, and the largest number of iterations from the best result of these.
_FIRST_ITERATIONS, _MAX_ITERATIONS = 15, 200
#: Gain in log likelihood, in nats, below which the iterations have converged.
_MIN_GAIN = 1e-3
#: Smallest variance of the noise, relative to the robust estimate: if many changes are equal it would vanish.
_MIN_NOISE = 0.05
#: The standard deviation of a normal distribution in units of its median absolute deviation.
_MAD = 1.4826
_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Residuals:
    """Residuals of n observed changes under an equation without jumps."""

    change: Tensor  #: (n, dim), observed minus expected changes
    variance: Tensor  #: (n, dim), their variances under the equation
    length: Tensor  #: (n,), lengths of the intervals
    weight: Tensor  #: (n,)


@dataclass(frozen=True)
class ChannelParameters:
    """Parameters of several channels of jumps in n intervals; some are known, the others are estimated as constants."""

    rate: Tensor  #: (channel, n), jumps per unit of time
    mean: Tensor  #: (channel, n, dim), mean change of the state by a jump
    variance: Tensor  #: (channel, n, dim), variance of that change
    learns_rate: Tensor  #: bool (channel,), whether to estimate the rate; likewise for mean and variance
    learns_mean: Tensor
    learns_variance: Tensor


@dataclass(frozen=True)
class MixtureFit:
    """Residuals as the sum of jumps and normal changes of mean ``trend * length`` and variance times ``inflation``."""

    channels: ChannelParameters
    trend: Tensor  #: (dim,)
    inflation: Tensor  #: (dim,)
    log_likelihood: float = -math.inf  #: sum over the residuals


def find_jumps(residuals: Residuals, channels: ChannelParameters, *, learns_noise: bool) -> MixtureFit | None:
    """Estimate jumps from residuals by maximum likelihood, as start values for training.

    The components of a residual are taken as independent, and intervals with several jumps as intervals with one. EM
    (Dempster, Laird and Rubin, 1977) starts from jumps of several sizes, and the likeliest result is kept. A prior
    worth one jump of the start size per channel keeps the variances from vanishing. With ``learns_noise`` a factor of
    the residuals' variance is estimated, too. Values in ``channels`` of parameters to estimate are ignored.

    The result is None if the residuals have no finite likelihood, or if all rates are estimated and an equation without
    jumps is as good by the Bayesian information criterion.
    """
    noise, trend = _robust(residuals, learns_noise)
    climb = partial(_climb, residuals, learns_noise=learns_noise)
    # Deterministic effects get a variance at first, so that they can move to their jumps.
    varied = replace(channels, learns_variance=channels.learns_mean | channels.learns_variance)
    starts = [MixtureFit(parameters, trend, noise) for parameters in _starts(residuals, varied, noise)]
    tried = [(climb(start, start, _FIRST_ITERATIONS), start) for start in starts]
    reached, start = max(tried, key=lambda pair: np.nan_to_num(pair[0].log_likelihood, nan=-math.inf))
    best = climb(reached, start, _MAX_ITERATIONS)
    if not torch.equal(varied.learns_variance, channels.learns_variance):
        found = best.channels
        without = _replaced(channels, found.rate, found.mean, found.variance)
        best = climb(replace(best, channels=without, log_likelihood=-math.inf), start, _MAX_ITERATIONS)
    if not math.isfinite(best.log_likelihood):
        return None
    if not bool(channels.learns_rate.all()):
        return best
    n_estimated = len(channels.rate) + residuals.change.shape[1] * int(
        channels.learns_mean.sum() + channels.learns_variance.sum()
    )
    penalty = 0.5 * n_estimated * math.log(max(2.0, float(residuals.weight.sum())))
    return best if best.log_likelihood > _without_jumps(residuals, learns_noise) + penalty else None


def _robust(residuals: Residuals, learns_noise: bool) -> tuple[Tensor, Tensor]:
    """Robust estimates, by medians, of the variance's inflation and of the trend."""
    whole = residuals.change / residuals.variance.sqrt()
    centre = whole.median(0).values
    std = _MAD * (whole - centre).abs().median(0).values
    # The median deviation is zero if more than half of the changes are equal.
    std = torch.where(std > 0.0, std, whole.square().mean(0).sqrt())
    trend = (residuals.change / residuals.length[:, None]).median(0).values
    return (std.square() if learns_noise else torch.ones_like(std)), trend


def _without_jumps(residuals: Residuals, learns_noise: bool) -> float:
    """Maximal log likelihood of the residuals without jumps."""
    weight = residuals.weight[:, None]
    precision = weight / residuals.variance
    length = residuals.length[:, None]
    trend = (precision * length * residuals.change).sum(0) / (precision * length.square()).sum(0)
    squares = (residuals.change - trend * length).square() / residuals.variance
    inflation = (weight * squares).sum(0) / weight.sum(0) if learns_noise else torch.ones_like(trend)
    log_density = -0.5 * (squares / inflation + inflation.log() + residuals.variance.log() + _LOG_2PI)
    return float((weight * log_density).sum())


def _starts(residuals: Residuals, channels: ChannelParameters, noise: Tensor) -> list[ChannelParameters]:
    """Start values: sizes around zero and, with several channels, of different signs."""
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
    """The parameters with new values, ``(channel, 1)`` and ``(channel, 1, dim)``, of those to estimate."""
    return replace(
        channels,
        rate=torch.where(channels.learns_rate[:, None], rate, channels.rate),
        mean=torch.where(channels.learns_mean[:, None, None], mean, channels.mean),
        variance=torch.where(channels.learns_variance[:, None, None], variance, channels.variance),
    )


def _climb(residuals: Residuals, fit: MixtureFit, start: MixtureFit, most: int, *, learns_noise: bool) -> MixtureFit:
    """At most ``most`` iterations of EM from ``fit``, until they converge; ``start`` gives the prior."""
    for _ in range(most):
        after = _iterate(residuals, fit, start, learns_noise=learns_noise)
        if not after.log_likelihood > fit.log_likelihood + _MIN_GAIN:
            return after
        fit = after
    return fit


def _iterate(residuals: Residuals, fit: MixtureFit, start: MixtureFit, *, learns_noise: bool) -> MixtureFit:
    """One iteration of EM; the log likelihood is that of the parameters before it."""
    channels = fit.channels
    length, weight = residuals.length, residuals.weight
    noise = fit.inflation * residuals.variance
    off = residuals.change - fit.trend * length[:, None]
    expected = channels.rate * length
    total = expected.sum(0)
    log_none = -total
    tiny = torch.finfo(total.dtype).tiny
    log_some = (-torch.expm1(-total)).clamp_min(tiny).log() + (expected / total.clamp_min(tiny)).clamp_min(tiny).log()
    surprise = off - channels.mean
    variance_with_jump = noise + channels.variance
    density = -0.5 * (surprise.square() / variance_with_jump + variance_with_jump.log() + _LOG_2PI).sum(-1)
    density_none = -0.5 * (off.square() / noise + noise.log() + _LOG_2PI).sum(-1)
    joint = torch.cat([(log_none + density_none)[None], log_some + density])
    log_likelihood = float(weight @ joint.logsumexp(0))
    share = joint.softmax(0) * weight
    none, some = share[0], share[1:]
    gain = channels.variance / variance_with_jump
    size, rest = channels.mean + gain * surprise, channels.variance * (1.0 - gain)
    count = some.sum(1)[:, None, None]
    mean = (some[..., None] * size).sum(1, keepdim=True) / count.clamp_min(tiny)
    squares = (some[..., None] * (rest + (size - mean).square())).sum(1, keepdim=True)
    variance = (squares + start.channels.variance) / (count + 1.0)
    # The rate at which this share of intervals has at least one jump.
    rate = -torch.log1p(-(some.sum(1) / weight.sum()).clamp_max(0.9)) / (weight @ length / weight.sum())
    left = some[..., None] * ((off - size).square() + rest)
    squares = (none[:, None] * off.square() + left.sum(0)) / residuals.variance
    inflation = fit.inflation
    if learns_noise:
        inflation = torch.maximum(squares.sum(0) / weight.sum(), _MIN_NOISE * start.inflation)
    pull = none[:, None] * off + (some[..., None] * (off - size)).sum(0)
    precision = length[:, None] / residuals.variance
    trend = fit.trend + (precision * pull).sum(0) / (precision * (weight * length)[:, None]).sum(0)
    return MixtureFit(_replaced(channels, rate[:, None], mean, variance), trend, inflation, log_likelihood)
