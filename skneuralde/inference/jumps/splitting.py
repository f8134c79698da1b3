"""Splitting: the distribution of a state after an interval of diffusion and jumps, without simulation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skneuralde.inference.distributions.mixture import Mixture
from skneuralde.inference.jumps.birth_process import birth_probabilities
from skneuralde.inference.jumps.effect_moments import after_jump
from skneuralde.inference.moments.linear_flow import transform
from skneuralde.inference.moments.propagator import Interval, MomentPropagator, Moments
from skneuralde.inference.transitions.segments import Transitions
from skneuralde.problems import Jump, Problem

#: The largest number of times of a single jump that are told apart; beyond, neighbouring times are merged.
_MAX_TIMES = 16


class Component(NamedTuple):
    """A normal component of a mixture: the log of its weight (n,), mean (n, dim) and covariance (n, dim, dim)."""

    log_weight: Tensor
    mean: Tensor
    cov: Tensor

    @classmethod
    def concatenated(cls, components: Sequence[Component]) -> Component:
        """Several components, concatenated along n."""
        return cls(*map(torch.cat, zip(*components, strict=True)))

    def rows(self, rows: Tensor) -> Component:
        """The component of some of the n states."""
        return Component(*(x[rows] for x in self))

    def chunks(self, count: int) -> list[Component]:
        """The inverse of `concatenated`."""
        return [Component(*x) for x in zip(*(x.chunk(count) for x in self), strict=True)]

    @classmethod
    def merged(cls, components: Sequence[Component]) -> Component:
        """One component with the weight, the mean and the covariance of the mixture of these."""
        if len(components) == 1:
            return components[0]
        log_weights, means, covs = map(torch.stack, zip(*components, strict=True))
        share = log_weights.softmax(0)[..., None]
        mean = (share * means).sum(0)
        off = means - mean
        cov = (share[..., None] * (covs + off[..., :, None] * off[..., None, :])).sum(0)
        return cls(log_weights.logsumexp(0), mean, cov)


@dataclass(frozen=True)
class JumpComponents:
    """The components of a mixture by the jumps that have happened so far."""

    none: Component
    once: list[list[Component]]  #: a single jump, by channel and by time
    more: dict[int, Component]  #: two or more jumps, by their number; the largest stands for itself and all larger ones

    def all(self) -> list[Component]:
        """All components: without a jump, with one, with more."""
        return [self.none, *itertools.chain.from_iterable(self.once), *(self.more[n] for n in sorted(self.more))]

    def jumps(self) -> tuple[int, ...]:
        """The number of jumps of each component."""
        return (0, *[1] * sum(len(times) for times in self.once), *sorted(self.more))

    def channels(self) -> tuple[int | None, ...]:
        """The channel of each component with a single jump; None for the others."""
        single = [channel for channel, times in enumerate(self.once) for _ in times]
        return (None, *single, *[None] * len(self.more))

    def rows(self, rows: Tensor) -> JumpComponents:
        """The components of some of the states."""
        return self.replaced([component.rows(rows) for component in self.all()])

    @classmethod
    def concatenated(cls, parts: Sequence[JumpComponents]) -> JumpComponents:
        """The components of several groups of states; those that only other groups have get a weight of zero."""
        if len(parts) == 1:
            return parts[0]
        counts = [max(len(times) for times in channel) for channel in zip(*(part.once for part in parts), strict=True)]
        numbers = sorted(set().union(*(part.more for part in parts)))
        padded = [part._padded(counts, numbers) for part in parts]
        joined = map(Component.concatenated, zip(*(part.all() for part in padded), strict=True))
        return padded[0].replaced(list(joined))

    def _padded(self, counts: Sequence[int], numbers: Sequence[int]) -> JumpComponents:
        nothing = self.none._replace(log_weight=torch.full_like(self.none.log_weight, -torch.inf))
        once = [[*times, *[nothing] * (n - len(times))] for times, n in zip(self.once, counts, strict=True)]
        return JumpComponents(self.none, once, {n: self.more.get(n, nothing) for n in numbers})

    def replaced(self, components: Sequence[Component]) -> JumpComponents:
        """The same jumps with other components, in the order of `all`."""
        new = iter(components)
        none = next(new)
        once = [[next(new) for _ in times] for times in self.once]
        return JumpComponents(none, once, {n: next(new) for n in sorted(self.more)})


@dataclass(frozen=True)
class JumpSplitting:
    """Operator splitting of diffusion and jumps: jumps happen at the nodes of a Gauss rule, diffusion between them.

    At a node of weight w the state jumps as it would in an interval of length w h without diffusion: the number of
    jumps is that of a pure birth process whose rates are evaluated at the successive states. States with a large rate
    are more likely to be among those that jump (see `rates_over_distribution`). With one node this is the splitting of
    Strang (SIAM Journal on Numerical Analysis 5, 1968). The rule integrates over the time of a single jump with degree
    2 n - 1. Components with the same number of jumps, two or more, are merged by their moments.

    Exact for any length if drift, diffusion, rate and a normal effect are constant, up to ``most`` - 1 jumps.
    """

    moment_propagator: MomentPropagator  #: propagates the moments of the diffusion
    nodes: int = 1  #: number of times in each segment of a transition at which jumps happen
    #: Number of jumps, at least 2, up to which components are told apart, at a node and in total; the last stands for
    #: itself and all larger numbers.
    most: int = 3

    def state_distribution(self, problem: Problem, transitions: Transitions) -> Mixture:
        """The distribution of the states at the ends of transitions."""
        state, cov = transitions.state, transitions.cov
        n, dim = state.shape
        none = Component(state.new_zeros(n), state, state.new_zeros(n, dim, dim) if cov is None else cov)
        components = JumpComponents(none, [[] for _ in problem.jumps], {})
        if not transitions.is_direct:
            return self._through_segments(problem, transitions, components, known=cov is None)
        whole = Interval(transitions.time, transitions.lengths, transitions.c0, transitions.c1)
        return _mixture(self._advance(problem, components, whole, known=cov is None))

    def _through_segments(
        self, problem: Problem, transitions: Transitions, components: JumpComponents, *, known: bool
    ) -> Mixture:
        """The distribution after transitions of several segments; no transition depends on how many others have."""
        counts, time = transitions.offsets.diff(), transitions.time
        rows = torch.arange(len(counts), device=counts.device)
        order, ended = [rows[:0]], [components.rows(rows[:0])]
        for k in range(int(counts.max()) if len(counts) else 0):
            at = transitions.offsets[rows] + k
            segment = Interval(time, transitions.lengths[at], transitions.c0[at], transitions.c1[at])
            components = self._advance(problem, components, segment, known=known and k == 0)
            ends = counts[rows] == k + 1
            order.append(rows[ends])
            ended.append(components.rows(ends))
            rows, time, components = rows[~ends], (time + segment.length)[~ends], components.rows(~ends)
        return _mixture(JumpComponents.concatenated(ended).rows(torch.cat(order).argsort()))

    def _advance(
        self, problem: Problem, components: JumpComponents, segment: Interval, *, known: bool
    ) -> JumpComponents:
        """All components after a segment; ``known`` states that their covariance is zero."""
        nodes, weights = gauss_rule(self.nodes)
        for begin, node, weight in zip((0.0, *nodes[:-1]), nodes, weights, strict=True):
            components = self._diffuse(problem, components, segment.part(begin, node), known=known)
            components = self._jump(problem, components, segment.part(node, node), weight * segment.length.abs())
            known = False
        return self._diffuse(problem, components, segment.part(nodes[-1], 1.0), known=False)

    def _diffuse(self, problem: Problem, components: JumpComponents, part: Interval, *, known: bool) -> JumpComponents:
        """All components after an interval without jumps; ``known`` states that their covariance is zero."""
        each = components.all()
        start = Component.concatenated(each)
        moments = Moments(start.mean, None if known else start.cov)
        mean, cov, _ = self.moment_propagator.advance(problem, moments, part.repeated(len(each)))
        moved = Component(start.log_weight, mean, start.cov if cov is None else cov)
        return components.replaced(moved.chunks(len(each)))

    def _jump(self, problem: Problem, components: JumpComponents, at: Interval, length: Tensor) -> JumpComponents:
        """All components after the jumps of a node that stands for ``length (n,)`` of time."""
        each, numbers = components.all(), components.jumps()
        count = len(each)
        before, at = Component.concatenated(each), at.repeated(count)
        t, length = at.time.to(before.mean.dtype)[:, None], length.to(before.mean.dtype).repeat(count)
        none, sequences = jump_sequences(problem, t, before, at.c0, length, self.most)
        stayed = components.replaced(none.chunks(count))
        pools = {n: [component] for n, component in stayed.more.items()}
        for times, sequence in zip(stayed.once, sequences, strict=True):
            for further, after in enumerate(sequence, 1):
                for number, component in zip(numbers, after.chunks(count), strict=True):
                    if number + further == 1:
                        times.append(component)
                    else:
                        pools.setdefault(min(number + further, self.most), []).append(component)
        once = [_merge_neighbours(times) for times in stayed.once]
        return JumpComponents(stayed.none, once, {n: Component.merged(pool) for n, pool in pools.items()})


def jump_sequences(
    problem: Problem, t: Tensor, before: Component, c: Tensor, length: Tensor, most: int
) -> tuple[Component, list[list[Component]]]:
    """Components after ``length (n,)`` of time with nothing but jumps: the states that do not jump, and the others.

    The latter are given by the channel of the first jump: the states after one jump, two, and so on up to ``most``,
    which stands for itself and all larger numbers.
    """
    first, shifts = rates_over_distribution(problem.jumps, t, before, c)
    total = first.sum(0)
    tiny = torch.finfo(total.dtype).tiny
    log_share = (first.clamp_min(tiny) / total.clamp_min(tiny)).log()
    shift = (first[..., None] * shifts).sum(0)
    none = Component(before.log_weight - total * length, before.mean - length[:, None] * shift, before.cov)
    sequences = []
    for channel, jump in enumerate(problem.jumps):
        state = after_jump(jump, t, before.mean + shifts[channel], before.cov, c)
        rates, states = [total], [state]
        for _ in range(most - 1):
            rate, state = _next_jump(problem.jumps, t, *state, c)
            rates.append(rate)
            states.append(state)
        log_probability = birth_probabilities(torch.stack(rates), length)[1:].clamp_min(tiny).log()
        log_weight = before.log_weight + log_share[channel] + log_probability
        sequences.append([Component(w, *moments) for w, moments in zip(log_weight, states, strict=True)])
    return none, sequences


def rates_over_distribution(jumps: Sequence[Jump], t: Tensor, state: Component, c: Tensor) -> tuple[Tensor, Tensor]:
    """Mean rates ``(channel, n)`` over a normal state, and the mean shift ``(channel, n, dim)`` of states that jump.

    States that jump have a larger rate than others. With P the covariance and a = rate' / rate, their mean is shifted
    by P a if the rate is exponential in the state. If the rate varies by more than its size, which a slope cannot
    describe, the shift is smaller: half a standard deviation at most.
    """
    rates, shifts = [], []
    for jump in jumps:
        value, slope, bend = jump.rate.curvature(t, state.mean, c, state.cov)
        value = torch.where(value < 0.0, torch.nan, value)
        along = transform(state.cov, slope)
        variance = (along * slope).sum(-1)
        tiny = torch.finfo(value.dtype).tiny
        rates.append(torch.maximum(value + 0.5 * bend, 0.5 * value))
        shifts.append((value / (value.square() + variance).clamp_min(tiny))[:, None] * along)
    return torch.stack(rates), torch.stack(shifts)


def channel_rates(jumps: Sequence[Jump], t: Tensor, u: Tensor, c: Tensor) -> Tensor:
    """Rates ``(channel, n)``. A negative rate becomes NaN, so that it shows in the loss instead of being clipped."""
    rates = torch.stack([jump.rate(t, u, c) for jump in jumps])
    return torch.where(rates < 0.0, torch.nan, rates)


def _next_jump(
    jumps: Sequence[Jump], t: Tensor, mean: Tensor, cov: Tensor, c: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Total rate (n,), and the moments after a jump of any channel."""
    rates = channel_rates(jumps, t, mean, c)
    if len(jumps) == 1:
        return rates[0], after_jump(jumps[0], t, mean, cov, c)
    log_rates = rates.clamp_min(torch.finfo(rates.dtype).tiny).log()
    each = [Component(r, *after_jump(jump, t, mean, cov, c)) for r, jump in zip(log_rates, jumps, strict=True)]
    merged = Component.merged(each)
    return rates.sum(0), (merged.mean, merged.cov)


def _mixture(components: JumpComponents) -> Mixture:
    log_weight, mean, cov = map(torch.stack, zip(*components.all(), strict=True))
    return Mixture(log_weight, mean, cov, components.jumps(), components.channels())


@cache
def gauss_rule(n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes in (0, 1) and weights of the Gauss-Legendre rule with n nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return tuple((0.5 * (nodes + 1.0)).tolist()), tuple((0.5 * weights).tolist())


def _merge_neighbours(times: list[Component]) -> list[Component]:
    """Components of neighbouring times merged in pairs until few enough are left."""
    while len(times) > _MAX_TIMES:
        times = [Component.merged(times[i : i + 2]) for i in range(0, len(times), 2)]
    return times
