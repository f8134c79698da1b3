"""Increments and areas over intervals, from those of other intervals."""

from __future__ import annotations

import torch
from torch import Tensor

from skneuralde.noise.dyadic import power_of_two
from skneuralde.noise.tree import inside_node

#: Value and integral (n, dim) of the deviation of paths from the mean paths of their nodes.
Deviation = tuple[Tensor, Tensor]


def part_of_node(
    w: Tensor, area: Tensor, level: Tensor, begin: Tensor, end: Tensor, at_ends: tuple[Deviation, Deviation]
) -> tuple[Tensor, Tensor]:
    """Increment and area over an interval inside a node, at this level of a cell, whose own are known.

    Given those, the mean path is a quadratic polynomial; the nodes below add the deviation from it.
    """
    parts, length = power_of_two(level), (end - begin)[:, None]
    middle = (0.5 * (begin + end) * parts - (begin * parts).floor())[:, None]
    w, area = inside_node(w, area, middle, length * parts[:, None])
    (first, first_integral), (last, last_integral) = at_ends
    more, integral = last - first, last_integral - first_integral - first * length
    mean = integral / torch.where(length > 0.0, length, 1.0)
    return w + more, area + torch.where(length > 0.0, mean - 0.5 * more, 0.0)


def weighted_sum(weights: Tensor, *numbers: Tensor) -> Tensor:
    """Sum (batch, dim) of k numbers (batch, n, dim) with weights (k, batch, n)."""
    terms = weights[0, ..., None] * numbers[0]
    for weight, number in zip(weights[1:], numbers[1:], strict=True):
        terms.addcmul_(weight[..., None], number)
    # A running sum, so that additional terms of weight zero, which other rows need, do not change the rounding.
    return terms.cumsum(1)[:, -1]


def join(first: tuple[Tensor, Tensor, Tensor], second: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Join increment, area and length (batch,) of two consecutive intervals."""
    (w_a, area_a, length_a), (w_b, area_b, length_b) = first, second
    length = length_a + length_b
    before, after = (length_a / length)[:, None], (length_b / length)[:, None]
    # The mean of the path over the interval is half the increment plus the area.
    w = w_a + w_b
    area = before * (0.5 * w_a + area_a) + after * (w_a + 0.5 * w_b + area_b) - 0.5 * w
    return w, area, length
