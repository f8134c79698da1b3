"""The state space of fields on a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skneuralde.data import Panel
from skneuralde.data.inpaint import fill_fields
from skneuralde.data.layout import Layout
from skneuralde.estimators.config.state_space import VectorSpace
from skneuralde.estimators.fields.field_changes import typical_rates

#: Points of the grid on which scales are measured.
_FEW_POINTS = 256


@dataclass(frozen=True)
class GridSpace(VectorSpace):
    """States that are fields on a grid: a row of y is a snapshot, the fields at every point, point after point.

    Attributes
    ----------
    shape : tuple of int
        ``(*grid, fields)``.
    """

    shape: tuple[int, ...]

    def check(self, panel: Panel, layout: Layout) -> None:
        """Refuse rows that are not series, a field that was never observed, and fields never observed together."""
        if not layout.has_series:
            raise ValueError(
                "Each row of X seems to be a trajectory of its own, but fields are learned from runs of several "
                "snapshots. Name the column that tells the runs apart in series=, and that of the time in time=."
            )
        seen = ~np.isnan(panel.values).reshape(len(panel.times), -1, self.shape[-1])
        never = ~seen.any(axis=(0, 1))
        if never.any():
            raise ValueError(
                f"Field {int(np.argmax(never))} of y was never observed: it is NaN at every point of every row. Leave "
                "it out of y."
            )
        if not seen.any(axis=1).all(axis=1).any():
            raise ValueError("No snapshot in y shows every field somewhere, so that none is a state to start from.")

    def check_backwards(self, row: int) -> None:
        """Refuse any row before the first snapshot of its run."""
        raise ValueError(
            f"Row {row} lies before the first snapshot of its run, and diffusion cannot be run backwards. Ask for "
            "later rows; for cross-validation split by time (TimeSeriesSplit) or by run (GroupKFold)."
        )

    def filled(self, panel: Panel) -> Panel:
        """The panel with the gaps in its snapshots filled; a row without any observation stays empty."""
        return replace(panel, values=fill_fields(panel, self.grid))

    def points(self, panel: Panel) -> Panel:
        """Some points of the snapshots as series of their own, with states ``(fields,)``."""
        fields = panel.values.reshape(len(panel.times), self.n_points, -1)
        chosen = np.sort(np.random.default_rng(0).permutation(self.n_points)[:_FEW_POINTS])
        lengths = np.repeat(panel.lengths, len(chosen))
        begin = np.repeat(panel.offsets[:-1], len(chosen))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        row = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begin, lengths)
        point = np.repeat(np.tile(chosen, panel.n_series), lengths)
        return Panel(
            panel.times[row],
            fields[row, point],
            panel.weight[row],
            panel.context[row],
            panel.controls[row],
            panel.initial[row],
            offsets,
            [(label, int(p)) for label in panel.labels for p in chosen],
            np.arange(len(row)),
        )

    def typical_rate(self, panel: Panel, rate: np.ndarray) -> np.ndarray:
        """The usual rate of change of each field in the intervals in which some field moves, ``(fields,)``."""
        return typical_rates(panel, self.shape[-1])
