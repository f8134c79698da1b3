"""Dyadic tree of a Brownian path: the contribution of each node's normal numbers, in closed form.

A node over an interval of length h carries the increment W and the space-time Levy area H of the path. Splitting it in
half takes two normal numbers, Z of variance h/16 and N of variance h/12 (J. Foster, *Numerical approximations for
stochastic differential equations*, PhD thesis, Oxford 2020, theorem 6.1.6):

    W_left = W/2 + 3/2 H + Z,          W_right = W - W_left,
    H_left = H/4 - Z/2 + N/2,          H_right = H/4 - Z/2 - N/2.

Given W and H, the path is a quadratic polynomial of time plus a deviation that the split refines. So Z and N of a node
each add a function to the path that is a quadratic polynomial on either half of the node and zero outside, and an
increment or area over any interval is a weighted sum of the normal numbers above it. Lengths are in units of a cell,
which is the root of the tree.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Standard deviations of H (and of N) and of Z over an interval of length 1.
AREA_STD, MIDDLE_STD = math.sqrt(1 / 12), 0.25


def split(w: Tensor, area: Tensor, z: Tensor, n: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Increments, and areas if ``n`` is given, of halves of intervals, (batch, k, dim) to (batch, 2 k, dim)."""
    left = first_half(w, area, z)
    halves = torch.stack([left, w - left], 2).flatten(1, 2)
    if n is None:
        return halves, None
    mean = mean_area(area, z)
    return halves, torch.stack([torch.add(mean, n, alpha=0.5), torch.sub(mean, n, alpha=0.5)], 2).flatten(1, 2)


def descend(w: Tensor, area: Tensor, z: Tensor, n: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Increment and area of one half of intervals: the second if ``right``."""
    left = first_half(w, area, z)
    return torch.where(right, w - left, left), torch.add(mean_area(area, z), torch.where(right, -n, n), alpha=0.5)


def first_half(w: Tensor, area: Tensor, z: Tensor) -> Tensor:
    """Increment of the first half, w/2 + 3/2 area + z."""
    # Only multiplications by 1/2, which are exact, keep the result the same on every processor.
    return torch.add(z, w + area, alpha=0.5).add_(area)


def mean_area(area: Tensor, z: Tensor) -> Tensor:
    """Mean of the areas of the two halves."""
    return torch.sub(0.25 * area, z, alpha=0.5)


def inside_node(w: Tensor, area: Tensor, middle: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Increment and area of the mean path of nodes with these (w, area), over an interval inside each.

    Middle and length of the interval are given for the node from 0 to 1.
    """
    return torch.addcmul(length * w, length * (6.0 - 12.0 * middle), area), length * length * area


def from_start(position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of a node's two normals in the path at a position within the node and in its integral up to there.

    They are value_z, value_n, integral_z and integral_n, for a node of length 1.
    """
    # The halves mirror each other: y is the distance to the nearer end, in halves, and side says which half it is.
    double = position + position
    side = (1.0 - double).sign_()
    y = torch.minimum(double, 2.0 - double)
    square = y * y
    bump = y - square
    # Z is the contribution at the middle; it vanishes at both ends.
    value_z = torch.sub(y, bump, alpha=3.0).mul_(MIDDLE_STD)
    integral_z = (y * bump).mul_(side).mul_(-0.5 * MIDDLE_STD)
    integral_n = torch.add(y * bump, square, alpha=0.5).mul_(0.5 * AREA_STD)
    return value_z, bump.mul_(side).mul_(3.0 * AREA_STD), integral_z, integral_n


def inside_leaf(position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of a leaf's two normals, as `from_start` returns them, of which value_n is zero.

    The deviation of the path from its mean given W and H is a Brownian bridge of vanishing integral; value and integral
    are drawn from their joint distribution (theorem 6.1.4 of the same thesis).
    """
    y, rest = position, 1.0 - position
    square, bump = y * y, y * rest
    area = square * (0.5 - y / 3.0)
    variance = (bump - 3.0 * bump * bump).clamp_min(0.0)
    covariance = bump * (0.5 * y - 3.0 * area)
    integral_variance = y * square * (1.0 / 3.0 - 0.25 * y) - 3.0 * area * area
    std = variance.sqrt()
    slope = torch.where(std > 0.0, covariance / torch.where(std > 0.0, std, 1.0), 0.0)
    other = (integral_variance - slope * slope).clamp_min(0.0).sqrt()
    return std, torch.zeros_like(std), slope, other
