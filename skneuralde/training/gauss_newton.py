"""Gauss-Newton steps for sums of squares."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from skneuralde.inference import Model
from skneuralde.inference.parameter_uncertainty import call_with, trainable_parameters
from skneuralde.losses import Objective, SumOfSquares
from skneuralde.training.optimizers import Optimizer, mean_loss

#: Most numbers in a block of the Jacobian.
_BLOCK = 4_000_000
#: Initial damping, its factors after an accepted and a rejected step, and its limits.
_FIRST, _DECREASE, _INCREASE, _MIN, _MAX = 1e-2, 0.25, 4.0, 1e-12, 1e8
#: Weight of the mean curvature in the damping, besides each parameter's own. With less, parameters of little effect
#: move far, so that networks saturate and training stalls.
_MEAN_SHARE = 0.1


class GaussNewton(Optimizer):
    """Levenberg-Marquardt steps on all items of a `SumOfSquares` at once.

    It suits models of up to some thousand parameters, as the matrix of the normal equations is dense. It uses the
    residual of every item, and takes tens of steps where methods that use only the gradient of the mean take thousands.

    References
    ----------
    .. [1] J. Nocedal and S. J. Wright, *Numerical Optimization* (2006), section 10.3.
    """

    #: Steps per epoch.
    iterations = 10

    def __init__(self) -> None:
        self.damping = _FIRST

    def shrink(self) -> None:
        self.damping = max(self.damping, _FIRST) / _DECREASE

    def run_epoch(self, model: Model, objective: Objective, *, epoch: int, seed: int, factor: float) -> float:
        assert isinstance(objective, SumOfSquares)
        objective.start_epoch(model, epoch)
        equations = NormalEquations(objective, model)
        loss, matrix, slope = equations.evaluate()
        for _ in range(self.iterations):
            if self.damping >= _MAX:
                break
            curvature = matrix.diagonal()
            damped = matrix + torch.diag(self.damping * (curvature + _MEAN_SHARE * curvature.mean()))
            step, info = torch.linalg.solve_ex(damped, slope)
            if int(info) == 0:
                equations.add_step(-step)
                trial = equations.evaluate()
                if bool(trial[0] < loss):
                    loss, matrix, slope = trial
                    self.damping = max(self.damping * _DECREASE, _MIN)
                    continue
                equations.add_step(step)
            self.damping *= _INCREASE
        self.damping = min(self.damping, _FIRST)
        return mean_loss(model, objective, seed=seed)


class NormalEquations:
    """Gauss-Newton approximation of a weighted sum of squares around the current parameters."""

    def __init__(self, objective: SumOfSquares, model: Model):
        self.module, self.data = objective.residuals(model)
        self.weight = objective.weight
        with torch.no_grad():
            self.width = len(self.module(*(x[0] for x in self.data)))
        self.parameters = trainable_parameters(self.module)

    def can_be_made(self) -> bool:
        """Whether `evaluate` succeeds: some modules of users cannot be differentiated item by item."""
        keep, self.weight = self.weight, torch.zeros_like(self.weight)
        self.weight[:1] = 1.0
        try:
            self.evaluate()
        except RuntimeError:
            return False
        finally:
            self.weight = keep
        return True

    def evaluate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return half the sum of squares, the matrix of its normal equations and its gradient, in float64."""
        parameters = {name: p.detach() for name, p in self.parameters.items()}
        size = sum(p.numel() for p in parameters.values())

        def residual(values: dict[str, Tensor], *item: Tensor) -> tuple[Tensor, Tensor]:
            value = call_with(self.module, values, item)
            return value, value

        slopes = vmap(jacrev(residual, has_aux=True), in_dims=(None, *[0] * len(self.data)))
        loss = torch.zeros((), dtype=torch.float64, device=self.weight.device)
        matrix, gradient = loss.new_zeros(size, size), loss.new_zeros(size)
        for items in self.weight.nonzero()[:, 0].split(max(1, _BLOCK // (size * self.width))):
            jacobian, value = slopes(parameters, *(x[items] for x in self.data))
            root = self.weight[items].sqrt()[:, None]
            rows = torch.cat([part.reshape(*value.shape, -1) for part in jacobian.values()], -1) * root[..., None]
            flat, residuals = rows.flatten(0, 1), (value * root).flatten()
            loss = loss + 0.5 * residuals.square().sum().double()
            matrix += (flat.mT @ flat).double()
            gradient += (flat.mT @ residuals).double()
        return loss, matrix, gradient

    @torch.no_grad()
    def add_step(self, step: Tensor) -> None:
        """Add a step to the parameters."""
        parameters = self.parameters.values()
        for parameter, part in zip(parameters, step.split([p.numel() for p in parameters]), strict=True):
            parameter.add_(part.view_as(parameter))
