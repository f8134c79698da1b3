"""Typical sizes of what the networks read and write, measured on the training data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skneuralde.data.panel import Panel
from skneuralde.data.positions import where
from skneuralde.data.scaling import weighted_scaling
from skneuralde.data.timeline import complete, previous


@dataclass(frozen=True)
class Scales:
    """Locations and scales, per column, in the caller's units.

    Attributes
    ----------
    time, state, inputs : tuple of (location, scale)
    rate : ndarray of shape (dim,)
        Typical size of the drift.
    volatility : ndarray of shape (dim,)
        Typical size of the diffusion.
    spacing : float
        Median time between observations, or between snapshots; in a table, the range of the times.
    """

    time: tuple[float, float]
    state: tuple[np.ndarray, np.ndarray]
    inputs: tuple[np.ndarray, np.ndarray]
    rate: np.ndarray
    volatility: np.ndarray
    spacing: float

    def of_states(self, n_states: int, components: np.ndarray | None) -> Scales:
        """The scales of states of which these components are observed; None: of which functions are.

        A state that is not observed is taken to be of size 1, around 0, and as fast as what is observed.
        """
        location, scale = np.zeros(n_states), np.ones(n_states)
        rate = scale * np.mean(self.rate / self.state[1])
        volatility = scale * np.mean(self.volatility / self.state[1])
        if components is not None:
            location[components], scale[components] = self.state
            rate[components], volatility[components] = self.rate, self.volatility
        return replace(self, state=(location, scale), rate=rate, volatility=volatility)

    @classmethod
    def measure(cls, panel: Panel, layout: str) -> Scales:
        """Measure the scales of a panel of layout "series", "table" or "flow"."""
        state = weighted_scaling(panel.values, panel.weight)
        inputs = weighted_scaling(np.hstack([panel.context, panel.controls]), panel.weight)
        location, spread = weighted_scaling(panel.times[:, None], panel.weight)
        time = (float(location[0]), float(spread[0]))
        if layout == "table":
            # Over the whole range of times the drift alone may move the state by its own spread: the context does most.
            span = float(np.ptp(panel.times)) or 1.0
            return cls(time, state, inputs, state[1] / span, state[1] / np.sqrt(span), span)
        if layout == "flow":
            change, gap = panel.values - panel.initial, np.abs(panel.times)
            change, gap = change[gap > 0], gap[gap > 0]
            slopes = change / gap[:, None]
            rate = _root_mean(slopes**2)
        else:
            change, gap, follows = increments(panel)
            rate = _smooth_rate(change, gap, follows)
            times = panel.times if len(gap) else np.unique(panel.times)
            if not len(gap) and len(times) > 1:
                # Snapshots: the population may move by its own spread over the whole range of times.
                span = float(np.ptp(times))
                return cls(
                    time, state, inputs, state[1] / span, state[1] / np.sqrt(span), float(np.median(np.diff(times)))
                )
        spacing = float(np.median(gap)) if len(gap) else time[1]
        squares = change**2
        squares /= gap[:, None]
        volatility = _root_mean(squares)
        # Data that do not move say nothing of either size: take a hundredth of the state's.
        rate = np.maximum(rate, 1e-2 * state[1] / max(time[1], spacing))
        volatility = np.maximum(volatility, 1e-2 * state[1] / np.sqrt(max(time[1], spacing)))
        return cls(time, state, inputs, rate, volatility, spacing)


def increments(panel: Panel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Increments and gaps of all transitions, and which of them, but for the last, end where the next one starts."""
    whole = complete(panel)
    before = previous(panel, whole)
    stop = where(whole & (before >= 0))
    start = before[stop]
    gap = panel.times[stop] - panel.times[start]
    change = panel.values[stop] - panel.values[start]
    return change, gap, start[1:] == stop[:-1]


def _smooth_rate(change: np.ndarray, gap: np.ndarray, follows: np.ndarray) -> np.ndarray:
    """The drift's size by the mean product of neighbouring slopes: free of noise, whose increments are independent."""
    if not follows.any():
        return np.zeros(change.shape[1])
    slopes = change / gap[:, None]
    products = slopes[:-1] * slopes[1:]
    del slopes  # panels are large
    return np.sqrt(np.abs(np.mean(products[follows], axis=0)))


def _root_mean(squares: np.ndarray) -> np.ndarray:
    return np.sqrt(squares.mean(axis=0)) if len(squares) else np.zeros(squares.shape[1])
