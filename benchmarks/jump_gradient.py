"""Cost of a gradient in jump rates: one training step through 10,000 jumping paths of the spiral.

The drift is a 2-50-2 network of u^3, as in `gradient_step.py`. The first component halves at a rate that is a 2-16-1
network of the state, thinned from the bound 4. The pathwise gradient is that of the drift alone and treats the jumps as
given. With rate branches, which have one jump more, the gradient includes that of the rate, and the effect of the drift
on it.
"""

import measure
import torch
from gradient_step import DATA, NOISE, START, STEP, TIMES, CubicNetwork

from skneuralde import Jump, Problem, expect, solve

N_PATHS, MOST = 10_000, 4.0


class Rate(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()

    def forward(self, t, u):
        return MOST * self.layers(u).sigmoid()


def halve_first(t, u):
    return u * torch.tensor([0.5, 1.0], dtype=u.dtype)


def training_step(simulate, jumps):
    problem = Problem(CubicNetwork(), lambda t, u: NOISE * u, jumps=jumps)
    optimizer = torch.optim.Adam(problem.parameters(), lr=1e-3, fused=True)
    seeds = iter(range(10**6))

    def step():
        loss = (simulate(problem, next(seeds)) - DATA).square().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def pathwise(problem, seed):
    return solve(problem, START, TIMES, solver="euler", dt=STEP, n_paths=N_PATHS, random_state=seed).mean()


def add_one_jump(problem, seed):
    return expect(
        problem, START, TIMES, lambda ys: ys, solver="euler", dt=STEP, n_paths=N_PATHS, random_state=seed
    )  # fmt: skip


def jumping():
    return (Jump(Rate(), halve_first, bound=MOST),)


if __name__ == "__main__":
    measure.run(
        "One training step through 10,000 jumping paths",
        {
            "pathwise gradient": lambda: training_step(pathwise, jumping()),
            "with rate branches": lambda: training_step(add_one_jump, jumping()),
            "pathwise, without jumps": lambda: training_step(pathwise, ()),
        },
        repeats=3,
    )
