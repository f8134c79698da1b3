"""Losses of the predictions from each observation to the next, without simulation."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

from torch import Tensor

from skneuralde.inference import Model, PredictiveDistribution, Transitions
from skneuralde.losses.base import Loss, Objective
from skneuralde.losses.data import Calibration, TrainingData, TransitionData


class TransitionLoss(Loss):
    """A loss that compares each observation with its predictive distribution given the observation before.

    A subclass implements `cost`. The distribution comes from the propagated mean and covariance, with jumps as a
    mixture; see `skneuralde.inference.moments`.

    Examples
    --------
    Squared errors of one-step predictions:

    >>> from skneuralde.losses import TransitionLoss
    >>> class StepError(TransitionLoss):
    ...     name = "step_error"
    ...
    ...     def cost(self, predicted, target):
    ...         return (target - predicted.mean).nan_to_num(0.0).square().sum(-1)

    ``NeuralSDERegressor(loss=StepError())`` then minimises them.
    """

    of_transitions = True

    def bind(self, data: TrainingData) -> Objective:
        return TransitionObjective(self, data.transitions())

    @abstractmethod
    def cost(self, predicted: PredictiveDistribution, target: Tensor) -> Tensor:
        """The loss of each transition.

        Parameters
        ----------
        predicted : PredictiveDistribution
            Predictions of the observations: ``mean (items, dim)``, ``cov (items, dim, dim)``, ``log_density``, etc.
        target : Tensor of shape (items, dim)
            The observations. An entry that is NaN was not observed and must not contribute.

        Returns
        -------
        Tensor of shape (items,)
        """


class TransitionObjective(Objective):
    """A `TransitionLoss` bound to data; an item is a transition."""

    def __init__(self, loss: TransitionLoss, data: TransitionData):
        self.loss, self.transitions, self.targets, self.weight = loss, data.transitions, data.targets, data.weight
        self.calibrate, self.encode = data.calibrate, data.encode

    def start_epoch(self, model: Model, epoch: int) -> None:
        start_calibration(model, epoch, self.calibrate)

    def values(self, model: Model, items: Tensor, *, seed: int) -> Tensor:
        predicted = model.observed_distribution(self._transitions(model, items))
        cost = self.loss.cost(predicted, self.targets.index_select(0, items))
        return self.loss.check_shape("cost", cost, items.shape)

    def _transitions(self, model: Model, items: Tensor) -> Transitions:
        """These items with the states that they start from."""
        transitions = self.transitions.select(items)
        return started(transitions, model) if self.encode else transitions


def start_calibration(model: Model, epoch: int, calibrate: Calibration) -> None:
    """Choose again how finely moments are propagated: after 1, 2, 4, 8, 16 epochs, then every 16 epochs.

    The intervals grow because coefficients move ever more slowly.
    """
    if model.propagator is None or epoch & (epoch - 1) == 0 or epoch % 16 == 0:
        model.propagator = calibrate(model)


def started(transitions: Transitions, model: Model) -> Transitions:
    """The transitions, starting at the states that the model's encoder computes."""
    state = model.encode(transitions.time, transitions.c0[transitions.offsets[:-1]], transitions.state.shape[-1])
    return replace(transitions, state=state)
