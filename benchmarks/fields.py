"""Evaluations, time and error of solvers on the classic reaction-diffusion problem.

The reaction is the true one, then a network. The field has 100 x 100 points and three substances; t = 0..100, with 21
save times. Competitors are torchdiffeq, scipy and py-pde, which needs an interpreter of its own (``pip install
py-pde==0.59.0``, then ``--pypde-python``). One thread, processor time; errors are against a solution at a much tighter
tolerance. A Jacobian of the reaction counts as one evaluation. The last lines are for the gradient of a loss of all
save times with respect to the network, in units of forward solves, and its memory.
"""

import argparse
import json
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measure import machine
from scipy.integrate import solve_ivp
from scipy.sparse import coo_matrix, identity, kron

from skneuralde import MLP, Laplacian, Problem, solve
from skneuralde.datasets import abc_law, abc_problem, abc_source
from skneuralde.terms.inputs import Inputs
from skneuralde.terms.network import Network

TS = np.arange(0.0, 101.0, 5.0)
#: End of the interval that bosh3 solves; stability limits its steps, so the rest costs the same.
PART = 0.5


@dataclass(frozen=True)
class Row:
    """One line of the table; errors are the largest over the save times."""

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
    """Largest relative L2 error of a save time, and the largest error of all values."""
    difference = (ys - fine).reshape(len(ys), -1)
    relative = np.linalg.norm(difference, axis=1) / np.linalg.norm(fine.reshape(len(fine), -1), axis=1)
    return float(relative.max()), float(np.abs(difference).max())


def ours(problem: Problem, u0: np.ndarray, fine: np.ndarray, solver: str, tolerance: float, repeats: int = 1) -> Row:
    """A solution without gradients; its time is the least of several."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        with torch.no_grad():
            solution = solve(problem, u0, TS, solver=solver, rtol=tolerance, atol=tolerance)
        seconds.append(time.process_time() - start)
    name = solution.solver + (" (auto)" if solver == "auto" else "")
    return Row(name, tolerance, solution.stats.drift_evaluations, min(seconds), *errors(solution.ys[0].numpy(), fine))


@torch.no_grad()
def after_part(problem: Problem, u0: np.ndarray, solver: str, tolerance: float) -> tuple[np.ndarray, float]:
    """The field at the end of the first part of the interval, and the number of evaluations."""
    solution = solve(problem, u0, [0.0, PART], solver=solver, rtol=tolerance, atol=tolerance)
    return solution.ys[0, -1:].numpy(), solution.stats.drift_evaluations


def bosh3(problem: Problem, u0: np.ndarray, tolerance: float) -> Row:
    """torchdiffeq's method on the first part of the interval, with the rest extrapolated."""
    start = time.process_time()
    end, evaluations = after_part(problem, u0, "torchdiffeq:bosh3", tolerance)
    seconds = time.process_time() - start
    fine, _ = after_part(problem, u0, "etdrk4", 1e-9)
    scale = TS[-1] / PART
    return Row("torchdiffeq:bosh3 *", tolerance, scale * evaluations, scale * seconds, *errors(end, fine))


def pypde(python: str, u0: np.ndarray, tolerance: float) -> Row:
    """py-pde's adaptive Runge-Kutta method on the first part; its points are centres of grid cells."""
    with tempfile.TemporaryDirectory() as folder:
        start, end = Path(folder) / "start.npy", Path(folder) / "end.npy"
        np.save(start, u0)
        script = Path(__file__).with_name("competitor_pypde.py")
        command = [python, str(script), str(start), str(end), str(PART), str(tolerance)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        end = np.load(end)[None]
    problem = Problem(
        [abc_source(u0.shape[:2]), abc_law], operator=Laplacian([100.0, 0.0, 0.0], 1.0, "neumann_cell", ndim=2)
    )
    fine, _ = after_part(problem, u0, "etdrk4", 1e-9)
    scale = TS[-1] / PART
    return Row("py-pde *", tolerance, scale * result["evaluations"], scale * result["seconds"], *errors(end, fine))


def network() -> Network:
    """A 3-50-3 network that has learned the reaction on the range of the fields."""
    generator = torch.Generator().manual_seed(0)
    net = Network(MLP((50,)), Inputs.unit(3), torch.ones(3).double(), generator=generator, name="drift")
    u = 2.5 * torch.rand(4000, 3, generator=generator, dtype=torch.float64)
    target, t = abc_law(torch.zeros(1), u), torch.zeros(4000, 1, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=500, history_size=30, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (net(t, u) - target).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return net


class Peak:
    """Peak memory of the process above that at the start, in MB."""

    def __enter__(self) -> "Peak":
        self.most = self.base = self._resident()
        self.stop = threading.Event()
        self.watch = threading.Thread(target=self._look, daemon=True)
        self.watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.watch.join()
        self.most -= self.base

    def _look(self) -> None:
        while not self.stop.wait(0.01):
            self.most = max(self.most, self._resident())

    @staticmethod
    def _resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def gradient(problem: Problem, u0: np.ndarray, fine: np.ndarray, mode: str, tolerance: float, forward: float) -> str:
    """Time and memory of the gradient of a loss of all save times."""
    target, parameters, seconds = torch.as_tensor(fine) + 0.01, list(problem.parameters()), []
    with Peak() as peak:
        for _ in range(3):
            start = time.process_time()
            ys = solve(problem, u0, TS, rtol=tolerance, atol=tolerance, gradient=mode).ys[0]
            torch.autograd.grad((ys - target).square().mean(), parameters)
            seconds.append(time.process_time() - start)
            del ys
    return (
        f"gradient={mode!r:14} {min(seconds):6.2f} s, {min(seconds) / forward:4.1f} forward solves, {peak.most:6.0f} MB"
    )


def second_difference(n: int) -> coo_matrix:
    """Second differences with mirror-image boundaries."""
    matrix = np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    matrix[0, 1] = matrix[-1, -2] = 2.0
    return coo_matrix(matrix)


def scipy_bdf(u0: np.ndarray, fine: np.ndarray, tolerance: float) -> Row:
    """scipy's BDF with the sparse Jacobian given."""
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

    start = time.process_time()
    solution = solve_ivp(slope, (0, TS[-1]), u0.ravel(), "BDF", TS, rtol=tolerance, atol=tolerance, jac=jacobian)
    seconds = time.process_time() - start
    return Row("scipy BDF, sparse", tolerance, calls, seconds, *errors(solution.y.T.reshape(fine.shape), fine))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-scipy", action="store_true", help="leave out the slowest competitor")
    parser.add_argument("--pypde-python", help="an interpreter with py-pde")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    u0 = np.random.default_rng(0).uniform(size=(100, 100, 3))
    print(f"{machine()}; one thread; relative: L2 error of the worst save time; * on t = 0..{PART}, errors at its end")
    head = f"{'solver':24} {'tolerance':>9} {'evaluations':>12} {'time':>12} {'relative':>10} {'largest':>10}"
    print("The true reaction", head, sep="\n")
    problem = abc_problem()
    fine = solve(problem, u0, TS, solver="etdrk4", rtol=1e-9, atol=1e-9).ys[0].numpy()
    choices = [("auto", 1e-2), ("auto", 1e-3), *((name, 1e-3) for name in ("etdrk4", "rkc2", "rock2", "rock4"))]
    for solver, tolerance in choices:
        print(ours(problem, u0, fine, solver, tolerance, 3), flush=True)
    print(bosh3(problem, u0, 1e-3), flush=True)
    if arguments.pypde_python:
        print(pypde(arguments.pypde_python, u0, 1e-3), flush=True)
    if not arguments.no_scipy:
        print(scipy_bdf(u0, fine, 1e-3), flush=True)
    print("A 3-50-3 network as the reaction", head, sep="\n")
    problem = Problem([abc_source(), network()], operator=Laplacian([100.0, 0.0, 0.0], ndim=2))
    with torch.no_grad():
        fine = solve(problem, u0, TS, solver="etdrk4", rtol=1e-8, atol=1e-8).ys[0].numpy()
    rows = [ours(problem, u0, fine, "auto", tolerance, 5) for tolerance in (1e-2, 1e-3)]
    rows += [ours(problem, u0, fine, "rock2", 1e-3, 2), bosh3(problem, u0, 1e-3)]
    for row in rows:
        print(f"{row}  {row.seconds / rows[0].seconds:6.1f} {row.seconds / rows[1].seconds:6.1f} times", flush=True)
    for mode in ("auto", "direct"):
        print(gradient(problem, u0, fine, mode, 1e-3, rows[1].seconds), flush=True)


if __name__ == "__main__":
    main()
