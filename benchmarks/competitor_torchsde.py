"""torchsde in the work-precision comparison."""

import functools
import warnings

import measured
import torch
import torchsde
from measured import ERROR_PATHS, REFINEMENT, Curve, FailedError, Task, Work, strong_error
from torch_training import CubicNetwork, training_step

#: torchsde interpolates at the save times, so it needs smaller tolerances for the same errors.
TOLERANCES = (*measured.TOLERANCES, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
FIXED = ("euler", "milstein", "srk")
ADAPTIVE = ("milstein", "srk")
#: The first step of adaptive methods, in spacings of the save times; some equations fail after a longer first step.
FIRST = 1 / 8


class Equation(torch.nn.Module):
    """An equation in torchsde's form, which counts the evaluations of its drift."""

    sde_type = "ito"

    def __init__(self, drift, diffusion, noise_type):
        super().__init__()
        self.drift, self.g, self.noise_type = drift, diffusion, noise_type
        self.evaluations = 0

    def f(self, t, u):
        self.evaluations += 1
        return self.drift(t, u)


def curves(task: Task):
    equation = task.equation
    drift = CubicNetwork() if task.gradient else equation.drift(torch)
    times = torch.as_tensor(equation.saves)
    # torchsde takes additive noise as a matrix; diagonal noise serves both and is faster.
    sde = Equation(drift, equation.diffusion(torch), "diagonal")

    def brownian(paths, step, entropy=None, cache_size=45):
        return torchsde.BrownianInterval(
            0.0,
            equation.stop,
            size=(paths, len(equation.start)),
            dtype=torch.float64,
            entropy=entropy,
            dt=step,
            cache_size=cache_size,
            levy_area_approximation="space-time",
        )

    def simulate(bm, paths, **options):
        start = torch.tensor(equation.start, dtype=torch.float64).expand(paths, -1)
        try:
            return torchsde.sdeint(sde, start, times, bm=bm, **options)
        except AssertionError as found_nan:
            raise FailedError from found_nan

    @functools.cache
    @torch.no_grad()
    def fine():
        """A fine solution and its Brownian paths, which remember every interval queried."""
        step = equation.spacing / REFINEMENT
        bm = brownian(ERROR_PATHS, step, entropy=0)
        return bm, simulate(bm, ERROR_PATHS, method="srk", dt=step)

    def prepare(method, adaptive, setting):
        if adaptive:
            options = {
                "adaptive": True,
                "rtol": setting,
                "atol": setting,
                "dt": FIRST * equation.spacing,
                "dt_min": 1e-7,
            }
        else:
            # Slightly longer, since rounding would add a step.
            options = {"dt": setting * (1 + 1e-9)}

        @torch.no_grad()
        def error():
            bm, reference = fine()
            sde.evaluations = 0
            values = simulate(bm, ERROR_PATHS, method=method, **options)
            return strong_error(values[1:], reference[1:]), sde.evaluations

        def forward():
            # The noise prepares its tree for this step; adaptive methods have no fixed step.
            bm = brownian(task.paths, None if adaptive else setting)
            return simulate(bm, task.paths, method=method, **options)

        run = training_step(drift, forward) if task.gradient else torch.no_grad()(forward)
        return Work(run, error)

    for method in FIXED:
        yield Curve(method, False, functools.partial(prepare, method, False))
    for method in ADAPTIVE:
        yield Curve(f"{method}, adaptive", True, functools.partial(prepare, method, True), TOLERANCES)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    measured.main("torchsde", curves)
