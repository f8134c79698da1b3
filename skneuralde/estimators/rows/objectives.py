"""From a panel to the objective that a loss's name stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from skneuralde.data.panel import Panel
from skneuralde.data.positions import where
from skneuralde.data.timeline import complete, first_position, previous
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.states import (
    States,
    chains_of,
    filter_calibration,
    filters,
    observed,
    transitions_between,
)
from skneuralde.inference import Curves, InputPath, LazyRows, Model, Transitions, TransitionSource
from skneuralde.losses import (
    CurveObjective,
    FilterLikelihood,
    GrowingPaths,
    JumpLikelihood,
    LeastSquares,
    MeanMatching,
    MomentMatching,
    Objective,
    PairedEnergy,
    PathObjective,
    PathSquaredError,
    PlainMeanMatching,
    PlainMomentMatching,
    RankedProbability,
    SnapshotEnergy,
    TransitionLikelihood,
)
from skneuralde.noise import series_key

#: Losses of neighbouring observations, without simulation.
TRANSITION_LOSSES = ("nll",)
#: Losses of whole curves.
CURVE_LOSSES: dict[str, type[PathObjective]] = {
    "least_squares": LeastSquares,
    "mean": MeanMatching,
    "moments": MomentMatching,
    "crps": RankedProbability,
    "energy": PairedEnergy,
    "path_mse": PathSquaredError,
}
#: What the losses are with ``debiased=False``.
_PLAIN: dict[str, type[PathObjective]] = {"mean": PlainMeanMatching, "moments": PlainMomentMatching}
#: Losses of data that may be means of paths.
LOSSES_OF_MEANS = ("mean", "path_mse")
#: Losses of means of smooth functions, for which increments of three values do: they make distances of paths too short.
LOSSES_OF_LAW = ("mean", "moments")
#: Losses of distances of paths, which need normal increments, but no single path at a tolerance.
LOSSES_OF_DISTANCE = ("crps", "energy")
#: The number of paths for n_paths="auto": to start with, at most, for validation, and the values of a batch at most.
_FEW_PATHS, _MOST_PATHS, _VALIDATION_PATHS, _MOST_VALUES = 16, 256, 256, 4_000_000
#: Looks at the noise of the gradient over a training.
_LOOKS = 20


def make_objective(
    panel: Panel, rows: np.ndarray, setup: Setup, *, scale: np.ndarray, debiased: bool, n_paths: Callable[[int], int]
) -> Objective:
    """The objective that asks for the observations at these positions.

    Parameters
    ----------
    panel : Panel
    rows : bool array of shape (n,)
        Which positions are targets; the others may still be where a transition starts.
    setup : Setup
    scale : ndarray of shape (dim,)
        What residuals of curves are measured in.
    debiased : bool
        Of the loss "mean".
    n_paths : callable
        Number of paths as a function of the epoch.

    Raises
    ------
    ValueError
        When no target is left.
    """
    if setup.loss in TRANSITION_LOSSES:
        return _likelihood(panel, rows, setup)
    if setup.snapshots:
        return _snapshots(panel, rows, setup, scale, n_paths)
    targets = np.where(rows[:, None], panel.values, np.nan)
    curves, padded, weight, states = _curves(panel, targets, setup)

    def start(model: Model, items: Tensor) -> Tensor:
        return start_states(model, setup, states, curves.inputs.context, curves.times[:, 0], items)

    loss = loss_class(setup, debiased)
    _refuse_empty(float((weight[..., None] * ~np.isnan(padded)).sum()))
    data = curves, setup.tensor(padded), setup.tensor(weight)
    settings = setup.methods.training
    if issubclass(loss, MomentMatching):
        return loss(*data, start=start, settings=settings, n_paths=n_paths)
    assert issubclass(loss, CurveObjective)
    number = n_paths if loss.stochastic else _one
    return loss(*data, setup.tensor(scale), start=start, settings=settings, n_paths=number)


def loss_class(setup: Setup, debiased: bool) -> type[PathObjective]:
    """The class of a loss of paths."""
    if setup.snapshots:
        return SnapshotEnergy
    return CURVE_LOSSES[setup.loss] if debiased else _PLAIN.get(setup.loss, CURVE_LOSSES[setup.loss])


def _one(epoch: int) -> int:
    return 1


def start_states(model: Model, setup: Setup, states: Tensor, context: Tensor, times: Tensor, items: Tensor) -> Tensor:
    """Initial states of these series: observed or given ones, or what the model has learned."""
    if setup.initial_state == "context":
        return model.encode(times[items], context[items], states.shape[-1])
    if setup.initial_state == "learn":
        return model.learned_states(items)
    return states[items]


def _refuse_empty(weight: float) -> None:
    if weight == 0.0:
        raise ValueError(
            "There is nothing to learn from: no observation follows another one in any series. Give at least two rows "
            "of one series (does series= name the right column?), or loss='energy' for snapshots of different "
            "individuals."
        )


def _likelihood(panel: Panel, rows: np.ndarray, setup: Setup) -> Objective:
    if filters(panel, setup):
        stop, chains = chains_of(panel, setup)
        weight = panel.weight[stop] * rows[stop]
        _refuse_empty(float(weight.sum()))
        return FilterLikelihood(chains, setup.tensor(weight), calibrate=filter_calibration(chains, setup))
    targets = where(rows & observed(panel) & is_uncertain(panel, setup))
    stop, transitions = transitions_to(panel, targets, setup)
    _refuse_empty(len(stop))
    likelihood = JumpLikelihood if setup.jumps else TransitionLikelihood
    return likelihood(
        transitions,
        LazyRows(setup.tensor(panel.values), setup.rows(stop)),
        setup.tensor(panel.weight[stop]),
        calibrate=setup.calibration(transitions),
        encode=setup.encodes,
    )


def is_uncertain(panel: Panel, setup: Setup) -> np.ndarray:
    """Which positions are not themselves the given initial state of a flow map, ``(n,)``."""
    return (panel.times != setup.start_time) if setup.layout == "flow" else np.ones(len(panel.times), dtype=bool)


def transitions_to(
    panel: Panel, stop: np.ndarray, setup: Setup, states: States | None = None
) -> tuple[np.ndarray, TransitionSource]:
    """The transitions that end at these positions; those that nothing precedes are left out.

    In a series each starts at the latest state that is known before it (by default, the latest complete observation),
    in a flow map at the state given with the row, in a plain table at the one that the encoder will give.

    Returns
    -------
    stop : int array of shape (n,)
        The positions that are left.
    transitions : SeriesTransitions or Transitions
    """
    if setup.layout == "series":
        states = States(complete(panel), panel.values, None) if states is None else states
        start = previous(panel, states.known)[stop]
        stop, start = stop[start >= 0], start[start >= 0]
        return stop, transitions_between(panel, start, stop, setup, states)
    state = panel.initial[stop] if setup.layout == "flow" else np.zeros((len(stop), panel.values.shape[1]))
    inputs = setup.tensor(panel.context[stop])
    return stop, Transitions(
        setup.tensor(state),
        setup.times(np.full(len(stop), setup.start_time)),
        setup.index(np.arange(len(stop) + 1)),
        setup.times(panel.times[stop] - setup.start_time),
        inputs,
        inputs,
    )


def are_snapshots(panel: Panel, layout: str, initial_state: str) -> bool:
    """Whether every series has a single observation, so that only populations can be compared."""
    observed = np.bincount(panel.series_of[~np.isnan(panel.values).all(axis=1)], minlength=len(panel.labels))
    return layout == "series" and initial_state == "first" and int(observed.max(initial=0)) == 1


def first_snapshot(panel: Panel) -> np.ndarray:
    """The positions of the individuals that a population starts from: those of the earliest time.

    Raises
    ------
    ValueError
        When an individual is not observed completely, or there are controls, whose values between snapshots nobody
        knows.
    """
    positions = np.flatnonzero(~np.isnan(panel.values).all(axis=1))
    partly = positions[np.isnan(panel.values[positions]).any(axis=1)]
    if len(partly):
        label = panel.labels[panel.series_of[partly[0]]]
        raise ValueError(f"Snapshots need all outputs of an individual, but some of those of {label!r} are missing.")
    if panel.controls.shape[1]:
        raise ValueError(
            "Snapshots of different individuals cannot have controls: nobody knows them between the snapshots. Give "
            "controls=[] to take these columns as static context, or use series with several rows each."
        )
    return positions[panel.times[positions] == panel.times[positions].min()]


def _snapshots(
    panel: Panel, rows: np.ndarray, setup: Setup, scale: np.ndarray, n_paths: Callable[[int], int]
) -> SnapshotEnergy:
    first = first_snapshot(panel)
    later = np.flatnonzero(rows & (panel.times > panel.times[first[0]]) & ~np.isnan(panel.values).any(axis=1))
    _refuse_empty(len(later))
    times, place = np.unique(panel.times[later], return_inverse=True)
    series = panel.series_of[first]
    grid = np.tile(np.concatenate([panel.times[first[:1]], times]), (len(first), 1))
    states = setup.tensor(panel.values[first])
    return SnapshotEnergy(
        Curves(setup.times(grid), input_path(panel, series, setup), series_keys(panel, series, None, setup)),
        setup.tensor(panel.weight[first]),
        setup.tensor(panel.values[later]),
        setup.index(place + 1),
        setup.tensor(panel.weight[later]),
        setup.tensor(scale),
        start=lambda model, items: states[items],
        settings=setup.methods.training,
        n_paths=n_paths,
    )


def snapshot_transitions(panel: Panel, setup: Setup) -> Transitions:
    """From the individuals of the earliest snapshot to the time of the next one."""
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
        states = panel.initial[panel.offsets[:-1]] if setup.layout == "flow" else np.zeros((n_series, dim))
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
    counts = np.diff(panel.offsets)
    column = np.arange(counts.max())
    of = series[:1] if (series == series[:1]).all() else series
    position = np.minimum(panel.offsets[:-1][:, None] + column, panel.offsets[1:][:, None] - 1)[of]
    knots = np.where(column < counts[of][:, None], panel.times[position], np.inf)
    return InputPath(
        setup.tensor(context), setup.times(knots), setup.tensor(panel.controls[position]), setup.interpolation
    )


def series_keys(panel: Panel, series: np.ndarray, origin: np.ndarray | None, setup: Setup) -> Tensor:
    """What the noise of curves is keyed by: the series and, where it is not the series' own, the time of origin.

    The rows of a plain table or flow map share one key, so that nothing depends on their number or order.
    """
    if setup.layout != "series":
        return torch.zeros(len(series), dtype=torch.int64, device=setup.device)
    if origin is None:
        keys = [series_key(panel.labels[s]) for s in series]
    else:
        keys = [series_key((panel.labels[s], float(t))) for s, t in zip(series, origin, strict=True)]
    return setup.index(np.array(keys, dtype=np.int64))


def growing_paths(panel: Panel, setup: Setup, max_iter: int, *, least: int, at_once: bool) -> GrowingPaths:
    """The number of paths for n_paths="auto"; a batch of the most of them, with their distances, fits into memory.

    With ``at_once`` they are the most from the start, for steps that need the same loss throughout.
    """
    size = panel.values.size
    if setup.snapshots:
        first = first_snapshot(panel)
        size = len(first) * (len(first) * len(np.unique(panel.times)) + len(panel.times))
    most = int(np.clip(_MOST_VALUES // max(1, size), least, _MOST_PATHS))
    return GrowingPaths(most if at_once else max(least, _FEW_PATHS), most, every=max(1, max_iter // _LOOKS))


def validation_schedule(schedule: Callable[[int], int], least: int) -> Callable[[int], int]:
    """The number of paths behind validation losses: one that grows would make them incomparable."""
    if not isinstance(schedule, GrowingPaths):
        return schedule
    number = max(least, min(schedule.most, _VALIDATION_PATHS))
    return lambda epoch: number


def path_schedule(
    n_paths: int | Sequence[int] | Callable[[int], int], max_iter: int, *, least: int
) -> Callable[[int], int]:
    """The number of paths as a function of the epoch: constant, stages of equal length, or the caller's own.

    Raises
    ------
    ValueError
        When an epoch would have fewer than ``least`` paths.
    """
    numbers: list[int]
    if callable(n_paths):
        numbers = [n_paths(epoch) for epoch in range(1, max_iter + 1)]
    else:
        stages = list(n_paths) if isinstance(n_paths, Sequence) else [n_paths]
        numbers = [stages[epoch * len(stages) // max_iter] for epoch in range(max_iter)] if stages else [0]
    for epoch, number in enumerate(numbers, 1):
        if not isinstance(number, Integral) or number < least:
            raise ValueError(
                f"n_paths must be an integer of at least {least} for this loss, got {number!r} in epoch {epoch}."
            )
    return lambda epoch: int(numbers[epoch - 1])
