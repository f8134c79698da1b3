"""Typical sizes of the inputs and outputs of networks, measured on the training data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skneuralde.data.layout import Layout
from skneuralde.data.panel import Panel
from skneuralde.data.scaling import weighted_scaling


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
        """The scales of states that are observed in part.

        A component that is not observed gets location 0 and scale 1, and the mean relative rate of the observed ones.

        Parameters
        ----------
        n_states : int
        components : int array or None
            The observed components; None if functions of the state are observed.
        """
        location, scale = np.zeros(n_states), np.ones(n_states)
        rate = scale * np.mean(self.rate / self.state[1])
        volatility = scale * np.mean(self.volatility / self.state[1])
        if components is not None:
            location[components], scale[components] = self.state
            rate[components], volatility[components] = self.rate, self.volatility
        return replace(self, state=(location, scale), rate=rate, volatility=volatility)

    @classmethod
    def measure(cls, panel: Panel, layout: Layout) -> Scales:
        """Measure the scales of a panel."""
        state = weighted_scaling(panel.values, panel.weight)
        inputs = weighted_scaling(np.hstack([panel.context, panel.controls]), panel.weight)
        location, scale = weighted_scaling(panel.times[:, None], panel.weight)
        time = (float(location[0]), float(scale[0]))
        changes = None if layout.encodes else layout.changes(panel)
        if changes is None or (not len(changes.gaps) and np.ptp(panel.times) > 0):
            # Tables and snapshots do not show how a state moves. The drift alone may move it by its standard deviation
            # over the whole range of times: in a table the context explains most of y.
            span = float(np.ptp(panel.times)) or 1.0
            spacing = span if changes is None else float(np.median(np.diff(np.unique(panel.times))))
            return cls(time, state, inputs, state[1] / span, state[1] / np.sqrt(span), spacing)
        spacing = float(np.median(changes.gaps)) if len(changes.gaps) else time[1]
        # If the data hardly move, a hundredth of the state's scale is taken.
        least = 1e-2 * state[1]
        rate = np.maximum(changes.rate(), least / max(time[1], spacing))
        volatility = np.maximum(changes.volatility(), least / np.sqrt(max(time[1], spacing)))
        return cls(time, state, inputs, rate, volatility, spacing)
