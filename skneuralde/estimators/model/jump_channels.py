"""Where learning jumps starts: a low rate, and jumps of the size of what diffusion does not explain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skneuralde.data.panel import Panel
from skneuralde.estimators.config.scales import Scales, increments
from skneuralde.estimators.model.coefficients import TermFactory
from skneuralde.problems import Jump
from skneuralde.terms import MLP, JumpNetworks, rate_bound, resolve_affect, resolve_rate

#: Beyond so many robust deviations a change is taken for a jump; of normal changes one in 16,000 is.
_TAIL = 4.0
#: Jumps per interval to start with, at least and at most.
_RATES = (0.002, 0.1)
#: The least standard deviation of a learned random jump, in deviations of the change over an interval.
_FLOOR = 0.25


@dataclass(frozen=True)
class JumpScales(Scales):
    """Scales of an equation with jumps; ``volatility`` is that between jumps.

    Attributes
    ----------
    jump_rate : float
        Jumps per unit of time to start with.
    jump_size, jump_mean, jump_floor : ndarray of shape (dim,)
        Root mean square, mean, and least standard deviation of jumps.
    """

    jump_rate: float
    jump_size: np.ndarray
    jump_mean: np.ndarray
    jump_floor: np.ndarray

    @classmethod
    def of(cls, scales: Scales, panel: Panel, layout: str) -> JumpScales:
        """Measure the jumps of a panel of layout "series", "table" or "flow", whose other scales are known."""
        change, gap = _changes(scales, panel, layout)
        change, gap = change[gap > 0], gap[gap > 0]
        root = np.sqrt(gap)[:, None]
        volatility = scales.volatility
        if len(change):
            centre = np.median(change / root, axis=0)
            spread = 1.4826 * np.median(np.abs(change / root - centre), axis=0)
            # More than half of the changes being the same says nothing of their spread.
            volatility = np.where(spread > 0.0, spread, volatility)
        tail = np.zeros(len(change), dtype=bool)
        if len(change):
            tail = (np.abs(change / root - centre) > _TAIL * volatility).any(axis=1)
        typical = volatility * np.sqrt(scales.spacing)
        size, mean = _TAIL * typical, np.zeros_like(typical)
        if tail.any():
            size = np.maximum(size, np.sqrt(np.mean(change[tail] ** 2, axis=0)))
            mean = np.mean(change[tail], axis=0)
        share = float(np.clip(0.5 * tail.mean() if len(tail) else 0.0, *_RATES))
        if layout == "table":
            # What the context says of the changes is not known yet.
            volatility = scales.volatility
        return cls(
            **asdict(scales) | {"volatility": volatility},
            jump_rate=share / scales.spacing,
            jump_size=size,
            jump_mean=mean,
            jump_floor=_FLOOR * typical,
        )


def _changes(scales: Scales, panel: Panel, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """Changes (n, dim) and over which time (n,)."""
    if layout == "series":
        change, gap, _ = increments(panel)
        return change, gap
    start = panel.initial if layout == "flow" else scales.state[0]
    change = panel.values - start
    gap = np.abs(panel.times) if layout == "flow" else np.full(len(change), scales.spacing)
    there = ~np.isnan(change).any(axis=1)
    return change[there], gap[there]


def channels(spec: Any) -> tuple[Any, ...]:
    """The entries of a parameter that may be a tuple with one for each channel."""
    return spec if isinstance(spec, tuple) else (spec,)


def build_jumps(
    factory: TermFactory, rate: Any, affect: Any, max_rate: float | str, *, of_means: bool = False
) -> list[Jump]:
    """The channels that ``jump_rate`` and ``jump_affect`` describe.

    ``of_means`` says that the data may be means of paths, in which no jump shows: a network that gives the new state
    then starts at the old one, since a wrong move would spread the paths until their mean tells little.

    Raises
    ------
    ValueError
        When the two do not have the same number of channels, or one of them is nothing that it can be.
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
    """Whether a rate is a sum with a learned part, which alone ``max_jump_rate`` bounds."""
    return isinstance(rate, list) and any(isinstance(part, (str, MLP)) for part in rate)


def _networks(
    factory: TermFactory, max_rate: float | str, *, channel: int, n_channels: int, of_means: bool
) -> JumpNetworks:
    scales = factory.scales
    assert isinstance(scales, JumpScales)  # `_measure` of the estimator with jumps makes them
    most = 1.0 / scales.spacing if isinstance(max_rate, str) else max_rate
    one_sided = np.abs(scales.jump_mean) > 0.5 * scales.jump_size
    shift = np.where(one_sided, scales.jump_mean, 0.0)
    # Tails on both sides have no mean to start from, and a jump that does not move is none.
    move = np.where(one_sided, scales.jump_mean, scales.jump_size)
    if of_means:
        shift = move = np.zeros_like(scales.jump_size)
    elif n_channels > 1:
        # Channels that start alike would stay alike.
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
