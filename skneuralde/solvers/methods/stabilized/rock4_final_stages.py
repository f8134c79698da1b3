"""The last four stages of ROCK4, from the conditions of order four.

The recurrence of ROCK4 has known elementary weights w. Four more stages must complete it to a method of order four. The
elementary weights of these four stages follow from w one after the other, and their coefficients follow from the
weights, up to two free nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skneuralde.solvers.methods.stabilized.order_conditions import EXACT

#: Nodes of the last two stages, as fractions of the whole step. They minimise the errors of order five over all numbers
#: of stages, and no coefficient is large. With the last node above 0.95 the second stage coincides with the first, and
#: above 1 it would use the right-hand side after the step.
_THIRD, _LAST = 0.65, 0.85


class Sums(NamedTuple):
    """Elementary weights of a method of nodes c, matrix A and weights b; ``bc_ac`` is ``sum(b c (A c))``, and so on."""

    b: float
    bc: float
    bc2: float
    b_ac: float
    bc3: float
    bc_ac: float
    b_ac2: float
    b_aac: float


class FinalStages(NamedTuple):
    """Coefficients of the four stages; nodes count from their own start.

    Attributes
    ----------
    nodes : tuple of float
        c, without the first, which is 0.
    matrix : tuple of tuple of float
        The rows of A below the first.
    weights : tuple of float
        b.
    error : tuple of float
        b less the weights of the embedded method of third order. The first weight is that of the slope at an earlier
        stage, which the embedded method uses in place of the last stage.
    """

    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    error: tuple[float, ...]


def final_stages(w: np.ndarray, earlier: np.ndarray) -> FinalStages:
    """The final stages after a recurrence of elementary weights w.

    ``earlier`` are the elementary weights of the stage whose slope the error estimate uses.
    """
    sums, start = left_over(w), float(w[0])
    c3, c4 = _THIRD - start, _LAST - start
    # A c is 0 at the first two stages, so that A c = bend c (c - c2) at the first three. The weights b (c4 - c) and b A
    # are 0 at the fourth. The sum of A c with the former is ``bend (second - c2 first) = total``, with the latter
    # ``bend (b_ac2 - c2 b_ac) = b_aac``. These two equations determine c2 and bend.
    first, second = c4 * sums.bc - sums.bc2, c4 * sums.bc2 - sums.bc3
    total = c4 * sums.b_ac - sums.bc_ac
    c2 = (sums.b_aac * second - total * sums.b_ac2) / (sums.b_aac * first - total * sums.b_ac)
    bend = sums.b_aac / (sums.b_ac2 - c2 * sums.b_ac)
    a32 = bend * c3 * (c3 - c2) / c2
    b2, b3, b4 = _weights((c2, c3, c4), (sums.bc, sums.bc2, sums.bc3))
    inner2, inner3 = _weights((c2, c3), (sums.b_ac, sums.b_ac2))  # of b A
    a43 = inner3 / b4
    a42 = (inner2 - b3 * a32) / b4
    c = np.array([0.0, c2, c3, c4])
    ac = np.array([0.0, 0.0, a32 * c2, a42 * c2 + a43 * c3])
    node = float(earlier[0]) - start
    error = _error(c, ac, b4, node, float(earlier[1] - w[1]) - start * node)
    matrix = ((c2,), (c3 - a32, a32), (c4 - a42 - a43, a42, a43))
    return FinalStages((c2, c3, c4), matrix, (sums.b - b2 - b3 - b4, b2, b3, b4), error)


def left_over(w: np.ndarray) -> Sums:
    """The elementary weights that complete stages of weights w to the exact solution up to order four."""
    t, line, fork, longer = w[:4].tolist()
    rest = (np.array(EXACT) - w).tolist()
    b = rest[0]
    bc = rest[1] - t * b
    bc2 = rest[2] - t**2 * b - 2.0 * t * bc
    b_ac = rest[3] - line * b - t * bc
    bc3 = rest[4] - t**3 * b - 3.0 * t**2 * bc - 3.0 * t * bc2
    bc_ac = rest[5] - t * line * b - (line + t**2) * bc - t * bc2 - t * b_ac
    b_ac2 = rest[6] - fork * b - t**2 * bc - 2.0 * t * b_ac
    b_aac = rest[7] - longer * b - line * bc - t * b_ac
    return Sums(b, bc, bc2, b_ac, bc3, bc_ac, b_ac2, b_aac)


def _weights(nodes: tuple[float, ...], sums: tuple[float, ...]) -> list[float]:
    """Weights b for which ``sum(b * nodes**k)`` has given values for k = 1, 2, ..."""
    powers = np.array([[node**k for node in nodes] for k in range(1, len(nodes) + 1)])
    return np.linalg.solve(powers, np.array(sums)).tolist()


def _error(c: np.ndarray, ac: np.ndarray, last: float, node: float, moved: float) -> tuple[float, ...]:
    """Weights of the error estimate: its sums vanish up to order three.

    The first weight is that of the slope at an earlier stage, of node ``node`` and ``A c = moved``.
    """
    c, ac = np.append(node, c), np.append(moved, ac)
    sums = np.array([np.ones(5), c, c**2, ac])
    return (*np.linalg.solve(sums[:, :4], -last * sums[:, 4]).tolist(), last)
