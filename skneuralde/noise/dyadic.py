"""Exact arithmetic with powers of two, by the bits of floating-point numbers: the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

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
