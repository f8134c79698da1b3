"""The last four stages of ROCK4, from the conditions of order four.

Stages whose elementary weights are w are followed by a method of four stages, which must do what they leave to the
exact solution. Its own elementary weights follow from that one after the other, and the coefficients from these, up to
two nodes that may be chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skneuralde.solvers.methods.stabilized.order_conditions import EXACT

#: Where in the whole step the last two stages are. Here the errors of order five are smallest for all numbers of
#: stages together, and no coefficient is large. With the last stage beyond 0.95 the second one comes to lie on the
#: first, and beyond 1 it would have to know the future.
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


class Finishing(NamedTuple):
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
        b less the weights of a method of third order, which has the slope at an earlier stage, weighted first, in
        place of that at the last one.
    """

    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    error: tuple[float, ...]


def finishing(w: np.ndarray, earlier: np.ndarray) -> Finishing:
    """For stages of elementary weights w, and an earlier one of them that the estimate of the error may use."""
    sums, start = left_over(w), float(w[0])
    c3, c4 = _THIRD - start, _LAST - start
    # A c is 0 at the first two stages, so that it is bend c (c - c2) at the first three, which are all that weights
    # b (c4 - c) and b A see. With the former it sums up to ``bend (second - c2 first) = total``, with the latter to
    # ``bend (b_ac2 - c2 b_ac) = b_aac``: hence c2 and the bend.
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
    return Finishing((c2, c3, c4), matrix, (sums.b - b2 - b3 - b4, b2, b3, b4), error)


def left_over(w: np.ndarray) -> Sums:
    """The elementary weights with which stages of weights w make the exact solution up to order four."""
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


def _weights(nodes: tuple[float, ...], time_points: tuple[float, ...]) -> list[float]:
    """Of a sum over nodes with these moments of order 1, 2, ..."""
    powers = np.array([[node**k for node in nodes] for k in range(1, len(nodes) + 1)])
    return np.linalg.solve(powers, np.array(time_points)).tolist()


def _error(c: np.ndarray, ac: np.ndarray, last: float, node: float, moved: float) -> tuple[float, ...]:
    """Weights whose sums of up to order three vanish, of an earlier stage, with its c and A c, and of the four."""
    c, ac = np.append(node, c), np.append(moved, ac)
    sums = np.array([np.ones(5), c, c**2, ac])
    return (*np.linalg.solve(sums[:, :4], -last * sums[:, 4]).tolist(), last)
