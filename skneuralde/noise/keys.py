"""Integer keys, and a hash that turns them into random numbers, the same on every device."""

from __future__ import annotations

import hashlib
import math
import numbers
from collections.abc import Hashable

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 2**64 divided by the golden ratio, as a signed integer
_MIX_1 = -0x40A7B892E31B1A47
_MIX_2 = -0x6B2FB644ECCEEE15


def mix(x: Tensor) -> Tensor:
    """Scramble int64 ``x`` so that any change of a bit changes half of the bits.

    It is the finaliser of SplitMix64 (G. Steele, D. Lea and C. Flood, *Fast splittable pseudorandom number generators*,
    OOPSLA 2014), in wrap-around arithmetic. Shifts in torch keep the sign, hence the masks.
    """
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        x = (x >> shift).bitwise_and_((1 << 64 - shift) - 1).bitwise_xor_(x).mul_(factor)
    return (x >> 31).bitwise_and_((1 << 33) - 1).bitwise_xor_(x)


def absorb(key: Tensor, word: Tensor | int) -> Tensor:
    """Return a new key from a key and one more integer, broadcast against each other."""
    return mix((key ^ word).add_(_GOLDEN))


def row_keys(seed: int, path: Tensor, series: Tensor) -> Tensor:
    """Keys (batch,) of rows, from a seed of any size and the int64 numbers of their paths and series."""
    if path.shape != series.shape or path.ndim != 1:
        raise ValueError(
            f"path and series must both have shape (batch,), got {tuple(path.shape)} and {tuple(series.shape)}"
        )
    seed = (int(seed) + 2**63) % 2**64 - 2**63
    return absorb(absorb(mix(torch.full_like(path, seed)), path), series)


def to_normal(key: Tensor) -> Tensor:
    """Turn mixed keys into standard normal float64 numbers."""
    # The upper 53 bits, as a signed number strictly between -1 and 1.
    uniform = (key >> 11).double().add_(0.5).mul_(2.0**-52)
    return uniform.erfinv_().mul_(math.sqrt(2.0))


def to_normal_pair(key: Tensor, count: int = 2) -> Tensor:
    """Turn mixed keys into two independent standard normal float64 numbers each, ``(2, ...)``, or the first of them."""
    halves = torch.empty((count, *key.shape), dtype=torch.float64, device=key.device)
    halves[0] = key >> 32
    if count == 2:
        halves[1] = (key << 32) >> 32
    return halves.add_(0.5).mul_(2.0**-31).erfinv_().mul_(math.sqrt(2.0))


def to_uniform(key: Tensor) -> Tensor:
    """Turn mixed keys into float64 numbers between 0 and 1."""
    return (key >> 11).double().add_(0.5).mul_(2.0**-53).add_(0.5)


def keyed_normals(seed: int, *words: Tensor) -> Tensor:
    """Draw standard normal float64 numbers, one per combination of int64 words that broadcast against each other."""
    key = mix(torch.full_like(words[0], seed))
    for word in words:
        key = absorb(key, word)
    return to_normal(key)


def series_key(label: Hashable) -> int:
    """Stable 63-bit key of a series' label; equal labels, such as 1, 1.0 and ``numpy.int64(1)``, have equal keys."""
    digest = hashlib.blake2b(_canonical(label).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _canonical(label: Hashable) -> str:
    if isinstance(label, tuple):
        return "(" + ",".join(_canonical(part) for part in label) + ")"
    if isinstance(label, str):
        return "str:" + repr(str(label))
    if isinstance(label, numbers.Real):
        value = float(label)
        return f"number:{int(label) if value.is_integer() else value!r}"
    return f"{type(label).__name__}:{label!s}"
