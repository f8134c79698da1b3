"""skneuralde in the work-precision comparison."""

import functools
import itertools

import measured
import torch
from measured import ERROR_PATHS, REFINEMENT, SUBSTEPS, Curve, FailedError, Task, Work, strong_error
from torch_training import CubicNetwork, training_step

from skneuralde import Problem, solve
from skneuralde.solvers import SolverError

DIAGONAL, ADDITIVE = ("sosri", "sriw1", "sosri2"), ("sosra", "sra1")


def curves(task: Task):
    equation = task.equation
    drift = CubicNetwork() if task.gradient else equation.drift(torch)
    problem = Problem(drift, equation.diffusion(torch), noise="additive" if equation.additive else "diagonal")
    times, start = torch.as_tensor(equation.saves), torch.tensor(equation.start, dtype=torch.float64)
    methods = ADDITIVE if equation.additive else DIAGONAL

    def simulate(paths, seed, method, **options):
        try:
            return solve(problem, start, times, solver=method, n_paths=paths, random_state=seed, **options)
        except SolverError as failed:
            raise FailedError from failed

    @functools.cache
    @torch.no_grad()
    def fine():
        return simulate(ERROR_PATHS, 0, methods[-1], rtol=None, dt=equation.spacing / REFINEMENT).ys

    def prepare(method, adaptive, setting):
        options = {"rtol": setting, "atol": setting} if adaptive else {"rtol": None, "dt": setting}
        seeds = itertools.count()

        @torch.no_grad()
        def error():
            solution = simulate(ERROR_PATHS, 0, method, **options)
            evaluations = solution.stats.drift_evaluations / ERROR_PATHS
            return strong_error(solution.ys[:, 1:], fine()[:, 1:]), evaluations

        def forward():
            return simulate(task.paths, next(seeds), method, **options).ys.transpose(0, 1)

        # The problem trains a copy of the network.
        run = training_step(problem, forward) if task.gradient else torch.no_grad()(forward)
        return Work(run, error)

    # Euler's method needs many more steps than the others for the same error.
    yield Curve("euler", False, functools.partial(prepare, "euler", False), substeps=(*SUBSTEPS, 64, 256, 1024))
    for method in ("milstein", *methods):
        yield Curve(method, False, functools.partial(prepare, method, False))
    for method in methods:
        yield Curve(f"{method}, adaptive", True, functools.partial(prepare, method, True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    measured.main("skneuralde", curves)
