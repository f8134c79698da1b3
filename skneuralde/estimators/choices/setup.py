"""Choices for the parameters that the caller left to "auto"."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skneuralde.data import Panel, Roles
from skneuralde.data.positions import where
from skneuralde.data.timeline import complete, previous
from skneuralde.estimators.choices.loss import choose_loss
from skneuralde.estimators.choices.solvers import choose_methods
from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.config.state_space import VectorSpace
from skneuralde.estimators.rows.states import observed
from skneuralde.inference import Observation, Selection
from skneuralde.problems import Problem


def choose_setup(
    estimator: Any,
    panel: Panel,
    roles: Roles,
    problem: Problem,
    scales: Scales,
    observation: Observation | None,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    space: VectorSpace,
) -> Setup:
    """Choose everything that the constructor left to "auto".

    Raises
    ------
    ValueError
        If the parameters contradict each other, or do not fit the data.
    """
    smallest = 10.0 * torch.finfo(dtype).eps
    if estimator.rtol < smallest:
        raise ValueError(
            f"rtol must be at least ten machine epsilons of {dtype}, {smallest:.1e}, got {estimator.rtol!r}."
        )
    is_hidden = observes_in_part(estimator, roles)
    loss = choose_loss(estimator, panel, roles, problem, is_hidden)
    origin = estimator.origin
    if origin == "auto":
        origin = "last" if loss.of_transitions and roles.layout.has_series else "start"
    if origin == "smooth" and not loss.of_transitions:
        raise ValueError(f"origin='smooth' needs loss='nll', which weighs every observation; got loss={loss.name!r}.")
    if origin in ("last", "smooth") and (not roles.layout.has_series or roles.initial_state != "first"):
        raise ValueError(f"origin={origin!r} needs series that start at an observation: initial_state='first'.")
    interpolation = estimator.control_interpolation
    if interpolation == "auto":
        interpolation = "next" if loss.of_transitions else "linear"
    return Setup(
        layout=roles.layout,
        initial_state="context" if roles.layout.encodes else roles.initial_state,
        loss=loss,
        origin=origin,
        interpolation=interpolation,
        n_states=space.n_points * len(scales.state[0]),
        components=_components(observation, space.n_points * len(scales.state[0])),
        is_hidden=is_hidden,
        rtol=estimator.rtol,
        methods=choose_methods(estimator, problem, scales, loss, dtype, device, space.n_points),
        start_time=roles.layout.start_time(panel),
        longest=_longest_transition(panel, observed(panel) if loss.of_transitions else complete(panel)),
        seed=seed,
        n_predict_paths=estimator.n_predict_paths,
        dtype=dtype,
        device=device,
        space=space,
        jumps=len(problem.jumps) > 0,
    )


def _components(observation: Observation | None, n_states: int) -> tuple[int, ...] | None:
    """The components of the state that are observed directly; None if functions of the state are observed."""
    if observation is None:
        return tuple(range(n_states))
    return tuple(observation.components.tolist()) if isinstance(observation, Selection) else None


def observes_in_part(estimator: Any, roles: Roles) -> bool:
    """Whether the state is hidden: observed in part or with noise.

    Raises
    ------
    ValueError
        If the state would be hidden but rows are not series, so that it cannot be filtered.
    """
    partly = estimator.n_states is not None or estimator.observation is not None
    noisy = not isinstance(estimator.observation_noise, str) or estimator.observation_noise == "learn"
    if roles.layout.has_series:
        return partly or noisy
    if partly or (noisy and not roles.layout.encodes):
        raise ValueError(
            "n_states, observation and observation_noise are for series: rows of a plain table and flow maps start at "
            "states of their own."
        )
    return False


def _longest_transition(panel: Panel, eligible: np.ndarray) -> float:
    before = previous(panel, eligible)
    stop = where(before >= 0)
    return float((panel.times[stop] - panel.times[before[stop]]).max(initial=0.0))
