"""Rates of jumps, and jumps detected in data."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skneuralde.data import check_features
from skneuralde.data.timeline import complete, previous
from skneuralde.estimators.prediction.coefficient_functions import CoefficientFields
from skneuralde.estimators.prediction.forecast import distribution_given_past
from skneuralde.estimators.prediction.interface import FittedEquation
from skneuralde.inference import Mixture
from skneuralde.problems import Problem


class JumpDetection(CoefficientFields, FittedEquation):
    """Methods of fitted equations with jumps."""

    def intensity_field(self, U: Any, t: Any = 0.0, *, context: Any = None, return_std: bool = False) -> Any:
        """Evaluate the learned jump rate.

        Parameters
        ----------
        U, t, context, return_std : like in `drift_field`

        Returns
        -------
        rate : ndarray of shape (n,), or (n, n_channels) if there are several channels
            Jumps per ``time_unit_``.
        std : ndarray of the same shape
            If ``return_std``.

        Raises
        ------
        ValueError
            Like `drift_field`, and for an equation without jumps.
        """
        check_is_fitted(self)
        n_channels = len(self.problem_.jumps)
        if n_channels == 0:
            raise ValueError("There is no rate of jumps to evaluate: the equation was fitted with jump_rate=None.")
        result = self._field("rate of jumps", U, t, context, return_std, _all_rates)
        if n_channels > 1:
            return result
        return tuple(x.reshape(len(x)) for x in result) if return_std else result.reshape(len(result))

    def jump_probability(self, X: Any, y: Any) -> np.ndarray:
        """Probability of a jump in the interval that ends at each row, given the observations.

        Parameters
        ----------
        X, y : like in `fit`
            As in `log_likelihood`, they follow the earlier rows that `fit` and `update_state` kept.

        Returns
        -------
        ndarray of shape (n_rows,)
            The probability of at least one jump since the last complete observation before; NaN at the start of a
            series. Without an observation at the row, it is the prior probability.
        """
        return self._jumps_given(X, y)[0]

    def detect_jumps(self, X: Any, y: Any, threshold: float = 0.5) -> Any:
        """The rows before which a jump is probable.

        Parameters
        ----------
        X, y : like in `fit`
        threshold : float, default=0.5
            The smallest probability of the jumps that are returned.

        Returns
        -------
        DataFrame with the index of X, or a structured array if `fit` saw arrays
            One row per jump, in X's order: ``row``, its position in X; ``time``, the end of the interval;
            ``probability``; and ``size``, the mean change of y by jumps in the interval, given the observation and at
            least one jump. With several outputs, ``size_`` and the output's name or number.
        """
        if not (isinstance(threshold, Real) and 0.0 <= threshold <= 1.0):
            raise ValueError(f"threshold must be a probability, got {threshold!r}.")
        probability, size = self._jumps_given(X, y)
        rows = np.flatnonzero(probability >= threshold)
        times = self.roles_.read(check_features(self, X, reset=False)).times
        columns: dict[str, Any] = {"row": rows, "time": times[rows], "probability": probability[rows]}
        names = [f"size_{name}" for name in self._output.names] if len(self._output.names) == size.shape[1] else []
        if size.shape[1] == 1:
            names = ["size"]
        for k, values in enumerate(size[rows].T):
            columns[names[k] if names else f"size_{k}"] = values
        return self._output.table_like(columns, rows, X)

    @torch.no_grad()
    def _jumps_given(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Probability of a jump ``(n_rows,)`` and its mean size ``(n_rows, n_outputs)`` at the rows of X."""
        check_is_fitted(self)
        panel, rows = self._read_observations(X, y)
        asked, back = np.unique(rows, return_inverse=True)
        probability = np.full(len(asked), np.nan)
        size = np.full((len(asked), panel.values.shape[1]), np.nan)
        if not self._setup.jumps:
            starts = self._setup.layout.has_series and previous(panel, complete(panel))[asked] < 0
            return np.where(starts, np.nan, 0.0 * asked)[back], size[back]
        later, distribution = distribution_given_past(self.model_, panel, asked, self._setup)
        assert isinstance(distribution, Mixture)  # of an equation with jumps
        target = self._setup.tensor(panel.values[asked[later]])
        probability[later] = distribution.jump_probability(target).cpu().numpy()
        size[later] = distribution.jump_size(target).cpu().numpy()
        return probability[back], size[back]


def _all_rates(problem: Problem) -> Callable[..., Tensor]:
    """The rates of all channels as one coefficient, ``(batch, n_channels)``."""

    def rates(t: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return torch.stack([jump.rate(t, u, c) for jump in problem.jumps], -1)

    return rates
