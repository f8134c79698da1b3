"""The dyadic parts of cells, which are the nodes of their trees."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise.dyadic import floor_log2, floor_power_of_two

#: Halvings of a cell before a time is placed inside a leaf; no shorter dyadic part of a cell can be asked for.
DEPTH = 32


def waits_for_nothing(device: torch.device) -> bool:
    """Whether a question to the device is free, so that rows may be sorted by what they need."""
    return device.type == "cpu"


def number_of(begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Level of a dyadic part of a cell, and its number on that level, counted from the origin."""
    return -floor_log2(length), (begin / length).long()


def level_of_node(begin: Tensor, end: Tensor) -> Tensor:
    """Level of the smallest dyadic part of a cell that contains an interval; 0 for one of no length."""
    length = end - begin
    length = torch.where(length > 0.0, length, 1.0)
    is_node = (floor_power_of_two(length) == length) & ((begin / length).floor() * length == begin)
    is_node &= length >= 2.0**-DEPTH  # inside a leaf there are none
    level = -floor_log2(length)
    if waits_for_nothing(begin.device) and bool(is_node.all()):
        return level
    parts = 2.0**DEPTH
    first, last = (begin * parts).floor().long(), (end * parts).ceil().long() - 1
    differing_bits = floor_log2((first ^ last).double()) + 1
    return torch.where(is_node | (end <= begin), level, DEPTH - differing_bits.clamp_min(0))
