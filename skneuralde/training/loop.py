"""The training loop, for every model and every loss."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from sklearn.exceptions import ConvergenceWarning

from skneuralde.inference.model import Model
from skneuralde.losses import Objective
from skneuralde.solvers import SolverError
from skneuralde.training.optimizers import Optimizer, mean_loss, trainable
from skneuralde.training.stopping import StoppingRule

#: How often a loss that is not finite is answered by the last good weights and a smaller step.
_MAX_ROLLBACKS = 3


@dataclass(frozen=True)
class Progress:
    """What a callback sees after an epoch."""

    epoch: int
    loss: float
    validation_loss: float | None
    best_loss: float
    seconds: float


@dataclass
class History:
    """What happened in training."""

    loss_curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    rollbacks: int = 0
    stopped_by: str = "max_iter"

    @property
    def n_iter(self) -> int:
        return len(self.loss_curve)


class Weights:
    """A copy of a model's trainable weights that can be put back."""

    def __init__(self, model: Model):
        self.copies = [(p, p.detach().clone()) for p in trainable(model)]

    def is_finite(self) -> bool:
        return all(bool(copy.isfinite().all()) for _, copy in self.copies)

    @torch.no_grad()
    def restore(self) -> None:
        for parameter, copy in self.copies:
            parameter.copy_(copy)


def run_training(
    model: Model,
    objective: Objective,
    optimizer: Optimizer,
    stopping: StoppingRule,
    *,
    history: History,
    validation: Objective | None = None,
    seed: int = 0,
    on_epoch: Callable[[Progress], bool | None] | None = None,
    verbose: bool = False,
) -> None:
    """Minimise an objective; the model is left with its best weights.

    Parameters
    ----------
    model : Model
    objective : Objective
    optimizer : Optimizer
    stopping : StoppingRule
    history : History
        Filled on the way, so that an interrupted training can still be read.
    validation : Objective, optional
        Then the weights with the smallest validation loss are kept; else the last ones, to which training has cooled
        down.
    seed : int
        Fixes the batches and all simulation noise.
    on_epoch : callable, optional
        Called with a `Progress` after each epoch; training stops when it returns True.
    verbose : bool
        Print a line per epoch.

    Raises
    ------
    FloatingPointError
        When the loss never was finite.

    Notes
    -----
    A loss or weight that is not finite puts back the last weights that gave a finite loss and goes on with a smaller
    step, at most three times; then training ends there with a ConvergenceWarning. Any exception, KeyboardInterrupt
    included, leaves the best weights so far in the model and goes on its way.
    """
    best = good = Weights(model)
    started = time.perf_counter()
    try:
        for epoch in range(1, stopping.max_iter + 1):
            loss, good = _careful_epoch(model, objective, optimizer, stopping, history, good, epoch=epoch, seed=seed)
            if loss is None:
                history.stopped_by = "non_finite"
                break
            watched = loss
            history.loss_curve.append(loss)
            if validation is not None:
                validation.start_epoch(model, epoch)
                watched = mean_loss(model, validation, seed=seed)
                history.validation_curve.append(watched)
            if watched <= history.best_loss:
                history.best_loss, best = watched, Weights(model)
            elapsed = time.perf_counter() - started
            progress = Progress(epoch, loss, watched if validation else None, history.best_loss, elapsed)
            if verbose:
                _report(progress, stopping.max_iter)
            if on_epoch is not None and on_epoch(progress):
                history.stopped_by = "on_epoch"
                break
            if stopping.is_over(epoch, watched):
                history.stopped_by = "max_iter" if epoch == stopping.max_iter else "tol"
                break
    except BaseException:
        best.restore()
        raise
    if validation is not None:
        best.restore()
    if history.stopped_by == "non_finite":
        warnings.warn(_DIVERGED.format(epoch=epoch), ConvergenceWarning, stacklevel=2)


def _careful_epoch(
    model: Model,
    objective: Objective,
    optimizer: Optimizer,
    stopping: StoppingRule,
    history: History,
    good: Weights,
    *,
    epoch: int,
    seed: int,
) -> tuple[float | None, Weights]:
    """An epoch's loss and the weights it began with; from the ``good`` ones with smaller steps while it is not finite.

    The loss is None when that did not help. Only the weights at the beginning are proven to be good: the last step of
    an epoch can lead anywhere.
    """
    failure = None
    while True:
        begun = Weights(model)
        try:
            loss = optimizer.run_epoch(model, objective, epoch=epoch, seed=seed, factor=stopping.factor(epoch))
            if math.isfinite(loss) and Weights(model).is_finite():
                return loss, begun
        except SolverError as error:
            failure = error
        good.restore()
        if history.rollbacks == _MAX_ROLLBACKS:
            if not history.loss_curve:
                raise FloatingPointError(_NEVER_FINITE) from failure
            return None, good
        history.rollbacks += 1
        optimizer.shrink()


_NEVER_FINITE = (
    "The loss is not finite at the starting weights, nor after three attempts with smaller steps. Look for a "
    "coefficient that grows without bound on the data, or use a smaller rtol or dt."
)
_DIVERGED = (
    "Training stopped in epoch {epoch}: the loss was not finite, also after three attempts with smaller steps. "
    "Weights from before that are kept. Lower learning_rate_init, rtol or dt."
)


def _report(progress: Progress, max_iter: int) -> None:
    validation = "" if progress.validation_loss is None else f", validation {progress.validation_loss:.6g}"
    print(f"epoch {progress.epoch}/{max_iter}: loss {progress.loss:.6g}{validation} ({progress.seconds:.1f} s)")
