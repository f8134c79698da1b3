"""Pure birth processes: the number of jumps in an interval if every jump changes the rate of the next one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Truncation error of the series, relative to the probability of the last state.
_TOLERANCE = 1e-9
#: Largest number of terms. With more than some hundred expected jumps only the last state has any probability.
_MAX_TERMS = 1000
#: Expected candidates whose number of terms every interval gets.
_FEW = 0.5


def birth_probabilities(rates: Tensor, length: Tensor) -> Tensor:
    """Probabilities (N + 1, batch) of 0, 1, ..., N - 1 and of at least N jumps of a pure birth process.

    ``rates (N, batch)`` are those of the first jump, of the second after the first, and so on, and ``length (batch,)``
    are the lengths of the intervals, not negative. The result is differentiable in both.

    Uniformisation (A. Jensen, Skandinavisk Aktuarietidskrift 36, 1953): candidates arrive at the largest rate, and each
    is a jump with probability rate over largest rate. All terms are positive, so equal or nearly equal rates cause no
    cancellation.
    """
    n = len(rates)
    most = rates.detach().amax(0)
    candidates = most * length
    stay = torch.cat([(most - rates) * length, candidates[None]])
    leave = rates * length
    state = torch.cat([torch.ones_like(leave[:1]), torch.zeros_like(leave)])
    total = state
    expected = candidates.detach()
    log_expected, more = expected.log(), torch.ones_like(expected, dtype=torch.bool)
    most_terms = _terms(n, float(expected.amax()) if expected.numel() else 0.0)
    few = _terms(n, _FEW)
    for k in range(1, max(few, most_terms) + 1):
        moved = state * stay
        state = torch.cat([moved[:1], torch.addcmul(moved[1:], state[:-1], leave)]) / k
        total = total + (state if k <= few else torch.where(more, state, 0.0))
        if few <= k < most_terms:
            # No row depends on the number of terms that others need.
            more = more & ~((k > 2.0 * expected) & ((k - n) * log_expected < _smallest(n, k)))
    # Dividing by the sum instead of multiplying by exp(-candidates) makes the truncated series sum to one.
    return total / total.sum(0, keepdim=True)


def _terms(n: int, candidates: float) -> int:
    """Terms of the exponential series after which the next ones are negligible beside the n-th."""
    if not math.isfinite(candidates):
        return n + 1
    if candidates == 0.0:
        return n
    log_candidates = math.log(candidates)
    for k in range(n + 1, _MAX_TERMS):
        # The terms still grow before the largest one.
        if k > 2.0 * candidates and (k - n) * log_candidates < _smallest(n, k):
            return k
    return _MAX_TERMS


def _smallest(n: int, k: int) -> float:
    """Logarithm of the ratio of the k-th term to the n-th, without its power of the candidates, that still counts."""
    return math.log(_TOLERANCE) - math.lgamma(n + 1) + math.lgamma(k + 1)
