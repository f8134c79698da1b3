"""The continuous-discrete extended Kalman filter for noisy or partial observations.

Between observations mean and covariance are propagated by `skneuralde.inference.moments`. An observation then
conditions them, with the observation function linearised at the mean (S. Sarkka and A. Solin, *Applied Stochastic
Differential Equations*, 2019, chapter 10). Exact for linear equations with additive noise and linear observations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import Gaussian, gaussian_log_density
from skneuralde.inference.model import Model
from skneuralde.inference.moments.linear_flow import transform
from skneuralde.inference.transitions.segments import Transitions


class PredictedObservation(NamedTuple):
    """Prediction of an observation: mean (n, d), its derivative (n, d, dim) by the state, and covariance (n, d, d)."""

    mean: Tensor
    slope: Tensor
    cov: Tensor


@dataclass(frozen=True)
class ObservationChains:
    """Successive observations of many series: one chain of transitions for each."""

    transitions: Transitions  #: from each observation to the next one; their states are initial guesses
    targets: Tensor  #: (n, d), observations at the transitions' ends; NaN entries were not observed
    chain: Tensor  #: int64 (n,), the chain of each transition; chains are numbered from 0, and none is empty
    step: Tensor  #: int64 (n,), the position in its chain; the transitions of a chain are consecutive
    known: Tensor | None  #: (n_chains, dim), initial states; if None, they have the model's prior given ``first``
    first: Tensor  #: (n_chains, d), observations at the starts of the chains

    def transitions_of(self, chains: Tensor) -> Tensor:
        """Positions of the transitions of these chains."""
        return torch.isin(self.chain, chains).nonzero()[:, 0]

    def select(self, chains: Tensor) -> ObservationChains:
        """These chains, renumbered in this order."""
        new = torch.full((len(self.first),), -1, dtype=torch.int64, device=chains.device)
        new[chains] = torch.arange(len(chains), device=chains.device)
        items = self.transitions_of(chains)
        return ObservationChains(
            self.transitions.select(items),
            self.targets[items],
            new[self.chain[items]],
            self.step[items],
            None if self.known is None else self.known[chains],
            self.first[chains],
        )


class Filtered(NamedTuple):
    """Results of a filter at each transition's end."""

    predicted: Gaussian  #: the state before conditioning on the observation there
    filtered: Gaussian  #: the state after it
    log_density: Tensor  #: (n,), log density of the observation given all earlier ones


def predict_observation(model: Model, state: Gaussian) -> PredictedObservation:
    """Predict observations of these states, observation noise included."""
    if model.observation is None:
        value, slope = state.mean, torch.eye(state.mean.shape[-1], dtype=state.mean.dtype, device=state.mean.device)
        return PredictedObservation(value, slope.expand(len(value), -1, -1), model.add_noise(state.cov, value))
    value, slope = model.observation.linearize(state.mean)
    return PredictedObservation(value, slope, model.add_noise(slope @ state.cov @ slope.mT, value))


class Gain(NamedTuple):
    """Kalman gain; missing entries of an observation have no effect."""

    slope: Tensor  #: (n, d, dim), derivative of the observation function
    factor: Tensor  #: (n, d, d), Cholesky factor of the observation's covariance
    matrix: Tensor  #: (n, dim, d), the gain itself
    kept: Tensor  #: (n, dim, dim), the unit matrix minus gain times slope

    @classmethod
    def of(cls, cov: Tensor, slope: Tensor, output_cov: Tensor, observed: Tensor) -> Gain:
        """Gain for states of covariance ``cov``, outputs of covariance ``output_cov`` and the mask ``observed``."""
        slope = torch.where(observed[..., None], slope, 0.0)
        unit = torch.eye(slope.shape[1], dtype=slope.dtype, device=slope.device)
        both = observed[:, :, None] & observed[:, None, :]
        factor = torch.linalg.cholesky_ex(torch.where(both, output_cov, unit))[0]
        matrix = torch.cholesky_solve(slope @ cov, factor).mT
        kept = torch.eye(slope.shape[2], dtype=slope.dtype, device=slope.device) - matrix @ slope
        return cls(slope, factor, matrix, kept)

    def condition(self, cov: Tensor, noise: Tensor | float) -> Tensor:
        """Conditional covariance in Joseph form, which stays positive; ``noise`` is the noise variance (d,)."""
        return self.kept @ cov @ self.kept.mT + (self.matrix * noise) @ self.matrix.mT


def condition(state: Gaussian, expected: PredictedObservation, target: Tensor, noise: Tensor | float) -> Gaussian:
    """Condition states on observations ``target (n, d)``; ``noise`` is the noise variance, (d,) or a number."""
    observed = ~target.isnan()
    gain = Gain.of(state.cov, expected.slope, expected.cov, observed)
    residual = torch.where(observed, target - expected.mean, 0.0)
    return Gaussian(state.mean + transform(gain.matrix, residual), gain.condition(state.cov, noise))


def initial_distribution(model: Model, known: Tensor | None, first: Tensor) -> Gaussian:
    """Initial states of chains: ``known (n, dim)``, or the model's prior given the observations ``first``."""
    if known is not None:
        return Gaussian(known, torch.diag_embed(torch.zeros_like(known)))
    prior = Gaussian(*model.prior(len(first)))
    return condition(prior, predict_observation(model, prior), first, model.noise_variance)


def filtered_starts(chains: ObservationChains, start: Gaussian, filtered: Gaussian) -> Gaussian:
    """The state at the start of each transition, given all observations up to there."""
    before = torch.arange(len(chains.chain), device=chains.chain.device) - 1
    first = chains.step == 0
    before, own = before.clamp_min(0), chains.chain
    return Gaussian(
        torch.where(first[:, None], start.mean[own], filtered.mean[before]),
        torch.where(first[:, None, None], start.cov[own], filtered.cov[before]),
    )


def run_filter(model: Model, chains: ObservationChains) -> Filtered:
    """Filter all chains, one observation of every chain at a time."""
    counts = torch.bincount(chains.chain)
    # Longer chains first, so that those still running are always the first ones.
    order = counts.argsort(descending=True, stable=True)
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
    position = (chains.step * len(order) + rank[chains.chain]).argsort()
    active = (counts[:, None] > torch.arange(int(counts.max()), device=counts.device)).sum(0).tolist()
    state, noise = initial_distribution(model, chains.known, chains.first).rows(order), model.noise_variance
    steps: list[tuple[Gaussian, Gaussian, Tensor]] = []
    for items, n in zip(position.split(active), active, strict=True):
        start = state.rows(slice(n))
        transitions = replace(chains.transitions.select(items), state=start.mean, cov=start.cov)
        mean, cov = transitions.moments(model.problem, model.moment_propagator)
        assert cov is not None  # the states at the start have one
        predicted = Gaussian(mean, cov)
        expected, target = predict_observation(model, predicted), chains.targets[items]
        state = condition(predicted, expected, target, noise)
        steps.append((predicted, state, gaussian_log_density(target, expected.mean, expected.cov)))
    back = position.argsort()
    return Filtered(
        _concatenate([predicted for predicted, _, _ in steps]).rows(back),
        _concatenate([filtered for _, filtered, _ in steps]).rows(back),
        torch.cat([density for _, _, density in steps])[back],
    )


def _concatenate(parts: list[Gaussian]) -> Gaussian:
    return Gaussian(torch.cat([part.mean for part in parts]), torch.cat([part.cov for part in parts]))
