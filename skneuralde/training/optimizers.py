"""Optimizers: Adam, L-BFGS and evaluation only, each as epochs of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from skneuralde.inference import Model
from skneuralde.losses import Objective

#: Factors of the epoch and the batch in a batch's seed, so that every batch has its own simulation noise.
_EPOCH_STRIDE, _BATCH_STRIDE = 1_000_003, 7_919


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """Return the seed of the simulation noise of one batch."""
    return (seed + epoch * _EPOCH_STRIDE + batch * _BATCH_STRIDE) % 2**62


class Optimizer(ABC):
    """Base class: an optimizer takes epochs of steps on an objective."""

    @abstractmethod
    def run_epoch(self, model: Model, objective: Objective, *, epoch: int, seed: int, factor: float) -> float:
        """Pass through the items once and return the weighted mean loss; ``factor`` multiplies the step size."""

    @abstractmethod
    def shrink(self) -> None:
        """Reset the optimizer and reduce its step size, after a loss that was not finite."""


def trainable(model: Model) -> list[torch.nn.Parameter]:
    """Return the parameters that are trained."""
    return [p for p in model.parameters() if p.requires_grad]


class Adam(Optimizer):
    """Adam on minibatches in a new order every epoch (D. P. Kingma and J. Ba, ICLR 2015).

    All weights are updated as one vector: with small networks, `torch.optim.Adam` spends most of its time in the loop
    over parameters.
    """

    #: Decay rates of the gradient's mean and mean square, and the constant that keeps a step finite.
    betas, eps = (0.9, 0.999), 1e-8

    def __init__(self, model: Model, *, learning_rate: float, batch_size: int):
        self.parameters, self.learning_rate, self.batch_size = trainable(model), learning_rate, batch_size
        self._restart()

    def _restart(self) -> None:
        self.steps = 0
        self.mean = torch.cat([torch.zeros_like(p).flatten() for p in self.parameters])
        self.mean_square = torch.zeros_like(self.mean)

    def shrink(self) -> None:
        self.learning_rate /= 5.0
        self._restart()

    def run_epoch(self, model: Model, objective: Objective, *, epoch: int, seed: int, factor: float) -> float:
        objective.start_epoch(model, epoch)
        total = torch.zeros((), dtype=torch.float64, device=objective.weight.device)
        for number, items in enumerate(self._batches(objective.items, epoch, seed)):
            values = objective.values(model, items, seed=batch_seed(seed, epoch, number))
            weight = objective.weight.index_select(0, items)
            weighted = weight @ values
            self._step(weighted / weight.sum(), self.learning_rate * factor)
            total += weighted.detach()
        return float(total / objective.weight.sum())

    def _step(self, loss: Tensor, learning_rate: float) -> None:
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        gradient = torch.cat([g.flatten() for g in gradients])
        self.steps += 1
        self.mean.lerp_(gradient, 1 - self.betas[0])
        self.mean_square.lerp_(gradient.square(), 1 - self.betas[1])
        rate = learning_rate / (1 - self.betas[0] ** self.steps)
        scale = (self.mean_square / (1 - self.betas[1] ** self.steps)).sqrt_().add_(self.eps)
        change = (self.mean / scale).mul_(-rate).split([p.numel() for p in self.parameters])
        with torch.no_grad():
            for parameter, part in zip(self.parameters, change, strict=True):
                parameter.add_(part.view_as(parameter))

    def _batches(self, items: Tensor, epoch: int, seed: int) -> Iterator[Tensor]:
        if len(items) <= self.batch_size:
            yield items
            return
        generator = torch.Generator().manual_seed(batch_seed(seed, epoch, 0))
        order = torch.randperm(len(items), generator=generator).to(items.device)
        for part in order.split(self.batch_size):
            yield items.index_select(0, part)


class LBFGS(Optimizer):
    """L-BFGS steps on all items at once, for few parameters and a loss without simulation noise.

    An epoch has ``iterations`` steps. The curvature estimate starts again when the objective changes its version.

    References
    ----------
    .. [1] J. Nocedal and S. J. Wright, *Numerical Optimization* (2006), algorithms 7.4 and 3.5.
    """

    def __init__(self, model: Model, iterations: int = 10):
        self.parameters, self.iterations, self.step_size = trainable(model), iterations, 1.0
        self.version: int | None = None
        self._restart()

    def _restart(self) -> None:
        self.lbfgs = torch.optim.LBFGS(
            self.parameters,
            lr=self.step_size,
            max_iter=self.iterations,
            tolerance_grad=1e-10,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

    def shrink(self) -> None:
        self.step_size /= 5.0
        self._restart()

    def run_epoch(self, model: Model, objective: Objective, *, epoch: int, seed: int, factor: float) -> float:
        objective.start_epoch(model, epoch)
        if objective.version != self.version:
            self.version = objective.version
            self._restart()
        items = objective.items
        weight = objective.weight[items]

        def mean() -> Tensor:
            return (weight * objective.values(model, items, seed=seed)).sum() / weight.sum()

        def closure() -> Tensor:
            self.lbfgs.zero_grad(set_to_none=True)
            loss = mean()
            loss.backward()
            return loss

        self.lbfgs.step(closure)
        with torch.no_grad():
            return float(mean())


class EvaluateOnly(Optimizer):
    """Evaluation of the loss without steps, for an equation without trainable parameters."""

    def shrink(self) -> None:
        pass

    def run_epoch(self, model: Model, objective: Objective, *, epoch: int, seed: int, factor: float) -> float:
        objective.start_epoch(model, epoch)
        return mean_loss(model, objective, seed=seed)


@torch.no_grad()
def mean_loss(model: Model, objective: Objective, *, seed: int, batch_size: int = 65_536) -> float:
    """Return the weighted mean of an objective over all of its items."""
    total = torch.zeros((), dtype=torch.float64, device=objective.weight.device)
    for items in objective.items.split(batch_size):
        total += (objective.weight[items] * objective.values(model, items, seed=seed)).sum()
    return float(total / objective.weight.sum())
