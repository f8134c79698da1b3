"""Requests for flat batches of paths, as `solve` makes them."""

from skneuralde.solvers import SolveRequest, get_solver
from skneuralde.solvers.batching import to_batch


def request_of(problem, y0, ts, *, solver, n_paths, random_state, **options):
    """The request of ``n_paths`` paths of a problem; ``options`` are those of `SolveRequest`."""
    batch = to_batch(problem, y0, ts, n_paths=n_paths, context=None, device=None, dtype=None)
    request = SolveRequest(batch.problem, batch.u0, batch.flat_times, get_solver(solver), **options)
    return batch.with_noise(request, random_state)
