"""Snapshots of different individuals, each observed once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skneuralde.data.layout import Layout
from skneuralde.data.panel import Panel
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.checks import refuse_empty
from skneuralde.estimators.rows.curves import input_path, series_keys
from skneuralde.inference import Curves, Transitions
from skneuralde.losses import SnapshotData


def are_snapshots(panel: Panel, layout: Layout, initial_state: str) -> bool:
    """Whether every series has a single observation, so that only populations can be compared."""
    observed = np.bincount(panel.series_of[~np.isnan(panel.values).all(axis=1)], minlength=len(panel.labels))
    return layout.has_series and initial_state == "first" and int(observed.max(initial=0)) == 1


def first_snapshot(panel: Panel) -> np.ndarray:
    """The positions of the individuals of the earliest time, from which the population starts.

    Raises
    ------
    ValueError
        If an individual is not observed completely, or if there are controls, whose values between snapshots are
        unknown.
    """
    positions = np.flatnonzero(~np.isnan(panel.values).all(axis=1))
    partly = positions[np.isnan(panel.values[positions]).any(axis=1)]
    if len(partly):
        label = panel.labels[panel.series_of[partly[0]]]
        raise ValueError(f"Snapshots need all outputs of an individual, but some of those of {label!r} are missing.")
    if panel.controls.shape[1]:
        raise ValueError(
            "Snapshots of different individuals cannot have controls, whose values between snapshots are unknown. Give "
            "controls=[] to take these columns as static context, or use series with several rows each."
        )
    return positions[panel.times[positions] == panel.times[positions].min()]


def snapshot_data(
    panel: Panel, rows: np.ndarray, setup: Setup, scale: np.ndarray, n_paths: Callable[[int], int]
) -> SnapshotData:
    """The population at each time; the individuals at the positions ``rows``, a mask, are targets."""
    first = first_snapshot(panel)
    later = np.flatnonzero(rows & (panel.times > panel.times[first[0]]) & ~np.isnan(panel.values).any(axis=1))
    refuse_empty(len(later))
    times, place = np.unique(panel.times[later], return_inverse=True)
    series = panel.series_of[first]
    grid = np.tile(np.concatenate([panel.times[first[:1]], times]), (len(first), 1))
    states = setup.tensor(panel.values[first])
    return SnapshotData(
        curves=Curves(setup.times(grid), input_path(panel, series, setup), series_keys(panel, series, None, setup)),
        start_weight=setup.tensor(panel.weight[first]),
        targets=setup.tensor(panel.values[later]),
        place=setup.index(place + 1),
        weight=setup.tensor(panel.weight[later]),
        scale=setup.tensor(scale),
        start=lambda model, items: states[items],
        settings=setup.methods.training,
        n_paths=n_paths,
    )


def snapshot_transitions(panel: Panel, setup: Setup) -> Transitions:
    """Transitions of the individuals of the earliest snapshot to the time of the next one."""
    first = first_snapshot(panel)
    times = np.unique(panel.times)
    n, inputs = len(first), setup.tensor(panel.context[first])
    gap = times[times > times[0]][:1].sum()
    return Transitions(
        setup.tensor(panel.values[first]),
        setup.times(panel.times[first]),
        setup.index(np.arange(n + 1)),
        setup.times(np.full(n, gap)),
        inputs,
        inputs,
    )
