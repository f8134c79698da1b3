"""Curves of whole series from their initial states, with the data that they are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skneuralde.data.panel import Panel
from skneuralde.data.timeline import complete, first_position
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.checks import refuse_empty
from skneuralde.inference import Curves, InputPath, Model
from skneuralde.losses import CurveData
from skneuralde.noise import series_key


def curve_data(
    panel: Panel, rows: np.ndarray, setup: Setup, scale: np.ndarray, n_paths: Callable[[int], int]
) -> CurveData:
    """The curves of all series with the observations at the positions ``rows``, a mask, as targets."""
    targets = np.where(rows[:, None], panel.values, np.nan)
    curves, padded, weight, states = _curves(panel, targets, setup)

    def start(model: Model, items: Tensor) -> Tensor:
        return start_states(model, setup, states, curves.inputs.context, curves.times[:, 0], items)

    refuse_empty(float((weight[..., None] * ~np.isnan(padded)).sum()))
    return CurveData(
        curves=curves,
        targets=setup.tensor(padded),
        row_weight=setup.tensor(weight),
        scale=setup.tensor(scale),
        start=start,
        settings=setup.methods.training,
        n_paths=n_paths,
    )


def start_states(model: Model, setup: Setup, states: Tensor, context: Tensor, times: Tensor, items: Tensor) -> Tensor:
    """Initial states of these series: observed, given, or learned by the model."""
    if setup.initial_state == "context":
        return model.encode(times[items], context[items], states.shape[-1])
    if setup.initial_state == "learn":
        return model.learned_states(items)
    return states[items]


def _curves(panel: Panel, targets: np.ndarray, setup: Setup) -> tuple[Curves, np.ndarray, np.ndarray, Tensor]:
    """One curve per series through all of its times, with its targets and weights (series, n_times, ...)."""
    n_series, dim = len(panel.labels), targets.shape[1]
    if setup.initial_state == "first":
        first = first_position(panel, complete(panel))
        if (first < 0).any():
            label = panel.labels[int(np.argmin(first))]
            raise ValueError(f"Series {label!r} has no complete observation to start from; use initial_state='learn'.")
        origin, states = panel.times[first], panel.values[first]
        keep = np.arange(len(panel.times)) > first[panel.series_of]
    else:
        origin = np.full(n_series, setup.start_time)
        states = setup.layout.start_states(panel, panel.offsets[:-1])
        keep = np.ones(len(panel.times), dtype=bool)
    place, width = _places(panel.series_of[keep], n_series)
    times = np.full((n_series, width + 1), np.nan)
    padded = np.full((n_series, width + 1, dim), np.nan)
    weight = np.zeros((n_series, width + 1))
    times[:, 0] = origin
    times[panel.series_of[keep], place + 1] = panel.times[keep]
    padded[panel.series_of[keep], place + 1] = targets[keep]
    weight[panel.series_of[keep], place + 1] = panel.weight[keep]
    keys = series_keys(panel, np.arange(n_series), None, setup)
    curves = Curves(setup.times(times), input_path(panel, np.arange(n_series), setup), keys)
    return curves, padded, weight, setup.tensor(states)


def _places(series: np.ndarray, n_series: int) -> tuple[np.ndarray, int]:
    """The place of each entry within its series, and the length of the longest; ``series`` is sorted."""
    counts = np.bincount(series, minlength=n_series)
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.arange(len(series)) - begin[series], int(counts.max(initial=0))


def input_path(panel: Panel, series: np.ndarray, setup: Setup) -> InputPath:
    """Context and controls of these series over time."""
    context = panel.context[panel.offsets[:-1][series]]
    if panel.controls.shape[1] == 0:
        empty = np.zeros((len(series), 0))
        return InputPath(setup.tensor(context), setup.times(empty), setup.tensor(empty[..., None][..., :0]), "next")
    of = series[:1] if (series == series[:1]).all() else series
    knots = _knots(panel, setup.interpolation)
    before = np.concatenate([[0], np.cumsum(knots)])
    begin, end = before[panel.offsets[:-1][of]], before[panel.offsets[1:][of]]
    column = np.arange((end - begin).max())
    position = np.flatnonzero(knots)[np.minimum(begin[:, None] + column, end[:, None] - 1)]
    times = np.where(column < (end - begin)[:, None], panel.times[position], np.inf)
    return InputPath(
        setup.tensor(context), setup.times(times), setup.tensor(panel.controls[position]), setup.interpolation
    )


def _knots(panel: Panel, interpolation: str) -> np.ndarray:
    """Mask (n,) of the rows that the interpolated controls need: where they change, or their slope, and one more.

    Solvers end a step on each of them.
    """
    first, last = np.zeros((2, len(panel.times)), dtype=bool)
    first[panel.offsets[:-1]], last[panel.offsets[1:] - 1] = True, True
    changes = (panel.controls[1:] != panel.controls[:-1]).any(axis=1)
    since, ahead = np.concatenate([[False], changes]) & ~first, np.concatenate([changes, [False]]) & ~last
    return {"next": ahead | last, "previous": since | first, "linear": since | ahead | last}[interpolation]


def series_keys(panel: Panel, series: np.ndarray, origin: np.ndarray | None, setup: Setup) -> Tensor:
    """Keys of the noise of curves: hashes of the series and, if given, of the times of origin.

    The rows of a plain table or flow map share one key, so that nothing depends on their number or order.
    """
    if not setup.layout.has_series:
        return torch.zeros(len(series), dtype=torch.int64, device=setup.device)
    if origin is None:
        keys = [series_key(panel.labels[s]) for s in series]
    else:
        keys = [series_key((panel.labels[s], float(t))) for s, t in zip(series, origin, strict=True)]
    return setup.index(np.array(keys, dtype=np.int64))
