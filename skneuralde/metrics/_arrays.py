"""Validation of observations and samples, and averages over rows and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import _check_sample_weight


def read_observed(y_true: Any) -> np.ndarray:
    """Return observations as float64 of shape (n_rows, n_outputs); NaN means not observed."""
    y = check_array(y_true, ensure_2d=False, ensure_all_finite="allow-nan", dtype=np.float64, input_name="y_true")
    return _as_columns(y, "y_true")


def read_same_shape(values: Any, y: np.ndarray, name: str) -> np.ndarray:
    """Return finite numbers of the same shape as the observations."""
    array = _as_columns(check_array(values, ensure_2d=False, dtype=np.float64, input_name=name), name)
    if array.shape != y.shape:
        raise ValueError(f"{name} has {_rows_and_outputs(array)}, but y_true has {_rows_and_outputs(y)}.")
    return array


def read_samples(samples: Any, y: np.ndarray, *, at_least: int = 1) -> np.ndarray:
    """Return samples as float64 of shape (n_samples, n_rows, n_outputs)."""
    array = check_array(samples, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name="samples")
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[1:] != y.shape:
        expected = f"(n_samples, {y.shape[0]})" if y.shape[1] == 1 else f"(n_samples, {y.shape[0]}, {y.shape[1]})"
        hint = " The samples are the first axis: give samples.T." if shape[:1] == y.shape[:1] else ""
        raise ValueError(
            f"samples has shape {shape}, but y_true has {_rows_and_outputs(y)}: expected {expected}.{hint}"
        )
    if len(array) < at_least:
        raise ValueError(f"The fair estimator needs at least two samples, got {len(array)}. Draw more, or fair=False.")
    return array


def average_rows(values: np.ndarray, sample_weight: Any) -> np.ndarray:
    """Return the weighted mean over the rows that are not NaN, per output of ``values (n_rows, n_outputs)``.

    It is NaN for an output without such rows; if there are none in any output, a ValueError is raised.
    """
    if sample_weight is not None:
        check_consistent_length(values, sample_weight)
    weight = _check_sample_weight(sample_weight, values, dtype=np.float64, ensure_non_negative=True)
    known = ~np.isnan(values)
    share = np.where(known, weight[:, None], 0.0)
    total = share.sum(axis=0)
    if not total.any():
        raise ValueError("There is nothing to score: y_true has no observed value in a row with a weight.")
    weighted = (share * np.where(known, values, 0.0)).sum(axis=0)
    return np.divide(weighted, total, out=np.full(len(total), np.nan), where=total > 0)


def combine_outputs(means: np.ndarray, multioutput: Any) -> Any:
    """Return one number for all outputs, or all of them for ``"raw_values"``; NaN is left out of the mean."""
    if isinstance(multioutput, str):
        if multioutput == "raw_values":
            return means
        if multioutput != "uniform_average":
            raise ValueError(
                f"multioutput must be 'raw_values', 'uniform_average' or one weight per output, got {multioutput!r}."
            )
        return float(np.nanmean(means))
    weight = check_array(multioutput, ensure_2d=False, dtype=np.float64, input_name="multioutput")
    if weight.shape != means.shape:
        raise ValueError(f"multioutput has shape {weight.shape}, but there are {len(means)} outputs: one weight each.")
    known = ~np.isnan(means)
    if not weight[known].sum() > 0 or (weight < 0).any():
        raise ValueError(
            "multioutput must be weights that are not negative, with one above zero for an observed output."
        )
    return float(np.average(means[known], weights=weight[known]))


def _as_columns(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} has shape {array.shape}, but (n_rows,) or (n_rows, n_outputs) is expected.")
    return array[:, None] if array.ndim == 1 else array


def _rows_and_outputs(array: np.ndarray) -> str:
    rows, outputs = array.shape
    return f"{rows} rows" if outputs == 1 else f"{rows} rows and {outputs} outputs"
