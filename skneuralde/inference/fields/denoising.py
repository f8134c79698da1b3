"""Snapshots of fields that diffuse, without the white noise that diffusion would have smoothed away."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.problems import FieldDrift, FieldModes

#: Neighbouring modes whose power is taken as one, at least.
_WINDOW = 5
#: The spectrum of white noise is flat: where the roughest modes have less than this share of the power of those next to
#: them, they hold what the field itself has.
_FLAT = 0.5
#: Noise is new in every snapshot: half the squared change from one to the next is then all of the power.
_FRESH = 0.5
#: It is alike in all snapshots: few have less than this share of the usual power, where a field that comes to rest has
#: almost none.
_FEW, _ALIKE = 0.1, 0.25


@torch.no_grad()
def denoise(drift: FieldDrift, states: Tensor) -> Tensor:
    """Snapshots ``(rows, n)`` with Wiener's filter in the basis of the diffusion; other fields stay as they are.

    The noise is what the usual snapshot has in its roughest modes, if these are alike, in all snapshots, and new in
    each. A mode keeps the share of its power, and that of the modes next to it, that exceeds the noise.

    References
    ----------
    .. [1] N. Wiener, *Extrapolation, Interpolation, and Smoothing of Stationary Time Series* (1949).
    """
    modes = FieldModes(drift, states)
    if modes.diffusion is None or len(states) < 2:
        return states
    x = modes.to_modes(states)
    chosen = x if modes.all_diffuse else x.index_select(1, modes.chosen)
    roughness = modes.basis.eigenvalues.abs().flatten().argsort()
    ordered = chosen.flatten(2)[..., roughness]
    power, n = ordered.square(), ordered.shape[-1]
    sixth = max(1, n // 6)
    rough, next_to_it = power[..., -sixth:].mean(-1), power[..., -2 * sixth : -sixth].mean(-1)
    # What is new from one snapshot to the next in the roughest modes; a pattern that lasts is none of it.
    new = 0.5 * ordered[..., -2 * sixth :].diff(dim=0).square().mean(-1)
    usual = new.median(0).values
    flat = rough.median(0).values > _FLAT * next_to_it.median(0).values
    fresh = usual > _FRESH * power[..., -2 * sixth :].mean(-1).median(0).values
    alike = power[..., -2 * sixth :].mean(-1).quantile(_FEW, 0) > _ALIKE * usual
    noise = torch.where(flat & fresh & alike, usual, 0.0)
    if not bool((noise > 0.0).any()):
        return states
    width = 2 * (max(_WINDOW, n // 64) // 2) + 1
    near = torch.nn.functional.avg_pool1d(power, width, stride=1, padding=width // 2, count_include_pad=False)
    # The mean of so many squares of noise varies by this much: less than two of it beyond the noise is nothing.
    spread = (2.0 / width) ** 0.5
    share = 1.0 - noise[:, None] / near.clamp_min(torch.finfo(near.dtype).tiny)
    gain = torch.where(near >= (1.0 + 2.0 * spread) * noise[:, None], share, 0.0)
    back = torch.empty_like(gain).index_copy(-1, roughness, gain).view_as(chosen)
    filtered = chosen * back
    return modes.from_modes(filtered if modes.all_diffuse else x.index_copy(1, modes.chosen, filtered))
