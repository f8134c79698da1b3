"""Standard errors of parameters from the curvature of a log likelihood at its maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference import Model
from skneuralde.inference.parameter_uncertainty import GaussianUncertainty
from skneuralde.losses import Objective
from skneuralde.training.optimizers import trainable

#: Most items whose loss is differentiated twice at once.
_BATCH = 16_384
#: Largest negative eigenvalue at a minimum, of the information scaled to unit diagonal.
_NEGATIVE = 1e-4
#: Smaller eigenvalues are raised to this one, so that the standard error is large and finite.
_SMALLEST = 1e-8
#: Largest distance from the minimum, in standard errors.
_FARTHEST = 0.3


class NoMinimumError(ValueError):
    """Training did not end at a minimum, so that the curvature is not the observed information."""


def laplace(model: Model, objective: Objective, *, seed: int = 0) -> GaussianUncertainty:
    """Laplace approximation: a normal distribution whose covariance is the inverse of the observed information.

    The model is in float64 and at the minimum of the objective: negative log densities without simulation noise, whose
    weights count repetitions. NoMinimumError is raised if the information is not positive definite or the gradient is
    not zero.

    The information is the Hessian of the weighted sum of the items' losses. A direction that the data do not determine
    gets a large standard error instead of an infinite one. If the model's noise distribution is wrong, the true
    standard errors differ from these; a bootstrap estimates them (B. Efron and D. V. Hinkley, Biometrika 65, 1978; H.
    White, Econometrica 50, 1982).
    """
    gradient, information = observed_information(model, objective, seed=seed)
    # Scaled to unit diagonal, its eigenvalues do not depend on the caller's units.
    curvature = information.diagonal().abs()
    unit = torch.where(curvature > 0, curvature, 1.0).rsqrt()
    values, vectors = torch.linalg.eigh(unit[:, None] * information * unit)
    if len(values) and float(values[0]) < -_NEGATIVE:
        raise NoMinimumError(
            "the log likelihood still curves upwards where training stopped, so that there is no maximum to measure. "
            "With a network, whose likelihood hardly ever has one, use uncertainty='ensemble'; else raise max_iter."
        )
    factor = unit[:, None] * vectors * values.clamp_min(_SMALLEST).rsqrt()
    distance = float((factor.mT @ gradient).norm())
    if distance > _FARTHEST:
        raise NoMinimumError(
            f"training stopped {distance:.1f} standard errors before the maximum of the log likelihood. Raise "
            "max_iter, use optimizer='lbfgs', or use uncertainty='ensemble'."
        )
    return GaussianUncertainty(factor.cpu())


def observed_information(model: Model, objective: Objective, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Gradient (n,) and Hessian (n, n) of an objective's weighted sum with respect to the trainable parameters."""
    parameters = trainable(model)
    n = sum(p.numel() for p in parameters)
    gradient = torch.zeros(n, dtype=torch.float64, device=objective.weight.device)
    hessian = torch.zeros(n, n, dtype=torch.float64, device=objective.weight.device)
    for items in objective.items.split(_BATCH) if parameters else ():
        loss = objective.weight[items] @ objective.values(model, items, seed=seed)
        slope = _flat_gradient(loss, parameters, create_graph=True)
        gradient += slope.detach()
        if slope.requires_grad:
            hessian += torch.stack([_flat_gradient(s, parameters) for s in slope])
    return gradient, 0.5 * (hessian + hessian.mT)


def _flat_gradient(value: Tensor, parameters: list[torch.nn.Parameter], *, create_graph: bool = False) -> Tensor:
    parts = torch.autograd.grad(
        value, parameters, create_graph=create_graph, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([part.flatten() for part in parts])
