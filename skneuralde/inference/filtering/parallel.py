"""The Kalman filter of an equation that is linearised around known states, all observations of a series at once.

Filtering is an associative operation on the steps of a series (S. Sarkka and A. F. Garcia-Fernandez, "Temporal
parallelization of Bayesian smoothers", IEEE Trans. Autom. Control 66, 2021), so that n observations take log2(n) rounds
of operations on all of them instead of n steps one after the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skneuralde.inference.distributions.gaussian import Gaussian, gaussian_log_density
from skneuralde.inference.filtering.kalman import (
    Expected,
    Filtered,
    Gain,
    ObservationChains,
    expect,
    filtered_starts,
    initial_distribution,
    run_filter,
)
from skneuralde.inference.model import Model
from skneuralde.inference.moments.linear_flow import transform

#: Filtered states have settled when they move by less than this share of their standard deviation.
_CLOSE, _MOST_TURNS = 1e-6, 30


class Affine(NamedTuple):
    """``x1 = matrix x0 + offset`` plus noise of covariance ``noise``, one row per transition."""

    matrix: Tensor
    offset: Tensor
    noise: Tensor


class Element(NamedTuple):
    """What steps of a series do to the state before them, given what was observed in them.

    The state after them has mean ``matrix x + offset`` and covariance ``cov``; what they say of the state x before them
    is proportional to a Gaussian of precision ``precision`` and information ``information``.
    """

    matrix: Tensor
    offset: Tensor
    cov: Tensor
    information: Tensor
    precision: Tensor


def run_linearised_filter(model: Model, chains: ObservationChains, around: Gaussian) -> Filtered:
    """Filter all chains, the transitions linearised around these states at their starts.

    The same as `run_filter` where ``around`` is what that finds there, and for linear equations with additive noise
    wherever it is.
    """
    transitions = replace(chains.transitions, state=around.mean, cov=around.cov)
    mean, cov, matrix = transitions.flow(model.problem, model.moment_propagator)
    step = Affine(matrix, mean - transform(matrix, around.mean), cov - matrix @ around.cov @ matrix.mT)
    at_end = expect(model, Gaussian(mean, cov))
    start = initial_distribution(model, chains.known, chains.first)
    filtered = _scan(model, chains, step, at_end, mean, start)
    before = filtered_starts(chains, start, filtered)
    predicted = Gaussian(
        transform(step.matrix, before.mean) + step.offset, step.matrix @ before.cov @ step.matrix.mT + step.noise
    )
    # The observation, too, is linearised around the end of the transition.
    shown = at_end.mean + transform(at_end.slope, predicted.mean - mean)
    spread = model.add_noise(at_end.slope @ predicted.cov @ at_end.slope.mT, shown)
    return Filtered(predicted, filtered, gaussian_log_density(chains.targets, shown, spread))


@torch.no_grad()
def find_linearisation_states(model: Model, chains: ObservationChains, around: Gaussian | None = None) -> Gaussian:
    """The filtered states at the transitions' starts: those around which `run_linearised_filter` finds them again.

    By Newton's method from ``around``, or from the guess that the transitions hold; one step after the other where that
    does not converge.
    """
    if around is None:
        state = chains.transitions.state
        around = Gaussian(state, torch.diag_embed(torch.zeros_like(state)))
    start = initial_distribution(model, chains.known, chains.first)
    for _ in range(_MOST_TURNS):
        found = filtered_starts(chains, start, run_linearised_filter(model, chains, around).filtered)
        size = found.cov.diagonal(dim1=-2, dim2=-1).clamp_min(0.0).sqrt() + _CLOSE * found.mean.abs()
        moved, spread = (found.mean - around.mean).abs(), (found.cov - around.cov).abs().amax(-1)
        around = found
        if bool((moved <= _CLOSE * size).all() & (spread <= _CLOSE * size * size.amax(-1, keepdim=True)).all()):
            return around
    return filtered_starts(chains, start, run_filter(model, chains).filtered)


def run_parallel_filter(model: Model, chains: ObservationChains) -> Filtered:
    """Filter all chains, without a gradient."""
    around = find_linearisation_states(model, chains)
    with torch.no_grad():
        return run_linearised_filter(model, chains, around)


def _scan(
    model: Model, chains: ObservationChains, step: Affine, at_end: Expected, mean: Tensor, start: Gaussian
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


def _elements(model: Model, chains: ObservationChains, step: Affine, at_end: Expected, mean: Tensor) -> Element:
    """What each transition, with the observation at its end, does to the state at its start."""
    observed = ~chains.targets.isnan()
    spread = model.add_noise(at_end.slope @ step.noise @ at_end.slope.mT, at_end.mean)
    gain = Gain.of(step.noise, at_end.slope, spread, observed)
    # The observation less what the linearisation says of it at a state of zero.
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
    """Two groups of steps that follow each other as one."""
    unit = torch.eye(first.matrix.shape[-1], dtype=first.matrix.dtype, device=first.matrix.device)
    blend = _inverse(unit + first.cov @ second.precision)
    forward, backward = second.matrix @ blend, first.matrix.mT @ blend.mT
    return Element(
        forward @ first.matrix,
        _apply(forward, first.offset + _apply(first.cov, second.information)) + second.offset,
        forward @ first.cov @ second.matrix.mT + second.cov,
        _apply(backward, second.information - _apply(second.precision, first.offset)) + first.information,
        backward @ second.precision @ first.matrix + first.precision,
    )


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _inverse(matrix: Tensor) -> Tensor:
    """The inverse; NaN where there is none, as after a step of training that went too far."""
    if matrix.shape[-1] == 1:
        return matrix.reciprocal()
    inverse, info = torch.linalg.inv_ex(matrix)
    return torch.where((info == 0)[..., None, None], inverse, torch.nan)
