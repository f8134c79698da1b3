"""What a callback sees of a fit in progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skneuralde.problems import Problem


@dataclass(frozen=True)
class EpochState:
    """What ``on_epoch`` sees after an epoch; it may return True to stop.

    Attributes
    ----------
    epoch : int
        Counted from 1.
    loss : float
    validation_score : float or None
        The negative validation loss.
    problem : Problem
        The equation with its present coefficients.
    estimator
        Predicts with the present coefficients.
    """

    epoch: int
    loss: float
    validation_score: float | None
    problem: Problem
    estimator: Any

    def predict(self, X: Any, **options: Any) -> Any:
        """Predict with the present coefficients, as the fitted estimator would."""
        return self.estimator._predict_while_training(X, **options)
