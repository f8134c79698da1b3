"""Derivatives in the save times: those of a step of length zero."""

from __future__ import annotations

from torch import Tensor

from skneuralde.solvers.core.right_hand_side import RightHandSide


def start_moves_with_time(rhs: RightHandSide, u0: Tensor, times: Tensor) -> Tensor:
    """Initial states at the first times, brought to these times as constants."""
    t = times[..., :1].expand(len(u0), 1)
    return _moved(rhs, t, t.detach() - t, u0, ahead=True)


def ends_move_with_time(rhs: RightHandSide, values: Tensor, times: Tensor) -> Tensor:
    """Solutions (batch, n_times, dim) at the save times as constants, brought to the save times."""
    path, save = values.detach().isfinite().all(-1).nonzero(as_tuple=True)
    t = times.expand(values.shape[:2])[path, save][:, None]
    moved = _moved(rhs.select(path), t.detach(), t - t.detach(), values[path, save], ahead=False)
    return values.index_put((path, save), moved)


def _moved(rhs: RightHandSide, t: Tensor, h: Tensor, u: Tensor, *, ahead: bool) -> Tensor:
    """States after a step of the classical Runge-Kutta method, from times ``t (batch, 1)``.

    Its length ``h (batch, 1)`` is zero, and has a derivative. So the states stay as they are, and their derivatives in
    the times are exact, up to fourth ones.
    """
    length = h.to(u.dtype)

    def slope(share: float, x: Tensor) -> Tensor:
        return length * rhs.drift(rhs.reading(t + share * h, u.dtype, ahead=ahead), x)

    k1 = slope(0.0, u)
    k2 = slope(0.5, u + 0.5 * k1)
    k3 = slope(0.5, u + 0.5 * k2)
    k4 = slope(1.0, u + k3)
    return u + (k1 + 2.0 * (k2 + k3) + k4) / 6.0
