"""How an equation of fields is trained: in stages, each begun only where the one before leaves something to learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skneuralde.data import Panel
from skneuralde.estimators._snapshots import Runs, Snapshots
from skneuralde.estimators.base import BaseDifferentialEquation, MakeObjective
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
    mean_loss,
    trainable,
)

STAGES = ("collocation", "shooting", "path")
#: Points at which one epoch of collocation looks, the most parameters of Gauss-Newton steps, and the number of others.
_SAMPLES, _MOST_PARAMETERS, _ITERATIONS = 6_000, 2_000, 60
#: Points in a step of Adam.
_POINTS_PER_STEP = 512
#: Collocation is over when its residuals shrink by less than this logarithm in all of so many epochs. Where snapshots
#: are far apart bridges and law improve each other by a little in many epochs.
_SETTLED, _PATIENCE = 0.1, 4
#: A root mean square error of the solutions, in standard deviations, at which nothing is left for the later stages.
_SMALL = 1e-2
#: Epochs of each horizon of the second stage.
_SHOOTING_EPOCHS = 5


class FieldTraining(BaseDifferentialEquation):
    """Training of an equation of fields; single points are trained as any other equation.

    A subclass sets ``grid_`` and ``_rate``, typical rates of change, before training.
    """

    stages: Any
    grid_: tuple[int, ...]
    stages_: list[dict[str, Any]]
    _rate: np.ndarray

    def _read_training_rows(self, X: Any, y: Any, sample_weight: Any, *, warm: bool) -> Panel:
        _check_stages(self.stages)
        return super()._read_training_rows(X, y, sample_weight, warm=warm)

    def _losses(self, panel: Panel) -> tuple[MakeObjective, MakeObjective]:
        return (self._runs, self._runs) if self.grid_ else super()._losses(panel)

    def _runs(self, panel: Panel, rows: np.ndarray) -> Runs:
        return Snapshots.of(self.model_, panel, rows, self._setup, self._scale).runs()

    def _minimise(self, objective: Objective, validation: Objective | None, history: History, seed: int) -> None:
        self.stages_ = []
        if not self.grid_ or not trainable(self.model_):
            super()._minimise(objective, validation, history, seed)
            return
        assert isinstance(objective, Runs)
        auto = isinstance(self.stages, str)
        chosen = _possible(self.model_) if auto else tuple(self.stages)
        if not auto:
            _refuse_impossible(chosen, self.model_)
        snapshots = objective.snapshots
        if "collocation" in chosen:
            size = _SAMPLES if self.batch_size == "auto" else int(self.batch_size)
            points = snapshots.points(self.model_, self._rate, size)
            if points is not None and self._stage("collocation", points, None, history, seed):
                return
        if auto and self.stages_ and validation is None and self._solutions_are_close(objective, seed):
            return
        for length in snapshots.horizons() if "shooting" in chosen else ():
            part, epochs = snapshots.short_runs(length), min(_SHOOTING_EPOCHS, self.max_iter)
            if self._stage("shooting", part, None, history, seed, epochs=epochs, horizon=length):
                return
        if "path" in chosen:
            self._stage("path", objective, validation, history, seed)

    def _stage(
        self,
        name: str,
        objective: Objective,
        validation: Objective | None,
        history: History,
        seed: int,
        *,
        epochs: int | None = None,
        horizon: int | None = None,
    ) -> bool:
        """Train on one objective; True when the caller's ``on_epoch`` has stopped it."""
        epochs = self.max_iter if epochs is None else epochs
        if isinstance(objective, Collocation):
            optimizer, stopping = self._optimizer_at_points(objective, epochs)
        else:
            assert isinstance(objective, Runs)
            optimizer, stopping = self._optimizer_of_runs(objective, validation is not None, epochs)
        part = History()
        try:
            self._run(objective, optimizer, stopping, validation, part, seed)
        finally:
            history.loss_curve += part.loss_curve
            history.validation_curve += part.validation_curve
            history.best_loss = part.best_loss
            stage: dict[str, Any] = {"stage": name, "optimizer": type(optimizer).__name__, "epochs": part.n_iter}
            if horizon is not None:
                stage["horizon"] = horizon
            stage["loss"] = part.loss_curve[-1] if part.loss_curve else np.nan
            if name != "collocation":
                stage["error"] = float(np.sqrt(stage["loss"]))
            self.stages_.append(stage)
        return part.stopped_by == "on_epoch"

    def _optimizer_at_points(self, objective: Collocation, epochs: int) -> tuple[Optimizer, StoppingRule]:
        if self.optimizer == "adam":
            return self._adam(_POINTS_PER_STEP, False, epochs)
        rule = StoppingRule(epochs, _SETTLED, _PATIENCE, 0, together=True)
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
            error = float(np.sqrt(mean_loss(self.model_, objective, seed=seed, batch_size=objective.most)))
        except SolverError:
            return False
        self.stages_[-1]["error"] = error
        return error <= _SMALL


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
