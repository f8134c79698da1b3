"""Which loss suits the data and the equation, and which one cannot."""

from __future__ import annotations

import warnings

from skneuralde.data.layout import Layout
from skneuralde.estimators.config.setup import Setup
from skneuralde.estimators.rows.objectives import CURVE_LOSSES, TRANSITION_LOSSES
from skneuralde.problems import Problem
from skneuralde.terms import Constant


def choose_loss(loss: str, layout: Layout, initial_state: str, problem: Problem, is_hidden: bool) -> str:
    """The loss that ``loss`` names, or the right one for the data; refuses combinations that mean nothing."""
    stochastic = problem.diffusion is not None
    silent = is_silent(problem)
    without_density = silent and layout.has_series and not is_hidden and loss in ("auto", *TRANSITION_LOSSES)
    if len(problem.jumps) and not layout.encodes and (not stochastic or without_density):
        raise ValueError(
            f"With jumps and diffusion={'0' if silent else 'None'} an observation without a jump before it has a "
            "density of infinity. Give a diffusion: 'mlp' learns it, and a small known number, a hundredth of the size "
            "of a jump say, leaves room for rounding and little else. Or use a loss of simulated paths, such as 'mean'."
        )
    if loss == "auto":
        loss = "nll" if stochastic or is_hidden or layout.encodes else "least_squares"
    if is_hidden and loss not in TRANSITION_LOSSES:
        raise ValueError(
            f"loss={loss!r} takes observations for the state itself: n_states, observation and observation_noise need "
            "loss='nll'."
        )
    if loss in TRANSITION_LOSSES:
        if not stochastic and not layout.encodes and not is_hidden:
            raise ValueError(
                "loss='nll' needs noise: with diffusion=None the equation gives every observation after the first a "
                "density of zero or infinity. Use loss='least_squares', or give a diffusion or observation_noise."
            )
        if layout.has_series and initial_state != "first":
            raise ValueError(
                f"initial_state={initial_state!r} cannot be learned by loss='nll', which starts at each observation. "
                f"Use a loss of whole curves: {', '.join(sorted(CURVE_LOSSES))}."
            )
    elif stochastic == (loss == "least_squares"):
        what = "has noise" if stochastic else "has no noise"
        other = "'nll', 'crps', 'energy', 'moments' or 'mean'" if stochastic else "'least_squares'"
        raise ValueError(f"loss={loss!r} does not fit an equation that {what}. Use loss={other}.")
    return loss


def is_silent(problem: Problem) -> bool:
    """Whether the diffusion is known to be zero, so that nothing between jumps has a density."""
    return isinstance(problem.diffusion, Constant) and not bool(problem.diffusion.value.any())


def explain_loss(asked: str, setup: Setup, problem: Problem) -> str:
    """Why the loss is what it is, in a sentence."""
    if setup.snapshots:
        return "every series has a single observation, so populations are compared, each time by itself"
    if asked != "auto":
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


def warn_of_snapshots(setup: Setup) -> None:
    """Warn when nothing but marginals is seen."""
    if setup.snapshots:
        warnings.warn(
            "Every series has a single observation. Marginal laws alone do not identify the dynamics: many equations "
            "move the population in the same way, among them some without noise. Give what is known of the drift or "
            "the diffusion, or series that are observed more than once.",
            UserWarning,
            stacklevel=4,
        )


def warn_of_collapse(loss: str, debiased: bool, problem: Problem) -> None:
    """Warn when the loss rewards a model with too little noise."""
    learned = problem.diffusion is not None and any(p.requires_grad for p in problem.diffusion.parameters())
    if learned and (loss == "path_mse" or (loss == "mean" and not debiased)):
        warnings.warn(
            "This loss is smallest without any noise, so the learned diffusion will shrink towards zero. Use "
            "loss='nll', 'energy' or 'crps', or 'mean' with debiased=True, or give the diffusion.",
            UserWarning,
            stacklevel=4,
        )
