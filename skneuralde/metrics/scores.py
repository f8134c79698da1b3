"""Scores of probabilistic forecasts that are given as samples or as intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from skneuralde.metrics._arrays import average_rows, combine_outputs, read_like, read_observed, read_samples


def crps(
    y_true: Any,
    samples: Any,
    *,
    sample_weight: Any = None,
    multioutput: Any = "uniform_average",
    fair: bool = True,
) -> Any:
    """Continuous ranked probability score of samples; smaller is better.

    The score is E|X - y| - E|X - X'| / 2 with independent X and X' from the forecast, in units of y. It is smallest, in
    the mean, for the distribution that the observations come from [1]_. A forecast that is certain of one value
    scores its absolute error.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_outputs)
        What was observed; entries that are NaN were not and do not count.
    samples : array-like of shape (n_samples, n_rows) or (n_samples, n_rows, n_outputs)
        Draws from the forecast, as `sample` gives them.
    sample_weight : array-like of shape (n_rows,), optional
    multioutput : {"uniform_average", "raw_values"} or array-like of shape (n_outputs,), default="uniform_average"
        How the outputs are combined: their mean, each by itself, or a weighted mean.
    fair : bool, default=True
        Average over pairs of different samples, which estimates the score of the distribution that the samples come
        from without bias [2]_. If False, score the samples as if they were the whole distribution: this is never
        negative, and larger by E|X - X'| / (2 n_samples).

    Returns
    -------
    float, or ndarray of shape (n_outputs,) for "raw_values"
        NaN in the array for an output that was never observed.

    Raises
    ------
    ValueError
        For shapes that do not match, samples that are not finite, or when nothing was observed.

    See Also
    --------
    energy_score : The same for several outputs at once.
    CRPSScorer : The same for `GridSearchCV`.

    Notes
    -----
    The samples are sorted, so that the work is n log n in their number.

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
    # The sum of all distances between pairs, from how often each sorted sample is the larger of its pair.
    rank = 2.0 * np.arange(n) - (n - 1)
    pairs = np.tensordot(rank, np.sort(draws, axis=0), axes=1)
    scores = np.abs(draws - y).mean(axis=0) - pairs / (n * (n - 1) if fair else n * n)
    return combine_outputs(average_rows(scores, sample_weight), multioutput)


def energy_score(y_true: Any, samples: Any, *, sample_weight: Any = None, fair: bool = True) -> float:
    """Energy score of samples of several outputs; smaller is better.

    The score is E|X - y| - E|X - X'| / 2 with Euclidean distances between vectors of outputs: with one output it is the
    CRPS. Other than the CRPS of each output it also sees how the outputs depend on each other [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_outputs)
        NaN: not observed. A row counts by the outputs that were observed in it.
    samples : array-like of shape (n_samples, n_rows) or (n_samples, n_rows, n_outputs)
    sample_weight : array-like of shape (n_rows,), optional
    fair : bool, default=True
        As in `crps`.

    Returns
    -------
    float
        In units of y. The output with the largest unit weighs most: bring outputs to comparable units first.

    Raises
    ------
    ValueError
        For shapes that do not match, samples that are not finite, or when nothing was observed.

    See Also
    --------
    crps : Each output by itself.
    EnergyScoreScorer : The same for `GridSearchCV`.

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
    for row, there in enumerate(~np.isnan(y)):
        if there.any():
            points = by_row[row][:, there]
            distance = np.linalg.norm(points - y[row, there], axis=1).mean()
            scores[row] = distance - pdist(points).sum() / (n * (n - 1) if fair else n * n)
    return float(average_rows(scores, sample_weight)[0])


def interval_coverage(
    y_true: Any,
    lower: Any,
    upper: Any,
    *,
    sample_weight: Any = None,
    multioutput: Any = "uniform_average",
) -> Any:
    """Share of the observations that lie in their interval, both ends included.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,) or (n_rows, n_outputs)
        NaN: not observed.
    lower, upper : array-like like y_true
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
        For shapes that do not match, a lower end above its upper end, or when nothing was observed.

    See Also
    --------
    CoverageScorer : How far the coverage is from its level, for `GridSearchCV`.

    Examples
    --------
    >>> from skneuralde.metrics import interval_coverage
    >>> interval_coverage([0.0, 1.0, 5.0, float("nan")], [-1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 2.0, 2.0])
    0.6666666666666666
    """
    y = read_observed(y_true)
    low, high = read_like(lower, y, "lower"), read_like(upper, y, "upper")
    crossed = (low > high).any(axis=1)
    if crossed.any():
        raise ValueError(f"lower lies above upper in row {int(np.argmax(crossed))}.")
    inside = np.where(np.isnan(y), np.nan, (low <= y) & (y <= high))
    return combine_outputs(average_rows(inside, sample_weight), multioutput)
