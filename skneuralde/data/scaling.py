"""Location and scale of columns, for the inputs of networks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Scaling(NamedTuple):
    """Weighted mean and standard deviation per column; `(x - loc) / scale` has mean 0 and variance 1."""

    loc: np.ndarray  # (n_columns,), float64
    scale: np.ndarray  # 1 for a column that is constant or has no value


def weighted_scaling(values: np.ndarray, weight: np.ndarray | None = None) -> Scaling:
    """Return the weighted mean and standard deviation of each column of ``values``, over its known (not NaN) values.

    Columns are divided by their largest magnitude first, so that squares of very large or small numbers neither
    overflow nor vanish.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(len(values)) if weight is None else np.asarray(weight, dtype=np.float64)
    known = ~np.isnan(values) & (weights > 0)[:, None]
    shares = np.where(known, weights[:, None], 0.0)
    total = shares.sum(axis=0)
    shares /= np.where(total > 0, total, 1.0)
    size = np.max(np.abs(values), axis=0, where=known, initial=0.0)
    size = np.where(size > 0, size, 1.0)
    unit = np.where(known, values, 0.0)
    unit /= size
    mean = (shares * unit).sum(axis=0)
    unit -= mean  # in place from here on, as panels are large
    np.square(unit, out=unit)
    unit *= shares
    deviation = np.sqrt(unit.sum(axis=0))
    # The computed deviation of a constant column is about sqrt(n) machine epsilons.
    noise = 10 * np.finfo(np.float64).eps * np.sqrt(max(len(values), 1)) * np.abs(mean)
    scale = deviation * size
    constant = (deviation <= noise) | (scale == 0) | (total <= 0)
    return Scaling(mean * size, np.where(constant, 1.0, scale))
