"""Location and scale of columns, for networks that want numbers near one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Scaling(NamedTuple):
    """Weighted mean and standard deviation per column; `(x - loc) / scale` has mean 0 and variance 1.

    Attributes
    ----------
    loc, scale : ndarray of shape (n_columns,), float64
        `scale` is 1 for a column that is constant or has no value.
    """

    loc: np.ndarray
    scale: np.ndarray


def weighted_scaling(values: np.ndarray, weight: np.ndarray | None = None) -> Scaling:
    """Weighted mean and standard deviation of each column, over its values that are there.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
        NaN is left out.
    weight : ndarray of shape (n_rows,), optional
        Non-negative.

    Notes
    -----
    Columns are divided by their largest magnitude first, so that numbers near the ends of the floating range neither
    overflow nor vanish when squared.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(len(values)) if weight is None else np.asarray(weight, dtype=np.float64)
    there = ~np.isnan(values) & (weights > 0)[:, None]
    shares = np.where(there, weights[:, None], 0.0)
    total = shares.sum(axis=0)
    shares /= np.where(total > 0, total, 1.0)
    size = np.max(np.abs(values), axis=0, where=there, initial=0.0)
    size = np.where(size > 0, size, 1.0)
    unit = np.where(there, values, 0.0)
    unit /= size
    mean = (shares * unit).sum(axis=0)
    unit -= mean  # in place from here on: panels are large
    np.square(unit, out=unit)
    unit *= shares
    deviation = np.sqrt(unit.sum(axis=0))
    # rounding leaves about sqrt(n) machine epsilons of deviation in a column that is constant
    noise = 10 * np.finfo(np.float64).eps * np.sqrt(max(len(values), 1)) * np.abs(mean)
    scale = deviation * size
    constant = (deviation <= noise) | (scale == 0) | (total <= 0)
    return Scaling(mean * size, np.where(constant, 1.0, scale))
