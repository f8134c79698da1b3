"""Work and precision of the explicit methods for diffusion on a smooth field, the Brusselator of two substances.

The problem is that of Hairer and Wanner (1996), section IV.1, with 201 points. The table has evaluations, processor
time on one thread and the largest error at the end, by tolerance, against a solution at a much tighter tolerance.
"""

import math
import time

import torch
from measure import machine

from skneuralde import Laplacian, Problem, solve


def brusselator(t, u):
    a, b = u.unbind(-1)
    return torch.stack([1.0 + a * a * b - 4.0 * a, 3.0 * a - a * a * b], -1)


def main() -> None:
    torch.set_num_threads(1)
    x = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    u0 = torch.stack([1.0 + torch.sin(2.0 * math.pi * x), torch.full_like(x, 3.0)], -1)
    problem = Problem(brusselator, operator=Laplacian([0.02, 0.02], 1 / 200, ndim=1))
    fine = solve(problem, u0, [0.0, 10.0], solver="etdrk4", rtol=1e-11, atol=1e-11).ys
    print(f"{machine()}; one thread")
    print(f"{'solver':8} {'tolerance':>9} {'evaluations':>12} {'steps':>6} {'time':>9} {'largest error':>14}")
    for solver in ("rkc2", "rock2", "rock4"):
        for tolerance in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
            start = time.process_time()
            solution = solve(problem, u0, [0.0, 10.0], solver=solver, rtol=tolerance, atol=tolerance)
            seconds = time.process_time() - start
            error, steps = (solution.ys - fine).abs().max().item(), solution.stats.steps.item()
            evaluations = solution.stats.drift_evaluations
            print(f"{solver:8} {tolerance:9.0e} {evaluations:12,} {steps:6} {seconds:7.2f} s {error:14.1e}", flush=True)


if __name__ == "__main__":
    main()
