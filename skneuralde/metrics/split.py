"""`PanelTimeSeriesSplit`: cross-validation of panels by moments of time."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from skneuralde.data import Clock, read_row_times
from skneuralde.data.clock import parse_unit


class PanelTimeSeriesSplit(BaseCrossValidator):
    """Split rows at moments of time that are common to all series.

    Rows up to a cut point are for training, those after it and up to the next cut point for testing, whatever their
    order and however the series differ in length. No row of the future is ever in training, of no series.
    `sklearn.model_selection.TimeSeriesSplit` is for one series with sorted rows.

    Parameters
    ----------
    n_splits : int, default=5
    test_size : length of time, optional
        How much time a test part covers; the last one ends with the last row. By default every test part has the same
        number of distinct times, and so has, about, the first training part.
    gap : length of time, default=0
        How much time before the test part is left out of training.
    max_train_size : length of time, optional
        How far back training reaches from the end of the training part; by default to the first row.
    time, series
        The column or index level of the time, and of what names the series, as in the estimators and with the same
        meaning of "auto": see `NeuralSDERegressor`.

    Notes
    -----
    A length of time is a number where times are numbers. Where they are datetimes it is a timedelta or a text such as
    "7D" or "12h"; a bare number would not say of what.

    A series without rows in training starts at its first y when it is scored. All parts are open to the left: with
    daily rows ``test_size="7D"`` has seven days, the cut point itself being the last day of training.

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
        """Number of splits; the arguments are there for scikit-learn and are not looked at.

        Returns
        -------
        int
        """
        if not isinstance(self.n_splits, Integral) or isinstance(self.n_splits, bool) or self.n_splits < 1:
            raise ValueError(f"n_splits must be a positive integer, got {self.n_splits!r}.")
        return int(self.n_splits)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions of the training and test rows, earliest test part first.

        Parameters
        ----------
        X : like X in the estimators' `fit`
        y : array-like, optional
            Only its index is looked at, to find an index that X has lost.
        groups : ignored

        Yields
        ------
        train, test : int arrays
            In the order of X's rows.

        Raises
        ------
        ValueError
            For fewer distinct times than parts, for a part without rows, or a length of time that is none.
        """
        n_splits = self.get_n_splits()
        moments, clock = read_row_times(X, y, time=self.time, series=self.series)
        gap = 0.0 if _is_zero(self.gap) else _length(self.gap, "gap", clock)
        reach = np.inf if self.max_train_size is None else _length(self.max_train_size, "max_train_size", clock)
        for k, (cut, end) in enumerate(self._cut_points(moments, clock, n_splits)):
            train = _between(moments, cut - gap - reach, cut - gap)
            test = _between(moments, cut, end)
            for part, rows in (("training", train), ("test", test)):
                if not rows.any():
                    raise ValueError(
                        f"The {part} part of split {k} has no rows (cut at {clock.to_user(np.array([cut]))[0]}). "
                        "Change n_splits, test_size, gap or max_train_size."
                    )
            yield np.flatnonzero(train), np.flatnonzero(test)

    def _cut_points(self, moments: np.ndarray, clock: Clock, n_splits: int) -> list[tuple[float, float]]:
        """Start and end of each test part."""
        distinct = np.unique(moments)
        if len(distinct) < n_splits + 1:
            raise ValueError(
                f"n_splits={n_splits} needs at least {n_splits + 1} distinct times, but X has {len(distinct)}."
            )
        if self.test_size is None:
            last = len(distinct) - 1
            cuts = distinct[last - (len(distinct) // (n_splits + 1)) * np.arange(n_splits, -1, -1)]
        else:
            cuts = distinct[-1] - _length(self.test_size, "test_size", clock) * np.arange(n_splits, -1, -1)
        return list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


def _between(moments: np.ndarray, after: float, until: float) -> np.ndarray:
    """Rows in (after, until], where what differs by rounding only is the same moment."""
    rounding = 8 * np.finfo(np.float64).eps * np.abs(moments).max()
    return (moments > after + rounding) & (moments <= until + rounding)


def _is_zero(length: Any) -> bool:
    return isinstance(length, Real) and length == 0


def _length(value: Any, parameter: str, clock: Clock) -> float:
    """A length of time in model time."""
    if clock.unit is not None:
        return parse_unit(value, parameter) / clock.unit
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < np.inf:
        raise ValueError(
            f"{parameter}={value!r} must be a positive number, in the unit of the times, which are numbers."
        )
    return float(value)
