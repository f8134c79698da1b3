"""Losses bound to the rows of a panel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skneuralde.data.panel import Panel
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.curves import curve_data
from skneuralde.estimators.rows.snapshots import snapshot_data
from skneuralde.estimators.rows.states import filters
from skneuralde.estimators.rows.transitions import chain_data, transition_data
from skneuralde.losses import ChainData, CurveData, Objective, SnapshotData, TransitionData


@dataclass(frozen=True)
class PanelData:
    """A panel as the training data of a loss; a `skneuralde.losses.TrainingData`.

    Attributes
    ----------
    panel : Panel
    rows : bool array of shape (n,)
        Which positions are targets. Transitions may start at the others, too.
    setup : Setup
    scale : ndarray of shape (dim,)
        The unit of residuals of curves.
    n_paths : Callable
        Number of paths as a function of the epoch.
    """

    panel: Panel
    rows: np.ndarray
    setup: Setup
    scale: np.ndarray
    n_paths: Callable[[int], int]

    def curves(self) -> CurveData:
        return curve_data(self.panel, self.rows, self.setup, self.scale, self.n_paths)

    def snapshots(self) -> SnapshotData:
        return snapshot_data(self.panel, self.rows, self.setup, self.scale, self.n_paths)

    def transitions(self) -> TransitionData:
        return transition_data(self.panel, self.rows, self.setup)

    def chains(self) -> ChainData | None:
        return chain_data(self.panel, self.rows, self.setup) if filters(self.panel, self.setup) else None


def make_objective(
    panel: Panel, rows: np.ndarray, setup: Setup, *, scale: np.ndarray, n_paths: Callable[[int], int]
) -> Objective:
    """The loss of the setup, bound to the observations at these positions; see `PanelData` for the arguments.

    Raises
    ------
    ValueError
        If no target is left.
    """
    return setup.loss.bind(PanelData(panel, rows, setup, scale, n_paths))
