"""Layouts of X: time series, a plain table, or flow maps."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from skneuralde.data.changes import Changes
from skneuralde.data.clock import kind_of, read_times
from skneuralde.data.panel import Panel
from skneuralde.data.positions import where
from skneuralde.data.scaling import weighted_scaling
from skneuralde.data.sources import Source
from skneuralde.data.table import Table
from skneuralde.data.timeline import complete, previous

InitialState = Literal["first", "context", "learn", "columns"]


@dataclass(frozen=True)
class Layout:
    """The kind of table that X is. A layout has no state: its class answers all questions."""

    name: ClassVar[str]
    #: Whether rows are observations of series. Otherwise every row is a trajectory of its own, without a past.
    has_series: ClassVar[bool] = False
    encodes: ClassVar[bool] = False  # whether a trajectory starts at a network of its row's context
    default_initial_state: ClassVar[InitialState]  # meaning of initial_state="auto"

    def check(self, initial_state: InitialState, time: Source, series: Any, controls: Sequence[int], X: Table) -> None:
        """Refuse parameters that have no meaning in this layout, and warn if another one seems to be meant.

        ``initial_state`` and ``series`` are the estimator's parameters, ``controls`` the positions of columns.
        """

    def start_time(self, panel: Panel) -> float:
        """The time at which learned, encoded and given initial states hold."""
        return float(panel.times.min())

    def start_states(self, panel: Panel, positions: np.ndarray) -> np.ndarray:
        """Initial states of the trajectories at these positions, ``(n, dim)``; zeros if the data do not give them."""
        return np.zeros((len(positions), panel.values.shape[1]))

    def is_predicted(self, panel: Panel) -> np.ndarray:
        """Whether the state at each position has to be predicted, ``(n,)``; it is not if the row itself gives it."""
        return np.ones(len(panel.times), dtype=bool)

    @abstractmethod
    def changes(self, panel: Panel) -> Changes:
        """The observed changes of complete observations, and the time that each took."""


@dataclass(frozen=True)
class SeriesLayout(Layout):
    """Time series: a row is an observation of a series."""

    name = "series"
    has_series = True
    default_initial_state = "first"

    def changes(self, panel: Panel) -> Changes:
        """Changes from the complete observation before."""
        is_complete = complete(panel)
        before = previous(panel, is_complete)
        stop = where(is_complete & (before >= 0))
        start = before[stop]
        gap = panel.times[stop] - panel.times[start]
        return Changes(panel.values[stop] - panel.values[start], gap, start[1:] == stop[:-1])


@dataclass(frozen=True)
class TableLayout(Layout):
    """A plain table: a row is a trajectory that starts at a network of its context."""

    name = "table"
    encodes = True
    default_initial_state = "context"

    def check(self, initial_state: InitialState, time: Source, series: Any, controls: Sequence[int], X: Table) -> None:
        """Refuse a first observation, and warn if the table looks like one long series."""
        if initial_state == "first":
            raise ValueError(
                "initial_state='first' needs series of observations, but X is a plain table, in which every row is a "
                "trajectory of its own. Name series= or controls=, give a time index, or use 'context' or 'learn'."
            )
        times = read_times(time.values(X), str(time))
        ticks = times if isinstance(times, np.ndarray) else times.asi8
        if X.n_rows >= 3 and np.all(np.diff(ticks) > 0):
            warnings.warn(
                f"The time ({time}) increases strictly from row to row, yet X is a plain table: every row is taken as "
                "a trajectory of its own. If the rows are one series, name its time-varying columns in controls=, or "
                "give a time index.",
                UserWarning,
                stacklevel=5,
            )

    def changes(self, panel: Panel) -> Changes:
        """Deviations from the mean, each over the whole range of times."""
        is_complete = complete(panel)
        change = panel.values[is_complete] - weighted_scaling(panel.values, panel.weight).loc
        return Changes(change, np.full(len(change), float(np.ptp(panel.times)) or 1.0))


@dataclass(frozen=True)
class FlowMapLayout(Layout):
    """Flow maps: a row maps the initial state in some of its columns over a time."""

    name = "flow"
    default_initial_state = "columns"

    def check(self, initial_state: InitialState, time: Source, series: Any, controls: Sequence[int], X: Table) -> None:
        """Refuse series, controls and datetimes."""
        if controls or series is not None:
            raise ValueError(
                "With columns as initial_state every row is a trajectory of its own, so controls= and series= have no "
                "meaning. Leave them out, or give initial_state='first'."
            )
        if kind_of(read_times(time.values(X), str(time))) == "datetime":
            raise ValueError(
                f"With columns as initial_state the time is the time since that state, but {time} holds datetimes. "
                "Give numbers or timedeltas."
            )

    def start_time(self, panel: Panel) -> float:
        """Time zero."""
        return 0.0

    def start_states(self, panel: Panel, positions: np.ndarray) -> np.ndarray:
        """The states in the columns of these rows, ``(n, dim)``."""
        return panel.initial[positions]

    def is_predicted(self, panel: Panel) -> np.ndarray:
        """Whether a row asks for another time than that of its initial state, ``(n,)``."""
        return panel.times != 0.0

    def changes(self, panel: Panel) -> Changes:
        """Changes from the given initial state."""
        moved = complete(panel) & (panel.times != 0.0)
        return Changes(panel.values[moved] - panel.initial[moved], np.abs(panel.times[moved]))


def choose_layout(
    time: Source, series: Sequence[Source], controls: Sequence[int], initial: Sequence[int], rest: Sequence[int]
) -> Layout:
    """Return the layout of X; a single numeric column is the time of one series."""
    if initial:
        return FlowMapLayout()
    is_table = time.kind == "column" and not series and not controls and rest
    return TableLayout() if is_table else SeriesLayout()
