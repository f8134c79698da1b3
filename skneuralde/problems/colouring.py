"""Column colouring of a sparse matrix, for Jacobians from few directional derivatives."""

from __future__ import annotations

import heapq

import numpy as np
from scipy.sparse import csc_matrix

#: Most pairs of columns with a row in common for which a colouring fits into memory.
_MAX_PAIRS = 2**27


def colour_columns(pattern: csc_matrix) -> np.ndarray:
    """Return a colour for each column, such that columns of the same colour have no row in common.

    The method is greedy saturation colouring: next comes the column whose neighbours have the most colours. It finds
    five colours for the five-point stencil. Rows with so many entries that a colouring saves nothing are refused.

    References
    ----------
    .. [1] A. R. Curtis, M. J. D. Powell and J. K. Reid, "On the estimation of sparse Jacobian matrices", IMA J. Appl.
       Math. 13 (1974) 117-119.
    .. [2] D. Brélaz, "New methods to color the vertices of a graph", Commun. ACM 22 (1979) 251-256.
    """
    entries = pattern.astype(bool).astype(np.int32)
    by_row = np.asarray(entries.sum(1)).ravel()
    if np.square(by_row.astype(float)).sum() > _MAX_PAIRS:
        raise ValueError(
            f"sparsity has rows of up to {by_row.max()} entries, so that a Jacobian takes as many evaluations: leave "
            "it out, and give solver='rock2'"
        )
    adjacency = (entries.T @ entries).tocsr()
    n, first, neighbours = adjacency.shape[0], adjacency.indptr.tolist(), adjacency.indices.tolist()
    degree = np.diff(adjacency.indptr).tolist()
    colours = [-1] * n
    taken: list[set[int]] = [set() for _ in range(n)]
    queue = [(0, -degree[j], j) for j in range(n)]
    heapq.heapify(queue)
    while queue:
        saturation, _, j = heapq.heappop(queue)
        if colours[j] >= 0 or -saturation < len(taken[j]):
            continue  # coloured, or in the queue again with a higher saturation
        colour = next(c for c in range(len(taken[j]) + 1) if c not in taken[j])
        colours[j] = colour
        for k in neighbours[first[j] : first[j + 1]]:
            if colours[k] < 0 and colour not in taken[k]:
                taken[k].add(colour)
                heapq.heappush(queue, (-len(taken[k]), -degree[k], k))
    return np.array(colours, dtype=np.int64)
