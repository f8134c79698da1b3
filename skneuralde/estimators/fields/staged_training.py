"""How an equation of fields is trained: in stages, each begun only where the one before leaves something to learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skneuralde.data import Panel
from skneuralde.estimators.base import MakeObjective
from skneuralde.estimators.choices.setup import set_residual_noise
from skneuralde.estimators.fields.equation import FieldEquation
from skneuralde.estimators.fields.snapshots import Runs, Snapshots
from skneuralde.inference import Model
from skneuralde.losses import Collocation, Objective
from skneuralde.losses.collocation import drift_of
from skneuralde.solvers import SolverError
from skneuralde.terms import trainable as learns
from skneuralde.training import (
    LBFGS,
    Adam,
    GaussNewton,
    History,
    NormalEquations,
    Optimizer,
    Progress,
    StoppingRule,
    trainable,
)

STAGES = ("collocation", "shooting", "path")
#: Points at which one epoch of collocation looks, the most parameters of Gauss-Newton steps, and the number of others.
_SAMPLES, _MOST_PARAMETERS, _ITERATIONS = 6_000, 2_000, 60
#: Points in a step of Adam.
_POINTS_PER_STEP = 512
#: Collocation is over when its residuals shrink by less than this logarithm in so many epochs together: bridges between
#: snapshots that are far apart and the law on them improve each other slowly and steadily.
_SETTLED, _PATIENCE = 0.05, 2
#: A root mean square error of the solutions, in standard deviations, at which nothing is left for the later stages.
_SMALL = 1e-2
#: Epochs of each horizon of the second stage.
_SHOOTING_EPOCHS = 5


@dataclass(frozen=True)
class Stage:
    """A part of training: what is minimised, in how many epochs at most, and what it is watched by.

    Attributes
    ----------
    name : {"collocation", "shooting", "path"}
    objective : Collocation or Runs
    epochs : int
    validation : Objective or None
    horizon : int or None
        Snapshots that short solutions reach over.
    """

    name: str
    objective: Collocation | Runs
    epochs: int
    validation: Objective | None = None
    horizon: int | None = None


class FieldTraining(FieldEquation):
    """Training of an equation of fields; single points are trained as any other equation."""

    stages: Any
    stages_: list[dict[str, Any]]
    #: What the solutions leave of each field, in standard deviations, where that is known of the present weights.
    _spread: np.ndarray | None = None
    #: Epochs of the stages before the present one.
    _epochs_before = 0

    def _read_training_rows(self, X: Any, y: Any, sample_weight: Any, *, warm: bool) -> Panel:
        _check_stages(self.stages)
        return super()._read_training_rows(X, y, sample_weight, warm=warm)

    def _losses(self, panel: Panel) -> tuple[MakeObjective, MakeObjective]:
        return (self._runs, self._runs) if self.grid_ else super()._losses(panel)

    def _runs(self, panel: Panel, rows: np.ndarray) -> Runs:
        return Snapshots.of(self.model_, panel, rows, self._setup, self._scale).runs()

    def _minimise(self, objective: Objective, validation: Objective | None, history: History, seed: int) -> None:
        self.stages_, self._spread, self._epochs_before = [], None, 0
        if not self.grid_ or not trainable(self.model_):
            super()._minimise(objective, validation, history, seed)
            return
        assert isinstance(objective, Runs)
        auto = isinstance(self.stages, str)
        chosen = _possible(self.model_) if auto else tuple(self.stages)
        if not auto:
            _refuse_impossible(chosen, self.model_)
        for stage in self._plan(chosen, objective, validation):
            if self._run_stage(stage, history, seed):
                return
            close = auto and validation is None and self._solutions_are_close(objective, seed)
            if close or history.n_iter >= self.max_iter:
                break
        if validation is not None and not history.validation_curve:
            warnings.warn(
                "early_stopping=True has held snapshots out for nothing: they are looked at in the path stage, and "
                f"training took all of its max_iter={self.max_iter} epochs before, or has no such stage.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _plan(self, chosen: Sequence[str], objective: Runs, validation: Objective | None) -> Iterator[Stage]:
        """The stages, each made when the one before is over."""
        snapshots, most = objective.snapshots, self.max_iter
        if "collocation" in chosen:
            size = _SAMPLES if self.batch_size == "auto" else int(self.batch_size)
            points = snapshots.points(self.model_, self._rate, size)
            if points is not None:
                yield Stage("collocation", points, most)
        for length in snapshots.horizons() if "shooting" in chosen else ():
            yield Stage("shooting", snapshots.short_runs(length), _SHOOTING_EPOCHS, horizon=length)
        if "path" in chosen:
            yield Stage("path", objective, most, validation)

    def _run_stage(self, stage: Stage, history: History, seed: int) -> bool:
        """Train by one stage, by no more epochs than are left; True when ``on_epoch`` has stopped it."""
        self._epochs_before, self._spread = history.n_iter, None
        epochs = min(stage.epochs, self.max_iter - history.n_iter)
        if isinstance(stage.objective, Collocation):
            optimizer, stopping = self._optimizer_at_points(stage.objective, epochs)
        else:
            optimizer, stopping = self._optimizer_of_runs(stage.objective, stage.validation is not None, epochs)
        part = History()
        try:
            self._run(stage.objective, optimizer, stopping, stage.validation, part, seed)
        finally:
            history.loss_curve += part.loss_curve
            history.validation_curve += part.validation_curve
            history.best_loss = part.best_loss
            told: dict[str, Any] = {"stage": stage.name, "optimizer": type(optimizer).__name__, "epochs": part.n_iter}
            if stage.horizon is not None:
                told["horizon"] = stage.horizon
            told["loss"] = part.loss_curve[-1] if part.loss_curve else np.nan
            if stage.name != "collocation":
                told["error"] = float(np.sqrt(told["loss"]))
            self.stages_.append(told)
        return part.stopped_by == "on_epoch"

    def _optimizer_at_points(self, objective: Collocation, epochs: int) -> tuple[Optimizer, StoppingRule]:
        if self.optimizer == "adam":
            return self._adam(_POINTS_PER_STEP, False, epochs)
        rule = StoppingRule(epochs, _SETTLED, _PATIENCE, 0, cumulative=True)
        if sum(p.numel() for p in trainable(self.model_)) <= _MOST_PARAMETERS:
            objective.start_epoch(self.model_, 1)
            if NormalEquations(objective, self.model_).can_be_made():
                return GaussNewton(), rule
        return LBFGS(self.model_, iterations=_ITERATIONS), rule

    def _optimizer_of_runs(self, objective: Runs, validated: bool, epochs: int) -> tuple[Optimizer, StoppingRule]:
        size = objective.most if self.batch_size == "auto" else int(self.batch_size)
        if self.optimizer == "lbfgs" or (self.optimizer == "auto" and len(objective) <= size):
            return LBFGS(self.model_), StoppingRule(epochs, min(1e-6, self.tol), 2, 0)
        return self._adam(size, validated, epochs)

    def _adam(self, batch_size: int, validated: bool, epochs: int) -> tuple[Optimizer, StoppingRule]:
        rule = StoppingRule(epochs, self.tol, self.n_iter_no_change, 0 if validated else max(1, epochs // 4))
        return Adam(self.model_, learning_rate=self.learning_rate_init, batch_size=batch_size), rule

    def _solutions_are_close(self, objective: Runs, seed: int) -> bool:
        """Whether the solutions of all runs are so close to the data that nothing is left to learn."""
        try:
            squares, weights = objective.sums(self.model_, seed=seed)
        except SolverError:
            return False
        self._spread = np.sqrt(squares / np.maximum(weights, np.finfo(np.float64).tiny))
        self.stages_[-1]["error"] = error = float(np.sqrt(squares.sum() / weights.sum()))
        return error <= _SMALL

    def _call_on_epoch(self, progress: Progress) -> bool | None:
        return super()._call_on_epoch(replace(progress, epoch=self._epochs_before + progress.epoch))

    def _measure_noise(self, panel: Panel) -> None:
        if self._spread is None:
            super()._measure_noise(panel)
        else:  # of the same weights
            set_residual_noise(self.model_, self._spread * self._scale[: len(self._spread)], self._setup)


def _is_local(model: Model) -> bool:
    """Whether all that is learned is a law of single points and the diffusivity, so that collocation tells it."""
    drift = drift_of(model)
    others = [*drift.reaction.sources, *(p for other in drift.operators.others for p in other.parameters())]
    return model.states is None and learns(drift) and not any(p.requires_grad for p in others)


def _possible(model: Model) -> tuple[str, ...]:
    """The stages that tell something of what is learned: short solutions say nothing of initial states."""
    if _is_local(model):
        return STAGES
    return ("shooting", "path") if learns(drift_of(model)) else ("path",)


def _refuse_impossible(chosen: tuple[str, ...], model: Model) -> None:
    """Refuse stages that tell nothing of what is learned.

    Raises
    ------
    ValueError
    """
    possible = _possible(model)
    for name in chosen:
        if name not in possible:
            raise ValueError(
                f"stages names {name!r}, but collocation tells laws of single points and the diffusivity, and shooting "
                "nothing of initial states; operators, sources or initial states are learned here. Use "
                f"stages={possible!r}."
            )


def _check_stages(given: Any) -> None:
    if isinstance(given, str):
        return
    names = tuple(given) if isinstance(given, Sequence) else ()
    order = [STAGES.index(name) for name in names if name in STAGES]
    if not names or len(order) < len(names) or order != sorted(set(order)):
        raise ValueError(f"stages must be 'auto' or some of {STAGES}, in this order, got {given!r}.")
