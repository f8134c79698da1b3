"""Solvers for an operator of one's own: nonlinear diffusion by `rosenbrock` with and without sparsity, `rock2`, scipy.

The equation is ``du/dt = div(k(x) (0.01 + u^2) grad u)`` on 64 x 64 grid cells between walls, first with k = 1
everywhere, then with a disc whose k is ten thousand times as large. One thread, processor time. Errors are relative L2
errors at the worst save time, against a solution at a much tighter tolerance.
"""

import time

import numpy as np
import torch
from fields import Row, errors
from measure import machine
from scipy.integrate import solve_ivp

from skneuralde import Problem, Stencil, solve
from skneuralde.solvers import SolverError

N = 64
TS = np.array([0.0, 0.01, 0.1, 1.0, 10.0])


class Medium(torch.nn.Module):
    """div(k (0.01 + u^2) grad u) by the fluxes between grid cells, with the harmonic mean of k at the faces."""

    def __init__(self, conductivity: torch.Tensor):
        super().__init__()
        self.walls = [2.0 / (1.0 / k[:-1] + 1.0 / k[1:]) for k in (conductivity, conductivity.T)]

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        return self._along(u, self.walls[0]) + self._along(u.transpose(1, 2), self.walls[1]).transpose(1, 2)

    def _along(self, u: torch.Tensor, walls: torch.Tensor) -> torch.Tensor:
        low, high = u[:, :-1], u[:, 1:]
        flux = walls[..., None].to(u) * (0.01 + ((low + high) / 2) ** 2) * (high - low)
        return torch.nn.functional.pad(N**2 * flux, (0, 0, 0, 0, 1, 1)).diff(dim=1)


def ours(operator: Medium, u0: np.ndarray, fine: np.ndarray, sparse: bool, solver: str, tolerance: float) -> Row | str:
    """One solution without gradients, or its error message; slow iterations are limited to few steps."""
    problem = Problem(None, operator=operator, sparsity=Stencil((1, 1)) if sparse else None)
    name = solver + (", sparsity" if sparse else ", Krylov" if solver == "rosenbrock" else "")
    most = 10_000 if sparse or solver != "rosenbrock" else 100
    start = time.process_time()
    try:
        with torch.no_grad():
            solution = solve(problem, u0, TS, solver=solver, rtol=tolerance, atol=1e-2 * tolerance, max_steps=most)
    except SolverError as error:
        return f"{name:24} {tolerance:9.0e} {time.process_time() - start:23.2f} s  {error}"
    seconds = time.process_time() - start
    return Row(name, tolerance, solution.stats.drift_evaluations, seconds, *errors(solution.ys[0].numpy(), fine))


def scipy_bdf(operator: Medium, u0: np.ndarray, fine: np.ndarray, tolerance: float) -> Row:
    """scipy's BDF with the same sparsity; its Jacobian is by finite differences."""
    calls = 0

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        with torch.no_grad():
            return operator(torch.from_numpy(y).view(1, N, N, 1)).flatten().numpy()

    start = time.process_time()
    pattern = Stencil().matrix(u0.shape)
    solution = solve_ivp(
        slope, (0, TS[-1]), u0.ravel(), "BDF", TS, rtol=tolerance, atol=1e-2 * tolerance, jac_sparsity=pattern
    )
    seconds = time.process_time() - start
    return Row("scipy BDF, sparsity", tolerance, calls, seconds, *errors(solution.y.T.reshape(fine.shape), fine))


def main() -> None:
    torch.set_num_threads(1)
    x = (np.arange(N) + 0.5) / N
    u0 = np.exp(-((x[:, None] - 0.4) ** 2 + (x - 0.5) ** 2) / 0.02)[..., None]
    disc = (x[:, None] - 0.6) ** 2 + (x - 0.5) ** 2 < 0.04
    print(f"{machine()}; one thread; relative: L2 error of the worst save time")
    for name, contrast in (("The same everywhere", 1.0), ("A disc that conducts well", 1e4)):
        operator = Medium(torch.from_numpy(np.where(disc, contrast, 1.0)))
        problem = Problem(None, operator=operator, sparsity=Stencil())
        with torch.no_grad():
            fine = solve(problem, u0, TS, rtol=1e-7, atol=1e-9).ys[0].numpy()
        print(name, flush=True)
        print(f"{'solver':24} {'tolerance':>9} {'evaluations':>12} {'time':>12} {'relative':>10} {'largest':>10}")
        for tolerance in (1e-3, 1e-4):
            for sparse, solver in ((True, "rosenbrock"), (False, "rosenbrock"), (False, "rock2")):
                print(ours(operator, u0, fine, sparse, solver, tolerance), flush=True)
            print(scipy_bdf(operator, u0, fine, tolerance), flush=True)


if __name__ == "__main__":
    main()
