"""Standard errors of parameters from the curvature of a log likelihood at its maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.inference.model import Model
from skneuralde.inference.parameter_uncertainty import GaussianUncertainty
from skneuralde.losses import Objective
from skneuralde.training.optimizers import trainable

#: Items whose loss is differentiated twice at once.
_BATCH = 16_384
#: Eigenvalues of the information, every parameter in its own curvature: below minus this one it is no minimum, ...
_NEGATIVE = 1e-4
#: ... and below this one the data are taken to say only that much, so that the standard error is large and finite.
_SMALLEST = 1e-8
#: How far from the minimum training may have stopped, in standard errors.
_FARTHEST = 0.3


class NoMinimumError(ValueError):
    """Training has not ended at a minimum, so that the curvature there says nothing."""


def laplace(model: Model, objective: Objective, *, seed: int = 0) -> GaussianUncertainty:
    """Laplace's approximation: a normal distribution whose covariance is the inverse of the observed information.

    Parameters
    ----------
    model : Model
        In float64, at the minimum of the objective.
    objective : Objective
        Of negative log densities without simulation noise; a weight counts repetitions.
    seed : int

    Raises
    ------
    NoMinimumError
        When the information is not positive definite, or the gradient is not zero.

    Notes
    -----
    The information is the Hessian of the weighted sum of the items' losses. A direction that the data do not determine
    gets a large standard error instead of an infinite one. When the model is wrong about the law of the noise the true
    standard errors are others: those of a bootstrap (B. Efron and D. V. Hinkley, Biometrika 65, 1978; H. White,
    Econometrica 50, 1982).
    """
    gradient, information = observed_information(model, objective, seed=seed)
    # Every parameter in units of its own curvature: eigenvalues then do not depend on the caller's units.
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
    """Gradient (n,) and Hessian (n, n) of the weighted sum of an objective's values in the trainable parameters."""
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
