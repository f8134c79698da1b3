"""Pure birth processes: the number of jumps in an interval if every jump changes the rate of the next one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Truncation error of the series, relative to the probability of the last state.
_TOLERANCE = 1e-9
#: Largest number of terms. With more than some hundred expected jumps only the last state has any probability.
_MAX_TERMS = 1000


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
    for k in range(1, _terms(n, float(candidates.detach().amax()) if candidates.numel() else 0.0) + 1):
        moved = state * stay
        state = torch.cat([moved[:1], torch.addcmul(moved[1:], state[:-1], leave)]) / k
        total = total + state
    # Dividing by the sum instead of multiplying by exp(-candidates) makes the truncated series sum to one.
    return total / total.sum(0, keepdim=True)


def _terms(n: int, candidates: float) -> int:
    """Terms of the exponential series after which the next ones are negligible beside the n-th."""
    if not math.isfinite(candidates):
        return n + 1
    if candidates == 0.0:
        return n
    log_candidates, log_first = math.log(candidates), math.lgamma(n + 1)
    for k in range(n + 1, _MAX_TERMS):
        # The terms still grow before the largest one.
        if k > 2.0 * candidates and (k - n) * log_candidates + log_first - math.lgamma(k + 1) < math.log(_TOLERANCE):
            return k
    return _MAX_TERMS
