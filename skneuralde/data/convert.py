"""`to_rows`: rows from arrays of whole series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skneuralde.data.clock import read_times


def to_rows(values: Any, times: Any) -> tuple[pd.DataFrame, pd.Series | pd.DataFrame]:
    """Turn an array or a list of series into the rows that `fit` takes.

    Parameters
    ----------
    values : array of shape (n_series, n_times, dim) or (n_series, n_times), sequence of arrays, or mapping
        In a sequence, or a mapping from the series' labels, series may differ in length: `(n_times_i, dim)` or
        `(n_times_i,)` each. NaN means not observed.
    times : array-like
        `(n_times,)` for all series, or one such array per series in the same form as `values`; numbers or datetimes. A
        series may be padded with NaN (or NaT) times at its end, which are dropped.

    Returns
    -------
    X : DataFrame without columns
        Its index is a MultiIndex with levels "series" and "time". Add columns for context and controls.
    y : Series (if series are one-dimensional) or DataFrame
        With the same index.

    Raises
    ------
    ValueError
        If values and times of a series differ in number, or series differ in dimension.

    Examples
    --------
    >>> import numpy as np
    >>> from skneuralde import to_rows
    >>> X, y = to_rows(np.zeros((2, 3)), times=[0.0, 0.5, 1.0])
    >>> X.index.tolist()[:4]
    [(0, 0.0), (0, 0.5), (0, 1.0), (1, 0.0)]
    """
    labels, arrays = _series(values)
    pairs = [_unpadded(label, a, t) for label, a, t in zip(labels, arrays, _times(times, labels), strict=True)]
    dims = {array.shape[1:] for array, _ in pairs}
    if len(dims) > 1:
        raise ValueError(
            f"All series need the same dimension, but beside (n_times,) they have the shapes {sorted(dims)}."
        )
    stacked = np.concatenate([array for array, _ in pairs])
    lengths = [len(array) for array, _ in pairs]
    all_times = pairs[0][1].append([t for _, t in pairs[1:]])
    all_labels = pd.Index(labels, tupleize_cols=False).repeat(lengths)
    index = pd.MultiIndex.from_arrays([all_labels, all_times], names=["series", "time"])
    y = pd.Series(stacked, index=index) if stacked.ndim == 1 else pd.DataFrame(stacked, index=index)
    return pd.DataFrame(index=index), y


def _series(values: Any) -> tuple[list[Any], list[np.ndarray]]:
    if isinstance(values, Mapping):
        labels, items = list(values), list(values.values())
    else:
        if getattr(values, "ndim", 2) == 1 and getattr(values, "dtype", np.dtype(object)).kind != "O":
            raise ValueError("values holds one series: give a list of series, [values].")
        labels, items = list(range(len(values))), list(values)
    if not items:
        raise ValueError("values holds no series.")
    arrays = [np.asarray(item) for item in items]
    for label, array in zip(labels, arrays, strict=True):
        if array.ndim not in (1, 2):
            raise ValueError(
                f"Series {label!r} has shape {array.shape}, but (n_times,) or (n_times, dim) is expected: values is "
                "(n_series, n_times, dim), a list of series, or a mapping from labels to series."
            )
    return labels, arrays


def _times(times: Any, labels: Sequence[Any]) -> list[pd.Index]:
    """One index of times per series."""
    if isinstance(times, Mapping):
        missing = [label for label in labels if label not in times]
        if missing:
            raise ValueError(f"times has no entry for series {missing[0]!r}.")
        return [pd.Index(times[label]) for label in labels]
    if np.ndim(next(iter(times), 0.0)) == 0:
        return [pd.Index(times)] * len(labels)
    if len(times) != len(labels):
        raise ValueError(f"There are {len(labels)} series, but times for {len(times)}.")
    return [pd.Index(t) for t in times]


def _unpadded(label: Any, array: np.ndarray, times: pd.Index) -> tuple[np.ndarray, pd.Index]:
    if len(array) != len(times):
        raise ValueError(f"Series {label!r} has {len(array)} values, but {len(times)} times.")
    known = np.flatnonzero(~times.isna())
    length = int(known[-1]) + 1 if len(known) else 0
    read_times(times[:length], f"the times of series {label!r}")
    return array[:length], times[:length]
