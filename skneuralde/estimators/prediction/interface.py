"""Methods of all fitted equations: predictions, samples, scores and new observations."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from skneuralde.data import (
    Clock,
    OutputFormat,
    Panel,
    Roles,
    as_panel,
    check_features,
    future_rows,
    read_targets,
    take_rows,
)
from skneuralde.data.coordinates import as_array
from skneuralde.data.fill import Missing, fill_controls
from skneuralde.data.timeline import merge, truncate
from skneuralde.estimators.config.seed_and_device import fresh_seed
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.prediction.distributions import Forecast
from skneuralde.estimators.prediction.forecast import draw, forecast, log_density
from skneuralde.estimators.prediction.parameter_table import parameter_table
from skneuralde.estimators.prediction.simulation import unknown_series
from skneuralde.estimators.rows.states import origin_positions
from skneuralde.inference import Model
from skneuralde.problems import Problem


class FittedEquation(RegressorMixin, BaseEstimator):
    """Predictions, samples and densities of a fitted model. A subclass sets the attributes below in `fit`."""

    control_interpolation: str
    roles_: Roles
    clock_: Clock
    model_: Model
    problem_: Problem
    series_: list[Any]
    _setup: Setup
    #: The observations so far of every series.
    _kept: Panel
    _output: OutputFormat

    def predict(self, X: Any, *, return_std: bool = False, quantiles: Any = None) -> Any:
        """Predict the state at each row.

        Parameters
        ----------
        X : like X in `fit`
        return_std : bool, default=False
            Also return the standard deviation of the observation.
        quantiles : array-like of shape (n_quantiles,), optional
            Also return these quantiles of the observation.

        Returns
        -------
        mean : like y in `fit`
            The conditional mean. It depends on the other rows only through their controls.
        std : like y in `fit`
            If ``return_std``.
        quantiles : array or DataFrame of shape (n_rows, n_quantiles), or (n_rows, n_outputs, n_quantiles)
            If ``quantiles``; a DataFrame with the levels as columns if `fit` saw a pandas Series.
        """
        check_is_fitted(self)
        levels = None if quantiles is None else _check_levels(quantiles)
        panel, rows = self._read_rows(X, None)
        result, back = self._forecast(panel, rows)
        answers = [self._output.like(result.mean[back], X)]
        if return_std:
            answers.append(self._output.like(result.std[back], X))
        if levels is not None:
            answers.append(self._output.quantiles_like(result.quantiles(levels)[back], levels, X))
        return answers[0] if len(answers) == 1 else tuple(answers)

    def predict_states(self, X: Any, *, return_std: bool = False) -> Any:
        """Infer the state at each row, including components that are not observed.

        Parameters
        ----------
        X : like X in `fit`
        return_std : bool, default=False
            Also return the standard deviation.

        Returns
        -------
        mean : ndarray of shape (n_rows, n_states)
            Given the observations before a row, or, with ``origin="smooth"``, all observations.
        std : ndarray of shape (n_rows, n_states)
            If ``return_std``.
        """
        check_is_fitted(self)
        result, back = self._forecast(*self._read_rows(X, None), of_states=True)
        return (result.mean[back], result.std[back]) if return_std else result.mean[back]

    def sample(self, X: Any, n_samples: int = 100, *, random_state: Any = None) -> np.ndarray:
        """Draw observations at the rows, jointly within each series.

        Parameters
        ----------
        X : like X in `fit`
        n_samples : int, default=100
        random_state : int, RandomState or None
            The same number draws the same Brownian paths, whatever the rows are.

        Returns
        -------
        ndarray of shape (n_samples, n_rows) or (n_samples, n_rows, n_outputs)

        Raises
        ------
        ValueError
            For rows before the origin of a series with noise, since such paths cannot be simulated backwards.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be a positive integer, got {n_samples!r}.")
        panel, rows = self._read_rows(X, None)
        asked, back = np.unique(rows, return_inverse=True)
        early = self._rows_before_origin(panel, asked)
        if early.any() and self.problem_.diffusion is not None:
            position = asked[np.argmax(early)]
            raise ValueError(
                f"Row {int(np.argmax(rows == position))} lies before the first observation of its series, and the "
                "paths of an equation with noise cannot be simulated backwards. Ask for later rows."
            )
        seed = fresh_seed(random_state)
        paths = draw(self.model_, panel, asked, self._setup, n_samples=n_samples, seed=seed)
        return self._output.squeeze(paths[:, back])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2 of the predictions, over the observed entries of y. A series that `fit` did not see starts at its first y.

        Parameters
        ----------
        X, y, sample_weight : like in `fit`

        Returns
        -------
        float
            The mean over the outputs; the outputs of a grid are its fields.
        """
        check_is_fitted(self)
        estimator, asked, scored = self._started(X, y)
        targets = read_targets(y, len(scored), roles=self.roles_).values[asked]
        mean = as_array(estimator.predict(take_rows(X, asked))).astype(np.float64, copy=False).reshape(targets.shape)
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)[asked]
        scored = scored[asked]
        # The points of a field are observations of the same outputs.
        n_points = self._setup.space.n_points
        targets, mean = (x.reshape(-1, x.shape[1] // n_points) for x in (targets, mean))
        scored = np.repeat(scored, n_points)
        weight = None if weight is None else np.repeat(weight, n_points)
        scores = []
        for output in range(targets.shape[1]):
            there = scored & ~np.isnan(targets[:, output])
            if there.any():
                part = None if weight is None else weight[there]
                scores.append(r2_score(targets[there, output], mean[there, output], sample_weight=part))
        return float(np.mean(scores)) if scores else np.nan

    def log_likelihood(self, X: Any, y: Any) -> np.ndarray:
        """Log density of each row's y given the earlier rows of its series.

        Parameters
        ----------
        X, y : like in `fit`
            They follow the earlier rows that `fit` and `update_state` kept. In each series they replace kept rows from
            their first time on.

        Returns
        -------
        ndarray of shape (n_rows,)
            In y's units; zero if nothing was observed, NaN at the initial state of a series.
        """
        check_is_fitted(self)
        panel, rows = self._read_observations(X, y)
        asked, back = np.unique(rows, return_inverse=True)
        return log_density(self.model_, panel, asked, self._setup)[back]

    def update_state(self, X: Any, y: Any) -> Self:
        """Append observations, or new series, without fitting again.

        Parameters
        ----------
        X, y : like in `fit`
            At a time that is known already they replace the observation.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if not self._setup.layout.has_series:
            raise ValueError("There is no state to update: every row is a trajectory of its own.")
        self._kept, _ = self._read_rows(X, y)
        self.series_ = list(self._kept.labels)
        return self

    def future(self, steps: int, every: Any = None) -> Any:
        """The rows of X after the last one of each series.

        Parameters
        ----------
        steps : int
        every : number, offset alias or timedelta, optional
            Spacing; the series' median gap by default.

        Returns
        -------
        like X in `fit`
            With the last controls held; ready for `predict` and `sample`.
        """
        check_is_fitted(self)
        return future_rows(self._kept, self.roles_, self.clock_, steps, every)

    @property
    def parameters_(self) -> Any:
        """The learned numbers as a DataFrame: name, estimate and unit of each `Parameter`, a row for each entry."""
        check_is_fitted(self)
        return parameter_table(self.model_)

    @property
    def _fill(self) -> Missing:
        """The filling of missing controls: from earlier rows only, unless the caller asked for interpolation."""
        return "linear" if self.control_interpolation == "linear" else "previous"

    def _read_observations(self, X: Any, y: Any) -> tuple[Panel, np.ndarray]:
        """Rows with y behind the kept rows before them, and the position of each given row."""
        table = check_features(self, X, reset=False)
        read = self.roles_.read(table)
        values = read_targets(y, read, roles=self.roles_).values
        asked = as_panel(read, values, clock=self.clock_, roles=self.roles_, fill=None)
        if not self._setup.layout.has_series:
            return asked, asked.rows
        return self._merged(truncate(self._kept, asked), asked)

    def _read_rows(self, X: Any, y: Any) -> tuple[Panel, np.ndarray]:
        """Rows merged with the kept rows of their series, and the position of each given row."""
        table = check_features(self, X, reset=False)
        rows = self.roles_.read(table)
        values = None if y is None else read_targets(y, rows, roles=self.roles_).values
        asked = as_panel(rows, values, clock=self.clock_, roles=self.roles_, fill=None)
        return self._merged(self._kept, asked) if self._setup.layout.has_series else (asked, asked.rows)

    def _merged(self, kept: Panel, asked: Panel) -> tuple[Panel, np.ndarray]:
        """Both panels as one, whose missing controls are filled from kept rows, too; and the rows that were asked."""
        panel, rows = merge(kept, asked)
        return fill_controls(panel, rows, self.roles_.names_of(self.roles_.controls), self._fill), rows

    def _forecast(self, panel: Panel, rows: np.ndarray, *, of_states: bool = False) -> tuple[Forecast, np.ndarray]:
        asked, back = np.unique(rows, return_inverse=True)
        early = self._rows_before_origin(panel, asked)
        if early.any():
            self._setup.space.check_backwards(int(np.argmax(rows == asked[np.argmax(early)])))
            how = "at equal lag after it" if self.problem_.diffusion is not None else "by integrating backwards"
            warnings.warn(
                f"Some rows lie before the first observation of their series; they are predicted {how}.",
                UserWarning,
                stacklevel=3,
            )
        return forecast(self.model_, panel, asked, self._setup, of_states=of_states), back

    def _rows_before_origin(self, panel: Panel, asked: np.ndarray) -> np.ndarray:
        if not self._setup.layout.has_series or self._setup.initial_state != "first":
            return np.zeros(len(asked), dtype=bool)
        first = origin_positions(panel, self._setup)[panel.series_of[asked]]
        return (first >= 0) & (asked < first)

    def _started(self, X: Any, y: Any) -> tuple[Self, np.ndarray, np.ndarray]:
        """An estimator for scoring, with an initial state of every series in X.

        A series without a state starts at its first complete y.

        Returns
        -------
        started : a copy of the estimator
        asked : bool array of shape (n_rows,)
            False for rows that cannot be predicted: before the start of their series, or in a series without any y.
        scored : bool array of shape (n_rows,)
            The rows in ``asked`` that are not the start of their series.
        """
        table = check_features(self, X, reset=False)
        rows = self.roles_.read(table)
        every = np.ones(len(rows.times), dtype=bool)
        if not self._setup.layout.has_series or self._setup.initial_state != "first":
            return self, every, every
        values = read_targets(y, rows, roles=self.roles_).values
        asked = as_panel(rows, values, clock=self.clock_, roles=self.roles_, fill=None)
        has_state = origin_positions(self._kept, self._setup) >= 0
        known = {label for label, has in zip(self._kept.labels, has_state, strict=True) if has}
        new = np.array([label not in known for label in asked.labels])
        if not new.any():
            return self, every, every
        first = origin_positions(asked, self._setup)
        _refuse_partial_starts(asked, new & (first < 0))
        position = np.arange(len(asked.times))
        start = np.where(first < 0, len(position), first)[asked.series_of]
        before = new[asked.series_of] & (position < start)
        starts = new[asked.series_of] & (position == start)
        started, controls = copy.copy(self), asked.controls.copy()
        panel, position_of = self._merged(self._kept, asked)
        controls[asked.rows] = panel.controls[position_of]
        started._kept, _ = merge(self._kept, replace(asked, controls=controls).subset(starts))
        return started, ~before[asked.rows], ~(before | starts)[asked.rows]


def _refuse_partial_starts(panel: Panel, without: np.ndarray) -> None:
    """Refuse series that are observed, but never in all outputs at once. Series without any y are accepted."""
    observed = ~np.isnan(panel.values).all(axis=1) & without[panel.series_of]
    if observed.any():
        raise ValueError(unknown_series(panel.labels[panel.series_of[np.argmax(observed)]]))


def _check_levels(quantiles: Any) -> np.ndarray:
    levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    outside = ~((levels > 0) & (levels < 1))
    if levels.ndim != 1 or outside.any():
        raise ValueError(f"quantiles must be numbers strictly between 0 and 1, got {quantiles!r}.")
    return levels
