"""Dyadic parts of cells, the nodes of their trees, and exact arithmetic with powers of two."""

from __future__ import annotations

import torch
from torch import Tensor

#: Depth of the trees: a leaf is the shortest dyadic part of a cell.
DEPTH = 32

#: Parts of the bits of floating-point numbers, which give the same results on every device.
_BIAS, _MANTISSA = 1023, 52
_EXPONENT = 0x7FF << _MANTISSA


def power_of_two(exponent: Tensor) -> Tensor:
    """2 to an integer power, as float64."""
    return ((exponent.long() + _BIAS) << _MANTISSA).view(torch.float64)


def floor_log2(x: Tensor) -> Tensor:
    """Floor of the base-2 logarithm of a positive float64 number; below -1000 for zero."""
    return (x.view(torch.int64) >> _MANTISSA) - _BIAS


def floor_power_of_two(x: Tensor) -> Tensor:
    """Largest power of two not above a positive float64 number, as float64; 0 for 0."""
    return (x.view(torch.int64) & _EXPONENT).view(torch.float64)


def reads_are_free(device: torch.device) -> bool:
    """Whether reading a value from the device is free, so that rows may be treated case by case."""
    return device.type == "cpu"


def level_and_index(begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Level of a dyadic part of a cell, and its index on that level, counted from the start."""
    return -floor_log2(length), (begin / length).long()


def level_of_node(begin: Tensor, end: Tensor) -> Tensor:
    """Level of the smallest dyadic part of a cell that contains an interval; 0 for an empty one."""
    parts = 2.0**DEPTH
    first, last = (begin * parts).floor_().long(), (end * parts).ceil_().long().sub_(1)
    differing_bits = floor_log2((first ^ last).double()).add_(1).clamp_min_(0)
    return (DEPTH - differing_bits).masked_fill_(end <= begin, 0)
