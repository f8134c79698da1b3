"""Cost of jumps: 10,000 paths of a noisy spiral whose first component halves at rate 2, with and without jumps.

Fixed steps are a sixteenth of the distance of two save times, whose error is that of `solve` by default (1e-4, root
mean square over the paths, in units of their size), or a quarter (2e-3). Adaptive steps aim at the same two errors. The
last lines have 2-50-2 networks as drift and affect, with the fixed steps of training.
"""

import measure
import numpy as np
import torch
from gradient_step import CubicNetwork

from skneuralde import Jump, Problem, solve

N_PATHS, N_TIMES, NOISE, RATE = 10_000, 30, 0.2, 2.0
TIMES = np.linspace(0.0, 1.0, N_TIMES)
SPIRAL = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)
HALF = torch.tensor([0.5, 1.0], dtype=torch.float64)
SIXTEENTH, QUARTER = ({"rtol": None, "dt": share / (N_TIMES - 1)} for share in (1 / 16, 1 / 4))


class Affect(torch.nn.Module):
    """A 2-50-2 network that gives the state after a jump."""

    def __init__(self):
        super().__init__()
        layers = torch.nn.Linear(2, 50), torch.nn.Tanh(), torch.nn.Linear(50, 2)
        self.layers = torch.nn.Sequential(*layers).double()

    def forward(self, t, u):
        return self.layers(u)


def spiral(t, u):
    return u**3 @ SPIRAL.T


def halve(t, u):
    return HALF * u


def competitor(drift, affect, steps):
    def build():
        torch.manual_seed(0)
        jumps = () if affect is None else (Jump(RATE, affect()),)
        problem = Problem(drift(), lambda t, u: NOISE * u, jumps=jumps)

        @torch.no_grad()
        def work():
            solve(problem, [2.0, 0.0], TIMES, n_paths=N_PATHS, random_state=0, **steps)

        return work

    return build


def main():
    true, networks = (lambda: spiral, lambda: halve), (CubicNetwork, Affect)
    competitors = {}
    for name, (drift, affect), steps in [
        ("fixed steps, 1e-4", true, SIXTEENTH),
        ("fixed steps, 2e-3", true, QUARTER),
        ("adaptive, 1e-4", true, {"rtol": 1e-3}),
        ("adaptive, 2e-3", true, {"rtol": 1e-2}),
        ("networks, fixed steps", networks, QUARTER),
    ]:
        competitors[name] = competitor(drift, None, steps)
        competitors[f"{name}, jumps"] = competitor(drift, affect, steps)
    measure.run("10,000 paths of the jump spiral", competitors, repeats=2, rounds=2)


if __name__ == "__main__":
    main()
