"""The model before training: an equation with initial states and observation noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skneuralde.data import Panel, Roles
from skneuralde.data.timeline import complete, first_position, previous
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.inference import Model
from skneuralde.problems import Problem
from skneuralde.terms import Parameter

#: From this number of series on, validation holds out whole series instead of the last part of time, and the
#: variance of initial states is learned.
MANY_SERIES = 10


def build_model(
    factory: TermFactory, problem: Problem, panel: Panel, roles: Roles, setup: Setup, observation_noise: Any
) -> Model:
    """The model before training: the problem with initial states and observation noise."""
    if setup.is_hidden:
        return _build_hidden(factory, problem, panel, observation_noise)
    encoder = states = noise_std = None
    location, scale = factory.scales.state
    if roles.initial_state == "context" or (roles.layout.encodes and roles.initial_state == "learn"):
        # A learned state in a table is shared by all rows: a network without inputs.
        sees = ("context",) if roles.initial_state == "context" else ()
        encoder = factory.term([location, "mlp"], "initial_state", shape=(factory.dim,), scale=scale, sees=sees)
    elif roles.initial_state == "learn":
        first = first_position(panel, complete(panel))
        start = np.where((first >= 0)[:, None], panel.values[np.maximum(first, 0)], location)
        states = factory.tensor(start)
    learn_noise = isinstance(observation_noise, str)
    noisy = roles.layout.encodes and setup.loss.of_transitions
    number = _noise_number(factory, observation_noise, len(scale)) if noisy else None
    if noisy and number is None and observation_noise != "none":
        noise_std = factory.tensor(0.5 * scale if learn_noise else _noise_std(observation_noise, len(scale)))
    return Model(
        problem,
        encoder=encoder,
        states=states,
        unit=factory.tensor(scale),
        noise_std=noise_std,
        learn_noise=learn_noise,
        noise_number=number,
    )


def _build_hidden(factory: TermFactory, problem: Problem, panel: Panel, observation_noise: Any) -> Model:
    """A model whose state is observed in part or with noise."""
    number = _noise_number(factory, observation_noise, panel.values.shape[1])
    noise_std = None if number is not None else _hidden_noise(panel, observation_noise)
    location, scale = factory.scales.state
    return Model(
        problem,
        noise_std=None if noise_std is None else factory.tensor(noise_std),
        learn_noise=isinstance(observation_noise, str),
        noise_number=number,
        observation=factory.observation,
        unit=factory.tensor(scale),
        prior_mean=factory.tensor(location),
        prior_std=factory.tensor(scale),
        learn_prior_std=panel.n_series >= MANY_SERIES,
    )


def _noise_number(factory: TermFactory, observation_noise: Any, n_outputs: int) -> Parameter | None:
    """The standard deviation of the observation noise if the caller gave it as a `Parameter`."""
    if not isinstance(observation_noise, Parameter):
        return None
    if tuple(observation_noise.shape) not in ((), (n_outputs,)) or observation_noise.low < 0.0:
        raise ValueError(
            "observation_noise must be one positive standard deviation, or one for each of the "
            f"{n_outputs} columns of y: give Parameter(..., positive=True), got {observation_noise!r}."
        )
    number: Parameter = factory.own(observation_noise, "observation_noise")
    return number


def _hidden_noise(panel: Panel, observation_noise: Any) -> np.ndarray | None:
    """Initial standard deviations of the observation noise; None without noise."""
    if not isinstance(observation_noise, str):
        return _noise_std(observation_noise, panel.values.shape[1])
    return _first_noise(panel) if observation_noise == "learn" else None


def renew_observations(model: Model, panel: Panel, before: Setup, setup: Setup, observation_noise: Any) -> None:
    """Give a hidden model the observation noise that the parameters of a warm start name; learned noise is kept.

    Raises
    ------
    ValueError
        If the state has changed, or whether it is hidden.
    """
    kinds = [(s.is_hidden, s.n_states, s.components) for s in (before, setup)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            "warm_start=True continues with the states of the fit before: n_states, observation and whether there is "
            "observation_noise must stay as they were. Use warm_start=False."
        )
    if isinstance(observation_noise, Parameter) != (model.noise_number is not None):
        raise ValueError(
            "warm_start=True continues with the observation noise of the fit before: it must stay a Parameter, or "
            "none. Use warm_start=False."
        )
    if not setup.is_hidden or model.noise_number is not None:
        return
    learned = isinstance(observation_noise, str) and observation_noise == "learn"
    if learned and model.log_noise is not None:
        model.log_noise.requires_grad_(True)
        return
    std = _hidden_noise(panel, observation_noise)
    log_noise = None if std is None else setup.tensor(std).log()
    model.log_noise = None if log_noise is None else torch.nn.Parameter(log_noise, requires_grad=learned)


def _noise_std(given: Any, n_outputs: int) -> np.ndarray:
    """Standard deviations of the observation noise from the caller's value, ``(n_outputs,)``."""
    std = np.asarray(given, dtype=np.float64)
    if std.shape not in ((), (n_outputs,)) or not (np.isfinite(std) & (std > 0)).all():
        raise ValueError(
            "observation_noise must be 'auto', 'none', 'learn', or positive standard deviations, one or one for each "
            f"of the {n_outputs} columns of y, got {given!r}."
        )
    return np.broadcast_to(std, (n_outputs,)).copy()


def _first_noise(panel: Panel) -> np.ndarray:
    """Initial standard deviations of learned observation noise: half of the usual difference of neighbours."""
    sizes = []
    for values in panel.values.T:
        there = ~np.isnan(values)
        before = previous(panel, there)
        stop = np.flatnonzero(there & (before >= 0))
        change = values[stop] - values[before[stop]]
        size = np.sqrt(np.mean(change**2)) if len(change) else 0.0
        sizes.append(0.5 * size or 0.1 * float(np.nanstd(values)) or 1.0)
    return np.array(sizes)
