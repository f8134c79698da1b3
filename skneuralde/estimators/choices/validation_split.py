"""The rows that are held out for validation."""

from __future__ import annotations

import numpy as np

from skneuralde.data import Panel
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.model.initial_model import MANY_SERIES


def validation_split(panel: Panel, setup: Setup, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train on and positions to validate on: whole series, or the last part of time."""
    rows = np.ones(len(panel.times), dtype=bool)
    n_series = len(panel.labels)
    # A series with a learned initial state must be part of training.
    if not setup.layout.has_series or (n_series >= MANY_SERIES and setup.initial_state != "learn"):
        held = np.random.default_rng(seed).permutation(n_series)[: max(1, round(fraction * n_series))]
        rows[np.isin(panel.series_of, held)] = False
    else:
        # If many series share few times, the last time alone may exceed the fraction. It is held out in any case.
        last = panel.times.max()
        rows[(panel.times > np.quantile(panel.times, 1.0 - fraction)) | (panel.times == last)] = False
    return rows, ~rows
