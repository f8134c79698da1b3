"""`Laplacian`: diffusion on a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skneuralde.problems.axes import neighbours, value_of
from skneuralde.problems.eigenbasis import Eigenbasis, eigenbasis
from skneuralde.problems.grid_operator import GridOperator


class Laplacian(GridOperator):
    """Diffusion, ``D div grad u``, by second differences on a grid of 1 to 3 axes.

    Parameters
    ----------
    diffusivity : number, array-like of shape (fields,), Parameter, torch.nn.Parameter, torch.nn.Module or list of these
        D, one for all fields or one per field; 0 for fields that do not diffuse. A `Parameter` is learned, a torch
        parameter as its softplus; a module is called without arguments and returns the value. A list has one of these
        per field.
    spacing : float or tuple of float, optional
        Distance between neighbouring points, for all axes or for each. By default that of the other operators of the
        equation, or 1.
    boundary : str, Dirichlet or tuple of these, optional
        "neumann": no flux through the ends, which are grid points (mirror image). "neumann_cell": no flux through the
        ends, which lie half a spacing beyond the outer points. "periodic". "dirichlet": zero one spacing beyond the
        outer points; ``Dirichlet(low, high)`` for other values. One for all axes, or one for each. By default that of
        the other operators of the equation, or "neumann".
    ndim : int, optional
        Number of axes of the grid. By default the length of a tuple of spacings or boundaries; without one, all axes
        of the state except the last, the fields.

    Examples
    --------
    >>> import torch
    >>> from skneuralde.problems import Laplacian
    >>> Laplacian(1.0, spacing=0.5)(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1)).flatten()
    tensor([ 8., -8.,  8.])
    """

    def __init__(self, diffusivity: Any, spacing: Any = None, boundary: Any = None, *, ndim: int | None = None):
        super().__init__(spacing, boundary, ndim)
        parts = diffusivity if _is_mixed(diffusivity) else [diffusivity]
        self._per_field = _is_mixed(diffusivity)
        self.parts: Sequence[_Diffusivity] = nn.ModuleList(_Diffusivity(part) for part in parts)  # type: ignore[assignment]

    def diffusivity(self, u: Tensor) -> Tensor:
        """Diffusivity of every field, in the dtype of the states."""
        fields = u.shape[-1]
        values = torch.cat([part(u).reshape(-1) for part in self.parts])
        if len(values) not in (1, fields) or (self._per_field and len(self.parts) != fields):
            raise ValueError(f"diffusivity has {len(values)} values, but the state has {fields} fields")
        return values.expand(fields)

    def diffusing(self, fields: int) -> list[int]:
        """Numbers of the fields that diffuse: those whose diffusivity is learned or not 0."""
        flags = [flag for part in self.parts for flag in part.flags]
        return [i for i, flag in enumerate(flags * fields if len(flags) == 1 else flags) if flag]

    def basis(self, u: Tensor) -> Eigenbasis:
        """Eigenbasis for fields ``(batch, *grid, fields)``; boundary values count as zero."""
        return eigenbasis(self.axes, u.shape[1:-1], u.dtype, u.device)

    def eigenvalues(self, u: Tensor) -> Tensor:
        """Eigenvalues of the fields that diffuse, ``(diffusing, *grid)``."""
        rates = self.diffusivity(u)[self.diffusing(u.shape[-1])]
        values = self.basis(u).eigenvalues
        return rates.view(-1, *[1] * values.ndim) * values

    def spectral_radius(self, u: Tensor) -> Tensor:
        """The largest absolute eigenvalue, (), in closed form."""
        return self.diffusivity(u).abs().amax() * self.basis(u).eigenvalues.abs().amax()

    def offset(self, u: Tensor) -> Tensor | None:
        """Contribution of nonzero boundary values, ``(1, *grid, fields)``; None if there is none."""
        if all(boundary.homogeneous() is boundary for boundary in self.axes.boundary):
            return None
        return self(u.new_zeros(1, *u.shape[1:]))

    def apply_function(self, u: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a function of the operator, given as a function of its eigenvalues; boundary values count as zero.

        ``lambda z: torch.exp(t * z)`` solves the heat equation over a time t, ``lambda z: 1 / (1 - h * z)`` is an
        implicit Euler step.
        """
        basis, chosen = self.basis(u), self.diffusing(u.shape[-1])
        x = u.movedim(-1, 1)
        constant = function(u.new_zeros(())) * x
        if not chosen:
            return constant.movedim(1, -1)
        diffused = basis.from_modes(function(self.eigenvalues(u)) * basis.to_modes(x[:, chosen]))
        return constant.index_copy(1, torch.tensor(chosen, device=u.device), diffused).movedim(1, -1)

    def forward(self, u: Tensor) -> Tensor:
        """D div grad u of fields ``(batch, *grid, fields)``, same shape."""
        fields = u.shape[-1]
        chosen = self.diffusing(fields)
        if not chosen:
            return torch.zeros_like(u)
        rates = self.diffusivity(u)
        if len(chosen) == fields:
            return rates * self.second_differences(u)
        index = torch.tensor(chosen, device=u.device)
        return torch.zeros_like(u).index_copy(-1, index, rates[index] * self.second_differences(u, index))

    def second_differences(self, u: Tensor, index: Tensor | None = None) -> Tensor:
        """Laplacian with diffusivity 1, of all fields or of those at ``index``."""
        total: Tensor | None = None
        x = u if index is None else u.index_select(-1, index)
        axes = self.axes.on(u.shape[1:-1])
        for axis, spacing, boundary in axes:
            all_fields = index is None or boundary.homogeneous() is boundary
            before, after = neighbours(x if all_fields else u, axis, boundary)
            both = before + after
            if not all_fields:  # boundary values may differ between fields
                assert index is not None
                both = both.index_select(-1, index)
            total = both / spacing**2 if total is None else torch.add(total, both, alpha=spacing**-2)
        assert total is not None
        return torch.sub(total, x, alpha=sum(2.0 / spacing**2 for _, spacing, _ in axes))


class _Diffusivity(nn.Module):
    """One element of a diffusivity: a known number or vector, a parameter, or a module."""

    known: Tensor | None

    def __init__(self, value: Any):
        super().__init__()
        self.raw = value if isinstance(value, nn.Parameter) else None
        self.module = value if isinstance(value, nn.Module) else None
        self.register_buffer("known", None)
        if self.raw is None and self.module is None:
            self.known = torch.atleast_1d(torch.as_tensor(value, dtype=torch.float64))
            if self.known.ndim > 1 or not bool((self.known.isfinite() & (self.known >= 0)).all()):
                raise ValueError(f"diffusivity must hold finite numbers of at least 0, one per field, got {value!r}")
            self.flags = [entry > 0 for entry in self.known.tolist()]  # whether each value may differ from 0
        else:
            size = self.raw.numel() if self.raw is not None else self().numel()
            self.flags = [True] * size

    def forward(self, u: Tensor | None = None) -> Tensor:
        """Value, in the dtype of u."""
        if self.known is not None:
            value = self.known
        elif self.raw is not None:
            value = F.softplus(self.raw)
        else:
            assert self.module is not None
            value = self.module()
        return value if u is None else value_of(value, u)


def _is_mixed(value: Any) -> bool:
    """Whether the diffusivity is a list with one element per field, some of them learned."""
    return isinstance(value, (list, tuple)) and any(isinstance(part, (nn.Parameter, nn.Module)) for part in value)
