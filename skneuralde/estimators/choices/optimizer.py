"""The optimizer of a fit and its stopping rule."""

from __future__ import annotations

from typing import Any

from skneuralde.inference import Model
from skneuralde.losses import Objective, PathObjective
from skneuralde.problems import Problem
from skneuralde.training import LBFGS, Adam, EvaluateOnly, Optimizer, StoppingRule, trainable

#: A loss without simulation noise is minimised by L-BFGS for at most this many parameters, to this precision.
FEW_PARAMETERS, _NEWTON_TOL = 64, 1e-10


def choose_optimizer(
    estimator: Any, model: Model, objective: Objective, validated: bool
) -> tuple[Optimizer, StoppingRule]:
    """The optimizer that the parameters name, and its stopping rule.

    Auto is L-BFGS for a loss without simulation noise that either has few parameters, so that the minimum can be found
    precisely, or is one of curves, for which gradients are expensive and an epoch is a single step.

    Raises
    ------
    ValueError
        For L-BFGS on simulated paths whose number of jumps changes with the weights: that loss is not continuous.
    """
    if estimator.optimizer == "lbfgs" and isinstance(objective, PathObjective) and _jumps_move(model.problem):
        raise ValueError(
            "optimizer='lbfgs' needs a smooth loss. If a jump rate is learned or depends on the state, the number of "
            "jumps in simulated paths changes with the weights, and the loss is not continuous. Use optimizer='adam' "
            "('auto' does), or loss='nll', which does not simulate."
        )
    n_parameters = sum(p.numel() for p in trainable(model))
    if n_parameters == 0:
        return EvaluateOnly(), StoppingRule(max_iter=1, tol=0.0, patience=None, cooldown=0)
    batch_size = 512 if estimator.batch_size == "auto" else int(estimator.batch_size)
    few = n_parameters <= FEW_PARAMETERS
    suits = not objective.stochastic and (few or (objective.is_sequential and len(objective) <= batch_size))
    if estimator.optimizer == "lbfgs" or (estimator.optimizer == "auto" and suits):
        tol = _NEWTON_TOL if few else min(1e-6, estimator.tol)
        # Losses of different numbers of paths cannot be compared.
        grows = isinstance(objective, PathObjective) and objective.n_paths(1) != objective.n_paths(estimator.max_iter)
        patience = None if grows else 2
        return LBFGS(model), StoppingRule(max_iter=estimator.max_iter, tol=tol, patience=patience, cooldown=0)
    stopping = StoppingRule(
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        patience=None if objective.stochastic and not validated else estimator.n_iter_no_change,
        cooldown=0 if validated else max(1, estimator.max_iter // 4),
    )
    return Adam(model, learning_rate=estimator.learning_rate_init, batch_size=batch_size), stopping


def _jumps_move(problem: Problem) -> bool:
    """Whether the jumps of simulated paths can change with the weights, for the same noise."""
    return any(
        jump.rate.state_dependent or any(p.requires_grad for p in jump.rate.parameters()) for jump in problem.jumps
    )
