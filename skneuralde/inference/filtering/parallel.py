"""Parallel Kalman filter of an equation linearised around given states.

Filtering is an associative operation on the steps of a series (S. Sarkka and A. F. Garcia-Fernandez, "Temporal
parallelization of Bayesian smoothers", IEEE Trans. Autom. Control 66, 2021). A parallel scan therefore filters n
observations in log2(n) rounds instead of n successive steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import Gaussian, gaussian_log_density
from skneuralde.inference.filtering.kalman import (
    Filtered,
    Gain,
    ObservationChains,
    PredictedObservation,
    filtered_starts,
    initial_distribution,
    predict_observation,
    run_filter,
)
from skneuralde.inference.model import Model
from skneuralde.inference.moments.linear_flow import transform

#: The iteration has converged when states move by less than this share of their standard deviation.
_TOLERANCE, _MAX_ITERATIONS = 1e-6, 30


class Affine(NamedTuple):
    """``x1 = matrix x0 + offset`` plus noise of covariance ``noise``, one row per transition."""

    matrix: Tensor
    offset: Tensor
    noise: Tensor


class Element(NamedTuple):
    """Element of the scan: a group of successive steps, conditioned on their observations.

    Given the state x before the group, the state after it has mean ``matrix x + offset`` and covariance ``cov``. The
    likelihood of x is proportional to a Gaussian with the precision matrix ``precision`` and the information vector
    ``information``.
    """

    matrix: Tensor
    offset: Tensor
    cov: Tensor
    information: Tensor
    precision: Tensor


def run_linearised_filter(model: Model, chains: ObservationChains, around: Gaussian) -> Filtered:
    """Filter all chains, with the transitions linearised around the states ``around`` at their starts.

    The result equals that of `run_filter` if ``around`` are the filtered states, and for linear equations with additive
    noise for any ``around``.
    """
    transitions = replace(chains.transitions, state=around.mean, cov=around.cov)
    mean, cov, matrix = transitions.moments_and_matrix(model.problem, model.moment_propagator)
    step = Affine(matrix, mean - transform(matrix, around.mean), cov - matrix @ around.cov @ matrix.mT)
    at_end = predict_observation(model, Gaussian(mean, cov))
    start = initial_distribution(model, chains.known, chains.first)
    filtered = _scan(model, chains, step, at_end, mean, start)
    before = filtered_starts(chains, start, filtered)
    predicted = Gaussian(
        transform(step.matrix, before.mean) + step.offset, step.matrix @ before.cov @ step.matrix.mT + step.noise
    )
    # The observation function is linearised around the end of the transition, too.
    output = at_end.mean + transform(at_end.slope, predicted.mean - mean)
    output_cov = model.add_noise(at_end.slope @ predicted.cov @ at_end.slope.mT, output)
    return Filtered(predicted, filtered, gaussian_log_density(chains.targets, output, output_cov))


@torch.no_grad()
def find_linearisation_states(model: Model, chains: ObservationChains, around: Gaussian | None = None) -> Gaussian:
    """The filtered states at the transitions' starts: the fixed point of `run_linearised_filter`.

    Newton's method from ``around``, or from the states of the transitions if that is None. A state that has converged
    with all states before it stays as it is, so that it does not depend on later observations. States that do not
    converge are computed step by step, by `run_filter`.
    """
    if around is None:
        state = chains.transitions.state
        around = Gaussian(state, torch.diag_embed(torch.zeros_like(state)))
    start = initial_distribution(model, chains.known, chains.first)
    settled = torch.zeros_like(chains.chain, dtype=torch.bool)
    for _ in range(_MAX_ITERATIONS):
        found = filtered_starts(chains, start, run_linearised_filter(model, chains, around).filtered)
        size = found.std + _TOLERANCE * found.mean.abs()
        moved, changed = (found.mean - around.mean).abs(), (found.cov - around.cov).abs().amax(-1)
        close = (moved <= _TOLERANCE * size) & (changed <= _TOLERANCE * size * size.amax(-1, keepdim=True))
        around = _merged(settled, around, found)
        settled = settled | _with_all_before(chains, close.all(-1))
        if bool(settled.all()):
            return around
    return _merged(settled, around, filtered_starts(chains, start, run_filter(model, chains).filtered))


def _merged(chosen: Tensor, first: Gaussian, second: Gaussian) -> Gaussian:
    """The chosen states of the first Gaussian, and the others of the second one."""
    return Gaussian(
        torch.where(chosen[:, None], first.mean, second.mean),
        torch.where(chosen[:, None, None], first.cov, second.cov),
    )


def _with_all_before(chains: ObservationChains, fulfilled: Tensor) -> Tensor:
    """Whether a condition is fulfilled at a transition and at all those before it in its chain."""
    end = int(chains.step.max()) + 1
    failing = torch.where(fulfilled, end, chains.step)
    first = torch.full_like(chains.step, end).scatter_reduce(0, chains.chain, failing, "amin")
    return chains.step < first[chains.chain]


def run_parallel_filter(model: Model, chains: ObservationChains) -> Filtered:
    """Filter all chains without recording gradients."""
    around = find_linearisation_states(model, chains)
    with torch.no_grad():
        return run_linearised_filter(model, chains, around)


def _scan(
    model: Model, chains: ObservationChains, step: Affine, at_end: PredictedObservation, mean: Tensor, start: Gaussian
) -> Gaussian:
    """The filtered states at the transitions' ends."""
    elements = _elements(model, chains, step, at_end, mean)
    dim = mean.shape[1]
    width = int(chains.step.max()) + 2
    n_chains = len(chains.first)
    place = chains.chain * width + chains.step + 1
    unit = torch.eye(dim, dtype=mean.dtype, device=mean.device)

    def padded(rows: Tensor, first: Tensor, filler: Tensor) -> Tensor:
        whole = filler.expand(n_chains * width, *rows.shape[1:])
        begins = torch.arange(n_chains, device=rows.device) * width
        whole = whole.index_copy(0, begins, first).index_copy(0, place, rows)
        return whole.view(n_chains, width, *rows.shape[1:])

    nothing, zero = torch.zeros_like(start.mean), torch.zeros_like(start.cov)
    scan = Element(
        padded(elements.matrix, zero, unit),
        padded(elements.offset, start.mean, unit.new_zeros(dim)),
        padded(elements.cov, start.cov, torch.zeros_like(unit)),
        padded(elements.information, nothing, unit.new_zeros(dim)),
        padded(elements.precision, zero, torch.zeros_like(unit)),
    )
    shift = 1
    while shift < width:
        joined = _join(Element(*(x[:, :-shift] for x in scan)), Element(*(x[:, shift:] for x in scan)))
        scan = Element(*(torch.cat([x[:, :shift], y], 1) for x, y in zip(scan, joined, strict=True)))
        shift *= 2
    return Gaussian(scan.offset.flatten(0, 1)[place], scan.cov.flatten(0, 1)[place])


def _elements(
    model: Model, chains: ObservationChains, step: Affine, at_end: PredictedObservation, mean: Tensor
) -> Element:
    """One element for each transition and the observation at its end."""
    observed = ~chains.targets.isnan()
    output_cov = model.add_noise(at_end.slope @ step.noise @ at_end.slope.mT, at_end.mean)
    gain = Gain.of(step.noise, at_end.slope, output_cov, observed)
    # The observation minus the linearised observation function at a state of zero.
    level = torch.where(observed, chains.targets - at_end.mean, 0.0) + transform(gain.slope, mean)
    through = gain.slope @ step.matrix
    weighted = torch.cholesky_solve(through, gain.factor).mT
    return Element(
        gain.kept @ step.matrix,
        transform(gain.kept, step.offset) + transform(gain.matrix, level),
        gain.condition(step.noise, model.noise_variance),
        transform(weighted, level - transform(gain.slope, step.offset)),
        weighted @ through,
    )


def _join(first: Element, second: Element) -> Element:
    """Two successive groups of steps as one."""
    unit = torch.eye(first.matrix.shape[-1], dtype=first.matrix.dtype, device=first.matrix.device)
    blend = _inverse(unit + first.cov @ second.precision)
    forward, backward = second.matrix @ blend, first.matrix.mT @ blend.mT
    return Element(
        forward @ first.matrix,
        transform(forward, first.offset + transform(first.cov, second.information)) + second.offset,
        forward @ first.cov @ second.matrix.mT + second.cov,
        transform(backward, second.information - transform(second.precision, first.offset)) + first.information,
        backward @ second.precision @ first.matrix + first.precision,
    )


def _inverse(matrix: Tensor) -> Tensor:
    """The inverse, or NaN for singular matrices, which a bad training step can produce."""
    if matrix.shape[-1] == 1:
        return matrix.reciprocal()
    inverse, info = torch.linalg.inv_ex(matrix)
    return torch.where((info == 0)[..., None, None], inverse, torch.nan)
