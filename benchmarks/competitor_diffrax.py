"""diffrax in the work-precision comparison; its interpreter needs the packages of requirements-diffrax.txt.

Stratonovich methods get the converted drift. The solution of one path is vmapped, so that each path has its own steps.
"""

import functools
import itertools
import time
from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import lineax
import measured
import optax
from diffrax import ClipStepSizeController, HalfSolver, PIDController
from equations import network_weights, spiral_data
from measured import ERROR_PATHS, REFINEMENT, Curve, Task, Work, strong_error

jax.config.update("jax_enable_x64", True)


class Method(NamedTuple):
    solver: diffrax.AbstractSolver
    #: Evaluations of the drift in one step.
    stages: int
    ito: bool = False
    additive_only: bool = False


FIXED = {
    "Euler": Method(diffrax.Euler(), 1, ito=True),
    "ItoMilstein": Method(diffrax.ItoMilstein(), 1, ito=True),
    "StratonovichMilstein": Method(diffrax.StratonovichMilstein(), 1),
    "GeneralShARK": Method(diffrax.GeneralShARK(), 2),
    "SlowRK": Method(diffrax.SlowRK(), 2),
    "SPaRK": Method(diffrax.SPaRK(), 3),
    "SEA": Method(diffrax.SEA(), 1, additive_only=True),
    "SRA1": Method(diffrax.SRA1(), 2, additive_only=True),
    "ShARK": Method(diffrax.ShARK(), 2, additive_only=True),
}
ADAPTIVE = {name: FIXED[name] for name in ("SPaRK", "SRA1", "ShARK")} | {
    # A step and two half steps, which share no evaluation.
    f"Half {name}": FIXED[name]._replace(solver=HalfSolver(FIXED[name].solver), stages=3 * FIXED[name].stages)
    for name in ("ItoMilstein", "GeneralShARK", "SlowRK")
}
#: Step to each save time, or interpolate there.
AT_SAVES = ("step", "interpolate")
#: The integral controller, and the one that diffrax's documentation recommends for noise: name and coefficients.
CONTROLLERS = {"I": (0.0, 1.0), "PI": (0.1, 0.3)}
FINE = "SlowRK"
#: Resolution of the Brownian paths, in units of their length: just below the steps of the fine solution.
NOISE_RESOLUTION = 2.0**-14


def network(weights):
    hidden_weight, hidden_bias, output_weight, output_bias = weights
    return lambda t, u: jnp.tanh(u**3 @ hidden_weight + hidden_bias) @ output_weight + output_bias


def path(equation, method, controller, noise, weights, setting, **options):
    """One path at the save times, and its number of steps; ``weights`` is None for the true drift."""
    drift = equation.drift(jnp) if weights is None else network(weights)
    drift = drift if method.ito else equation.stratonovich_drift(drift)
    diffusion = equation.diffusion(jnp)
    terms = diffrax.MultiTerm(
        diffrax.ODETerm(lambda t, u, _: drift(t, u)),
        diffrax.ControlTerm(lambda t, u, _: lineax.DiagonalLinearOperator(diffusion(t, u)), noise),
    )
    saves = jnp.asarray(equation.saves)
    solution = diffrax.diffeqsolve(
        terms,
        method.solver,
        0.0,
        equation.stop,
        equation.spacing if controller else setting,
        jnp.array(equation.start),
        saveat=diffrax.SaveAt(ts=saves),
        stepsize_controller=controller(setting, saves) if controller else diffrax.ConstantStepSize(),
        **options,
    )
    return solution.ys, solution.stats["num_steps"]


def make_controller(at_saves, coefficients):
    proportional, integral = coefficients

    def controller(tolerance, saves):
        pid = PIDController(rtol=tolerance, atol=tolerance, pcoeff=proportional, icoeff=integral)
        return ClipStepSizeController(pid, step_ts=saves) if at_saves == "step" else pid

    return controller


def make_simulate(equation, method, controller, *, forward_only=False, max_steps=2**16):
    """All paths and their steps, as a function of the weights, the paths' keys, and the step or the tolerance."""
    # Fixed steps without a gradient need independent increments, and no Brownian tree.
    treeless = forward_only and controller is None
    adjoint = diffrax.ForwardMode() if forward_only else diffrax.RecursiveCheckpointAdjoint()

    def simulate(weights, keys, setting):
        def one(key):
            shape, area = (len(equation.start),), diffrax.SpaceTimeLevyArea
            if treeless:
                noise = diffrax.UnsafeBrownianPath(shape, key, levy_area=area)
            else:
                resolution = NOISE_RESOLUTION * equation.stop
                noise = diffrax.VirtualBrownianTree(0.0, equation.stop, resolution, shape, key, levy_area=area)
            return path(equation, method, controller, noise, weights, setting, max_steps=max_steps, adjoint=adjoint)

        return jax.vmap(one)(keys)

    return simulate


def make_training_step(simulate):
    """A tiny step of Adam on the mean's squared distance to data, as in ``torch_training``."""
    data, optimizer = jnp.asarray(spiral_data()), optax.adam(1e-9)

    def loss(weights, keys, setting):
        return jnp.sum((simulate(weights, keys, setting)[0].mean(0) - data) ** 2)

    def step(weights, state, keys, setting):
        updates, state = optimizer.update(jax.grad(loss)(weights, keys, setting), state)
        return optax.apply_updates(weights, updates), state

    return step, optimizer.init


def curves(task: Task):
    equation = task.equation
    weights = tuple(jnp.asarray(w) for w in network_weights()) if task.gradient else None
    error_keys = jax.random.split(jax.random.key(0), ERROR_PATHS)

    @functools.cache
    def fine():
        simulate = jax.jit(make_simulate(equation, FIXED[FINE], None))
        return simulate(weights, error_keys, equation.spacing / REFINEMENT)[0]

    def curve(name, method, controller):
        simulate = jax.jit(make_simulate(equation, method, controller))

        @functools.cache
        def compiled():
            """The unit of work as a function of a seed and the setting, and the seconds of its compilation."""
            fast = make_simulate(equation, method, controller, forward_only=not task.gradient, max_steps=2**12)
            keys, setting = jax.random.split(jax.random.key(1), task.paths), jnp.array(equation.spacing)
            start = time.perf_counter()
            if task.gradient:
                step, init = make_training_step(fast)
                state = init(weights)
                program = jax.jit(step).lower(weights, state, keys, setting).compile()
                arguments = (weights, state)
            else:
                program = jax.jit(fast).lower(weights, keys, setting).compile()
                arguments = (weights,)
            return (lambda keys, setting: program(*arguments, keys, setting)), time.perf_counter() - start

        def prepare(setting):
            program, seconds = compiled()
            seeds = itertools.count()
            value = jnp.array(setting)

            def error():
                values, steps = simulate(weights, error_keys, value)
                return strong_error(values[:, 1:], fine()[:, 1:]), float(steps.mean()) * method.stages

            def run():
                keys = jax.random.split(jax.random.key(next(seeds)), task.paths)
                return jax.block_until_ready(program(keys, value))

            return Work(run, error, seconds)

        return Curve(name, controller is not None, prepare)

    for name, method in FIXED.items():
        if equation.additive or not method.additive_only:
            yield curve(name, method, None)
    for name, method in ADAPTIVE.items():
        if equation.additive or not method.additive_only:
            for at_saves, (label, coefficients) in itertools.product(AT_SAVES, CONTROLLERS.items()):
                yield curve(f"{name}, {label}, {at_saves}", method, make_controller(at_saves, coefficients))


if __name__ == "__main__":
    measured.main("diffrax", curves)
