"""The base class of estimators: shared parameters, and fit."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import Tags

from skneuralde.data import Clock, Panel, Roles, as_panel, check_features, read_targets, weighted_scaling
from skneuralde.estimators.callbacks import EpochState
from skneuralde.estimators.choices.loss import explain_loss, warn_of_collapse, warn_of_snapshots
from skneuralde.estimators.choices.setup import choose_setup, observes_in_part
from skneuralde.estimators.choices.validation_split import validation_split
from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.config.seed_and_device import fresh_seed, pick_device
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.config.state_space import VectorSpace
from skneuralde.estimators.diagnostics.standard_errors import laplace_uncertainty, refuse_laplace, train_ensemble
from skneuralde.estimators.diagnostics.time_precision import warn_of_coarse_time
from skneuralde.estimators.finish import calibrate_finally, describe_solvers, measure_residual_noise
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.estimators.model.initial_model import build_model, renew_observations
from skneuralde.estimators.parameters import SHARED
from skneuralde.estimators.prediction.interface import FittedEquation
from skneuralde.estimators.trainer import Trainer
from skneuralde.estimators.warm_start import refuse_another_equation
from skneuralde.inference import JumpSplitting, Model, Observation, Selection, SolverPropagation, resolve_observation
from skneuralde.inference.parameter_uncertainty import Uncertainty
from skneuralde.losses import Objective, PathObjective
from skneuralde.problems import FieldProblem, Problem
from skneuralde.terms import MLP, Copies, has_known_units
from skneuralde.training import History, Progress


class BaseDifferentialEquation(FittedEquation):
    """An equation learned from rows that ask for the state of a series at a time.

    A subclass has a constructor and `_build_problem`. `_choose_space` and `_make_trainer` give it other states than
    vectors, and other training than by one loss.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = SHARED

    #: Names of the constructor parameters that are coefficients, and of the other parameters of the equation.
    _coefficients: tuple[str, ...]
    _settings: tuple[str, ...] = ("noise", "calculus", "hidden_layer_sizes", "activation", "inputs")

    problem_: Problem
    model_: Model
    roles_: Roles
    clock_: Clock
    series_: list[Any]
    solver_stats_: dict[str, object]
    _space: VectorSpace
    _setup: Setup
    _uncertainty: Uncertainty | None
    _equation: dict[str, Any]

    def _terms(self, problem: Problem) -> dict[str, Any]:
        """The fitted attributes of an equation's coefficients."""
        return {f"{name}_": getattr(problem, name) for name in self._coefficients}

    @abstractmethod
    def _build_problem(self, factory: TermFactory, panel: Panel) -> Problem | FieldProblem:
        """The equation, with networks at their initial weights; ``panel`` holds the states without gaps."""

    def __getstate__(self) -> dict[str, Any]:
        """The state with all tensors on the CPU, so that it can be loaded without another device."""
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

    @torch.inference_mode(False)
    @torch.enable_grad()
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
            One row per time of a series; the parameters of the class describe the roles of columns.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            The observations; NaN if there is none.
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row as a target. Rows of weight zero are dropped.
        X_val, y_val : like X and y, optional
            Validation data: the weights with the smallest loss there are kept. They replace the rows that
            ``early_stopping`` would hold out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For invalid input, before any work starts.
        FloatingPointError
            If the loss is never finite.
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
        self._kept = panel if self.roles_.layout.has_series else panel.subset(np.zeros(len(panel.times), dtype=bool))
        self._typical_context = weighted_scaling(np.hstack([panel.context, panel.controls]), panel.weight).loc
        before, self._uncertainty = getattr(self, "_uncertainty", None), None
        if self.uncertainty == "laplace":
            refuse_laplace(self._setup.loss, self.model_)
        if self.roles_.layout.has_series:
            self._make_trainer().warn(panel, self._output.describe(self.n_outputs_))
        warn_of_coarse_time(panel, self.model_.problem, self._setup)
        self._learn(panel, X_val, y_val, seed, warm=warm)
        if self.uncertainty == "laplace":
            self._uncertainty = laplace_uncertainty(self, panel, X_val, y_val, seed)
        elif self.uncertainty == "ensemble":
            before = before if warm else None
            self._uncertainty = train_ensemble(self, panel, X_val, y_val, seed=seed, before=before)
        return self

    def _read_training_rows(self, X: Any, y: Any, sample_weight: Any, *, warm: bool) -> Panel:
        """Read the rows, by roles and clock that a warm start takes from the fit before."""
        table = check_features(self, X, reset=not warm)
        if not warm:
            self._space = self._choose_space(y)
            self.roles_ = Roles.fit(
                table,
                y,
                time=self.time,
                series=self.series,
                controls=self.controls,
                initial_state=self.initial_state,
                state=self._space.shape,
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
        series = list(panel.labels) if self.roles_.layout.has_series else []
        self._space.check(panel, self.roles_.layout)
        if warm and self.roles_.initial_state == "learn" and series != self.series_:
            raise ValueError("warm_start=True with initial_state='learn' needs the same series as the fit before.")
        self.series_ = series
        return panel

    def _choose_space(self, y: Any) -> VectorSpace:
        """The space of the states that y shows."""
        return VectorSpace()

    def _start_model(self, panel: Panel, seed: int, device: torch.device, *, warm: bool) -> None:
        """Make the setup and the model, with a new equation or, ``warm``, the learned one."""
        dtype = torch.float32 if self.roles_.dtype == np.float32 else torch.float64
        copies = Copies()
        states = self._space.filled(panel)
        seen = self._space.points(states)
        scales, observation = self._measure(seen, dtype, copies)
        scales = replace(scales, rate=self._space.typical_rate(states, scales.rate))
        chosen: dict[str, Any] = {"seed": seed, "dtype": dtype, "device": device, "space": self._space}
        if warm:
            setup = choose_setup(self, panel, self.roles_, self.model_.problem, scales, observation, **chosen)
            renew_observations(self.model_, panel, self._setup, setup, self.observation_noise)
            # Learned and encoded initial states hold at the same time as before.
            self._setup = replace(setup, start_time=self._setup.start_time)
            self.model_.to(device)
            self.device_ = device
            return
        sees = tuple(self.inputs) + (("time",) if self.roles_.layout.encodes and "time" not in self.inputs else ())
        default = MLP(self.hidden_layer_sizes, self.activation)
        generator = torch.Generator().manual_seed(seed)
        factory = TermFactory(seen, scales, sees, default, dtype, generator, observation, copies)
        problem: Any = self._build_problem(factory, states)
        self._setup = choose_setup(self, panel, self.roles_, problem, scales, observation, **chosen)
        warn_of_collapse(self._setup.loss, problem)
        warn_of_snapshots(self._setup.loss)
        self._scale = np.tile(scales.state[1], self._space.n_points)
        self.model_ = build_model(factory, problem, panel, self.roles_, self._setup, self.observation_noise).to(device)
        self.model_.name_numbers(copies.numbers)
        self.problem_ = self.model_.problem.original
        self.device_ = device

    def _tell_loss(self) -> None:
        self.loss_name_ = self._setup.loss.name
        self.loss_reason_ = explain_loss(self.loss, self._setup, self.problem_)
        if self.verbose:
            print(f"loss {self.loss_name_!r}: {self.loss_reason_}")

    def _measure(self, panel: Panel, dtype: torch.dtype, copies: Copies) -> tuple[Scales, Observation | None]:
        """The scales of the state, and the dependence of y on it, None if y is the state."""
        scales = Scales.measure(panel, self.roles_.layout)
        if not observes_in_part(self, self.roles_):
            return scales, None
        n_outputs = panel.values.shape[1]
        n_states = n_outputs if self.n_states is None else self.n_states
        observation = resolve_observation(
            self.observation, n_states=n_states, n_outputs=n_outputs, dtype=dtype, copies=copies
        )
        components = observation.components.numpy() if isinstance(observation, Selection) else None
        return scales.of_states(n_states, components), observation

    def _make_trainer(self) -> Trainer:
        """The object that trains the model."""
        on_epoch = None if self.on_epoch is None else self._call_on_epoch
        return Trainer(self, self.model_, self._setup, self._scale, on_epoch)

    def _learn(self, panel: Panel, X_val: Any, y_val: Any, seed: int, *, warm: bool) -> None:
        """Train the model on a panel, from the weights of the fit before if ``warm``."""
        trainer = self._make_trainer()
        objective, validation = self._objectives(trainer, panel, X_val, y_val, seed)
        if not warm:
            self._settle_start(objective, seed)
        self._train(trainer, panel, objective, validation, seed)

    def _objectives(
        self, trainer: Trainer, panel: Panel, X_val: Any, y_val: Any, seed: int
    ) -> tuple[Objective, Objective | None]:
        """The objectives of training and validation."""
        rows, held = self._split(panel, X_val, y_val, seed)
        of_training, of_validation = trainer.objectives(panel)
        return of_training(panel, rows), None if held is None else of_validation(*held)

    def _split(
        self, panel: Panel, X_val: Any, y_val: Any, seed: int
    ) -> tuple[np.ndarray, tuple[Panel, np.ndarray] | None]:
        """The rows of the panel that are targets, and the panel and rows of validation, if there is one."""
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

    def _settle_start(self, objective: Objective, seed: int) -> None:
        """Set initial weights that need the objective."""

    def _train(
        self, trainer: Trainer, panel: Panel, objective: Objective, validation: Objective | None, seed: int
    ) -> None:
        history = History()
        try:
            trainer.minimise(objective, validation, history, seed)
        finally:
            # Also after an interruption: the best weights so far are in the model.
            self.n_iter_ = len(history.loss_curve)
            self.loss_curve_ = history.loss_curve
            self.loss_ = history.loss_curve[-1] if history.loss_curve else np.nan
            self.best_loss_ = history.best_loss
            self.validation_scores_ = [-v for v in history.validation_curve]
            calibrate_finally(self.model_, panel, self._setup)
            for name, term in self._terms(self.problem_).items():
                setattr(self, name, term)
            measure_residual_noise(self.model_, panel, self._setup, known=trainer.residual_std)
            self.solver_stats_ = describe_solvers(self.model_, self._setup)
            if isinstance(objective, PathObjective) and objective.stochastic:
                self.solver_stats_["n_paths"] = objective.paths

    def _call_on_epoch(self, progress: Progress) -> bool | None:
        score = None if progress.validation_loss is None else -progress.validation_loss
        return self.on_epoch(EpochState(progress.epoch, progress.loss, score, self.problem_, self))

    def _predict_while_training(self, X: Any, **options: Any) -> Any:
        if self.model_.propagator is None:
            calibrate_finally(self.model_, self._kept, self._setup)
        return self.predict(X, **options)


def _on_device(propagator: Any, device: torch.device) -> Any:
    """A copy of a propagator on another device."""
    if isinstance(propagator, JumpSplitting):
        return replace(propagator, moment_propagator=_on_device(propagator.moment_propagator, device))
    if isinstance(propagator, SolverPropagation):
        return replace(propagator, atol=propagator.atol.to(device))
    return propagator
