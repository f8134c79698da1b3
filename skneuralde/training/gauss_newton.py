"""Gauss-Newton steps for sums of squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from skneuralde.inference.model import Model
from skneuralde.losses import SumOfSquares
from skneuralde.losses.base import Objective
from skneuralde.training.optimizers import Optimizer, mean_loss

#: Numbers in a block of the Jacobian.
_BLOCK = 4_000_000
#: What damping starts at, how it changes after a good and a bad step, and its limits.
_FIRST, _EASE, _TIGHTEN, _LEAST, _MOST = 1e-2, 0.25, 4.0, 1e-12, 1e8
#: How much all parameters are damped alike, besides each by its own curvature. Less lets those that hardly matter go
#: anywhere: then networks saturate and training sticks.
_ALIKE = 0.1


class GaussNewton(Optimizer):
    """Levenberg-Marquardt steps on all items of a `SumOfSquares` at once.

    For up to some thousand parameters, of which the matrix of the normal equations is a full one. It uses that every
    item is a residual by itself, and so takes tens of steps where methods that see nothing but the gradient of the mean
    take thousands.

    References
    ----------
    .. [1] J. Nocedal and S. J. Wright, *Numerical Optimization* (2006), section 10.3.
    """

    #: Steps that make up one epoch.
    iterations = 10

    def __init__(self) -> None:
        self.damping = _FIRST

    def shrink(self) -> None:
        self.damping = max(self.damping, _FIRST) / _EASE

    def run_epoch(self, model: Model, objective: Objective, *, epoch: int, seed: int, factor: float) -> float:
        assert isinstance(objective, SumOfSquares)
        objective.start_epoch(model, epoch)
        equations = NormalEquations(objective, model)
        loss, matrix, slope = equations.at_present()
        for _ in range(self.iterations):
            if self.damping >= _MOST:
                break
            curvature = matrix.diagonal()
            damped = matrix + torch.diag(self.damping * (curvature + _ALIKE * curvature.mean()))
            step, info = torch.linalg.solve_ex(damped, slope)
            if int(info) == 0:
                equations.move(-step)
                ahead = equations.at_present()
                if bool(ahead[0] < loss):
                    loss, matrix, slope = ahead
                    self.damping = max(self.damping * _EASE, _LEAST)
                    continue
                equations.move(step)
            self.damping *= _TIGHTEN
        self.damping = min(self.damping, _FIRST)
        return mean_loss(model, objective, seed=seed)


class NormalEquations:
    """The weighted sum of squares around the present parameters, to second order as Gauss has it.

    Raises
    ------
    RuntimeError
        When a module of the user's cannot be differentiated item by item.
    """

    def __init__(self, objective: SumOfSquares, model: Model):
        self.module, self.data = objective.residuals(model)
        self.weight = objective.weight
        with torch.no_grad():
            self.width = len(self.module(*(x[0] for x in self.data)))
        self.names = [name for name, p in self.module.named_parameters() if p.requires_grad]

    def _parameters(self) -> dict[str, nn.Parameter]:
        everything = dict(self.module.named_parameters())
        return {name: everything[name] for name in self.names}

    def can_be_made(self) -> bool:
        """Whether the module can be differentiated item by item: some of a user's own cannot."""
        keep, self.weight = self.weight, torch.zeros_like(self.weight)
        self.weight[:1] = 1.0
        try:
            self.at_present()
        except RuntimeError:
            return False
        finally:
            self.weight = keep
        return True

    def at_present(self) -> tuple[Tensor, Tensor, Tensor]:
        """Half the sum of squares, the matrix of its normal equations, and its gradient, in double precision."""
        parameters = {name: p.detach() for name, p in self._parameters().items()}
        size = sum(p.numel() for p in parameters.values())

        def residual(values: dict[str, Tensor], *item: Tensor) -> tuple[Tensor, Tensor]:
            value = functional_call(self.module, values, item)
            return value, value

        slopes = vmap(jacrev(residual, has_aux=True), in_dims=(None, *[0] * len(self.data)))
        some = torch.zeros((), dtype=torch.float64, device=self.weight.device)
        loss, matrix, gradient = some, some.new_zeros(size, size), some.new_zeros(size)
        at = self.weight.nonzero()[:, 0]
        for items in at.split(max(1, _BLOCK // (size * self.width))):
            jacobian, value = slopes(parameters, *(x[items] for x in self.data))
            root = self.weight[items].sqrt()[:, None]
            rows = torch.cat([part.reshape(*value.shape, -1) for part in jacobian.values()], -1) * root[..., None]
            flat, residuals = rows.flatten(0, 1), (value * root).flatten()
            loss = loss + 0.5 * residuals.square().sum().double()
            matrix += (flat.mT @ flat).double()
            gradient += (flat.mT @ residuals).double()
        return loss, matrix, gradient

    @torch.no_grad()
    def move(self, step: Tensor) -> None:
        """Add a step to the parameters."""
        parameters = self._parameters().values()
        for parameter, part in zip(parameters, step.split([p.numel() for p in parameters]), strict=True):
            parameter.add_(part.view_as(parameter))
