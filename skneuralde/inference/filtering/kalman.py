"""The continuous-discrete extended Kalman filter: what noisy or partial observations say of the state.

Between observations mean and covariance are propagated as in `skneuralde.inference.moments`; an observation then
conditions them, its function linearised at the mean (S. Sarkka and A. Solin, *Applied Stochastic Differential
Equations*, 2019, chapter 10). Exact for linear equations with additive noise and linear observations.
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


class Expected(NamedTuple):
    """What an observation is expected to show: mean (n, d), its derivative (n, d, dim), and covariance (n, d, d)."""

    mean: Tensor
    slope: Tensor
    cov: Tensor


@dataclass(frozen=True)
class ObservationChains:
    """Observations that follow each other, many chains at once.

    Attributes
    ----------
    transitions : Transitions
        From each observation to the next one; their states are a guess.
    targets : Tensor of shape (n, d)
        What was observed at each transition's end; NaN where nothing was.
    chain : int64 Tensor of shape (n,)
        The chain of each transition; chains are counted from 0 and none is empty.
    step : int64 Tensor of shape (n,)
        The transition's place in its chain; the transitions of a chain follow each other.
    known : Tensor of shape (n_chains, dim) or None
        The states that chains start from, where these are known; None: the model's prior, given ``first``.
    first : Tensor of shape (n_chains, d)
        What was observed where each chain starts.
    """

    transitions: Transitions
    targets: Tensor
    chain: Tensor
    step: Tensor
    known: Tensor | None
    first: Tensor

    def transitions_of(self, chains: Tensor) -> Tensor:
        """Positions of the transitions of these chains."""
        return torch.isin(self.chain, chains).nonzero()[:, 0]

    def select(self, chains: Tensor) -> ObservationChains:
        """These chains, which are then counted in this order."""
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
    """What a filter says at each transition's end.

    ``predicted`` and ``filtered`` are the state before and after the observation there, ``log_density (n,)`` is that of
    the observation given all that came before.
    """

    predicted: Gaussian
    filtered: Gaussian
    log_density: Tensor


def expect(model: Model, state: Gaussian) -> Expected:
    """What observations of these states may show, observation noise included."""
    if model.observation is None:
        value, slope = state.mean, torch.eye(state.mean.shape[-1], dtype=state.mean.dtype, device=state.mean.device)
        return Expected(value, slope.expand(len(value), -1, -1), model.add_noise(state.cov, value))
    value, slope = model.observation.linearize(state.mean)
    return Expected(value, slope, model.add_noise(slope @ state.cov @ slope.mT, value))


class Gain(NamedTuple):
    """How an observation moves a state; entries of it that are missing move nothing.

    Attributes
    ----------
    slope : Tensor of shape (n, d, dim)
        Derivative of what is observed.
    factor : Tensor of shape (n, d, d)
        Cholesky factor of the observation's covariance.
    matrix : Tensor of shape (n, dim, d)
        By how much the state moves.
    kept : Tensor of shape (n, dim, dim)
        What is left of the uncertainty before.
    """

    slope: Tensor
    factor: Tensor
    matrix: Tensor
    kept: Tensor

    @classmethod
    def of(cls, cov: Tensor, slope: Tensor, spread: Tensor, observed: Tensor) -> Gain:
        """For states of covariance ``cov``, an observation of covariance ``spread``, and what of it is ``observed``."""
        slope = torch.where(observed[..., None], slope, 0.0)
        unit = torch.eye(slope.shape[1], dtype=slope.dtype, device=slope.device)
        both = observed[:, :, None] & observed[:, None, :]
        factor = torch.linalg.cholesky_ex(torch.where(both, spread, unit))[0]
        matrix = torch.cholesky_solve(slope @ cov, factor).mT
        kept = torch.eye(slope.shape[2], dtype=slope.dtype, device=slope.device) - matrix @ slope
        return cls(slope, factor, matrix, kept)

    def condition(self, cov: Tensor, noise: Tensor | float) -> Tensor:
        """The covariance afterwards, in the form of Joseph, which stays positive; ``noise`` is the variance (d,)."""
        return self.kept @ cov @ self.kept.mT + (self.matrix * noise) @ self.matrix.mT


def condition(state: Gaussian, expected: Expected, target: Tensor, noise: Tensor | float) -> Gaussian:
    """The state given an observation ``target (n, d)``; ``noise`` is the variance of its noise, (d,) or a number."""
    observed = ~target.isnan()
    gain = Gain.of(state.cov, expected.slope, expected.cov, observed)
    residual = torch.where(observed, target - expected.mean, 0.0)
    return Gaussian(state.mean + transform(gain.matrix, residual), gain.condition(state.cov, noise))


def initial_distribution(model: Model, known: Tensor | None, first: Tensor) -> Gaussian:
    """Where chains start: at states ``known (n, dim)``, or by the model's prior given what was observed, ``first``."""
    if known is not None:
        return Gaussian(known, torch.diag_embed(torch.zeros_like(known)))
    prior = Gaussian(*model.prior(len(first)))
    return condition(prior, expect(model, prior), first, model.noise_variance)


def filtered_starts(chains: ObservationChains, start: Gaussian, filtered: Gaussian) -> Gaussian:
    """The state from which each transition starts, given all that was observed up to there."""
    before = torch.arange(len(chains.chain), device=chains.chain.device) - 1
    first = chains.step == 0
    before, own = before.clamp_min(0), chains.chain
    return Gaussian(
        torch.where(first[:, None], start.mean[own], filtered.mean[before]),
        torch.where(first[:, None, None], start.cov[own], filtered.cov[before]),
    )


def run_filter(model: Model, chains: ObservationChains) -> Filtered:
    """Filter all chains, each step of all of them together."""
    counts = torch.bincount(chains.chain)
    # Longer chains first: those still under way are always the first ones.
    order = counts.argsort(descending=True, stable=True)
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
    place = (chains.step * len(order) + rank[chains.chain]).argsort()
    active = (counts[:, None] > torch.arange(int(counts.max()), device=counts.device)).sum(0).tolist()
    state, noise = initial_distribution(model, chains.known, chains.first).rows(order), model.noise_variance
    steps: list[tuple[Gaussian, Gaussian, Tensor]] = []
    for items, n in zip(place.split(active), active, strict=True):
        begun = state.rows(slice(n))
        transitions = replace(chains.transitions.select(items), state=begun.mean, cov=begun.cov)
        mean, cov = transitions.moments(model.problem, model.moment_propagator)
        assert cov is not None  # there was one before
        predicted = Gaussian(mean, cov)
        expected, target = expect(model, predicted), chains.targets[items]
        state = condition(predicted, expected, target, noise)
        steps.append((predicted, state, gaussian_log_density(target, expected.mean, expected.cov)))
    back = torch.empty_like(place).index_copy_(0, place, torch.arange(len(place), device=place.device))
    return Filtered(
        _concatenate([predicted for predicted, _, _ in steps]).rows(back),
        _concatenate([filtered for _, filtered, _ in steps]).rows(back),
        torch.cat([density for _, _, density in steps])[back],
    )


def _concatenate(parts: list[Gaussian]) -> Gaussian:
    return Gaussian(torch.cat([part.mean for part in parts]), torch.cat([part.cov for part in parts]))
