"""The state of a fit that a callback sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skneuralde.problems import Problem


@dataclass(frozen=True)
class EpochState:
    """The argument of ``on_epoch``, which may return True to stop training.

    Attributes
    ----------
    epoch : int
        Counted from 1.
    loss : float
    validation_score : float or None
        The negative validation loss.
    problem : Problem
        The equation with its current coefficients.
    estimator
        The estimator in training.
    """

    epoch: int
    loss: float
    validation_score: float | None
    problem: Problem
    estimator: Any

    def predict(self, X: Any, **options: Any) -> Any:
        """Predict with the current coefficients, as the fitted estimator would."""
        return self.estimator._predict_while_training(X, **options)
