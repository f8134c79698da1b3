"""Channels of jumps, with networks that start at a low rate and at the size of changes that are no diffusion."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skneuralde.data.layout import Layout
from skneuralde.data.panel import Panel
from skneuralde.estimators.config.scales import Scales
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.problems import Jump
from skneuralde.terms import MLP, JumpNetworks, rate_bound, resolve_affect, resolve_rate

#: A change beyond this number of robust standard deviations counts as a jump; one in 16,000 normal changes does.
_TAIL = 4.0
#: Lower and upper bound of the initial number of jumps per interval.
_RATES = (0.002, 0.1)
#: The smallest standard deviation of a learned random jump, in standard deviations of the change over an interval.
_FLOOR = 0.25


@dataclass(frozen=True)
class JumpScales(Scales):
    """Scales of an equation with jumps. ``volatility`` is the one between jumps.

    Attributes
    ----------
    jump_rate : float
        Initial number of jumps per unit of time.
    jump_size, jump_mean, jump_floor : ndarray of shape (dim,)
        Root mean square, mean, and smallest standard deviation of jumps.
    """

    jump_rate: float
    jump_size: np.ndarray
    jump_mean: np.ndarray
    jump_floor: np.ndarray

    @classmethod
    def of(cls, scales: Scales, panel: Panel, layout: Layout) -> JumpScales:
        """Measure the jumps of a panel whose other scales are known."""
        changes = layout.changes(panel)
        change, root = changes.values, np.sqrt(changes.gaps)[:, None]
        volatility = scales.volatility
        if len(change):
            centre = np.median(change / root, axis=0)
            deviation = 1.4826 * np.median(np.abs(change / root - centre), axis=0)
            # If more than half of the changes are equal, the robust deviation is zero and is not used.
            volatility = np.where(deviation > 0.0, deviation, volatility)
        tail = np.zeros(len(change), dtype=bool)
        if len(change):
            tail = (np.abs(change / root - centre) > _TAIL * volatility).any(axis=1)
        typical = volatility * np.sqrt(scales.spacing)
        size, mean = _TAIL * typical, np.zeros_like(typical)
        if tail.any():
            size = np.maximum(size, np.sqrt(np.mean(change[tail] ** 2, axis=0)))
            mean = np.mean(change[tail], axis=0)
        share = float(np.clip(0.5 * tail.mean() if len(tail) else 0.0, *_RATES))
        if layout.encodes:
            # The context may explain the changes, so that a robust deviation says nothing about the diffusion.
            volatility = scales.volatility
        return cls(
            **asdict(scales) | {"volatility": volatility},
            jump_rate=share / scales.spacing,
            jump_size=size,
            jump_mean=mean,
            jump_floor=_FLOOR * typical,
        )


def channels(spec: Any) -> tuple[Any, ...]:
    """The entries of a parameter, one for each channel."""
    return spec if isinstance(spec, tuple) else (spec,)


def build_jumps(
    factory: TermFactory, rate: Any, affect: Any, max_rate: float | str, *, of_means: bool = False
) -> list[Jump]:
    """The channels that ``jump_rate`` and ``jump_affect`` describe.

    With ``of_means`` the data may be means of paths, which show no single jumps. A network that gives the new state
    then starts at the old state, since a wrong initial jump would spread the paths and blur their mean.

    Raises
    ------
    ValueError
        If the two parameters have different numbers of channels, or one of them is not understood.
    """
    if rate is None:
        return []
    rates, affects = channels(rate), channels(affect)
    if len(rates) != len(affects) or not rates:
        raise ValueError(
            f"jump_rate has {len(rates)} and jump_affect {len(affects)} channels: give tuples of the same length, one "
            "entry per channel. A list is one channel, the sum of its parts."
        )
    names = [""] if len(rates) == 1 else [f"[{k}]" for k in range(len(rates))]
    jumps = []
    for k, (name, one_rate, one_affect) in enumerate(zip(names, rates, affects, strict=True)):
        networks = _networks(factory, max_rate, channel=k, n_channels=len(rates), of_means=of_means)
        term = resolve_rate(one_rate, name=f"jump_rate{name}", networks=networks)
        bound = rate_bound(term)
        if bound is None and not isinstance(max_rate, str) and not _is_mixed(one_rate):
            bound = max_rate
        effect = resolve_affect(one_affect, name=f"jump_affect{name}", networks=networks)
        jumps.append(Jump(term, effect, bound=bound or None))
    return jumps


def _is_mixed(rate: Any) -> bool:
    """Whether a rate is a sum with a network, in which case ``max_jump_rate`` bounds only the network."""
    return isinstance(rate, list) and any(isinstance(part, (str, MLP)) for part in rate)


def _networks(
    factory: TermFactory, max_rate: float | str, *, channel: int, n_channels: int, of_means: bool
) -> JumpNetworks:
    scales = factory.scales
    assert isinstance(scales, JumpScales)  # from `_measure` of the estimator with jumps
    most = 1.0 / scales.spacing if isinstance(max_rate, str) else max_rate
    one_sided = np.abs(scales.jump_mean) > 0.5 * scales.jump_size
    shift = np.where(one_sided, scales.jump_mean, 0.0)
    # With tails on both sides the mean is near zero, but a jump must move the state: start at the typical size.
    move = np.where(one_sided, scales.jump_mean, scales.jump_size)
    if of_means:
        shift = move = np.zeros_like(scales.jump_size)
    elif n_channels > 1:
        # Channels with equal initial weights would stay equal.
        shift = move = scales.jump_size * (-1.0) ** channel * (1.0 + channel // 2)
    return JumpNetworks(
        default=factory.default,
        inputs=factory.inputs,
        generator=factory.generator,
        rate=min(scales.jump_rate / n_channels, 0.5 * most),
        max_rate=most,
        size=factory.tensor(scales.jump_size),
        shift=factory.tensor(shift),
        move=factory.tensor(move),
        floor=factory.tensor(scales.jump_floor),
    )
