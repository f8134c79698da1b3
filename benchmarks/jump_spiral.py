"""10,000 paths of a noisy spiral whose first component halves at rate 2, against the same paths without jumps.

With fixed steps of a quarter of the distance of two saved times, and with steps that each path chooses.
"""

import measure
import numpy as np
import torch

from skneuralde import Jump, Problem, solve

N_PATHS, N_TIMES, NOISE = 10_000, 30, 0.2
TIMES = np.linspace(0.0, 1.0, N_TIMES)
SPIRAL = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)
HALF = torch.tensor([0.5, 1.0], dtype=torch.float64)
FIXED = {"rtol": None, "dt": 0.25 / (N_TIMES - 1)}
ADAPTIVE = {"rtol": 1e-2}


def competitor(jumps, steps):
    def build():
        problem = Problem(lambda t, u: u**3 @ SPIRAL.T, lambda t, u: NOISE * u, jumps=jumps)
        return lambda: solve(problem, [2.0, 0.0], TIMES, n_paths=N_PATHS, random_state=0, **steps) and None

    return build


def main():
    halving = (Jump(2.0, lambda t, u: HALF * u),)
    competitors = {
        "fixed": competitor((), FIXED),
        "fixed, jumps": competitor(halving, FIXED),
        "adaptive": competitor((), ADAPTIVE),
        "adaptive, jumps": competitor(halving, ADAPTIVE),
    }
    measure.run("10,000 paths of the jump spiral", competitors, repeats=2, rounds=2)


if __name__ == "__main__":
    main()
