"""Training of an equation of fields in stages."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skneuralde.data import Panel
from skneuralde.estimators.fields.field_changes import warn_of_rest
from skneuralde.estimators.fields.snapshots import Runs, Snapshots
from skneuralde.estimators.trainer import MakeObjective, Trainer
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
    StoppingRule,
    trainable,
)

STAGES = ("collocation", "shooting", "path")
#: Points per epoch of collocation, the most parameters for Gauss-Newton steps, and the number of L-BFGS iterations.
_SAMPLES, _MOST_PARAMETERS, _ITERATIONS = 6_000, 2_000, 60
#: Points per step of Adam.
_POINTS_PER_STEP = 512
#: Collocation ends when the logarithm of its residuals falls by less than this in so many epochs together. Over long
#: intervals the bridges and the reaction improve each other slowly but steadily.
_SETTLED, _PATIENCE = 0.05, 2
#: Root mean square error of the solutions, in standard deviations, at which later stages are skipped.
_SMALL = 1e-2
#: Epochs of each horizon of the second stage.
_SHOOTING_EPOCHS = 5


@dataclass(frozen=True)
class Stage:
    """A stage of training.

    Attributes
    ----------
    name : {"collocation", "shooting", "path"}
    objective : Collocation or Runs
    epochs : int
        The most epochs.
    validation : Objective or None
    horizon : int or None
        Length of short solutions, in snapshots.
    """

    name: str
    objective: Collocation | Runs
    epochs: int
    validation: Objective | None = None
    horizon: int | None = None


@dataclass
class StagedTrainer(Trainer):
    """Trains an equation of fields in stages. Each stage begins only if the one before leaves something to learn.

    Attributes
    ----------
    report : list of dict
        Filled with an entry for each stage: the attribute ``stages_`` of the estimator.
    """

    report: list[dict[str, Any]] = field(default_factory=list)

    def warn(self, panel: Panel, names: list[str]) -> None:
        """Warn if the fields are nearly all at rest."""
        warn_of_rest(self.setup.space.filled(panel), self.setup.n_fields)

    def objectives(self, panel: Panel) -> tuple[MakeObjective, MakeObjective]:
        """Solutions from the initial states, for training and validation alike."""
        return self._runs, self._runs

    def _runs(self, panel: Panel, rows: np.ndarray) -> Runs:
        return Snapshots.of(self.model, panel, rows, self.setup, self.scale).runs()

    def minimise(self, objective: Objective, validation: Objective | None, history: History, seed: int) -> None:
        """Minimise the objectives of all stages in turn; the model is left with the best weights of the last one."""
        if not trainable(self.model):
            super().minimise(objective, validation, history, seed)
            return
        assert isinstance(objective, Runs)
        stages, max_iter = self.parameters.stages, self.parameters.max_iter
        auto = isinstance(stages, str)
        chosen = _possible(self.model) if auto else tuple(stages)
        if not auto:
            _refuse_impossible(chosen, self.model)
        for stage in self._plan(chosen, objective, validation):
            if self._run_stage(stage, history, seed):
                return
            close = auto and validation is None and self._solutions_are_close(objective, seed)
            if close or history.n_iter >= max_iter:
                break
        if validation is not None and not history.validation_curve:
            warnings.warn(
                "early_stopping=True has held snapshots out for nothing: only the path stage uses them, and training "
                f"took all of its max_iter={max_iter} epochs before, or has no such stage.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _plan(self, chosen: Sequence[str], objective: Runs, validation: Objective | None) -> Iterator[Stage]:
        """The stages, each made when the one before is over."""
        snapshots, given = objective.snapshots, self.parameters
        if "collocation" in chosen:
            size = _SAMPLES if given.batch_size == "auto" else int(given.batch_size)
            points = snapshots.points(self.model, size)
            if points is not None:
                yield Stage("collocation", points, given.max_iter)
        for length in snapshots.horizons() if "shooting" in chosen else ():
            yield Stage("shooting", snapshots.short_runs(length), _SHOOTING_EPOCHS, horizon=length)
        if "path" in chosen:
            yield Stage("path", objective, given.max_iter, validation)

    def _run_stage(self, stage: Stage, history: History, seed: int) -> bool:
        """Train by one stage, by no more epochs than are left; True if ``on_epoch`` has stopped it."""
        self.residual_std = None
        before = history.n_iter
        epochs = min(stage.epochs, self.parameters.max_iter - before)
        if isinstance(stage.objective, Collocation):
            optimizer, stopping = self._optimizer_at_points(stage.objective, epochs)
        else:
            optimizer, stopping = self._optimizer_of_runs(stage.objective, stage.validation is not None, epochs)
        part = History()
        try:
            self.run(stage.objective, optimizer, stopping, stage.validation, part, seed, epochs_before=before)
        finally:
            history.loss_curve += part.loss_curve
            history.validation_curve += part.validation_curve
            history.best_loss = part.best_loss
            entry: dict[str, Any] = {"stage": stage.name, "optimizer": type(optimizer).__name__, "epochs": part.n_iter}
            if stage.horizon is not None:
                entry["horizon"] = stage.horizon
            entry["loss"] = part.loss_curve[-1] if part.loss_curve else np.nan
            if stage.name != "collocation":
                entry["error"] = float(np.sqrt(entry["loss"]))
            self.report.append(entry)
        return part.stopped_by == "on_epoch"

    def _optimizer_at_points(self, objective: Collocation, epochs: int) -> tuple[Optimizer, StoppingRule]:
        if self.parameters.optimizer == "adam":
            return self._adam(_POINTS_PER_STEP, False, epochs)
        rule = StoppingRule(epochs, _SETTLED, _PATIENCE, 0, cumulative=True)
        if sum(p.numel() for p in trainable(self.model)) <= _MOST_PARAMETERS:
            objective.start_epoch(self.model, 1)
            if NormalEquations(objective, self.model).can_be_made():
                return GaussNewton(), rule
        return LBFGS(self.model, iterations=_ITERATIONS), rule

    def _optimizer_of_runs(self, objective: Runs, validated: bool, epochs: int) -> tuple[Optimizer, StoppingRule]:
        given = self.parameters
        size = objective.most if given.batch_size == "auto" else int(given.batch_size)
        if given.optimizer == "lbfgs" or (given.optimizer == "auto" and len(objective) <= size):
            return LBFGS(self.model), StoppingRule(epochs, min(1e-6, given.tol), 2, 0)
        return self._adam(size, validated, epochs)

    def _adam(self, batch_size: int, validated: bool, epochs: int) -> tuple[Optimizer, StoppingRule]:
        given, cooldown = self.parameters, 0 if validated else max(1, epochs // 4)
        rule = StoppingRule(epochs, given.tol, given.n_iter_no_change, cooldown)
        return Adam(self.model, learning_rate=given.learning_rate_init, batch_size=batch_size), rule

    def _solutions_are_close(self, objective: Runs, seed: int) -> bool:
        """Whether the error of all solutions is so small that later stages are skipped."""
        try:
            squares, weights = objective.sums(self.model, seed=seed)
        except SolverError:
            return False
        relative = np.sqrt(squares / np.maximum(weights, np.finfo(np.float64).tiny))
        self.residual_std = relative * self.scale[: len(relative)]
        self.report[-1]["error"] = error = float(np.sqrt(squares.sum() / weights.sum()))
        return error <= _SMALL


def _is_local(model: Model) -> bool:
    """Whether only the reaction at single points and the diffusivity are learned, so that collocation suffices."""
    drift = drift_of(model)
    others = [*drift.reaction.sources, *(p for other in drift.operators.others for p in other.parameters())]
    return model.states is None and learns(drift) and not any(p.requires_grad for p in others)


def _possible(model: Model) -> tuple[str, ...]:
    """The stages that depend on the learned parameters; short solutions do not depend on initial states."""
    if _is_local(model):
        return STAGES
    return ("shooting", "path") if learns(drift_of(model)) else ("path",)


def _refuse_impossible(chosen: tuple[str, ...], model: Model) -> None:
    """Refuse stages that do not depend on the learned parameters.

    Raises
    ------
    ValueError
    """
    possible = _possible(model)
    for name in chosen:
        if name not in possible:
            raise ValueError(
                f"stages names {name!r}, but operators, sources or initial states are learned here: collocation learns "
                "only the reaction at single points and the diffusivity, and shooting no initial states. Use "
                f"stages={possible!r}."
            )


def check_stages(given: Any) -> None:
    """Refuse a parameter ``stages`` that is not "auto" and does not list stages in their order.

    Raises
    ------
    ValueError
    """
    if isinstance(given, str):
        return
    names = tuple(given) if isinstance(given, Sequence) else ()
    order = [STAGES.index(name) for name in names if name in STAGES]
    if not names or len(order) < len(names) or order != sorted(set(order)):
        raise ValueError(f"stages must be 'auto' or some of {STAGES}, in this order, got {given!r}.")
