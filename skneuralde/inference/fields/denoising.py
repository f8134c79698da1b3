"""Removal of white noise from snapshots of diffusing fields."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.problems import FieldDrift, FieldModes

#: Smallest number of neighbouring modes whose power is averaged.
_WINDOW = 5
#: The spectrum of white noise is flat. If the roughest modes have less than this share of the power of those next to
#: them, they belong to the field itself.
_FLAT = 0.5
#: Noise is independent between snapshots: half the squared change from one to the next equals its power.
_FRESH = 0.5
#: Noise is equally strong in all snapshots: at most the share ``_FEW`` of them has less than ``_ALIKE`` of the median
#: power. A field that comes to rest has almost none in the end.
_FEW, _ALIKE = 0.1, 0.25


@torch.no_grad()
def denoise(drift: FieldDrift, states: Tensor) -> Tensor:
    """Filter snapshots ``(rows, n)`` by a Wiener filter (N. Wiener, 1949) in the eigenbasis of the diffusion.

    The noise power of a field is half the median squared change of its roughest modes between snapshots, if these show
    white noise: a flat spectrum, equally strong in all snapshots and independent between them. A mode keeps the share
    of its power, averaged over neighbouring modes, that exceeds the noise. Fields without diffusion are not changed.
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
    # Half the squared change between snapshots in the roughest modes, which excludes patterns that last.
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
    # Relative standard deviation of a mean of squared noise; power within two of it counts as noise.
    deviation = (2.0 / width) ** 0.5
    share = 1.0 - noise[:, None] / near.clamp_min(torch.finfo(near.dtype).tiny)
    gain = torch.where(near >= (1.0 + 2.0 * deviation) * noise[:, None], share, 0.0)
    back = torch.empty_like(gain).index_copy(-1, roughness, gain).view_as(chosen)
    filtered = chosen * back
    return modes.from_modes(filtered if modes.all_diffuse else x.index_copy(1, modes.chosen, filtered))
