"""Initial rates and sizes of jumps, from the residuals of an equation without jumps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skneuralde.inference import ChannelParameters, Model, Residuals, Transitions, find_jumps
from skneuralde.inference.jumps.effect_moments import after_jump
from skneuralde.losses import JumpLikelihood
from skneuralde.problems import Jump
from skneuralde.terms import GaussianAffect, MoveBy, Term, learned_network, set_level

#: The most transitions that are used, and the most of them over which levels are averaged.
_MOST_ITEMS, _MOST_ROWS = 65_536, 2048
#: With fewer transitions nothing is set.
_FEWEST_ITEMS = 20

#: Time, state and inputs of a coefficient.
Places = tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def start_at_jumps_seen(model: Model, objective: JumpLikelihood, seed: int) -> None:
    """Set the levels of learned rates, effects and noise to those estimated from residuals without jumps.

    Only networks are changed, by the biases of their last layers. If the residuals show no jumps, nothing is changed.

    Parameters
    ----------
    model : Model
        Before training.
    objective : JumpLikelihood
        Of transitions from known states.
    seed : int
        Draws the subset of transitions that is used.
    """
    problem = model.problem
    items = _subset(objective.items, seed)
    transitions = objective.transitions.select(items)
    model.propagator = objective.calibrate(model)
    mean, cov = transitions.moments(problem, model.moment_propagator)
    assert cov is not None  # the likelihood of jumps has a diffusion
    variance = cov.diagonal(dim1=-2, dim2=-1).double()
    # Without noise, as at zero in geometric Brownian motion, every change would be infinitely unlikely.
    noisy = (variance > 0.0).all(-1).nonzero()[:, 0]
    if len(noisy) < _FEWEST_ITEMS:
        return
    items, transitions = items[noisy], transitions.select(noisy)
    residuals = Residuals(
        change=(objective.targets.index_select(0, items) - mean[noisy]).double(),
        variance=variance[noisy],
        length=transitions.horizon.abs(),
        weight=objective.weight[items].double(),
    )
    # For a matrix of noise, more than the diagonal would have to be set.
    noise = None if problem.noise == "general" else _with_levels(problem.diffusion)
    places = _places(transitions)
    found = find_jumps(residuals, _channels(problem.jumps, places), learns_noise=noise is not None)
    if found is None:
        return
    rows = slice(None, None, 1 + len(items) // _MOST_ROWS)
    some = tuple(x[rows] for x in places)
    if noise is not None:
        set_level(noise, found.inflation.sqrt() * noise(*some).mean(0), *some)
    for k, jump in enumerate(problem.jumps):
        set_level(jump.rate, found.channels.rate[k].mean(), *some)
        shift, std = _parts(jump)
        if shift is not None:
            set_level(shift, found.channels.mean[k].mean(0), *some)
        if std is not None:
            set_level(std, found.channels.variance[k].mean(0).sqrt(), *some)


def _subset(items: Tensor, seed: int) -> Tensor:
    if len(items) <= _MOST_ITEMS:
        return items
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))[:_MOST_ITEMS]
    return items[order.sort().values.to(items.device)]


def _places(transitions: Transitions) -> Places:
    """The starts of transitions."""
    first = transitions.c0.index_select(0, transitions.offsets[:-1])
    return transitions.time.to(transitions.state.dtype)[:, None], transitions.state, first


def _with_levels(term: Term | None) -> Term | None:
    """The term if a network sets its level; else None."""
    return None if term is None or learned_network(term) is None else term


def _parts(jump: Jump) -> tuple[Term | None, Term | None]:
    """Mean and standard deviation of a learned jump; None for those that are not learned by a network."""
    affect = jump.affect
    if isinstance(affect, GaussianAffect) and jump.marks is None:
        return _with_levels(affect.mean), _with_levels(affect.std)
    return _with_levels(affect.move) if isinstance(affect, MoveBy) else None, None


def _channels(jumps: Sequence[Jump], places: Places) -> ChannelParameters:
    """The current parameters of the channels, and which of them networks learn."""
    t, u, c = places
    exactly = u.new_zeros(len(u), u.shape[1], u.shape[1])
    moments = [after_jump(jump, t, u, exactly, c) for jump in jumps]
    parts = [_parts(jump) for jump in jumps]

    def flags(values: list[bool]) -> Tensor:
        return torch.tensor(values, device=u.device)

    return ChannelParameters(
        rate=torch.stack([jump.rate(t, u, c) for jump in jumps]).double(),
        mean=torch.stack([mean - u for mean, _ in moments]).double(),
        variance=torch.stack([cov.diagonal(dim1=-2, dim2=-1) for _, cov in moments]).double(),
        learns_rate=flags([_with_levels(jump.rate) is not None for jump in jumps]),
        learns_mean=flags([shift is not None for shift, _ in parts]),
        learns_variance=flags([std is not None for _, std in parts]),
    )
