"""Calibration of forecasts: the probability integral transform."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skneuralde.metrics._arrays import read_observed, read_samples


def probability_integral_transform(y_true: Any, samples: Any, random_state: Any = None) -> np.ndarray:
    """Randomised rank of each observation among its samples, as a number in (0, 1).

    It is uniformly distributed if observation and samples have the same distribution, for any distribution and any
    number of samples. Many values near both ends mean that the forecast is too narrow, near the middle that it is too
    wide, and near one end that it is biased [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_outputs)
        Observations; NaN means not observed.
    samples : array-like of shape (n_samples, n_rows) or (n_samples, n_rows, n_outputs)
    random_state : int, RandomState or None, default=None

    Returns
    -------
    ndarray like y_true
        NaN if not observed.

    Raises
    ------
    ValueError
        If shapes do not match, or samples are not finite.

    Notes
    -----
    Tests of uniformity assume independent values. Forecasts one step ahead give these; rows that are forecast from the
    same origin share their past and are dependent.

    References
    ----------
    .. [1] T. Gneiting, F. Balabdaoui and A. E. Raftery, "Probabilistic forecasts, calibration and sharpness", Journal
       of the Royal Statistical Society B 69 (2007).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import kstest
    >>> from skneuralde.metrics import probability_integral_transform
    >>> rng = np.random.default_rng(0)
    >>> y, samples = rng.normal(size=500), rng.normal(size=(50, 500))
    >>> right = probability_integral_transform(y, samples, random_state=0)
    >>> narrow = probability_integral_transform(y, samples / 2, random_state=0)
    >>> bool(kstest(right, "uniform").pvalue > 0.05), bool(kstest(narrow, "uniform").pvalue < 0.001)
    (True, True)
    """
    y = read_observed(y_true)
    draws = read_samples(samples, y)
    below = (draws < y).sum(axis=0)
    ties = (draws == y).sum(axis=0)
    within = check_random_state(random_state).uniform(size=y.shape)
    rank = (below + within * (ties + 1)) / (len(draws) + 1)
    inside = np.clip(rank, np.finfo(np.float64).tiny, 1.0 - np.finfo(np.float64).epsneg)
    return np.where(np.isnan(y), np.nan, inside).reshape(np.shape(y_true))
