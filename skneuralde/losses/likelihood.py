"""Negative log likelihood of transitions, without simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from skneuralde.inference.jumps.splitting import JumpSplitting
from skneuralde.inference.model import Model
from skneuralde.inference.moments.propagator import MomentPropagator
from skneuralde.inference.transitions.from_series import LazyRows
from skneuralde.inference.transitions.segments import Transitions, TransitionSource
from skneuralde.losses.base import Objective

#: Makes a propagator that is fine enough for the model's present coefficients.
Calibration = Callable[[Model], MomentPropagator | JumpSplitting]


class TransitionLikelihood(Objective):
    """Negative log density of observations given the state before them, by propagated mean and covariance.

    Parameters
    ----------
    transitions : Transitions or SeriesTransitions
    targets : Tensor or LazyRows of shape (items, dim)
        What was observed at each transition's end; NaN where nothing was.
    weight : Tensor of shape (items,)
    calibrate : Callable
        Gives the propagator for a model; asked anew now and then while the coefficients change.
    encode : bool
        Whether the transitions start at the states that the model's encoder gives for their first inputs, as in a
        plain table, instead of at their own.

    Notes
    -----
    Exact for a linear drift with additive noise; see `skneuralde.inference.moments` for the rest.
    """

    def __init__(
        self,
        transitions: TransitionSource,
        targets: Tensor | LazyRows,
        weight: Tensor,
        *,
        calibrate: Calibration,
        encode: bool = False,
    ):
        self.transitions = transitions
        self.targets = targets
        self.weight = weight
        self.calibrate = calibrate
        self.encode = encode

    def start_epoch(self, model: Model, epoch: int) -> None:
        start_calibration(model, epoch, self.calibrate)

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        return -model.observed_distribution(self._transitions(model, items)).log_density(
            self.targets.index_select(0, items)
        )

    def _transitions(self, model: Model, items: Tensor) -> Transitions:
        """These items, from where they start."""
        transitions = self.transitions.select(items)
        return started(transitions, model) if self.encode else transitions


def start_calibration(model: Model, epoch: int, calibrate: Calibration) -> None:
    """Look anew how finely moments must be propagated: after 1, 2, 4, 8, 16, then every 16 epochs.

    Coefficients move ever more slowly.
    """
    if model.propagator is None or epoch & (epoch - 1) == 0 or epoch % 16 == 0:
        model.propagator = calibrate(model)


def started(transitions: Transitions, model: Model) -> Transitions:
    """The transitions from the states that the model's encoder gives."""
    state = model.encode(transitions.time, transitions.c0[transitions.offsets[:-1]], transitions.state.shape[-1])
    return replace(transitions, state=state)
