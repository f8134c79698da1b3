"""Transitions between neighbouring observations of a panel."""

from __future__ import annotations

import numpy as np

from skneuralde.data.panel import Panel
from skneuralde.data.positions import where
from skneuralde.data.timeline import complete, previous
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.checks import refuse_empty
from skneuralde.estimators.rows.states import (
    States,
    chains_of,
    filter_calibration,
    observed,
    transitions_between,
)
from skneuralde.inference import LazyRows, Transitions, TransitionSource
from skneuralde.losses import ChainData, TransitionData


def transition_data(panel: Panel, rows: np.ndarray, setup: Setup) -> TransitionData:
    """The transitions to the observations at the positions ``rows``, a mask."""
    targets = where(rows & observed(panel) & setup.layout.is_predicted(panel))
    stop, transitions = transitions_to(panel, targets, setup)
    refuse_empty(len(stop))
    return TransitionData(
        transitions=transitions,
        targets=LazyRows(setup.tensor(panel.values), setup.rows(stop)),
        weight=setup.tensor(panel.weight[stop]),
        calibrate=setup.calibration(transitions),
        encode=setup.layout.encodes,
        has_jumps=setup.jumps,
    )


def chain_data(panel: Panel, rows: np.ndarray, setup: Setup) -> ChainData:
    """The chains of noisy or partial observations; those at the positions ``rows``, a mask, are targets."""
    stop, chains = chains_of(panel, setup)
    weight = panel.weight[stop] * rows[stop]
    refuse_empty(float(weight.sum()))
    return ChainData(chains=chains, row_weight=setup.tensor(weight), calibrate=filter_calibration(chains, setup))


def transitions_to(
    panel: Panel, stop: np.ndarray, setup: Setup, states: States | None = None
) -> tuple[np.ndarray, TransitionSource]:
    """The transitions that end at these positions; positions without an earlier state are left out.

    In a series a transition starts at the latest known state before it, by default the latest complete observation. In
    a flow map it starts at the state that is given with the row, in a plain table at the state that the encoder will
    compute.

    Returns
    -------
    stop : int array of shape (n,)
        The remaining positions.
    transitions : SeriesTransitions or Transitions
    """
    if setup.layout.has_series:
        states = States(complete(panel), panel.values, None) if states is None else states
        start = previous(panel, states.known)[stop]
        stop, start = stop[start >= 0], start[start >= 0]
        return stop, transitions_between(panel, start, stop, setup, states)
    inputs = setup.tensor(panel.context[stop])
    return stop, Transitions(
        setup.tensor(setup.layout.start_states(panel, stop)),
        setup.times(np.full(len(stop), setup.start_time)),
        setup.index(np.arange(len(stop) + 1)),
        setup.times(panel.times[stop] - setup.start_time),
        inputs,
        inputs,
    )
