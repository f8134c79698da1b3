"""Measurements with the final weights: the moment propagator, the residual noise and the report of the solvers."""

from __future__ import annotations

import numpy as np
import torch

from skneuralde.data import Panel
from skneuralde.data.positions import where
from skneuralde.estimators.choices.loss import is_silent
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.prediction.simulation import simulate
from skneuralde.estimators.rows.snapshots import snapshot_transitions
from skneuralde.estimators.rows.states import (
    chains_of,
    filter_calibration,
    filters,
    infer_states,
    origin_positions,
)
from skneuralde.estimators.rows.transitions import transitions_to
from skneuralde.inference import JumpSplitting, LocalLinearisation, Model


def calibrate_finally(model: Model, panel: Panel, setup: Setup) -> None:
    """Give the model a moment propagator that is accurate enough for its final coefficients."""
    if filters(panel, setup):
        stop, chains = chains_of(panel, setup)
        if len(stop):
            model.propagator = filter_calibration(chains, setup)(model)
        return
    if setup.layout.has_series and (model.problem.diffusion is None or is_silent(model.problem)):
        return
    _, transitions = transitions_to(panel, where(setup.layout.is_predicted(panel)), setup)
    if setup.loss.of_snapshots:
        transitions = snapshot_transitions(panel, setup)
    if len(transitions):
        model.propagator = setup.calibration(transitions)(model)


def measure_residual_noise(model: Model, panel: Panel, setup: Setup, known: np.ndarray | None = None) -> None:
    """Give an equation without noise the standard deviation of its residuals as observation noise.

    Parameters
    ----------
    model : Model
    panel : Panel
    setup : Setup
    known : ndarray, optional
        The standard deviation of each output or field, if training has measured it.
    """
    if known is not None:
        _set_noise(model, known, setup)
        return
    if model.problem.diffusion is not None or not setup.loss.has_residual_noise:
        return
    states = infer_states(model, panel, setup, np.arange(len(panel.times)))
    paths = simulate(model, panel, np.arange(len(panel.times)), setup, states, n_paths=1, seed=setup.seed)
    residual = paths[0] - panel.values
    if setup.initial_state == "first":
        first = origin_positions(panel, setup)
        residual[first[first >= 0]] = np.nan
    observed = ~np.isnan(residual)
    weight = panel.weight[:, None] * observed
    squares = weight * np.where(observed, residual, 0.0) ** 2
    # All points of a grid share one variance for each field.
    squares, total = (x.sum(0).reshape(setup.space.n_points, -1).sum(0) for x in (squares, weight))
    _set_noise(model, np.sqrt(squares / np.maximum(total, 1e-300)), setup)


def _set_noise(model: Model, std: np.ndarray, setup: Setup) -> None:
    """Set the standard deviation of the observation noise of each output or field."""
    positive = setup.tensor(np.maximum(std, np.sqrt(np.finfo(np.float32).tiny)))
    log_noise = positive.repeat(setup.space.n_points).log()
    model.log_noise = torch.nn.Parameter(log_noise, requires_grad=False)


def describe_solvers(model: Model, setup: Setup) -> dict[str, object]:
    """A report of the solvers in use, for ``solver_stats_``."""
    methods = setup.methods
    stats: dict[str, object] = {"paths": methods.paths.solver.name, "dt": methods.paths.dt}
    if not setup.loss.of_transitions:
        stats.update(training=methods.training.solver.name, training_dt=methods.training.dt)
    propagator = model.propagator
    if isinstance(propagator, JumpSplitting):
        stats.update(jump_times=propagator.nodes, jump_numbers=propagator.most)
        propagator = propagator.moment_propagator
    if isinstance(propagator, LocalLinearisation):
        stats.update(moments="local_linearisation", substep=propagator.substep)
    elif methods.moments is not None:
        stats["moments"] = methods.moments.solver.name
    return stats
