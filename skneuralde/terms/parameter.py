"""`Parameter`: a number of an equation that is learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

#: The state whose dtype and device values take.
_state: ContextVar[Tensor | None] = ContextVar("_state", default=None)
_seen: ContextVar[list[Parameter] | None] = ContextVar("_seen", default=None)


class values_like:
    """Give values of parameters in dtype and device of a state, in this thread."""

    def __init__(self, state: Tensor):
        self.state = state

    def __enter__(self) -> None:
        self.token = _state.set(self.state)

    def __exit__(self, *error: object) -> None:
        _state.reset(self.token)


@contextmanager
def evaluated() -> Iterator[list[Parameter]]:
    """Note which parameters are evaluated, in this thread."""
    seen = list[Parameter]()
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


class Parameter(nn.Module):
    """A number, or an array of numbers, that is learned.

    It is given in the place of a number, as a default argument of a callable, or as an attribute of a module. In
    arithmetic and in torch functions it stands for its value.

    Parameters
    ----------
    initial : float or array-like
        Initial value. An array is learned entry by entry.
    positive : bool, default=False
        Keep the value above 0: its logarithm is trained.
    bounds : (float or None, float or None), optional
        Keep the value between these, None for no bound: the logit of its place between two bounds is trained, the
        logarithm of the distance from a single one.
    unit : str, optional
        Unit of the value, for the table ``parameters_`` of a fitted estimator.

    Raises
    ------
    ValueError
        If the initial value is not a finite real number within the bounds, or bounds are reversed or contradict
        ``positive``.

    Notes
    -----
    The name of a parameter is the argument that it is given as (``"diffusivity"``), the name of the default argument
    (``"k"``), or the path of the attribute (``"drift.k"``). One object in several places is one parameter. `fit` trains
    copies and leaves the given object as it is; `solve` differentiates with respect to the object itself.

    Examples
    --------
    >>> import numpy as np
    >>> from skneuralde import NeuralSDERegressor, Parameter
    >>> t = np.linspace(0, 4, 30)
    >>> def decay(t, u, k=Parameter(1.0, positive=True, unit="1/s")):
    ...     return -k * u
    >>> model = NeuralSDERegressor(drift=decay, diffusion=None).fit(t[:, None], np.exp(-0.5 * t))
    >>> model.parameters_.round(3)
      name  estimate unit
    0    k       0.5  1/s
    """

    raw: nn.Parameter
    scale: Tensor | None

    def __init__(
        self,
        initial: Any,
        positive: bool = False,
        bounds: tuple[float | None, float | None] | None = None,
        unit: str | None = None,
    ):
        super().__init__()
        self.initial, self.positive, self.bounds, self.unit = initial, positive, bounds, unit
        if not isinstance(positive, (bool, np.bool_)):
            raise ValueError(f"positive must be True or False, got {positive!r}")
        if unit is not None and not isinstance(unit, str):
            raise ValueError(f"unit must be a string, got {unit!r}")
        value = _read_initial(initial)
        self.low, self.high = _read_bounds(bounds, bool(positive))
        if not bool(((value > self.low) & (value < self.high)).all()):
            allowed = (
                "positive" if self.low == 0.0 and self.high == math.inf else f"between {self.low:g} and {self.high:g}"
            )
            raise ValueError(f"the initial value of a Parameter must be {allowed}, got {initial!r}")
        self.register_buffer("scale", None)
        if self.low == -math.inf and self.high == math.inf:
            # Training in units of the initial value is independent of the unit that the caller has chosen.
            self.scale = torch.where(value == 0.0, _typical(value), value.abs())
        self.raw = nn.Parameter(self._raw_of(value))

    def _raw_of(self, value: Tensor) -> Tensor:
        """The trained form of a value."""
        if self.scale is not None:
            return value / self.scale
        if self.high == math.inf:
            return (value - self.low).log()
        if self.low == -math.inf:
            return (self.high - value).log()
        return (value - self.low).log() - (self.high - value).log()

    def forward(self) -> Tensor:
        """The present value, of the shape of ``initial``."""
        seen = _seen.get()
        if seen is not None:
            seen.append(self)
        value, state = self._value(), _state.get()
        return value if state is None else as_state(value, state)

    def _value(self) -> Tensor:
        if self.scale is not None:
            return self.raw * self.scale
        if self.high == math.inf:
            return self.low + self.raw.exp() if self.low else self.raw.exp()
        if self.low == -math.inf:
            return self.high - self.raw.exp()
        return self.low + (self.high - self.low) * self.raw.sigmoid()

    @property
    def shape(self) -> torch.Size:
        """Shape of the value."""
        return self.raw.shape

    def entries(self) -> dict[str, int | tuple[int, ...]]:
        """The suffixes of the names of the entries, ``""`` for a number and ``"[0]"`` for an array."""
        return {"".join(f"[{i}]" for i in index): index for index in np.ndindex(*self.shape)}

    def extra_repr(self) -> str:
        given = {"positive": self.positive or None, "bounds": self.bounds, "unit": self.unit}
        return ", ".join([repr(self.initial), *(f"{k}={v!r}" for k, v in given.items() if v is not None)])

    def __sklearn_clone__(self) -> Parameter:
        # Estimators never change it, and one object in two of their arguments is one parameter in their clone, too.
        return self

    def __float__(self) -> float:
        return float(self().detach())

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a torch function with the value, in dtype and device of the tensors that it is combined with."""
        given = (args, kwargs or {})
        like = _state.get()
        if like is None:
            like = next((x for x in tree_leaves(given) if isinstance(x, Tensor) and x.is_floating_point()), None)
        args, kwargs = _with_values(given, like)
        return function(*args, **kwargs)


def _with_values(given: Any, like: Tensor | None) -> Any:
    """What is given, with values in place of parameters, in dtype and device of another tensor."""
    if isinstance(given, Parameter):
        value = given.forward()
        return value if like is None else as_state(value, like)
    if isinstance(given, (list, tuple)):
        return type(given)([_with_values(part, like) for part in given])
    if isinstance(given, dict):
        return {name: _with_values(part, like) for name, part in given.items()}
    return given


def as_state(value: Tensor, state: Tensor) -> Tensor:
    """A value in dtype and device of a state."""
    if value.dtype == state.dtype and value.device == state.device:
        return value
    return value.to(dtype=state.dtype, device=state.device)


def _operation(name: str) -> Callable[..., Any]:
    """The operation of tensors of this name, on the value of a parameter."""
    function = getattr(Tensor, name)

    def operate(self: Parameter, *others: Any) -> Any:
        like = next((x for x in others if isinstance(x, Tensor) and x.is_floating_point()), None)
        return function(*_with_values((self, *others), like))

    operate.__name__ = name
    return operate


for _name in (
    *("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__"),
    *("__pow__", "__rpow__", "__matmul__", "__rmatmul__", "__neg__", "__pos__", "__abs__", "__getitem__"),
    *("__lt__", "__le__", "__gt__", "__ge__"),
):
    setattr(Parameter, _name, _operation(_name))


def _read_initial(initial: Any) -> Tensor:
    array = np.asarray(initial.detach().cpu() if isinstance(initial, Tensor) else initial)
    if array.dtype.kind not in "fiu" or not array.size or not np.isfinite(array).all():
        raise ValueError(f"the initial value of a Parameter must be a finite real number or an array, got {initial!r}")
    return torch.tensor(array, dtype=torch.float64)


def _read_bounds(bounds: Any, positive: bool) -> tuple[float, float]:
    """Lower and upper bound, infinite where there is none."""
    low, high = -math.inf, math.inf
    if bounds is not None:
        try:
            low, high = (end if one is None else float(one) for one, end in zip(bounds, (low, high), strict=True))
        except (TypeError, ValueError):
            raise ValueError(f"bounds must be two numbers, None for no bound, got {bounds!r}") from None
        if not low < high:
            raise ValueError(f"bounds must be in order, the lower one first, got {bounds!r}")
    if not positive:
        return low, high
    if (low < 0.0 and low != -math.inf) or high <= 0.0:
        raise ValueError(f"positive=True contradicts bounds={bounds!r}, which allow other values: give one of them")
    return max(low, 0.0), high


def _typical(value: Tensor) -> Tensor:
    """Typical size of the entries of an array, 1 if all are zero."""
    sizes = value[value != 0.0].abs()
    return sizes.mean() if len(sizes) else value.new_ones(())
