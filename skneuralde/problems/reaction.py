"""What happens at every point of a field by itself: a law that is the same everywhere, and sources that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skneuralde.terms import Constant, Sum, Term, check_term, resolve_known, summands

#: Points that a law sees at once on a CPU: so few that what it makes of them stays in the cache.
_AT_ONCE = 2048


class Reaction(Term):
    """The drift of a field: a coefficient of the fields at one point, applied at all, plus sources.

    The law sees a batch of points, ``t (batch * points, 1)``, ``u (batch * points, fields)`` and
    ``c (batch * points, k)``, so that any coefficient can be one and all points are one matrix product.

    Parameters
    ----------
    term : Term
    sources : sequence of Tensor of shape (*grid, fields)
        What is added at each point by itself; a parameter is learned.
    """

    def __init__(self, term: Term, sources: Sequence[Tensor] = ()):
        super().__init__()
        self.term = term
        self.n_sources = len(sources)
        for i, source in enumerate(sources):
            if isinstance(source, nn.Parameter):
                self.register_parameter(f"source{i}", source)
            else:
                self.register_buffer(f"source{i}", source)

    @property
    def sources(self) -> list[Tensor]:
        """What is added at each point by itself, each ``(*grid, fields)``."""
        return [getattr(self, f"source{i}") for i in range(self.n_sources)]

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """Value at every point of fields ``(batch, *grid, fields)``, same shape."""
        value = _by_parts(self.term, *_points(t, u, c)).view(u.shape)
        for source in self.sources:
            value = value + source.to(u)
        return value

    def linearize(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Value, and Jacobian of every point by itself, ``(batch, *grid, fields, fields)``."""
        value, slope = _by_parts(self.term.linearize, *_points(t, u, c))
        value = value.view(u.shape)
        for source in self.sources:
            value = value + source.to(u)
        return value, slope.reshape(*u.shape, u.shape[-1])

    def check(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> None:
        """Call the law once and refuse what does not fit.

        Raises
        ------
        ValueError
            If a source has another shape than one state, or as `check_term`.
        """
        for source in self.sources:
            if source.shape != u.shape[1:]:
                raise ValueError(
                    f"a source in drift must have the shape of one state, {tuple(u.shape[1:])}, got "
                    f"{tuple(source.shape)}"
                )
        times, points, inputs = _points(t, u, c)
        check_term(self.term, name="drift", shape=(u.shape[-1],), t=times, u=points, c=inputs)


def resolve_reaction(spec: Any) -> Reaction:
    """Turn the drift of a field into a term.

    Arrays of two axes and more are sources, which know where they are; everything else is the same at all points.
    """
    parts = summands(spec)
    sources, laws = [], []
    for i, part in enumerate(parts):
        if getattr(part, "ndim", 0) >= 2 and not callable(part):
            sources.append(_source(part))
        else:
            term = resolve_known(part, name="drift" if len(parts) == 1 else f"drift[{i}]")
            if term is not None:
                laws.append(term)
    if not laws:
        laws.append(Constant(torch.zeros((), dtype=torch.float64)))
    return Reaction(laws[0] if len(laws) == 1 else Sum(laws), sources)


def _source(value: Any) -> Tensor:
    if isinstance(value, nn.Parameter):
        return value
    array = torch.as_tensor(np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value))
    if array.is_complex() or not bool(array.isfinite().all()):
        raise ValueError("a source in drift must hold finite real numbers")
    return array.double()


def _by_parts(law: Callable[..., Any], t: Tensor, u: Tensor, c: Tensor | None) -> Any:
    """A function of points, part by part."""
    if u.device.type != "cpu" or len(u) <= 2 * _AT_ONCE:
        return law(t, u, c)
    inputs = repeat(None) if c is None else c.split(_AT_ONCE)
    values = [law(*part) for part in zip(t.split(_AT_ONCE), u.split(_AT_ONCE), inputs, strict=False)]
    return torch.cat(values) if isinstance(values[0], Tensor) else tuple(map(torch.cat, zip(*values, strict=True)))


def _points(t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Every point of every field as a row."""
    batch, fields = u.shape[0], u.shape[-1]
    points = u.reshape(-1, fields)
    copies = len(points) // max(batch, 1)
    times = t.reshape(batch, 1, 1).expand(batch, copies, 1).reshape(-1, 1)
    if c is None:
        return times, points, None
    return times, points, c[:, None].expand(batch, copies, c.shape[-1]).reshape(-1, c.shape[-1])
