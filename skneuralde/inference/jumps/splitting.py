"""The law of a state after an interval in which it diffuses and jumps, without simulation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
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
from skneuralde.inference.moments.propagator import MomentPropagator
from skneuralde.inference.transitions.segments import Transitions
from skneuralde.problems import Jump, Problem

#: Times of a single jump that are told apart; beyond, neighbouring times are merged.
_MOST_TIMES = 16


class Component(NamedTuple):
    """One normal law in a mixture: the log of its weight (n,), mean (n, dim) and covariance (n, dim, dim)."""

    log_weight: Tensor
    mean: Tensor
    cov: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Component]) -> Component:
        """Several of them, one after the other."""
        return cls(*map(torch.cat, zip(*parts, strict=True)))

    def divided(self, count: int) -> list[Component]:
        """The inverse of `joined`."""
        return [Component(*part) for part in zip(*(x.chunk(count) for x in self), strict=True)]

    @classmethod
    def merged(cls, parts: Sequence[Component]) -> Component:
        """The one with the weight, the mean and the covariance of the mixture of these."""
        if len(parts) == 1:
            return parts[0]
        log_weights, means, covs = map(torch.stack, zip(*parts, strict=True))
        share = log_weights.softmax(0)[..., None]
        mean = (share * means).sum(0)
        off = means - mean
        cov = (share[..., None] * (covs + off[..., :, None] * off[..., None, :])).sum(0)
        return cls(log_weights.logsumexp(0), mean, cov)


@dataclass(frozen=True)
class Interval:
    """Where n paths are in time: start and length (n,), and the inputs (n, k) at both ends, one tensor if constant."""

    time: Tensor
    length: Tensor
    c0: Tensor
    c1: Tensor

    def part(self, begin: float, end: float) -> Interval:
        """A part of it, from one fraction of its length to another."""
        if self.c0 is self.c1:
            c0 = c1 = self.c0
        else:
            c0, c1 = (torch.lerp(self.c0, self.c1, fraction) for fraction in (begin, end))
        return Interval(self.time + begin * self.length, (end - begin) * self.length, c0, c1)

    def repeated(self, n: int) -> Interval:
        """The same for n copies of all paths."""
        if n == 1:
            return self
        c0 = self.c0.repeat(n, 1)
        c1 = c0 if self.c0 is self.c1 else self.c1.repeat(n, 1)
        return Interval(self.time.repeat(n), self.length.repeat(n), c0, c1)


@dataclass(frozen=True)
class JumpComponents:
    """What may have happened up to some time.

    Attributes
    ----------
    none : Component
        No jump.
    once : list of list of Component
        A single jump, by channel and by time.
    more : dict of int to Component
        By the number of jumps; the largest stands for so many or more.
    """

    none: Component
    once: list[list[Component]]
    more: dict[int, Component]

    def components(self) -> list[Component]:
        """All of them: without a jump, with one, with more."""
        return [self.none, *itertools.chain.from_iterable(self.once), *(self.more[n] for n in sorted(self.more))]

    def jumps(self) -> tuple[int, ...]:
        """The numbers of jumps of these."""
        return (0, *[1] * sum(len(times) for times in self.once), *sorted(self.more))

    def channels(self) -> tuple[int | None, ...]:
        """The channels of single jumps."""
        single = [channel for channel, times in enumerate(self.once) for _ in times]
        return (None, *single, *[None] * len(self.more))

    def replaced(self, components: Sequence[Component]) -> JumpComponents:
        """The same with other components, in the order of `components`."""
        new = iter(components)
        none = next(new)
        once = [[next(new) for _ in times] for times in self.once]
        return JumpComponents(none, once, {n: next(new) for n in sorted(self.more)})


@dataclass(frozen=True)
class JumpSplitting:
    """Diffusion and jumps in turns: jumps happen at the nodes of a Gauss rule, and between them the moments flow.

    At a node of weight w the state jumps as it would in an interval of length w h without anything else: the numbers of
    jumps are those of a pure birth process whose rates are taken at the successive states, and states with a large rate
    are more likely to be among those that jump (see `rates_over_spread`). With one node this is the
    splitting of Strang (SIAM Journal on Numerical Analysis 5, 1968). The time of a single jump is integrated by the
    rule, of degree 2 n - 1. Laws with the same number of jumps, of two and more, are merged by their moments.

    Exact, whatever the length, where drift, diffusion, rate and a normal effect are constant, up to ``most`` - 1 jumps.

    Attributes
    ----------
    moment_propagator : MomentPropagator
        Of the diffusion's moments.
    nodes : int
        Times in each segment of a transition at which jumps happen.
    most : int
        Numbers of jumps that are told apart, at least 2, at a node and in total: the last is "so many or more".
    """

    moment_propagator: MomentPropagator
    nodes: int = 1
    most: int = 3

    def state_distribution(self, problem: Problem, transitions: Transitions) -> Mixture:
        """The law of the states at the ends of transitions."""
        state, cov = transitions.state, transitions.cov
        n, dim = state.shape
        none = Component(state.new_zeros(n), state, state.new_zeros(n, dim, dim) if cov is None else cov)
        branches = JumpComponents(none, [[] for _ in problem.jumps], {})
        places, weights = gauss_rule(self.nodes)
        known = cov is None
        for segment in segments(transitions):
            for begin, place, weight in zip((0.0, *places[:-1]), places, weights, strict=True):
                branches = self._flow(problem, branches, segment.part(begin, place), known=known)
                branches = self._jump(problem, branches, segment.part(place, place), weight * segment.length.abs())
                known = False
            branches = self._flow(problem, branches, segment.part(places[-1], 1.0), known=False)
        log_weight, mean, cov = map(torch.stack, zip(*branches.components(), strict=True))
        return Mixture(log_weight, mean, cov, branches.jumps(), branches.channels())

    def _flow(self, problem: Problem, branches: JumpComponents, part: Interval, *, known: bool) -> JumpComponents:
        """All components across an interval without jumps; ``known`` says that there is one, without any spread."""
        components = branches.components()
        count = len(components)
        every, of = Component.joined(components), part.repeated(count)
        mean, cov = self.moment_propagator.advance(
            problem, every.mean, None if known else every.cov, of.time, of.length, of.c0, of.c1
        )
        moved = Component(every.log_weight, mean, every.cov if cov is None else cov)
        return branches.replaced(moved.divided(count))

    def _jump(self, problem: Problem, branches: JumpComponents, at: Interval, length: Tensor) -> JumpComponents:
        """All components through the jumps of a node that stands for ``length (n,)`` of time."""
        components, numbers = branches.components(), branches.jumps()
        count = len(components)
        every, of = Component.joined(components), at.repeated(count)
        none, chains = jump_chains(
            problem,
            of.time.to(every.mean.dtype)[:, None],
            every,
            of.c0,
            length.to(every.mean.dtype).repeat(count),
            self.most,
        )
        stayed = branches.replaced(none.divided(count))
        pools = {n: [component] for n, component in stayed.more.items()}
        for times, chain in zip(stayed.once, chains, strict=True):
            for further, after in enumerate(chain, 1):
                for number, component in zip(numbers, after.divided(count), strict=True):
                    if number + further == 1:
                        times.append(component)
                    else:
                        pools.setdefault(min(number + further, self.most), []).append(component)
        once = [_thinned(times) for times in stayed.once]
        return JumpComponents(stayed.none, once, {n: Component.merged(parts) for n, parts in pools.items()})


def jump_chains(
    problem: Problem, t: Tensor, begun: Component, c: Tensor, length: Tensor, most: int
) -> tuple[Component, list[list[Component]]]:
    """What ``length (n,)`` of time with nothing but jumps makes of states.

    Returns
    -------
    none : Component
        The states that do not jump.
    chains : list of list of Component
        For each channel, which makes the first jump: the states after one jump, two, and so on up to ``most``, which
        stands for so many or more.
    """
    first, shifts = rates_over_spread(problem.jumps, t, begun, c)
    total = first.sum(0)
    tiny = torch.finfo(total.dtype).tiny
    log_share = (first.clamp_min(tiny) / total.clamp_min(tiny)).log()
    shift = (first[..., None] * shifts).sum(0)
    none = Component(begun.log_weight - total * length, begun.mean - length[:, None] * shift, begun.cov)
    chains = []
    for channel, jump in enumerate(problem.jumps):
        state = after_jump(jump, t, begun.mean + shifts[channel], begun.cov, c)
        rates, states = [total], [state]
        for _ in range(most - 1):
            rate, state = _next_jump(problem.jumps, t, *state, c)
            rates.append(rate)
            states.append(state)
        log_probability = birth_probabilities(torch.stack(rates), length)[1:].clamp_min(tiny).log()
        log_weight = begun.log_weight + log_share[channel] + log_probability
        chains.append([Component(w, *moments) for w, moments in zip(log_weight, states, strict=True)])
    return none, chains


def rates_over_spread(jumps: Sequence[Jump], t: Tensor, state: Component, c: Tensor) -> tuple[Tensor, Tensor]:
    """Mean rates ``(channel, n)`` over the spread of states, and where in it the jumps happen.

    States that jump have a larger rate than others. With P the covariance and a = rate' / rate, they lie by P a from
    the mean, ``(channel, n, dim)``, if the rate is exponential in the state. Where the rate varies by more than its
    size, which a slope cannot describe, the shift is smaller than that: half a standard deviation at most.
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
    """Rates ``(channel, n)``; NaN where one is negative, which then shows in the loss instead of being clipped."""
    rates = torch.stack([jump.rate(t, u, c) for jump in jumps])
    return torch.where(rates < 0.0, torch.nan, rates)


def _next_jump(
    jumps: Sequence[Jump], t: Tensor, mean: Tensor, cov: Tensor, c: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Total rate (n,), and the moments after a jump of whichever channel."""
    rates = channel_rates(jumps, t, mean, c)
    if len(jumps) == 1:
        return rates[0], after_jump(jumps[0], t, mean, cov, c)
    log_rates = rates.clamp_min(torch.finfo(rates.dtype).tiny).log()
    parts = [Component(r, *after_jump(jump, t, mean, cov, c)) for r, jump in zip(log_rates, jumps, strict=True)]
    merged = Component.merged(parts)
    return rates.sum(0), (merged.mean, merged.cov)


def segments(transitions: Transitions) -> Iterator[Interval]:
    """The segments of transitions, one after the other; where one has fewer, the rest have no length."""
    if transitions.is_direct:
        yield Interval(transitions.time, transitions.lengths, transitions.c0, transitions.c1)
        return
    first, counts = transitions.offsets[:-1], transitions.offsets.diff()
    time = transitions.time
    for k in range(int(counts.max()) if len(counts) else 0):
        at = first + torch.minimum(counts - 1, torch.full_like(counts, k))
        length = torch.where(counts > k, transitions.lengths[at], 0.0)
        c0 = transitions.c0[at]
        yield Interval(time, length, c0, c0 if transitions.c1 is transitions.c0 else transitions.c1[at])
        time = time + length


@cache
def gauss_rule(n: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Places in (0, 1) and weights of the Gauss-Legendre rule with n nodes."""
    places, weights = np.polynomial.legendre.leggauss(n)
    return tuple((0.5 * (places + 1.0)).tolist()), tuple((0.5 * weights).tolist())


def _thinned(times: list[Component]) -> list[Component]:
    """Jumps of neighbouring times merged where they are too many."""
    while len(times) > _MOST_TIMES:
        times = [Component.merged(times[i : i + 2]) for i in range(0, len(times), 2)]
    return times
