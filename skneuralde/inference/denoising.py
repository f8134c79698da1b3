"""Snapshots of fields that diffuse, without the white noise that diffusion would have smoothed away."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.problems import FieldDrift
from skneuralde.solvers.modes import Modes

#: Neighbouring modes whose power is taken as one, at least.
_WINDOW = 5
#: The spectrum of white noise is flat: where the roughest modes have less than this share of the power of those next to
#: them, they hold what the field itself has.
_FLAT = 0.5


@torch.no_grad()
def denoise(drift: FieldDrift, states: Tensor) -> Tensor:
    """Snapshots ``(rows, n)`` with Wiener's filter in the basis of the diffusion; other fields stay as they are.

    The noise is what the usual snapshot has in its roughest modes, if these are alike. A mode keeps the share of its
    power, and that of the modes next to it, that exceeds the noise.

    References
    ----------
    .. [1] N. Wiener, *Extrapolation, Interpolation, and Smoothing of Stationary Time Series* (1949).
    """
    modes = Modes(drift, states)
    if modes.diffusion is None:
        return states
    x = modes.enter(states)
    chosen = x if modes.all_move else x.index_select(1, modes.chosen)
    roughness = modes.basis.eigenvalues.abs().flatten().argsort()
    power = chosen.flatten(2)[..., roughness].square()
    n = power.shape[-1]
    sixth = max(1, n // 6)
    top, next_to_it = power[..., -sixth:].mean(-1), power[..., -2 * sixth : -sixth].mean(-1)
    flat = (top > _FLAT * next_to_it).double().mean(0) > 0.5
    noise = torch.where(flat, power[..., -2 * sixth :].mean(-1).median(0).values, 0.0)
    width = 2 * (max(_WINDOW, n // 64) // 2) + 1
    near = torch.nn.functional.avg_pool1d(power, width, stride=1, padding=width // 2, count_include_pad=False)
    gain = (1.0 - noise[:, None] / near.clamp_min(torch.finfo(near.dtype).tiny)).clamp_min(0.0)
    back = torch.empty_like(gain).index_copy(-1, roughness, gain).view_as(chosen)
    filtered = chosen * back
    return modes.leave(filtered if modes.all_move else x.index_copy(1, modes.chosen, filtered))
