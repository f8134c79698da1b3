"""`PanelTimeSeriesSplit`: cross-validation of panels by time."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from skneuralde.data import Clock, read_row_times
from skneuralde.data.clock import parse_unit


class PanelTimeSeriesSplit(BaseCrossValidator):
    """Cross-validation of panels that splits all series at the same times.

    Rows up to a cut are for training, those after it and up to the next cut for testing. Rows may be in any order, and
    series may have different lengths. Training never contains a row from the future of any series.
    `sklearn.model_selection.TimeSeriesSplit` is for one series with sorted rows.

    Parameters
    ----------
    n_splits : int, default=5
    test_size : length of time, optional
        Duration of each test part; the last one ends with the last row. By default every test part has the same number
        of distinct times, and the first training part about as many.
    gap : length of time, default=0
        Duration before the test part that is left out of training.
    max_train_size : length of time, optional
        Longest duration of a training part; by default it begins with the first row.
    time, series
        Column or index level of the time, and those that name the series, as in the estimators: see
        `NeuralSDERegressor`.

    Notes
    -----
    A length of time is a number if the times are numbers. With datetimes it is a timedelta or a string such as "7D" or
    "12h".

    A series without rows in training starts at its first y when it is scored. All parts are open to the left: with
    daily rows ``test_size="7D"`` has seven days, and the cut is the last day of training.

    Examples
    --------
    >>> from skneuralde import to_rows
    >>> from skneuralde.metrics import PanelTimeSeriesSplit
    >>> X, y = to_rows({"a": [1.0, 2.0, 3.0, 4.0], "b": [5.0, 6.0]}, {"a": [0, 1, 2, 3], "b": [2, 3]})
    >>> for train, test in PanelTimeSeriesSplit(2, test_size=1).split(X):
    ...     print(X.index[train].tolist(), X.index[test].tolist())
    [('a', 0), ('a', 1)] [('a', 2), ('b', 2)]
    [('a', 0), ('a', 1), ('a', 2), ('b', 2)] [('a', 3), ('b', 3)]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        test_size: Any = None,
        gap: Any = 0,
        max_train_size: Any = None,
        time: Any = "auto",
        series: Any = None,
    ):
        self.n_splits = n_splits
        self.test_size = test_size
        self.gap = gap
        self.max_train_size = max_train_size
        self.time = time
        self.series = series

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of splits; the arguments are ignored.

        Returns
        -------
        int
        """
        if not isinstance(self.n_splits, Integral) or isinstance(self.n_splits, bool) or self.n_splits < 1:
            raise ValueError(f"n_splits must be a positive integer, got {self.n_splits!r}.")
        return int(self.n_splits)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions of the training and test rows, in order of time.

        Parameters
        ----------
        X : as in the estimators' `fit`
        y : array-like, optional
            Its index shows whether X has lost one.
        groups : ignored

        Yields
        ------
        train, test : int arrays
            In the order of X's rows.

        Raises
        ------
        ValueError
            If there are fewer distinct times than parts, a part has no rows, or a length of time is not valid.
        """
        n_splits = self.get_n_splits()
        times, clock = read_row_times(X, y, time=self.time, series=self.series)
        gap = 0.0 if isinstance(self.gap, Real) and self.gap == 0 else _length(self.gap, "gap", clock)
        reach = np.inf if self.max_train_size is None else _length(self.max_train_size, "max_train_size", clock)
        for k, (cut, end) in enumerate(self._cut_points(times, clock, n_splits)):
            train = _rows_between(times, cut - gap - reach, cut - gap)
            test = _rows_between(times, cut, end)
            for part, rows in (("training", train), ("test", test)):
                if not rows.any():
                    raise ValueError(
                        f"The {part} part of split {k} has no rows (cut at {clock.to_user(np.array([cut]))[0]}). "
                        "Change n_splits, test_size, gap or max_train_size."
                    )
            yield np.flatnonzero(train), np.flatnonzero(test)

    def _cut_points(self, times: np.ndarray, clock: Clock, n_splits: int) -> list[tuple[float, float]]:
        """Start and end of each test part."""
        distinct = np.unique(times)
        if len(distinct) < n_splits + 1:
            raise ValueError(
                f"n_splits={n_splits} needs at least {n_splits + 1} distinct times, but X has {len(distinct)}."
            )
        if self.test_size is None:
            last = len(distinct) - 1
            ends = distinct[last - (len(distinct) // (n_splits + 1)) * np.arange(n_splits, -1, -1)]
        else:
            ends = distinct[-1] - _length(self.test_size, "test_size", clock) * np.arange(n_splits, -1, -1)
        return list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))


def _rows_between(times: np.ndarray, after: float, until: float) -> np.ndarray:
    """Mask of the rows in (after, until], with a tolerance for rounding."""
    rounding = 8 * np.finfo(np.float64).eps * np.abs(times).max()
    return (times > after + rounding) & (times <= until + rounding)


def _length(value: Any, parameter: str, clock: Clock) -> float:
    """Return a length of time in units of model time."""
    if clock.unit is not None:
        return parse_unit(value, parameter) / clock.unit
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < np.inf:
        raise ValueError(
            f"{parameter}={value!r} must be a positive number, in the unit of the times, which are numbers."
        )
    return float(value)
