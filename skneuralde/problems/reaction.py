"""Reaction terms of fields: the same function at every point, plus sources that depend on the point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skneuralde.terms import Constant, Parameter, Sum, Term, check_term, resolve_known, summands

#: Number of points evaluated at once on a CPU: few enough that intermediate values stay in the cache.
_BLOCK = 2048


class Reaction(Term):
    """The drift of a field: a term that is applied to every point separately, plus sources ``(*grid, fields)``.

    The term sees all points as one batch, ``t (batch * points, 1)``, ``u (batch * points, fields)`` and
    ``c (batch * points, k)``, so that any coefficient can serve and a network is evaluated by one matrix product.
    Sources are added at each point; a parameter among them is learned.
    """

    def __init__(self, term: Term, sources: Sequence[Tensor | Parameter] = ()):
        super().__init__()
        self.term = term
        self.n_sources = len(sources)
        for i, source in enumerate(sources):
            if isinstance(source, (nn.Parameter, nn.Module)):
                setattr(self, f"source{i}", source)
            else:
                self.register_buffer(f"source{i}", source)

    @property
    def sources(self) -> list[Tensor]:
        """Values added to the term at each point, each ``(*grid, fields)``."""
        given = [getattr(self, f"source{i}") for i in range(self.n_sources)]
        return [source() if isinstance(source, Parameter) else source for source in given]

    def forward(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> Tensor:
        """Value at every point of fields ``(batch, *grid, fields)``, same shape."""
        return self._add_sources(_in_blocks(self.term, *_points(t, u, c)), u)

    def linearize(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Value, and Jacobian at every point, ``(batch, *grid, fields, fields)``."""
        value, slope = _in_blocks(self.term.linearize, *_points(t, u, c))
        return self._add_sources(value, u), slope.reshape(*u.shape, u.shape[-1])

    def _add_sources(self, value: Tensor, u: Tensor) -> Tensor:
        value = value.view(u.shape)
        for source in self.sources:
            value = value + source.to(u)
        return value

    def check(self, t: Tensor, u: Tensor, c: Tensor | None = None) -> None:
        """Call the term once and check its value, and that sources have the shape of one state."""
        for source in self.sources:
            if source.shape != u.shape[1:]:
                raise ValueError(
                    f"a source in drift must have the shape of one state, {tuple(u.shape[1:])}, got "
                    f"{tuple(source.shape)}"
                )
        times, points, inputs = _points(t, u, c)
        check_term(self.term, name="drift", shape=(u.shape[-1],), t=times, u=points, c=inputs)


def resolve_reaction(spec: Any) -> Reaction:
    """Turn the drift of a field into a `Reaction`.

    Arrays of two axes or more are sources; everything else is applied to every point.
    """
    parts = summands(spec)
    sources, terms = [], []
    for i, part in enumerate(parts):
        if is_source(part):
            sources.append(_source(part))
        else:
            term = resolve_known(part, name="drift" if len(parts) == 1 else f"drift[{i}]")
            if term is not None:
                terms.append(term)
    if not terms:
        terms.append(Constant(torch.zeros((), dtype=torch.float64)))
    return Reaction(terms[0] if len(terms) == 1 else Sum(terms), sources)


def is_source(part: Any) -> bool:
    """Whether a term of the drift of a field has a value for every point: an array of two axes or more."""
    if isinstance(part, Parameter):
        return len(part.shape) >= 2
    return getattr(part, "ndim", 0) >= 2 and not callable(part)


def _source(value: Any) -> Tensor | Parameter:
    if isinstance(value, (nn.Parameter, Parameter)):
        return value
    array = torch.as_tensor(np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value))
    if array.is_complex() or not bool(array.isfinite().all()):
        raise ValueError("a source in drift must hold finite real numbers")
    return array.double()


def _in_blocks(function: Callable[..., Any], t: Tensor, u: Tensor, c: Tensor | None) -> Any:
    """Values of a function of points, evaluated block by block on a CPU."""
    if u.device.type != "cpu" or len(u) <= 2 * _BLOCK:
        return function(t, u, c)
    inputs = repeat(None) if c is None else c.split(_BLOCK)
    values = [function(*block) for block in zip(t.split(_BLOCK), u.split(_BLOCK), inputs, strict=False)]
    return torch.cat(values) if isinstance(values[0], Tensor) else tuple(map(torch.cat, zip(*values, strict=True)))


def _points(t: Tensor, u: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Time, fields and context of every point of every field, as rows."""
    batch, fields = u.shape[0], u.shape[-1]
    points = u.reshape(-1, fields)
    copies = len(points) // max(batch, 1)
    times = t.reshape(batch, 1, 1).expand(batch, copies, 1).reshape(-1, 1)
    if c is None:
        return times, points, None
    return times, points, c[:, None].expand(batch, copies, c.shape[-1]).reshape(-1, c.shape[-1])
