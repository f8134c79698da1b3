"""The training loop, for every model and every loss."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from sklearn.exceptions import ConvergenceWarning

from skneuralde.inference import Model
from skneuralde.losses import Objective
from skneuralde.solvers import SolverError
from skneuralde.training.optimizers import Optimizer, mean_loss, trainable
from skneuralde.training.stopping import StoppingRule

#: Most returns to the last good weights, with a smaller step, after a loss that is not finite.
_MAX_ROLLBACKS = 3


@dataclass(frozen=True)
class Progress:
    """State of training after an epoch, for callbacks."""

    epoch: int
    loss: float
    validation_loss: float | None
    best_loss: float
    seconds: float


@dataclass
class History:
    """Record of a training run."""

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
    """Minimise an objective and leave the best weights in the model.

    Parameters
    ----------
    history : History
        Filled during training, so that it is available after an interruption.
    validation : Objective, optional
        If given, the weights with the smallest validation loss are kept, else the last ones, which the cooldown has
        reached.
    seed : int
        Fixes the batches and all simulation noise.
    on_epoch : callable, optional
        Called with a `Progress` after each epoch; training stops when it returns True.

    Notes
    -----
    After a loss or weight that is not finite, training restores the last weights with a finite loss and continues with
    a smaller step, at most three times; then it ends with a ConvergenceWarning, or with a FloatingPointError if the
    loss was never finite. Any exception, including KeyboardInterrupt, leaves the best weights so far in the model and
    is raised again.
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
    """Run an epoch; return its loss and the weights at its beginning, the last ones with a proven finite loss.

    While the loss is not finite, it starts again at the ``good`` weights with smaller steps. The loss is None if all
    attempts failed.
    """
    failure = None
    while True:
        initial = Weights(model)
        try:
            loss = optimizer.run_epoch(model, objective, epoch=epoch, seed=seed, factor=stopping.factor(epoch))
            if math.isfinite(loss) and Weights(model).is_finite():
                return loss, initial
        except SolverError as error:
            failure = error
        good.restore()
        if history.rollbacks == _MAX_ROLLBACKS:
            if not history.loss_curve:
                reason = "" if failure is None else f" The last error: {failure}"
                raise FloatingPointError(_NEVER_FINITE + reason) from failure
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
