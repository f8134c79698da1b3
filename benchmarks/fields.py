"""The classic reaction-diffusion problem with its true law: evaluations, time and error of solvers.

A 100 x 100 field of three substances, t = 0..100, 21 saves, beside torchdiffeq and scipy. One thread; errors against a
solution at a much tighter tolerance. A Jacobian of the reaction counts as one evaluation.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from measure import machine
from scipy.integrate import solve_ivp
from scipy.sparse import coo_matrix, identity, kron

from skneuralde import solve
from skneuralde.datasets import abc_law, abc_problem, abc_source

TS = np.arange(0.0, 101.0, 5.0)
#: Part of the interval that bosh3 solves; its steps are as long as stability allows, so the rest costs the same.
PART = 0.5


@dataclass(frozen=True)
class Row:
    """One line of the table; errors are the largest over the saves."""

    solver: str
    tolerance: float
    evaluations: float
    seconds: float
    relative: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.solver:24} {self.tolerance:9.0e} {self.evaluations:12,.0f} {self.seconds:10.2f} s "
            f"{self.relative:10.1e} {self.largest:10.1e}"
        )


def errors(ys: np.ndarray, fine: np.ndarray) -> tuple[float, float]:
    """Relative L2 error of the worst save, and the largest error of all."""
    difference = (ys - fine).reshape(len(ys), -1)
    relative = np.linalg.norm(difference, axis=1) / np.linalg.norm(fine.reshape(len(fine), -1), axis=1)
    return float(relative.max()), float(np.abs(difference).max())


def ours(u0: np.ndarray, fine: np.ndarray, solver: str, tolerance: float) -> Row:
    start = time.perf_counter()
    solution = solve(abc_problem(), u0, TS, solver=solver, rtol=tolerance, atol=tolerance)
    seconds = time.perf_counter() - start
    return Row(solver, tolerance, solution.stats.drift_evaluations, seconds, *errors(solution.ys[0].numpy(), fine))


def bosh3(u0: np.ndarray, tolerance: float) -> Row:
    """torchdiffeq's method on the first part of the interval, with the rest extrapolated."""
    start = time.perf_counter()
    solution = solve(abc_problem(), u0, [0.0, PART], solver="torchdiffeq:bosh3", rtol=tolerance, atol=tolerance)
    scale = TS[-1] / PART
    seconds = time.perf_counter() - start
    name = "torchdiffeq:bosh3 *"
    return Row(name, tolerance, scale * solution.stats.drift_evaluations, scale * seconds, np.nan, np.nan)


def second_difference(n: int) -> coo_matrix:
    """Mirror image at both ends."""
    matrix = np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    matrix[0, 1] = matrix[-1, -2] = 2.0
    return coo_matrix(matrix)


def scipy_bdf(u0: np.ndarray, fine: np.ndarray, tolerance: float) -> Row:
    """scipy's BDF with the sparse Jacobian written down."""
    n = u0.shape[0]
    laplacian = kron(second_difference(n), identity(n)) + kron(identity(n), second_difference(n))
    diffusion = 100.0 * kron(laplacian, np.diag([1.0, 0.0, 0.0])).tocsr()
    source = abc_source((n, n)).ravel()
    calls = 0

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        reaction = abc_law(torch.zeros(1), torch.from_numpy(y.reshape(-1, 3))).numpy().ravel()
        return reaction + source + diffusion @ y

    def jacobian(t: float, y: np.ndarray) -> coo_matrix:
        nonlocal calls
        calls += 1
        a, b, _ = y.reshape(-1, 3).T
        one = np.ones_like(a)
        blocks = np.array([[-1 - b, -a, one], [-b, -1 - a, one], [b, a, -2 * one]])
        rows, columns = np.meshgrid(range(3), range(3), indexing="ij")
        base = 3 * np.arange(len(a))
        where = (base + rows[..., None]).ravel(), (base + columns[..., None]).ravel()
        return (coo_matrix((blocks.ravel(), where), shape=diffusion.shape) + diffusion).tocsc()

    start = time.perf_counter()
    solution = solve_ivp(slope, (0, TS[-1]), u0.ravel(), "BDF", TS, rtol=tolerance, atol=tolerance, jac=jacobian)
    seconds = time.perf_counter() - start
    return Row("scipy BDF, sparse", tolerance, calls, seconds, *errors(solution.y.T.reshape(fine.shape), fine))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-scipy", action="store_true", help="leave out the slowest competitor")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    u0 = np.random.default_rng(0).uniform(size=(100, 100, 3))
    fine = solve(abc_problem(), u0, TS, solver="etdrk4", rtol=1e-9, atol=1e-9).ys[0].numpy()
    print(f"{machine()}; one thread; relative: L2 error of the worst save; * extrapolated from t = {PART}")
    print(f"{'solver':24} {'tolerance':>9} {'evaluations':>12} {'time':>12} {'relative':>10} {'largest':>10}")
    for solver, tolerance in (
        ("rosenbrock", 1e-2),
        ("rosenbrock", 1e-3),
        ("etdrk4", 1e-3),
        ("rock2", 1e-3),
        ("rkc2", 1e-3),
    ):
        print(ours(u0, fine, solver, tolerance), flush=True)
    print(bosh3(u0, 1e-3), flush=True)
    if not arguments.no_scipy:
        print(scipy_bdf(u0, fine, 1e-3), flush=True)


if __name__ == "__main__":
    main()
