"""States given the observations: known exactly, or filtered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from skneuralde.data.panel import Panel
from skneuralde.data.positions import where
from skneuralde.data.timeline import complete, first_position, following, previous
from skneuralde.estimators.config.setup import Setup
from skneuralde.inference import (
    FlatSeries,
    Gaussian,
    JumpSplitting,
    LocalLinearisation,
    Model,
    MomentPropagator,
    ObservationChains,
    SeriesTransitions,
    find_linearisation_states,
    initial_distribution,
    run_parallel_filter,
    smooth,
    smooth_between,
)
from skneuralde.losses import Calibration


@dataclass(frozen=True)
class States:
    """The states at the positions of a panel, given the observations up to each.

    Attributes
    ----------
    known : bool array of shape (n,)
        Whether there is an observation, so that a transition can start there.
    mean : ndarray of shape (n, n_states)
    cov : ndarray of shape (n, n_states, n_states) or None
        None if states are known exactly.
    """

    known: np.ndarray
    mean: np.ndarray
    cov: np.ndarray | None


def observed(panel: Panel) -> np.ndarray:
    """Mask ``(n,)`` of the positions with at least one observed value."""
    return ~np.isnan(panel.values).all(axis=1)


def filters(panel: Panel, setup: Setup) -> bool:
    """Whether states have to be filtered, since observations leave them uncertain."""
    if not setup.layout.has_series or not setup.loss.can_filter or setup.jumps:
        return False
    return setup.is_hidden or bool((observed(panel) & ~complete(panel)).any())


def origin_positions(panel: Panel, setup: Setup) -> np.ndarray:
    """The first position of each series at which it can start, -1 if there is none, ``(n_series,)``.

    A state that is not hidden can start if each of its components was observed, for a field at some point.
    """
    if setup.is_hidden:
        return first_position(panel, observed(panel))
    seen = ~np.isnan(panel.values).reshape(len(panel.times), setup.space.n_points, -1)
    return first_position(panel, seen.any(axis=1).all(axis=1))


def starts_of_chains(panel: Panel, setup: Setup) -> np.ndarray:
    """Mask of the starts of chains: complete observations of the state, or the first observations if it is hidden."""
    if not setup.is_hidden:
        return complete(panel)
    starts = np.zeros(len(panel.times), dtype=bool)
    first = origin_positions(panel, setup)
    starts[first[first >= 0]] = True
    return starts


def chains_of(panel: Panel, setup: Setup, requested: np.ndarray | None = None) -> tuple[np.ndarray, ObservationChains]:
    """All observations as chains, or those of the series at the positions ``requested``, a mask ``(n,)``.

    Returns
    -------
    stop : int array of shape (n,)
        The position of each transition's end.
    chains : ObservationChains
    """
    before, start = previous(panel, observed(panel)), previous(panel, starts_of_chains(panel, setup))
    stop = where(observed(panel) & (start >= 0) & (True if requested is None else requested))
    origin, chain = np.unique(start[stop], return_inverse=True)
    step = np.arange(len(stop)) - np.searchsorted(chain, np.arange(len(origin)))[chain]
    values = setup.tensor(panel.values)
    first = values[setup.index(origin)]
    transitions = transitions_between(panel, before[stop], stop, setup, _guess(panel, setup)).all()
    chains = ObservationChains(
        transitions,
        values[setup.index(stop)],
        setup.index(chain),
        setup.index(step),
        None if setup.is_hidden else first,
        first,
    )
    return stop, chains


def transitions_between(
    panel: Panel, start: np.ndarray, stop: np.ndarray, setup: Setup, states: States
) -> SeriesTransitions:
    """The transitions between positions of the same series."""
    record = FlatSeries(
        setup.times(panel.times),
        setup.tensor(states.mean),
        setup.tensor(panel.context),
        setup.tensor(panel.controls),
        setup.interpolation,
        None if states.cov is None else setup.tensor(states.cov),
    )
    return SeriesTransitions(record, setup.rows(start), setup.rows(stop))


def _guess(panel: Panel, setup: Setup) -> States:
    """First guess of the states: the last observation of each component, or 0."""
    mean = np.zeros((len(panel.times), setup.n_states))
    if setup.components is not None:
        for column, component in enumerate(setup.components):
            there = ~np.isnan(panel.values[:, column])
            last = np.where(there, np.arange(len(there)), previous(panel, there))
            mean[:, component] = np.where(last >= 0, panel.values[last, column], 0.0)
    return States(np.ones(len(mean), dtype=bool), mean, None)


@torch.no_grad()
def infer_states(model: Model, panel: Panel, setup: Setup, asked: np.ndarray) -> States:
    """The state at every observation of the series at the positions ``asked``, given the observations so far."""
    if not filters(panel, setup):
        filled = setup.space.filled(panel)
        return States(complete(filled), filled.values, None)
    requested = np.isin(panel.series_of, panel.series_of[asked])
    stop, chains = chains_of(panel, setup, requested)
    starts = np.flatnonzero(starts_of_chains(panel, setup) & requested)
    mean = np.full((len(panel.times), setup.n_states), np.nan)
    cov = np.full((len(panel.times), setup.n_states, setup.n_states), np.nan)
    if len(stop):
        filtered = run_parallel_filter(model, chains).filtered
        mean[stop], cov[stop] = filtered.mean.cpu().numpy(), filtered.cov.cpu().numpy()
    first = setup.tensor(panel.values[starts])
    state = initial_distribution(model, None if setup.is_hidden else first, first)
    mean[starts], cov[starts] = state.mean.cpu().numpy(), state.cov.cpu().numpy()
    return States(~np.isnan(mean[:, 0]), mean, cov)


def smoothed_moments(
    model: Model, panel: Panel, asked: np.ndarray, setup: Setup, filtered: States
) -> tuple[np.ndarray, Gaussian]:
    """The smoothed states at the positions ``asked`` that lie at or between observations of their series.

    Returns
    -------
    rows : int array of shape (n,)
        The indices into ``asked`` of these positions.
    states : Gaussian
        Given all observations.
    """
    stop, chains = chains_of(panel, setup, np.isin(panel.series_of, panel.series_of[asked]))
    there = observed(panel)
    mean, cov = np.zeros_like(filtered.mean), np.zeros((len(panel.times), setup.n_states, setup.n_states))
    known = filtered.known
    mean[known] = filtered.mean[known]
    if filtered.cov is not None:
        cov[known] = filtered.cov[known]
    if len(stop):
        starts, ends = smooth(model, chains, run_parallel_filter(model, chains))
        # The end of a chain is known exactly if another chain starts there, so that the order does not matter.
        mean[stop], cov[stop] = ends.mean.cpu().numpy(), ends.cov.cpu().numpy()
        if setup.is_hidden:
            origin = np.flatnonzero(starts_of_chains(panel, setup))
            origin = origin[np.isin(origin, previous(panel, starts_of_chains(panel, setup))[stop])]
            mean[origin], cov[origin] = starts.mean.cpu().numpy(), starts.cov.cpu().numpy()
    before = previous(panel, known)
    after = following(panel, there & (before >= 0))
    on = known[asked]
    between = ~on & (before[asked] >= 0) & (after[asked] >= 0)
    state = Gaussian(setup.tensor(mean[asked[on]]), setup.tensor(cov[asked[on]]))
    here = asked[between]
    if not len(here):
        return np.flatnonzero(on), state
    full = filtered.cov if filtered.cov is not None else np.zeros_like(cov)
    begin = States(known, filtered.mean, full)
    inside = smooth_between(
        model,
        transitions_between(panel, before[here], here, setup, begin).all(),
        transitions_between(panel, here, after[here], setup, States(known, mean, full)).all(),
        Gaussian(setup.tensor(mean[after[here]]), setup.tensor(cov[after[here]])),
    )
    rows = np.concatenate([np.flatnonzero(on), np.flatnonzero(between)])
    return rows, Gaussian(torch.cat([state.mean, inside.mean]), torch.cat([state.cov, inside.cov]))


def filter_calibration(chains: ObservationChains, setup: Setup) -> Calibration:
    """A function that finds a propagator for these chains and a model, at the states that the model infers."""

    def calibrate(model: Model) -> MomentPropagator | JumpSplitting:
        if setup.methods.moments is not None:
            return setup.calibration(chains.transitions)(model)
        if model.propagator is None:
            model.propagator = LocalLinearisation()
        begun = find_linearisation_states(model, chains)
        return setup.calibration(replace(chains.transitions, state=begun.mean, cov=begun.cov))(model)

    return calibrate
