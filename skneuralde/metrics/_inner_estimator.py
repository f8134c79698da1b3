"""The estimator that forecasts, inside Pipelines, searches and transformed targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skneuralde.metrics._arrays import read_observed


@dataclass(frozen=True)
class InnerEstimator:
    """The fitted estimator inside Pipelines, searches and transformed targets."""

    estimator: Any
    X: Any  #: the rows as the estimator receives them from the steps before it
    transformers: list[Any]  #: from the caller's y to the estimator's y, in order of application

    @classmethod
    def of(cls, estimator: Any, X: Any, method: str, scorer: str) -> InnerEstimator:
        """Find the inner estimator, or raise a TypeError if it lacks the method."""
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
