"""The Rauch-Tung-Striebel smoother: states given all observations, earlier and later ones.

Transitions are linearised around the filtered states (S. Sarkka and A. Solin, *Applied Stochastic Differential
Equations*, 2019, section 10.5). A state between two observations takes one more transition to it and one from it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import Gaussian
from skneuralde.inference.filtering.kalman import Filtered, ObservationChains, filtered_starts, initial_distribution
from skneuralde.inference.model import Model
from skneuralde.inference.moments.linear_flow import transform
from skneuralde.inference.transitions.segments import Transitions


@torch.no_grad()
def smooth(model: Model, chains: ObservationChains, filtered: Filtered) -> tuple[Gaussian, Gaussian]:
    """The states at the starts of the chains and at the transitions' ends, given all observations of the chain."""
    start = initial_distribution(model, chains.known, chains.first)
    before = filtered_starts(chains, start, filtered.filtered)
    _, matrix = _predict(model, chains.transitions, before)
    gain = gain_of(before, filtered.predicted, matrix)
    ends = Gaussian(filtered.filtered.mean.clone(), filtered.filtered.cov.clone())
    starts = Gaussian(start.mean.clone(), start.cov.clone())
    for step in range(int(chains.step.max()), -1, -1):
        items = (chains.step == step).nonzero()[:, 0]
        mean, cov = look_back(before.rows(items), filtered.predicted.rows(items), gain[items], ends.rows(items))
        if step:
            ends.mean[items - 1], ends.cov[items - 1] = mean, cov
        else:
            starts.mean[chains.chain[items]], starts.cov[chains.chain[items]] = mean, cov
    return starts, ends


@torch.no_grad()
def smooth_between(model: Model, here: Transitions, onwards: Transitions, later: Gaussian) -> Gaussian:
    """The states at the ends of transitions ``here``, given the smoothed states ``later`` at the ends of ``onwards``.

    Each transition of ``onwards`` starts where one of ``here`` ends; its own state is ignored.
    """
    assert here.cov is not None  # they start at filtered states
    state, _ = _predict(model, here, Gaussian(here.state, here.cov))
    predicted, matrix = _predict(model, onwards, state)
    return look_back(state, predicted, gain_of(state, predicted, matrix), later)


def gain_of(state: Gaussian, predicted: Gaussian, matrix: Tensor) -> Tensor:
    """Smoother gain: the factor from the error of the prediction to the correction of the state before."""
    # The covariance is singular without noise and for states that are known exactly.
    return state.cov @ matrix.mT @ torch.linalg.pinv(predicted.cov, hermitian=True)


def look_back(state: Gaussian, predicted: Gaussian, gain: Tensor, later: Gaussian) -> Gaussian:
    """The state given the smoothed later state."""
    mean = state.mean + transform(gain, later.mean - predicted.mean)
    return Gaussian(mean, state.cov + gain @ (later.cov - predicted.cov) @ gain.mT)


def _predict(model: Model, transitions: Transitions, start: Gaussian) -> tuple[Gaussian, Tensor]:
    transitions = replace(transitions, state=start.mean, cov=start.cov)
    mean, cov, matrix = transitions.moments_and_matrix(model.problem, model.moment_propagator)
    return Gaussian(mean, cov), matrix
