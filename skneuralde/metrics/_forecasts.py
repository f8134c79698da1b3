"""Forecasts for scorers, from estimators in Pipelines, searches and transformed targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skneuralde.data import take_rows
from skneuralde.metrics._arrays import read_observed


@dataclass(frozen=True)
class InnerEstimator:
    """The estimator inside Pipelines, searches and transformed targets.

    Attributes
    ----------
    estimator : fitted estimator
    X : array-like
        The rows as the estimator receives them from the steps before it.
    transformers : list of transformer
        From the caller's y to the estimator's y, in order of application.
    """

    estimator: Any
    X: Any
    transformers: list[Any]

    @classmethod
    def of(cls, estimator: Any, X: Any, method: str, scorer: str) -> InnerEstimator:
        """Find the inner estimator.

        Raises
        ------
        TypeError
            If it lacks the method.
        """
        transformers: list[Any] = []
        while True:
            check_is_fitted(estimator)
            if isinstance(estimator, Pipeline):
                X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
                estimator = estimator[-1]
            elif isinstance(estimator, TransformedTargetRegressor):
                transformers.append(estimator.transformer_)
                estimator = estimator.regressor_
            elif hasattr(estimator, "best_estimator_"):
                estimator = estimator.best_estimator_
            else:
                break
        if not callable(getattr(estimator, method, None)):
            raise TypeError(
                f"{scorer} needs an estimator with the method {method!r}, which {type(estimator).__name__} does not "
                "have."
            )
        return cls(estimator, X, transformers)

    def started(self, y: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return the estimator with a state for every series, and masks of the rows to forecast and to score."""
        if hasattr(self.estimator, "_started"):
            return self.estimator._started(self.X, self._target(y))
        every = np.ones(len(read_observed(y)), dtype=bool)
        return self.estimator, every, every

    def _target(self, y: Any) -> Any:
        """Transform the caller's y to the estimator's."""
        if not self.transformers:
            return y
        values = read_observed(y)
        for transformer in self.transformers:
            values = np.asarray(transformer.transform(values))
        return values[:, 0] if values.shape[1] == 1 else values

    def samples_in_units_of_y(self, samples: np.ndarray) -> np.ndarray:
        """Transform samples (n_samples, n_rows[, n_outputs]) to the caller's units, with an axis of outputs."""
        n_samples, n_rows = samples.shape[:2]
        flat = samples.reshape(n_samples * n_rows, -1)
        for transformer in reversed(self.transformers):
            flat = np.asarray(transformer.inverse_transform(flat)).reshape(len(flat), -1)
        return flat.reshape(n_samples, n_rows, -1)


@dataclass(frozen=True)
class Forecasts:
    """Observations and samples of their forecasts, for the rows that have a forecast.

    Attributes
    ----------
    observed : float64 array of shape (n, n_outputs)
        NaN if not observed, and in the rows at which a series starts.
    samples : float64 array of shape (n_samples, n, n_outputs)
    weight : float64 array of shape (n,) or None
    """

    observed: np.ndarray
    samples: np.ndarray
    weight: np.ndarray | None


def draw_forecasts(
    estimator: Any, X: Any, y: Any, sample_weight: Any, *, n_samples: int, random_state: Any, scorer: str
) -> Forecasts:
    """Sample forecasts of the rows of X; series that `fit` did not see start at their first y."""
    observed = read_observed(y)
    inner = InnerEstimator.of(estimator, X, "sample", scorer)
    fitted, requested, scored = inner.started(y)
    samples = np.asarray(fitted.sample(take_rows(inner.X, requested), n_samples, random_state=random_state))
    return Forecasts(
        np.where(scored[:, None], observed, np.nan)[requested],
        inner.samples_in_units_of_y(samples.astype(np.float64, copy=False)),
        None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)[requested],
    )
