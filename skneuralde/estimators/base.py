"""What all estimators share: parameters and fit."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import Tags

from skneuralde.data import Clock, Panel, Roles, as_panel, check_features, read_targets, weighted_scaling
from skneuralde.estimators.callbacks import EpochState
from skneuralde.estimators.choices.loss import explain_loss, warn_of_collapse, warn_of_snapshots
from skneuralde.estimators.choices.setup import (
    calibrate_finally,
    choose_optimizer,
    choose_setup,
    describe_solvers,
    fresh_seed,
    measure_residual_noise,
    observes_in_part,
    pick_device,
    validation_split,
)
from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.diagnostics.identifiability import warn_of_unidentified
from skneuralde.estimators.diagnostics.standard_errors import laplace_uncertainty, refuse_laplace, train_ensemble
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.estimators.model.initial_model import build_model, renew_observations
from skneuralde.estimators.parameters import SHARED
from skneuralde.estimators.prediction.interface import FittedEquation
from skneuralde.estimators.rows.objectives import (
    TRANSITION_LOSSES,
    growing_paths,
    loss_class,
    make_objective,
    path_schedule,
    validation_schedule,
)
from skneuralde.estimators.warm_start import refuse_another_equation
from skneuralde.inference import JumpSplitting, Model, Observation, Selection, SolverPropagation, resolve_observation
from skneuralde.inference.parameter_uncertainty import Uncertainty
from skneuralde.losses import Objective, PathObjective
from skneuralde.problems import FieldProblem, Problem
from skneuralde.terms import MLP, has_known_units
from skneuralde.training import History, Optimizer, Progress, StoppingRule, run_training

#: Makes the objective of some rows ``(n,)`` of a panel.
MakeObjective = Callable[[Panel, np.ndarray], Objective]


class BaseDifferentialEquation(FittedEquation):
    """An equation learned from rows that ask for the state of a series at a time.

    A subclass has a constructor and `_build_problem`.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = SHARED

    #: Names of the constructor parameters that are coefficients, and of others that the equation is made from.
    _coefficients: tuple[str, ...]
    _settings: tuple[str, ...] = ("noise", "calculus", "hidden_layer_sizes", "activation", "inputs")

    problem_: Problem
    model_: Model
    roles_: Roles
    clock_: Clock
    series_: list[Any]
    solver_stats_: dict[str, object]
    _setup: Setup
    _uncertainty: Uncertainty | None
    _equation: dict[str, Any]

    def _terms(self, problem: Problem) -> dict[str, Any]:
        """The attributes that show the coefficients of an equation."""
        return {f"{name}_": getattr(problem, name) for name in self._coefficients}

    @abstractmethod
    def _build_problem(self, factory: TermFactory) -> Problem | FieldProblem:
        """The equation, with networks at their initial weights."""

    def __getstate__(self) -> dict[str, Any]:
        """The state with all tensors on the CPU, so that it can be loaded where there is no other device."""
        state = super().__getstate__()
        if "model_" in state and self.device_.type != "cpu":
            cpu = torch.device("cpu")
            model = copy.deepcopy(self.model_).to(cpu)
            model.propagator = _on_device(model.propagator, cpu)
            state |= {
                "model_": model,
                "problem_": model.problem.original,
                "_setup": self._setup.to(cpu),
                "device_": cpu,
                **self._terms(model.problem.original),
            }
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_kept")

    def set_params(self, **params: Any) -> BaseDifferentialEquation:
        """Set parameters, those of an `MLP` by a double underscore such as ``drift__hidden_layer_sizes``.

        Returns
        -------
        self
        """
        for name in self._coefficients:
            nested = [key for key in params if key.startswith(f"{name}__")]
            spec = params.get(name, getattr(self, name))
            if nested and not hasattr(spec, "set_params"):
                raise ValueError(f"{nested[0]!r} cannot be set, since {name} is {spec!r}. Pass {name}=MLP() first.")
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
    ) -> BaseDifferentialEquation:
        """Learn the equation.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_rows, n_features), or 1-D datetimes
            One row per time of a series: see the columns' roles in the class's documentation.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            What was observed; NaN where nothing was.
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row as a target. Rows of weight zero are dropped.
        X_val, y_val : like X and y, optional
            Rows to choose the best weights by. They replace the part that ``early_stopping`` would hold out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For input that cannot be used, before any work starts.
        FloatingPointError
            When the loss never is finite.
        """
        self._validate_params()
        device = pick_device(self.device)
        seed = fresh_seed(self.random_state)
        warm = self.warm_start and hasattr(self, "model_")
        equation = {name: getattr(self, name) for name in (*self._coefficients, *self._settings)}
        if warm:
            refuse_another_equation(self._equation, equation)
        panel = self._read_training_rows(X, y, sample_weight, warm=warm)
        self._start_model(panel, seed, device, warm=warm)
        self._equation = equation
        self._tell_loss()
        self._kept = panel if self.roles_.layout == "series" else panel.subset(np.zeros(len(panel.times), dtype=bool))
        self._typical_context = weighted_scaling(np.hstack([panel.context, panel.controls]), panel.weight).loc
        objective, validation = self._objectives(panel, X_val, y_val, seed)
        if self.roles_.layout == "series":
            self._warn_of_unidentified(panel)
        before, self._uncertainty = getattr(self, "_uncertainty", None), None
        if self.uncertainty == "laplace":
            refuse_laplace(self._setup.loss, self.model_)
        if not warm:
            self._settle_start(objective, seed)
        self._train(panel, objective, validation, seed)
        if self.uncertainty == "laplace":
            self._uncertainty = laplace_uncertainty(self, panel, X_val, y_val, seed)
        elif self.uncertainty == "ensemble":
            before = before if warm else None
            self._uncertainty = train_ensemble(self, panel, X_val, y_val, seed=seed, before=before)
        return self

    def _warn_of_unidentified(self, panel: Panel) -> None:
        names = self._output.describe(self.n_outputs_)
        warn_of_unidentified(panel, self.problem_, self._setup.loss, names)

    def _read_training_rows(self, X: Any, y: Any, sample_weight: Any, *, warm: bool) -> Panel:
        """Decide roles and clock, which weights that were learned before are bound to, and read the rows by them."""
        table = check_features(self, X, reset=not warm)
        if not warm:
            self.roles_ = Roles.fit(
                table,
                y,
                time=self.time,
                series=self.series,
                controls=self.controls,
                initial_state=self.initial_state,
                state=self._state_of(y),
            )
        rows = self.roles_.read(table)
        targets = read_targets(y, rows, roles=self.roles_)
        if not warm:
            known = any(has_known_units(getattr(self, name)) for name in self._coefficients)
            self.clock_ = Clock.fit(rows.times, rows.codes, self.time_unit, require_unit=known)
        panel = as_panel(
            rows, targets.values, clock=self.clock_, roles=self.roles_, sample_weight=sample_weight, fill=self._fill
        )
        if len(rows.times) < 2:
            raise ValueError("Found array with n_samples = 1 while a minimum of 2 is required: one row moves nowhere.")
        self._output = targets.output
        self.n_outputs_ = targets.values.shape[1]
        self.t_ref_, self.time_unit_ = self.clock_.t_ref, self.clock_.unit
        series = list(panel.labels) if self.roles_.layout == "series" else []
        if warm and self.roles_.initial_state == "learn" and series != self.series_:
            raise ValueError("warm_start=True with initial_state='learn' needs the same series as the fit before.")
        self.series_ = series
        return panel

    def _state_of(self, y: Any) -> tuple[int, ...] | None:
        """The shape of a field of which each row of y is a snapshot; None where a row is a state by itself."""
        return None

    def _start_model(self, panel: Panel, seed: int, device: torch.device, *, warm: bool) -> None:
        """Settle what "auto" leaves open, around a new equation or, warm, the one that was learned before."""
        dtype = torch.float32 if self.roles_.dtype == np.float32 else torch.float64
        seen = self._seen(panel)
        scales, observation = self._measure(seen, dtype)
        chosen: dict[str, Any] = {"seed": seed, "dtype": dtype, "device": device}
        if warm:
            setup = choose_setup(self, panel, self.roles_, self.model_.problem, scales, observation, **chosen)
            renew_observations(self.model_, panel, self._setup, setup, self.observation_noise)
            # Learned and encoded initial states hold where they held before.
            self._setup = replace(setup, start_time=self._setup.start_time)
            self.model_.to(device)
            self.device_ = device
            return
        sees = tuple(self.inputs) + (("time",) if self.roles_.layout == "table" and "time" not in self.inputs else ())
        default = MLP(self.hidden_layer_sizes, self.activation)
        generator = torch.Generator().manual_seed(seed)
        factory = TermFactory(seen, scales, sees, default, dtype, generator, observation)
        problem: Any = self._build_problem(factory)
        self._setup = choose_setup(self, panel, self.roles_, problem, scales, observation, **chosen)
        warn_of_collapse(self._setup.loss, self.debiased, problem)
        warn_of_snapshots(self._setup)
        self._scale = np.tile(scales.state[1], self._setup.n_points)
        self.model_ = build_model(factory, problem, panel, self.roles_, self._setup, self.observation_noise).to(device)
        self.problem_ = self.model_.problem.original
        self.device_ = device

    def _seen(self, panel: Panel) -> Panel:
        """The rows of what coefficients see: those of the panel, where a row is a state."""
        return panel

    def _tell_loss(self) -> None:
        self.loss_name_ = self._setup.loss
        self.loss_reason_ = explain_loss(self.loss, self._setup, self.problem_)
        if self.verbose:
            print(f"loss {self.loss_name_!r}: {self.loss_reason_}")

    def _measure(self, panel: Panel, dtype: torch.dtype) -> tuple[Scales, Observation | None]:
        """The scales of the state, and how y depends on it where y is not the state itself."""
        scales = Scales.measure(panel, self.roles_.layout)
        if not observes_in_part(self, self.roles_):
            return scales, None
        n_outputs = panel.values.shape[1]
        n_states = n_outputs if self.n_states is None else self.n_states
        observation = resolve_observation(self.observation, n_states=n_states, n_outputs=n_outputs, dtype=dtype)
        components = observation.components.numpy() if isinstance(observation, Selection) else None
        return scales.of_states(n_states, components), observation

    def _objectives(self, panel: Panel, X_val: Any, y_val: Any, seed: int) -> tuple[Objective, Objective | None]:
        """What training minimises, and what it is validated on."""
        rows, held = self._split(panel, X_val, y_val, seed)
        of_training, of_validation = self._losses(panel)
        return of_training(panel, rows), None if held is None else of_validation(*held)

    def _split(
        self, panel: Panel, X_val: Any, y_val: Any, seed: int
    ) -> tuple[np.ndarray, tuple[Panel, np.ndarray] | None]:
        """Which rows of the panel are targets, and which rows of which panel are for validation, if any are."""
        if (X_val is None) != (y_val is None):
            raise ValueError("Give X_val and y_val together.")
        if X_val is not None:
            held, positions = self._read_rows(X_val, y_val)
            asked = np.zeros(len(held.times), dtype=bool)
            asked[positions] = True
            return np.ones(len(panel.times), dtype=bool), (held, asked)
        if not self.early_stopping:
            return np.ones(len(panel.times), dtype=bool), None
        rows, held_rows = validation_split(panel, self._setup, self.validation_fraction, seed)
        return rows, (panel, held_rows)

    def _losses(self, panel: Panel) -> tuple[MakeObjective, MakeObjective]:
        """How rows of a panel become what is minimised, and what is watched."""
        setup = self._setup
        least = 1 if setup.loss in TRANSITION_LOSSES else loss_class(setup, self.debiased).least_paths
        schedule: Callable[[int], int]
        if isinstance(self.n_paths, str):
            at_once = self.optimizer == "lbfgs"
            schedule = growing_paths(panel, setup, self.max_iter, least=least, at_once=at_once)
        else:
            schedule = path_schedule(self.n_paths, self.max_iter, least=least)
        make = partial(make_objective, setup=setup, scale=self._scale, debiased=self.debiased)
        return partial(make, n_paths=schedule), partial(make, n_paths=validation_schedule(schedule, least))

    def _settle_start(self, objective: Objective, seed: int) -> None:
        """What an estimator sets before training that takes more than a look at the panel."""

    def _train(self, panel: Panel, objective: Objective, validation: Objective | None, seed: int) -> None:
        history = History()
        try:
            self._minimise(objective, validation, history, seed)
        finally:
            # Also after an interruption: the best weights so far are in the model.
            self.n_iter_ = len(history.loss_curve)
            self.loss_curve_ = history.loss_curve
            self.loss_ = history.loss_curve[-1] if history.loss_curve else np.nan
            self.best_loss_ = history.best_loss
            self.validation_scores_ = [-v for v in history.validation_curve]
            self._finish(panel)
            if isinstance(objective, PathObjective) and objective.stochastic:
                self.solver_stats_["n_paths"] = objective.paths

    def _minimise(self, objective: Objective, validation: Objective | None, history: History, seed: int) -> None:
        optimizer, stopping = choose_optimizer(self, self.model_, objective, validation is not None)
        self._run(objective, optimizer, stopping, validation, history, seed)

    def _run(
        self,
        objective: Objective,
        optimizer: Optimizer,
        stopping: StoppingRule,
        validation: Objective | None,
        history: History,
        seed: int,
    ) -> None:
        run_training(
            self.model_,
            objective,
            optimizer,
            stopping,
            history=history,
            validation=validation,
            seed=seed,
            on_epoch=None if self.on_epoch is None else self._call_on_epoch,
            verbose=bool(self.verbose),
        )

    def _finish(self, panel: Panel) -> None:
        """Everything that is measured with the final weights."""
        calibrate_finally(self.model_, panel, self._setup)
        for name, term in self._terms(self.problem_).items():
            setattr(self, name, term)
        self._measure_noise(panel)
        self.solver_stats_ = describe_solvers(self.model_, self._setup)

    def _measure_noise(self, panel: Panel) -> None:
        """Observation noise of an equation without any: what its solutions leave of the data."""
        measure_residual_noise(self.model_, panel, self._setup)

    def _call_on_epoch(self, progress: Progress) -> bool | None:
        score = None if progress.validation_loss is None else -progress.validation_loss
        return self.on_epoch(EpochState(progress.epoch, progress.loss, score, self.problem_, self))

    def _predict_while_training(self, X: Any, **options: Any) -> Any:
        if self.model_.propagator is None:
            calibrate_finally(self.model_, self._kept, self._setup)
        return self.predict(X, **options)


def _on_device(propagator: Any, device: torch.device) -> Any:
    """The propagator of a model on another device."""
    if isinstance(propagator, JumpSplitting):
        return replace(propagator, moment_propagator=_on_device(propagator.moment_propagator, device))
    if isinstance(propagator, SolverPropagation):
        return replace(propagator, atol=propagator.atol.to(device))
    return propagator
