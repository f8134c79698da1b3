"""Scorers of probabilistic forecasts for `GridSearchCV`, `cross_validate` and `cross_val_score`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import UNUSED

from skneuralde.data import take_rows
from skneuralde.metrics._arrays import average_rows, read_observed
from skneuralde.metrics._inner_estimator import InnerEstimator
from skneuralde.metrics.scores import crps, energy_score, interval_coverage


class _Scorer(BaseEstimator):
    """A callable ``scorer(estimator, X, y, sample_weight=None)`` with parameters; greater is better."""

    # Only sample_weight can be routed: set_score_request(sample_weight=True).
    __metadata_request__score: ClassVar[dict[str, str]] = {"estimator": UNUSED}

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        return self.score(estimator, X, y, sample_weight)

    @abstractmethod
    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            It may be the last step of a Pipeline, in a refitted search or, except for the likelihood, in a
            `TransformedTargetRegressor`.
        X, y : as in its `fit`
            NaN in y means not observed and does not count.
        sample_weight : array-like of shape (n_rows,), optional

        Returns
        -------
        float
            Greater is better.

        Raises
        ------
        TypeError
            If the estimator lacks the method that makes the forecast.
        ValueError
            If rows have no forecast, or nothing is left to score.
        """


class _SampleScorer(_Scorer):
    """A scorer of samples of the rows that have a forecast; series that `fit` did not see start at their first y."""

    n_samples: int
    random_state: Any

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        observed = read_observed(y)
        inner = InnerEstimator.of(estimator, X, "sample", type(self).__name__)
        fitted, requested, scored = inner.started(y)
        samples = fitted.sample(take_rows(inner.X, requested), self.n_samples, random_state=self.random_state)
        samples = inner.samples_in_units_of_y(np.asarray(samples).astype(np.float64, copy=False))
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)[requested]
        return self._score_samples(np.where(scored[:, None], observed, np.nan)[requested], samples, weight)

    @abstractmethod
    def _score_samples(self, observed: np.ndarray, samples: np.ndarray, weight: np.ndarray | None) -> float:
        """Score of samples (n_samples, n, n_outputs); NaN in ``observed (n, n_outputs)`` does not count."""


class CRPSScorer(_SampleScorer):
    """Minus the continuous ranked probability score of an estimator's samples.

    ``neg_crps_scorer`` is ``CRPSScorer()``.

    Parameters
    ----------
    n_samples : int, default=200
        Samples per row. With the fair estimator their number changes the noise of the score, not its mean.
    random_state : int, RandomState or None, default=0
        A number gives every candidate of a search the same random numbers, which keeps noise out of comparisons.
    multioutput : {"uniform_average"} or array-like of shape (n_outputs,), default="uniform_average"
        Weights of the outputs, for instance the inverse of their standard deviations if their units differ.

    See Also
    --------
    crps : The score itself.

    Notes
    -----
    A row is forecast from the last observation before it that the estimator has kept, which is the last one of training
    for rows after training; with ``origin="start"`` from the initial state of its series. A series without a state
    starts at its first complete y, and that row does not count. For an equation with noise, `sample` refuses rows
    before the first observation of a series: split with `PanelTimeSeriesSplit` or by series.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
    >>> from skneuralde import NeuralSDERegressor
    >>> from skneuralde.metrics import CRPSScorer
    >>> rng = np.random.default_rng(0)
    >>> t, y = np.arange(60.0)[:, None], 0.1 * rng.normal(size=60).cumsum()
    >>> model = NeuralSDERegressor(0.0, max_iter=2, random_state=0)
    >>> search = GridSearchCV(model, {"rtol": [1e-2, 1e-3]}, scoring=CRPSScorer(n_samples=50), cv=TimeSeriesSplit(2))
    >>> bool(search.fit(t, y).best_score_ < 0)
    True
    """

    def __init__(self, n_samples: int = 200, *, random_state: Any = 0, multioutput: Any = "uniform_average"):
        self.n_samples = n_samples
        self.random_state = random_state
        self.multioutput = multioutput

    def _score_samples(self, observed: np.ndarray, samples: np.ndarray, weight: np.ndarray | None) -> float:
        if isinstance(self.multioutput, str) and self.multioutput == "raw_values":
            raise ValueError("multioutput='raw_values' gives no single score. Give 'uniform_average' or weights.")
        return -crps(observed, samples, sample_weight=weight, multioutput=self.multioutput)


class EnergyScoreScorer(_SampleScorer):
    """Minus the energy score of an estimator's samples, over all outputs at once.

    ``neg_energy_score_scorer`` is ``EnergyScoreScorer()``. Rows count and are forecast as in `CRPSScorer`.

    Parameters
    ----------
    n_samples : int, default=200
    random_state : int, RandomState or None, default=0

    See Also
    --------
    energy_score : The score itself.
    CRPSScorer : Each output separately, for outputs of different units.
    """

    def __init__(self, n_samples: int = 200, *, random_state: Any = 0):
        self.n_samples = n_samples
        self.random_state = random_state

    def _score_samples(self, observed: np.ndarray, samples: np.ndarray, weight: np.ndarray | None) -> float:
        return -energy_score(observed, samples, sample_weight=weight)


class CoverageScorer(_SampleScorer):
    """Minus the distance between a level and the share of observations inside central intervals of that level.

    The coverage itself is greatest for infinite intervals and so is no score. Its distance from the level is zero for
    calibrated intervals and grows if they are too narrow or too wide. It does not measure their width: select models by
    `CRPSScorer` or `LogLikelihoodScorer`, and report this score beside it.

    Rows count and are forecast as in `CRPSScorer`.

    Parameters
    ----------
    level : float, default=0.9
        Between 0 and 1.
    n_samples : int, default=200
        At least ``2 / (1 - level) - 1``.
    random_state : int, RandomState or None, default=0

    See Also
    --------
    interval_coverage : The coverage itself.

    Notes
    -----
    The ends are sample quantiles at rank ``p (n_samples + 1)``: another draw of the same distribution falls between
    them with probability ``level``, for any number of samples. With several outputs the distances are averaged, so that
    intervals that are too wide in one output do not compensate for others that are too narrow.

    Examples
    --------
    >>> from skneuralde.metrics import CoverageScorer
    >>> CoverageScorer(0.5, n_samples=99)
    CoverageScorer(level=0.5, n_samples=99)
    """

    def __init__(self, level: float = 0.9, *, n_samples: int = 200, random_state: Any = 0):
        self.level = level
        self.n_samples = n_samples
        self.random_state = random_state

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie strictly between 0 and 1, got {self.level!r}.")
        least = int(np.ceil(2 / (1 - self.level) - 1 - 1e-9))
        if self.n_samples < least:
            raise ValueError(
                f"An interval of level {self.level} needs at least {least} samples, got n_samples={self.n_samples}."
            )
        return super().score(estimator, X, y, sample_weight)

    def _score_samples(self, observed: np.ndarray, samples: np.ndarray, weight: np.ndarray | None) -> float:
        tail = (1 - self.level) / 2
        lower, upper = np.quantile(samples, [tail, 1 - tail], axis=0, method="weibull")
        coverage = interval_coverage(observed, lower, upper, sample_weight=weight, multioutput="raw_values")
        return -float(np.nanmean(np.abs(coverage - self.level)))


class LogLikelihoodScorer(_Scorer):
    """Mean log density of the observations, each given the earlier rows of its series.

    ``log_likelihood_scorer`` is ``LogLikelihoodScorer()``. It needs no samples. It scores forecasts one observation
    ahead, while the scorers of samples forecast from the end of training. Rows without an observation and the initial
    states of series do not count.

    See Also
    --------
    CRPSScorer : A score that is less sensitive to outliers, in units of y.

    Notes
    -----
    A `TransformedTargetRegressor` is refused: the density of y would need the derivative of the transformation, which
    scikit-learn does not know.
    """

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        inner = InnerEstimator.of(estimator, X, "log_likelihood", type(self).__name__)
        if inner.transformers:
            raise TypeError(
                "LogLikelihoodScorer cannot score a TransformedTargetRegressor: the density of y needs the derivative "
                "of the transformation, which is not known. Use CRPSScorer, or score the regressor on transformed y."
            )
        requested = inner.started(y)[1]
        density = np.full(len(requested), np.nan)
        density[requested] = inner.estimator.log_likelihood(take_rows(inner.X, requested), take_rows(y, requested))
        density[np.isnan(read_observed(y)).all(axis=1)] = np.nan
        return float(average_rows(density[:, None], sample_weight)[0])


neg_crps_scorer = CRPSScorer()
neg_energy_score_scorer = EnergyScoreScorer()
log_likelihood_scorer = LogLikelihoodScorer()
