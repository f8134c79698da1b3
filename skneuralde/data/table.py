"""Tables: the rows of X from any container, as columns and an optional index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import _check_feature_names, _check_n_features

from skneuralde.data.clock import is_timelike
from skneuralde.data.coordinates import as_array, is_xarray

_NUMERIC_KINDS = "fiub"


@dataclass(frozen=True)
class Table:
    """The rows of X, before roles are assigned."""

    data: np.ndarray | pd.DataFrame  # (n_rows, n_columns); a numeric array, if X was one, is not copied
    index: pd.Index | None = None  # of X; None for containers without one
    named: bool = False  # whether the columns have names

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.data.shape[0])

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self.data.shape[1])

    @property
    def names(self) -> tuple[Any, ...]:
        """Column names, or positions if there are no names."""
        if isinstance(self.data, pd.DataFrame):
            return tuple(self.data.columns)
        return tuple(range(self.n_columns))

    def column(self, position: int) -> np.ndarray | pd.Series:
        """Return a column as it is."""
        if isinstance(self.data, pd.DataFrame):
            return self.data.iloc[:, position]
        return self.data[:, position]

    def numeric(self, positions: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """Return columns as one float array, a view if possible; NaN is kept, anything else must be finite."""
        if isinstance(self.data, np.ndarray):
            block = self.data[:, _as_slice(positions)]
        else:
            block = self._numeric_frame(positions)
        block = block.astype(dtype, copy=False)
        _refuse_infinity(block, [self.names[p] for p in positions])
        return block

    def _numeric_frame(self, positions: Sequence[int]) -> np.ndarray:
        assert isinstance(self.data, pd.DataFrame)
        frame = self.data.iloc[:, list(positions)]
        if all(isinstance(d, np.dtype) and d.kind in _NUMERIC_KINDS for d in frame.dtypes):
            return np.asarray(frame.to_numpy())
        columns = [_numeric_column(frame.iloc[:, i]) for i in range(frame.shape[1])]
        return np.column_stack(columns)

    def is_float32(self, positions: Sequence[int]) -> bool:
        """Whether all these columns are float32."""
        if isinstance(self.data, np.ndarray):
            return self.data.dtype == np.float32
        return all(self.data.dtypes.iloc[p] == np.float32 for p in positions)


def as_table(X: Any) -> Table:
    """Read X from an array, a DataFrame (pandas, polars or any that narwhals reads), or 1-D times.

    Sparse, complex, empty, 0-D and 1-D numeric input raises scikit-learn's own messages; for a 3-D X the message names
    `to_rows`.
    """
    if isinstance(X, Table):
        return X
    if isinstance(X, pd.DataFrame):
        return _frame_table(X, X.index, named=True)
    if nw.dependencies.is_into_dataframe(X):
        return _frame_table(_pandas_from(X), None, named=True)
    if is_xarray(X):
        X = _array_of_times(X)
    times = _one_dimensional_times(X)
    if times is not None:
        return _frame_table(pd.DataFrame(index=times), times, named=False)
    return _array_table(X)


def check_features(estimator: Any, X: Any, *, reset: bool) -> Table:
    """Read X and set (in `fit`) or check scikit-learn's `feature_names_in_` and `n_features_in_` on the estimator."""
    table = as_table(X)
    _check_feature_names(estimator, X, reset=reset)
    _check_n_features(estimator, table.data, reset=reset)
    return table


def take_rows(X: Any, mask: np.ndarray) -> Any:
    """Return the rows of X where the mask is true, in X's container; X itself if these are all rows."""
    if mask.all():
        return X
    if isinstance(X, pd.Index):
        return X[mask]
    return _safe_indexing(X, np.flatnonzero(mask))


def _frame_table(frame: pd.DataFrame, index: pd.Index | None, *, named: bool) -> Table:
    if len(frame) == 0:
        check_array(np.empty(frame.shape), input_name="X")  # raises scikit-learn's message for no samples
    return Table(frame, index, named)


def _array_table(X: Any) -> Table:
    if isinstance(X, dict) and not sparse.issparse(X):
        raise ValueError("X is a dict. For one array per series use X, y = to_rows(values, times).")
    if nw.dependencies.is_polars_lazyframe(X):
        raise TypeError("X is a LazyFrame, whose rows are not computed yet. Give X.collect().")
    array = X if sparse.issparse(X) else _to_array(X)
    if array.ndim == 1 and array.dtype.kind in "OUS":
        raise ValueError(
            f"Expected 2D array, or 1D datetimes, got 1D array instead:\narray={array}.\nReshape your data, or turn "
            "text into datetimes with pandas.to_datetime."
        )
    if array.ndim >= 3:
        raise ValueError(
            f"Found array with dim {array.ndim}, while dim <= 2 is required: a row of X is one query. Turn an array of "
            "shape (n_series, n_times, dim) into rows with X, y = to_rows(values, times)."
        )
    if array.ndim == 2 and not sparse.issparse(array) and array.dtype.kind in "OMm" and array.size:
        return _frame_table(pd.DataFrame(array).infer_objects(), None, named=False)
    return Table(check_array(array, ensure_all_finite=False, input_name="X"))


def _array_of_times(X: Any) -> np.ndarray:
    """Return the values of a DataArray; a 1-D one, such as a coordinate, becomes a column of times."""
    if hasattr(X, "data_vars"):
        raise TypeError("X is a Dataset, but its rows are times: give a coordinate, such as X.time.")
    array = as_array(X)
    return array[:, None] if array.ndim == 1 and array.dtype.kind in _NUMERIC_KINDS else array


def _to_array(X: Any) -> np.ndarray:
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ValueError(
            f"X is not rectangular ({error}). Turn a list of series of unequal length into rows with "
            "X, y = to_rows(values, times)."
        ) from error
    if array.dtype.kind in "US" and isinstance(X, (list, tuple)):
        array = np.asarray(X, dtype=object)  # numbers beside text stay numbers
    return array


def _one_dimensional_times(X: Any) -> pd.Index | None:
    if sparse.issparse(X) or isinstance(X, (dict, str, pd.MultiIndex)):
        return None
    if nw.dependencies.is_into_series(X) and not isinstance(X, pd.Series):
        X = _pandas_series(nw.from_native(X, series_only=True))
    if isinstance(X, (list, tuple)):
        if not len(X) or isinstance(X[0], (list, tuple, np.ndarray)):
            return None
        X = np.asarray(X)
    if getattr(X, "ndim", None) != 1 or not hasattr(X, "dtype") or not is_timelike(X):
        return None
    return pd.Index(X)


def _pandas_from(X: Any) -> pd.DataFrame:
    frame = nw.from_native(X, eager_only=True)
    return pd.DataFrame({name: _pandas_series(frame[name]) for name in frame.columns})


def _pandas_series(series: nw.Series) -> pd.Series:
    values = pd.Series(series.to_numpy(), name=series.name)
    # to_numpy returns times in UTC without their zone: restore it, so that naive and aware times stay distinct.
    zone = getattr(series.dtype, "time_zone", None)
    return values if zone is None else values.dt.tz_localize("UTC").dt.tz_convert(zone)


def _numeric_column(column: pd.Series) -> np.ndarray:
    where = f"column {column.name!r} of X"
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        raise ValueError(
            f"{where} is categorical (row 0: {column.iloc[0]!r}), and a category is not a number. Encode it, for "
            "example with OneHotEncoder in a Pipeline, or name it in series= if it tells the series apart."
        )
    if is_timelike(column):
        raise ValueError(
            f"{where} holds {dtype} and has no role. Name it in time= (or series=), or turn it into a number."
        )
    if isinstance(dtype, pd.SparseDtype):
        raise TypeError(f"Sparse data was passed for X ({where}), but dense data is required. Use .sparse.to_dense().")
    if pd.api.types.is_numeric_dtype(dtype) and not isinstance(dtype, np.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    try:
        return check_array(column.to_frame(), ensure_all_finite=False, input_name="X")[:, 0]
    except ValueError as error:
        raise ValueError(
            f"{where} is not numeric: {error}. Encode it, or name it in series= if it tells the series apart."
        ) from error


def _refuse_infinity(block: np.ndarray, names: Sequence[Any]) -> None:
    if not block.size or np.isfinite(block).all():
        return
    infinite = np.isinf(block)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise ValueError(
            f"Input X contains infinity or a value too large for {block.dtype!r}: "
            f"column {names[column]!r}, first in row {row} ({block[row, column]})."
        )


def _as_slice(positions: Sequence[int]) -> slice | list[int]:
    """Return adjacent columns as a slice, for which numpy returns a view."""
    positions = list(positions)
    if positions and positions == list(range(positions[0], positions[-1] + 1)):
        return slice(positions[0], positions[-1] + 1)
    return positions
