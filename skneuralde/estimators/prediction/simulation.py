"""Simulated states at rows, from the origins of their series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from skneuralde.data.panel import Panel
from skneuralde.data.timeline import previous
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.curves import input_path, series_keys
from skneuralde.estimators.rows.states import States, origin_positions
from skneuralde.inference import Curves, Model
from skneuralde.noise import keyed_normals

#: Stands for the number of the path in the keys of draws around a filtered initial state. Paths have numbers from 0 on,
#: and `skneuralde.estimators.prediction.forecast` uses -1 and -3.
_OF_STARTS = -2
#: The most values that are simulated at once.
_CHUNK = 20_000_000


@dataclass(frozen=True)
class Origins:
    """The initial state of each requested position.

    Attributes
    ----------
    state : ndarray of shape (n_origins, n_states)
    cov : ndarray of shape (n_origins, n_states, n_states) or None
        None if the states are known exactly.
    time : ndarray of shape (n_origins,)
    series : int array of shape (n_origins,)
        Codes into the panel's labels.
    own_key : bool
        Whether a series has several origins, so that the noise is keyed by the time of origin, too.
    of : int array of shape (n,)
        The origin of each requested position.
    """

    state: np.ndarray
    cov: np.ndarray | None
    time: np.ndarray
    series: np.ndarray
    own_key: bool
    of: np.ndarray


def find_origins(model: Model, panel: Panel, asked: np.ndarray, setup: Setup, states: States) -> Origins:
    """The origins of the positions ``asked`` of a panel.

    Raises
    ------
    ValueError
        For a series without an initial state.
    """
    if setup.layout.has_series and setup.initial_state == "first":
        first = origin_positions(panel, setup)[panel.series_of[asked]]
        if (first < 0).any():
            raise ValueError(unknown_series(panel.labels[panel.series_of[asked[np.argmin(first)]]]))
        start = first
        if setup.origin != "start":
            before = previous(panel, states.known)[asked]
            start = np.where(before >= 0, before, first)
        start, of = np.unique(start, return_inverse=True)
        series = panel.series_of[start]
        cov = None if states.cov is None else states.cov[start]
        return Origins(states.mean[start], cov, panel.times[start], series, setup.origin != "start", of)
    series, of = np.unique(panel.series_of[asked], return_inverse=True)
    context = setup.tensor(panel.context[panel.offsets[:-1][series]])
    time = np.full(len(series), setup.start_time)
    if setup.initial_state == "columns":
        state = panel.initial[panel.offsets[:-1][series]]
    elif setup.initial_state == "learn":
        known = 0 if model.states is None else len(model.states)
        if series.max(initial=-1) >= known:
            label = panel.labels[int(series.max())]
            raise ValueError(f"Series {label!r} was not in fit, so it has no learned initial state.")
        state = model.learned_states(setup.index(series)).detach().cpu().numpy()
    else:
        with torch.no_grad():
            state = model.encode(setup.times(time), context, panel.values.shape[1]).cpu().numpy()
    return Origins(state, None, time, series, False, of)


def unknown_series(label: object) -> str:
    """The message for a series without a state."""
    return (
        f"Series {label!r} has no observed state to start from: it was not in fit. Append its first observations by "
        "update_state(X, y), then ask again. A scorer by name, such as 'r2', cannot do this; score and the scorers of "
        "skneuralde.metrics start the series at its first y."
    )


def simulate(
    model: Model, panel: Panel, asked: np.ndarray, setup: Setup, states: States, *, n_paths: int, seed: int
) -> np.ndarray:
    """Simulated states at the positions ``asked``, ``(n_paths, n, n_states)``, jointly for each origin.

    Before its origin an equation without noise is integrated backwards; one with noise gives the state at equal lag
    after it.
    """
    origins = find_origins(model, panel, asked, setup, states)
    lag = panel.times[asked] - origins.time[origins.of]
    if model.problem.diffusion is not None:
        lag = np.abs(lag)
    out = np.empty((n_paths, len(asked), setup.n_states), dtype=str(setup.dtype).removeprefix("torch."))
    # At the origin nothing has to be solved.
    there = (lag == 0) & (origins.cov is None)
    out[:, there] = origins.state[origins.of[there]]
    for backwards in (False, True):
        rows = np.flatnonzero(~there & ((lag < 0) == backwards))
        if len(rows):
            _solve_rows(model, panel, origins, rows, lag[rows], setup, n_paths, seed, out)
    return out


@torch.no_grad()
def _solve_rows(
    model: Model,
    panel: Panel,
    origins: Origins,
    rows: np.ndarray,
    lag: np.ndarray,
    setup: Setup,
    n_paths: int,
    seed: int,
    out: np.ndarray,
) -> None:
    """Solve from all origins of ``rows`` and put the states into ``out[:, rows]``."""
    used, group = np.unique(origins.of[rows], return_inverse=True)
    order = np.lexsort((np.abs(lag), group))
    rows, lag, group = rows[order], lag[order], group[order]
    distinct = np.ones(len(rows), dtype=bool)
    distinct[1:] = (group[1:] != group[:-1]) | (lag[1:] != lag[:-1])
    slot = np.cumsum(distinct) - 1
    counts = np.bincount(group[distinct], minlength=len(used))
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]])
    column = (slot - begin[group]) + 1
    per_group = max(1, _CHUNK // max(1, n_paths * (int(counts.max()) + 1) * out.shape[2]))
    for first in range(0, len(used), per_group):
        chunk = used[first : first + per_group]
        inside = (group >= first) & (group < first + per_group)
        times = np.full((len(chunk), int(counts[first : first + per_group].max()) + 1), np.nan)
        times[:, 0] = origins.time[chunk]
        times[group[inside] - first, column[inside]] = origins.time[chunk][group[inside] - first] + lag[inside]
        series = origins.series[chunk]
        keys = series_keys(panel, series, origins.time[chunk] if origins.own_key else None, setup)
        curves = Curves(setup.times(times), input_path(panel, series, setup), keys)
        start = setup.tensor(origins.state[chunk])
        if origins.cov is not None:
            start = start + _draw_around(setup.tensor(origins.cov[chunk]), keys, n_paths, seed)
        values, _ = curves.solve(
            model.problem,
            start,
            setup.methods.paths,
            n_paths=n_paths,
            seed=seed,
            side_steps=True,
        )
        out[:, rows[inside]] = values[:, setup.index(group[inside] - first), setup.index(column[inside])].cpu().numpy()


def _draw_around(cov: torch.Tensor, keys: torch.Tensor, n_paths: int, seed: int) -> torch.Tensor:
    """Draws ``(n_paths, n, dim)`` with covariances ``(n, dim, dim)``, which may be singular, around zero."""
    paths = torch.arange(n_paths, device=keys.device)[:, None, None]
    dims = torch.arange(cov.shape[-1], device=keys.device)
    normals = keyed_normals(seed, torch.full_like(paths, _OF_STARTS), paths, keys[:, None], dims).to(cov.dtype)
    values, vectors = torch.linalg.eigh(cov)
    return ((vectors * values.clamp_min(0.0).sqrt()[:, None, :]) @ normals[..., None])[..., 0]
