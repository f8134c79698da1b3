"""Base class of the operators that act on fields."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Operator(nn.Module, ABC):
    """A term of the right-hand side that couples the points of a field, such as transport.

    To add one, derive from this class and implement `forward` in torch. Parameters and submodules are trained by the
    estimators. An instance goes into ``Problem(operator=...)`` and into the estimators of fields, alone or in a list.
    `Axes` reads a spacing and a boundary, `neighbours` gives the points next to every point, and `value_of` reads a
    coefficient that may be a number, a parameter or a module; `Advection` is a short example.

    Attributes
    ----------
    ndim : int or None, default=None
        Number of axes of the grid; None if the operator works on grids of any number of axes.
    """

    ndim: int | None = None

    @abstractmethod
    def forward(self, u: Tensor) -> Tensor:
        """Value for fields ``u (batch, *grid, fields)``: the same shape, dtype and device.

        Every field of the batch is a path of its own, whose value must not depend on the others. Solvers and training
        differentiate the value, also twice and by `torch.func.vjp`.
        """
