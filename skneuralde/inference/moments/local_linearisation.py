"""Local linearisation: moments of an equation that is linearised at the mean of each substep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skneuralde.inference.moments.equations import (
    CurvedNoise,
    LinearNoise,
    expected_drift,
    noise_covariance,
    square_root,
)
from skneuralde.inference.moments.linear_flow import linear_gaussian_flow, sandwich, transform
from skneuralde.inference.moments.propagator import Interval, Moments
from skneuralde.problems import Problem, ito_form

#: The largest number of substeps in an interval.
_MAX_SUBSTEPS = 1024


@dataclass(frozen=True)
class LocalLinearisation:
    """Exact moments of the equation linearised at the mean, on substeps no longer than ``substep``.

    With ``curved_drift`` and ``curved_noise`` the expectations of drift and noise over the distribution of the state
    include second derivatives; without, the coefficient is taken as linear, which is cheaper.

    Exact for a linear drift with additive noise at any spacing; of second order in the substep otherwise (T. Ozaki,
    Statistica Sinica 2, 1992; I. Shoji and T. Ozaki, Stochastic Analysis and Applications 16, 1998).
    """

    substep: float = math.inf
    curved_drift: bool = True
    curved_noise: bool = True

    def advance(self, problem: Problem, start: Moments, interval: Interval) -> Moments:
        """See `MomentPropagator.advance`."""
        problem, moments = ito_form(problem), start
        for rows, part in self._substeps(interval):
            if rows is None:
                moments = self._step(problem, moments, part)
            else:
                moments = moments.with_rows(rows, self._step(problem, moments.rows(rows), part))
        return moments

    def _substeps(self, interval: Interval) -> Iterator[tuple[Tensor | None, Interval]]:
        """The substeps, each with the rows that take part in it; None for all rows."""
        if math.isinf(self.substep):
            yield None, interval
            return
        length = interval.length
        count = (length.abs() / self.substep).ceil().clamp(1, _MAX_SUBSTEPS)
        for k in range(int(count.max()) if len(length) else 0):
            begin = k / count
            c0 = interval.inputs_at(begin)
            c1 = c0 if interval.c0 is interval.c1 else interval.inputs_at((k + 1) / count)
            part = Interval(interval.time + begin * length, length / count, c0, c1)
            rows = (count > k).nonzero()[:, 0]
            if len(rows) == len(length):
                yield None, part
            else:
                yield rows, part.rows(rows)

    def _step(self, problem: Problem, moments: Moments, interval: Interval) -> Moments:
        """One step, with coefficients linearised at the midpoint that Euler's method predicts."""
        mean, cov, matrix = moments
        now = (interval.time + 0.5 * interval.length).to(mean.dtype)[:, None]
        step = interval.length.to(mean.dtype)
        c = interval.inputs_at(0.5)
        half, length = 0.5 * step, (0.5 * step).abs()[:, None, None]
        drift, diffusion = problem.drift, problem.diffusion
        # Backwards in time the covariance grows without bound, so the mean is that of the equation without noise.
        forwards = torch.heaviside(step, step.new_ones(()))[:, None, None]
        # The covariance at the midpoint, over which the coefficients are then averaged.
        midpoint_cov = None
        if cov is None:
            start = drift(now, mean, c)
        else:
            start, slope = expected_drift(drift, now, mean, c, forwards * cov if self.curved_drift else None)
            midpoint_cov = sandwich(linear_gaussian_flow(slope, start, None, half)[0], cov)
        midpoint = torch.addcmul(mean, half[:, None], start)
        density = None
        if diffusion is not None:
            varies = diffusion.state_dependent
            noise = (LinearNoise if varies and not self.curved_noise else CurvedNoise).at(diffusion, now, midpoint, c)
            density = noise_covariance(noise.g)
            if cov is None or midpoint_cov is None:
                factor = length.sqrt() * noise.g
                midpoint_cov = length * density
            else:
                midpoint_cov = midpoint_cov + length * (noise.expected(square_root(cov)) if varies else density)
                factor = square_root(midpoint_cov) if varies else noise.g
            if varies:
                density = noise.expected(factor)
        around = forwards * midpoint_cov if self.curved_drift and midpoint_cov is not None else None
        f, jacobian = expected_drift(drift, now, midpoint, c, around)
        carrying, shift, grown = linear_gaussian_flow(jacobian, f + transform(jacobian, mean - midpoint), density, step)
        if cov is not None:
            carried = sandwich(carrying, cov)
            grown = carried if grown is None else grown + carried
        return Moments(mean + shift, grown, None if matrix is None else carrying @ matrix)
