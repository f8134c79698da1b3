"""Choice of the loss that suits the data and the equation."""

from __future__ import annotations

import warnings
from typing import Any

from skneuralde.data import Panel, Roles
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.snapshots import are_snapshots
from skneuralde.losses import Loss, get_loss, loss_names
from skneuralde.problems import Problem
from skneuralde.terms import Constant, trainable


def given_loss(loss: str | Loss) -> Loss | None:
    """The loss that the parameter ``loss`` names or is; None for "auto"."""
    return None if isinstance(loss, str) and loss == "auto" else get_loss(loss)


def choose_loss(estimator: Any, panel: Panel, roles: Roles, problem: Problem, is_hidden: bool) -> Loss:
    """The loss that an estimator's ``loss`` and ``debiased`` ask for; "auto" depends on data and equation.

    Raises
    ------
    ValueError
        If the loss is unknown, or fits neither the data nor the equation.
    """
    stochastic = problem.diffusion is not None
    silent = is_silent(problem)
    loss = given_loss(estimator.loss)
    if loss is None:
        loss = get_loss("nll" if stochastic or is_hidden or roles.layout.encodes else "least_squares")
    without_density = silent and roles.layout.has_series and not is_hidden and loss.of_transitions
    if len(problem.jumps) and not roles.layout.encodes and (not stochastic or without_density):
        raise ValueError(
            f"With jumps and diffusion={'0' if silent else 'None'} an observation without a jump before it has a "
            "density of infinity. Give a diffusion: 'mlp' learns it, and a small known number, a hundredth of the size "
            "of a jump say, leaves room for rounding and little else. Or use a loss of simulated paths, such as 'mean'."
        )
    if is_hidden and not loss.can_filter:
        raise ValueError(
            f"loss={loss.name!r} takes observations for the state itself: n_states, observation and observation_noise "
            "need loss='nll'."
        )
    if loss.of_transitions:
        _check_transitions(loss, roles, needs_noise=not stochastic and not is_hidden)
    elif stochastic != loss.simulated:
        what = "has noise" if stochastic else "has no noise"
        other = "'nll', 'crps', 'energy', 'moments' or 'mean'" if stochastic else "'least_squares'"
        raise ValueError(f"loss={loss.name!r} does not fit an equation that {what}. Use loss={other}.")
    if not estimator.debiased:
        loss = loss.plain()
    return loss.for_snapshots() if are_snapshots(panel, roles.layout, roles.initial_state) else loss


def _check_transitions(loss: Loss, roles: Roles, *, needs_noise: bool) -> None:
    """Refuse a loss of transitions for data or an equation that it does not fit."""
    if needs_noise and not roles.layout.encodes:
        raise ValueError(
            f"loss={loss.name!r} needs noise: with diffusion=None the equation gives every observation after the first "
            "a density of zero or infinity. Use loss='least_squares', or give a diffusion or observation_noise."
        )
    if roles.layout.has_series and roles.initial_state != "first":
        others = ", ".join(name for name in loss_names() if not get_loss(name).of_transitions)
        raise ValueError(
            f"initial_state={roles.initial_state!r} cannot be learned by loss={loss.name!r}, which starts at each "
            f"observation. Use a loss of whole curves: {others}."
        )


def is_silent(problem: Problem) -> bool:
    """Whether the diffusion is known to be zero, so that the state has no density between jumps."""
    g = problem.diffusion
    return isinstance(g, Constant) and not trainable(g) and not bool(g.value.any())


def explain_loss(asked: str | Loss, setup: Setup, problem: Problem) -> str:
    """The reason for the choice of the loss, in a sentence."""
    if setup.loss.of_snapshots:
        return "every series has a single observation, so populations are compared, each time by itself"
    if given_loss(asked) is not None:
        return "the parameter loss asks for it"
    if setup.layout.encodes:
        return "in a plain table every row has a Gaussian likelihood around its predicted mean"
    if setup.is_hidden:
        return "observations leave the state uncertain, so it is filtered and each has a likelihood given all before it"
    if len(problem.jumps):
        return "the equation has jumps, which the likelihood of each observation given the one before integrates out"
    if problem.diffusion is not None:
        return "the equation has noise, so each observation has a likelihood given the one before"
    return "the equation has no noise, so its solution is compared with all observations"


def warn_of_snapshots(loss: Loss) -> None:
    """Warn if only marginal distributions are observed."""
    if loss.of_snapshots:
        warnings.warn(
            "Every series has a single observation. Marginal distributions alone do not identify the dynamics: many "
            "equations move the population in the same way, among them some without noise. Give what is known of the "
            "drift or the diffusion, or series that are observed more than once.",
            UserWarning,
            stacklevel=4,
        )


def warn_of_collapse(loss: Loss, problem: Problem) -> None:
    """Warn if the loss rewards a model with too little noise."""
    learned = problem.diffusion is not None and any(p.requires_grad for p in problem.diffusion.parameters())
    if learned and loss.shrinks_noise:
        warnings.warn(
            "This loss is smallest without any noise, so the learned diffusion will shrink towards zero. Use "
            "loss='nll', 'energy' or 'crps', or 'mean' with debiased=True, or give the diffusion.",
            UserWarning,
            stacklevel=4,
        )
