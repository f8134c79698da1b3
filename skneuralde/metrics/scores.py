"""Scores of probabilistic forecasts given as samples or intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from skneuralde.metrics._arrays import average_rows, combine_outputs, read_observed, read_same_shape, read_samples


def crps(
    y_true: Any, samples: Any, *, sample_weight: Any = None, multioutput: Any = "uniform_average", fair: bool = True
) -> Any:
    """Continuous ranked probability score of samples; smaller is better.

    The score is E|X - y| - E|X - X'| / 2 with independent X and X' from the forecast, in units of y. Its expectation is
    smallest for the distribution of the observations [1]_. The score of a deterministic forecast is its absolute error.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_outputs)
        Observations; NaN means not observed and does not count.
    samples : array-like of shape (n_samples, n_rows) or (n_samples, n_rows, n_outputs)
        Draws from the forecast, as `sample` returns them.
    sample_weight : array-like of shape (n_rows,), optional
    multioutput : {"uniform_average", "raw_values"} or array-like of shape (n_outputs,), default="uniform_average"
        Combination of the outputs: their mean, one score per output, or a weighted mean.
    fair : bool, default=True
        Whether to average over pairs of different samples, which estimates the score of the forecast distribution
        without bias [2]_. If False, the empirical distribution of the samples is scored, which is never negative and
        larger by E|X - X'| / (2 n_samples) on average.

    Returns
    -------
    float, or ndarray of shape (n_outputs,) for "raw_values"
        NaN in the array for an output that was never observed.

    Raises
    ------
    ValueError
        If shapes do not match, samples are not finite, or nothing was observed.

    See Also
    --------
    energy_score : The score of several outputs jointly.
    CRPSScorer : The scorer for `GridSearchCV`.

    Notes
    -----
    Sorting the samples makes the work n log n in their number.

    References
    ----------
    .. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation", Journal of the
       American Statistical Association 102 (2007).
    .. [2] C. A. T. Ferro, "Fair scores for ensemble forecasts", Quarterly Journal of the Royal Meteorological Society
       140 (2014).

    Examples
    --------
    >>> from skneuralde.metrics import crps
    >>> crps([1.0, 3.0], [[0.0, 3.0], [2.0, 3.0]])
    0.0
    >>> crps([1.0, 3.0], [[0.0, 3.0], [2.0, 3.0]], fair=False)
    0.25
    """
    y = read_observed(y_true)
    draws = read_samples(samples, y, at_least=2 if fair else 1)
    n = len(draws)
    # Sum of the distances of all pairs, from the number of pairs in which each sorted sample is the larger one.
    rank = 2.0 * np.arange(n) - (n - 1)
    pairs = np.tensordot(rank, np.sort(draws, axis=0), axes=1)
    scores = np.abs(draws - y).mean(axis=0) - pairs / (n * (n - 1) if fair else n * n)
    return combine_outputs(average_rows(scores, sample_weight), multioutput)


def energy_score(y_true: Any, samples: Any, *, sample_weight: Any = None, fair: bool = True) -> float:
    """Energy score of samples of several outputs; smaller is better.

    The score is E|X - y| - E|X - X'| / 2 with Euclidean distances between vectors of outputs; with one output it is the
    CRPS. Unlike the CRPS of each output, it also depends on the dependence between outputs [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_outputs)
        Observations; NaN means not observed. A row is scored on its observed outputs.
    samples : array-like of shape (n_samples, n_rows) or (n_samples, n_rows, n_outputs)
    sample_weight : array-like of shape (n_rows,), optional
    fair : bool, default=True
        As in `crps`.

    Returns
    -------
    float
        In units of y. Scale outputs to comparable units first, as the largest one dominates.

    Raises
    ------
    ValueError
        If shapes do not match, samples are not finite, or nothing was observed.

    See Also
    --------
    crps : The score of each output separately.
    EnergyScoreScorer : The scorer for `GridSearchCV`.

    Notes
    -----
    The work is quadratic in the number of samples.

    References
    ----------
    .. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and estimation", Journal of the
       American Statistical Association 102 (2007).

    Examples
    --------
    >>> from skneuralde.metrics import energy_score
    >>> energy_score([[0.0, 0.0]], [[[3.0, 4.0]], [[3.0, 4.0]]])
    5.0
    """
    y = read_observed(y_true)
    draws = read_samples(samples, y, at_least=2 if fair else 1)
    n = len(draws)
    by_row = np.ascontiguousarray(np.moveaxis(draws, 1, 0))
    scores = np.full((len(y), 1), np.nan)
    for row, observed in enumerate(~np.isnan(y)):
        if observed.any():
            points = by_row[row][:, observed]
            distance = np.linalg.norm(points - y[row, observed], axis=1).mean()
            scores[row] = distance - pdist(points).sum() / (n * (n - 1) if fair else n * n)
    return float(average_rows(scores, sample_weight)[0])


def interval_coverage(
    y_true: Any, lower: Any, upper: Any, *, sample_weight: Any = None, multioutput: Any = "uniform_average"
) -> Any:
    """Share of the observations that lie in their intervals, ends included.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_outputs)
        Observations; NaN means not observed.
    lower, upper : array-like of the shape of y_true
        Ends of the intervals, such as the quantiles 0.05 and 0.95 of a forecast for a level of 0.9.
    sample_weight : array-like of shape (n_rows,), optional
    multioutput : {"uniform_average", "raw_values"} or array-like of shape (n_outputs,), default="uniform_average"
        As in `crps`.

    Returns
    -------
    float, or ndarray of shape (n_outputs,) for "raw_values"
        Between 0 and 1.

    Raises
    ------
    ValueError
        If shapes do not match, a lower end lies above its upper end, or nothing was observed.

    See Also
    --------
    CoverageScorer : The distance of the coverage from its level, for `GridSearchCV`.

    Examples
    --------
    >>> from skneuralde.metrics import interval_coverage
    >>> interval_coverage([0.0, 1.0, 5.0, float("nan")], [-1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 2.0, 2.0])
    0.6666666666666666
    """
    y = read_observed(y_true)
    low, high = read_same_shape(lower, y, "lower"), read_same_shape(upper, y, "upper")
    crossed = (low > high).any(axis=1)
    if crossed.any():
        raise ValueError(f"lower lies above upper in row {int(np.argmax(crossed))}.")
    inside = np.where(np.isnan(y), np.nan, (low <= y) & (y <= high))
    return combine_outputs(average_rows(inside, sample_weight), multioutput)
