"""Panels: rows sorted by series and time, with repeated times merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skneuralde.data.positions import position_type


@dataclass(frozen=True)
class Panel:
    """Observations, or queries, of many series in flat arrays.

    The arrays are contiguous, so that tensors can share their memory. Arrays of the caller that are contiguous and in
    order are shared, too.
    """

    times: np.ndarray  # (n,), float64 model times, increasing within a series
    values: np.ndarray  # (n, n_outputs); NaN means not observed, and queries hold only NaN
    weight: np.ndarray  # (n,), float64
    context: np.ndarray  # (n, k), like `controls` and `initial`
    controls: np.ndarray
    initial: np.ndarray
    offsets: np.ndarray  # (n_series + 1,): series i is [offsets[i]:offsets[i + 1]]
    labels: list[Any]  # names of the series; None for rows that are trajectories of their own
    rows: np.ndarray  # (n_rows,), position of each of the caller's rows; -1 if it was dropped as its weight is zero

    @property
    def n_series(self) -> int:
        """Number of series."""
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Number of times of each series."""
        return np.diff(self.offsets)

    @property
    def series_of(self) -> np.ndarray:
        """Series of each time, as an index into `labels`."""
        return np.repeat(np.arange(self.n_series, dtype=position_type(self.n_series)), self.lengths)

    def subset(self, keep: np.ndarray) -> Panel:
        """Keep the times at which `keep` is true, and the series that still have some."""
        lengths = np.add.reduceat(keep.astype(np.int64), self.offsets[:-1]) if self.n_series else self.lengths
        position = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)
        return Panel(
            self.times[keep],
            self.values[keep],
            self.weight[keep],
            self.context[keep],
            self.controls[keep],
            self.initial[keep],
            np.concatenate([[0], np.cumsum(lengths[lengths > 0])]),
            [label for label, length in zip(self.labels, lengths, strict=True) if length],
            position[self.rows],
        )
