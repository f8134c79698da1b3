"""Quadrature rules for means over standard normal vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normal_rule(dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (n, dim) and positive weights (n,) of a rule of degree three.

    In one and two dimensions the origin is a node, which raises the degree along each axis to five. In more dimensions
    its weight would be negative (A. H. Stroud, *Approximate Calculation of Multiple Integrals*, 1971).
    """
    axes = torch.eye(dim, dtype=like.dtype, device=like.device)
    axes = torch.cat([axes, -axes])
    if dim > 2:
        return math.sqrt(dim) * axes, torch.full((2 * dim,), 0.5 / dim, dtype=like.dtype, device=like.device)
    nodes = torch.cat([torch.zeros_like(axes[:1]), math.sqrt(3.0) * axes])
    weights = torch.full((2 * dim + 1,), 1.0 / 6.0, dtype=like.dtype, device=like.device)
    weights[0] = 1.0 - dim / 3.0
    return nodes, weights
