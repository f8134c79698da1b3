"""Training of a model by one loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from skneuralde.data import Panel
from skneuralde.estimators.choices.optimizer import choose_optimizer
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.diagnostics.identifiability import warn_of_unidentified
from skneuralde.estimators.rows.objectives import make_objective
from skneuralde.estimators.rows.path_schedules import growing_paths, path_schedule, validation_schedule
from skneuralde.inference import Model
from skneuralde.losses import Objective
from skneuralde.training import History, Optimizer, Progress, StoppingRule, run_training

#: Makes the objective of some rows ``(n,)`` of a panel.
MakeObjective = Callable[[Panel, np.ndarray], Objective]
#: Called after each epoch; training stops if it returns True.
OnEpoch = Callable[[Progress], bool | None]


@dataclass
class Trainer:
    """Trains a model by one loss in all epochs.

    A subclass may train in another way. An estimator asks it for objectives, then lets it minimise them once.

    Attributes
    ----------
    parameters
        The estimator, read for its constructor's parameters.
    model : Model
    setup : Setup
    scale : ndarray of shape (n_states,)
        The unit of residuals of curves.
    on_epoch : callable or None
    residual_std : ndarray of shape (fields,) or None
        Standard deviation of what the final solutions leave of each field, if training has measured it.
    """

    parameters: Any
    model: Model
    setup: Setup
    scale: np.ndarray
    on_epoch: OnEpoch | None
    residual_std: np.ndarray | None = None

    def warn(self, panel: Panel, names: list[str]) -> None:
        """Warn of what cannot be learned from series with outputs of these names."""
        warn_of_unidentified(panel, self.model.problem, self.setup.loss, names)

    def objectives(self, panel: Panel) -> tuple[MakeObjective, MakeObjective]:
        """Functions that make the objectives of training and validation from rows of a panel."""
        setup, given = self.setup, self.parameters
        least = setup.loss.min_paths
        schedule: Callable[[int], int]
        if isinstance(given.n_paths, str):
            at_once = given.optimizer == "lbfgs"
            schedule = growing_paths(panel, setup, given.max_iter, least=least, at_once=at_once)
        else:
            schedule = path_schedule(given.n_paths, given.max_iter, least=least)
        make = partial(make_objective, setup=setup, scale=self.scale)
        return partial(make, n_paths=schedule), partial(make, n_paths=validation_schedule(schedule, least))

    def minimise(self, objective: Objective, validation: Objective | None, history: History, seed: int) -> None:
        """Minimise an objective; the model is left with its best weights, also after an interruption."""
        optimizer, stopping = choose_optimizer(self.parameters, self.model, objective, validation is not None)
        self.run(objective, optimizer, stopping, validation, history, seed)

    def run(
        self,
        objective: Objective,
        optimizer: Optimizer,
        stopping: StoppingRule,
        validation: Objective | None,
        history: History,
        seed: int,
        *,
        epochs_before: int = 0,
    ) -> None:
        """Run one training loop, after so many epochs of others."""

        def on_epoch(progress: Progress) -> bool | None:
            assert self.on_epoch is not None
            return self.on_epoch(replace(progress, epoch=epochs_before + progress.epoch))

        run_training(
            self.model,
            objective,
            optimizer,
            stopping,
            history=history,
            validation=validation,
            seed=seed,
            on_epoch=None if self.on_epoch is None else on_epoch,
            verbose=bool(self.parameters.verbose),
        )
