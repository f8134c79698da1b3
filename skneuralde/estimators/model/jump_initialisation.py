"""Where learning jumps by likelihood starts: at those that the data show to an equation without any."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skneuralde.inference import ChannelParameters, Model, Residuals, Transitions, find_jumps
from skneuralde.inference.jumps.effect_moments import after_jump
from skneuralde.losses import JumpLikelihood
from skneuralde.problems import Jump
from skneuralde.terms import GaussianAffect, MoveBy, Term, learned_network, set_level

#: Transitions that are looked at, and of them those over which levels are averaged, at most.
_MOST_ITEMS, _MOST_ROWS = 65_536, 2048
#: Fewer transitions say nothing.
_FEWEST_ITEMS = 20

#: Time, state and inputs of a coefficient.
Places = tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def start_at_jumps_seen(model: Model, objective: JumpLikelihood, seed: int) -> None:
    """Set the levels of learned rates and effects, and of the noise, to what the residuals without jumps hint at.

    Only networks are set, by the biases of their last layers. Where jumps do not show, nothing is.

    Parameters
    ----------
    model : Model
        Before training.
    objective : JumpLikelihood
        Of transitions from states that are known.
    seed : int
        Of the subset that is looked at where there are many transitions.
    """
    problem = model.problem
    items = _subset(objective.items, seed)
    transitions = objective.transitions.select(items)
    model.propagator = objective.calibrate(model)
    mean, cov = transitions.moments(problem, model.moment_propagator)
    assert cov is not None  # the likelihood of jumps has a diffusion
    variance = cov.diagonal(dim1=-2, dim2=-1).double()
    # Where there is no noise, as where geometric motion is zero, every change is infinitely unlikely.
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
    # Of a matrix of noises, more than the diagonal would have to be set.
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
        shift, spread = _parts(jump)
        if shift is not None:
            set_level(shift, found.channels.mean[k].mean(0), *some)
        if spread is not None:
            set_level(spread, found.channels.variance[k].mean(0).sqrt(), *some)


def _subset(items: Tensor, seed: int) -> Tensor:
    if len(items) <= _MOST_ITEMS:
        return items
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))[:_MOST_ITEMS]
    return items[order.sort().values.to(items.device)]


def _places(transitions: Transitions) -> Places:
    """Where transitions start."""
    first = transitions.c0.index_select(0, transitions.offsets[:-1])
    return transitions.time.to(transitions.state.dtype)[:, None], transitions.state, first


def _with_levels(term: Term | None) -> Term | None:
    """The term if a network moves it as a whole."""
    return None if term is None or learned_network(term) is None else term


def _parts(jump: Jump) -> tuple[Term | None, Term | None]:
    """Mean and standard deviation of what a learned jump adds; None for what is not learned by a network."""
    affect = jump.affect
    if isinstance(affect, GaussianAffect) and jump.marks is None:
        return _with_levels(affect.mean), _with_levels(affect.std)
    return _with_levels(affect.move) if isinstance(affect, MoveBy) else None, None


def _channels(jumps: Sequence[Jump], places: Places) -> ChannelParameters:
    """The channels as they are now, and what of them networks learn."""
    t, u, c = places
    exactly = u.new_zeros(len(u), u.shape[1], u.shape[1])
    laws = [after_jump(jump, t, u, exactly, c) for jump in jumps]
    parts = [_parts(jump) for jump in jumps]

    def told(values: list[bool]) -> Tensor:
        return torch.tensor(values, device=u.device)

    return ChannelParameters(
        rate=torch.stack([jump.rate(t, u, c) for jump in jumps]).double(),
        mean=torch.stack([mean - u for mean, _ in laws]).double(),
        variance=torch.stack([cov.diagonal(dim1=-2, dim2=-1) for _, cov in laws]).double(),
        learns_rate=told([_with_levels(jump.rate) is not None for jump in jumps]),
        learns_mean=told([shift is not None for shift, _ in parts]),
        learns_variance=told([spread is not None for _, spread in parts]),
    )
