"""Warnings of coefficients that the data do not identify."""

from __future__ import annotations

import warnings

import numpy as np

from skneuralde.data import Panel
from skneuralde.data.positions import where
from skneuralde.data.timeline import previous
from skneuralde.losses import Loss
from skneuralde.problems import Problem
from skneuralde.terms import Term

#: Changes below this number of machine epsilons of an output's size are rounding.
_EPSILONS = 64
#: With fewer pairs of observations nothing is concluded.
ENOUGH = 50
#: The most errors of interpolation that are computed.
MOST = 10_000
#: Ratio of the squared volatilities at double and at single spacing above which the output has no noise. It is 1 for
#: Brownian motion, 4 for its integral, 16 for the integral of that, and 128 for a smooth curve.
SMOOTH = 40.0


def warn_of_unidentified(panel: Panel, problem: Problem, loss: Loss, names: list[str]) -> None:
    """Warn, once for each reason, of coefficients that cannot be learned from these series.

    Parameters
    ----------
    panel : Panel
        Of time series.
    problem : Problem
    loss : Loss
    names : list of str
        The names of the outputs in messages.
    """
    outputs = range(panel.values.shape[1])
    steady = [k for k in outputs if is_steady(panel, k)]
    if steady:
        _warn(_STEADY, steady, names)
    if not loss.of_transitions:
        return
    moving = [k for k in outputs if k not in steady]
    unconnected = [k for k in moving if is_uncorrelated(panel, k)]
    if unconnected and _learns(problem.drift):
        _warn(_TOO_COARSE, unconnected, names)
    if problem.diffusion is not None and _learns(problem.diffusion):
        smooth = [k for k in moving if is_noise_free(panel, k)]
        if smooth:
            _warn(_NO_NOISE, smooth, names)


def is_steady(panel: Panel, output: int) -> bool:
    """Whether an output is constant in every series."""
    start, stop = _neighbours(panel, output, output)
    change = panel.values[stop, output]
    change -= panel.values[start, output]
    return len(change) > 0 and bool(np.abs(change, out=change).max() <= _rounding(panel, output))


def is_uncorrelated(panel: Panel, output: int) -> bool:
    """Whether the correlation of an output with every output one observation before is within two standard errors of 0.

    The standard error of the correlation of n independent pairs is 1 / sqrt(n).
    """
    for other in range(panel.values.shape[1]):
        start, stop = _neighbours(panel, other, output)
        if len(start) < ENOUGH:
            return False
        before, after = panel.values[start, other], panel.values[stop, output]
        before -= before.mean()
        after -= after.mean()
        size = np.sqrt((before @ before) * (after @ after))
        if size > 0 and abs(before @ after) > 2.0 / np.sqrt(len(start)) * size:
            return False
    return True


def is_noise_free(panel: Panel, output: int) -> bool:
    """Whether an output is a smooth curve, whose quadratic variation shrinks with the spacing, unlike that of noise.

    The volatility is measured by the errors of cubic interpolation, to which a smooth drift adds little, at single and
    at double spacing.
    """
    near, n_near = _interpolation_volatility(panel, output, 1)
    far, n_far = _interpolation_volatility(panel, output, 2)
    if min(n_near, n_far) < ENOUGH:
        return False
    series = panel.series_of
    gap = float(np.median(np.diff(panel.times)[series[1:] == series[:-1]], overwrite_input=True))
    return near * gap <= _rounding(panel, output) ** 2 or far > SMOOTH * near


def _neighbours(panel: Panel, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of positions: the last one at which ``before`` is observed, then one at which ``after`` is observed."""
    start = previous(panel, ~np.isnan(panel.values[:, before]))
    stop = where((start >= 0) & ~np.isnan(panel.values[:, after]))
    return start[stop], stop


def _interpolation_volatility(panel: Panel, output: int, lag: int) -> tuple[float, int]:
    """Squared volatility of the Brownian motion that has such errors of cubic interpolation, and their number.

    Every observation is interpolated from the ones ``lag`` and ``2 * lag`` positions before and after it.
    """
    there = where(~np.isnan(panel.values[:, output]))
    series = panel.series_of[there]
    steps = lag * np.array([0, -2, -1, 1, 2])
    centre = np.flatnonzero(series[: -4 * lag] == series[4 * lag :]) + 2 * lag
    if not len(centre):
        return 0.0, 0
    centre = centre[:: -(-len(centre) // MOST)]
    window = there[centre[:, None] + steps]
    values = panel.values[window, output].astype(np.float64)
    times = panel.times[window] - panel.times[window[:, :1]]
    span = np.ptp(times, axis=1)
    weights = _interpolation_weights(times / span[:, None])
    error = ((values - values[:, :1]) * weights).sum(axis=1)
    distance = np.abs(times[:, :, None] - times[:, None, :])
    variance = -0.5 * np.einsum("na,nab,nb->n", weights, distance, weights)
    return float(np.mean(error**2 / variance)), len(centre)


def _interpolation_weights(x: np.ndarray) -> np.ndarray:
    """Weights of values at x ``(n, 1 + nodes)`` in the error of interpolating the first from the rest; its x is 0."""
    weights = np.ones_like(x)
    for j in range(1, x.shape[1]):
        others = np.delete(x[:, 1:], j - 1, axis=1)
        weights[:, j] = -np.prod(others / (others - x[:, j : j + 1]), axis=1)
    return weights


def _rounding(panel: Panel, output: int) -> float:
    """The largest change of an output that may be rounding."""
    size = np.nanmax(np.abs(panel.values[:, output]), initial=0.0)
    return float(_EPSILONS * np.finfo(panel.values.dtype).eps * size)


def _learns(term: Term) -> bool:
    return any(p.requires_grad for p in term.parameters())


def _warn(message: str, outputs: list[int], names: list[str]) -> None:
    warnings.warn(message.format(outputs=", ".join(names[k] for k in outputs)), UserWarning, stacklevel=5)


_STEADY = (
    "The observations of {outputs} never change. A steady state determines neither the drift nor the noise, so that "
    "the learned coefficients are arbitrary. Give series that start away from it, or leave the output out."
)
_TOO_COARSE = (
    "Consecutive observations of {outputs} are uncorrelated within the error: they are too far apart for the memory of "
    "the process, or mostly measurement noise. They bound the rate of the drift only from below, and determine the "
    "noise only relative to it. Observe more often, or give the drift."
)
_NO_NOISE = (
    "The observations of {outputs} follow a smooth curve without measurable noise: the learned diffusion will go to "
    "zero and the densities to infinity. Use diffusion=None, or give the diffusion."
)
