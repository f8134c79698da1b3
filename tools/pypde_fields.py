"""Simulation of test fields by another package, py-pde 0.59: ``python tools/pypde_fields.py``.

It needs an environment with ``pip install py-pde==0.59.0`` and does not import this package. It writes
``tests/estimators/data/pypde_fields.npz``, float64, fields last; points are centres of cells. The method is py-pde's
adaptive Runge-Kutta method (tolerance 1e-11) with its second-order differences in space.

``heat_*``: du/dt = 0.3 Lap u, periodic, 32 x 24 cells on [0, 8] x [0, 9]; uniform random numbers at t = 0.
``fisher_*``: du/dt = 0.01 Lap u + u (1 - u), no flux, 26 cells on [0, 1]; a hump in the middle at t = 0.
``brusselator_*``: diffusivities (0.05, 0.4), reaction (1 + u^2 v - 4 u, 3 u - u^2 v), no flux, 16 x 12 cells on [0, 4]
x [0, 3]; near its steady state at t = 0.
``gray_scott_*``: diffusivities (2e-5, 1e-5), reaction (-u v^2 + 0.04 (1 - u), u v^2 - 0.1 v), periodic, 64 cells on
[0, 1]; a dose in the middle at t = 0.

Each has ``*_times (n_times,)``, ``*_values (n_times, *grid, fields)``, ``*_diffusivity (fields,)`` and
``*_spacing (axes,)``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pde

TARGET = Path(__file__).parents[1] / "tests" / "estimators" / "data" / "pypde_fields.npz"


def simulate(equation, state, times) -> np.ndarray:
    """States ``(n_times, *grid, fields)`` at the times."""
    memory = pde.MemoryStorage()
    saves = memory.tracker(pde.FixedInterrupts(list(times)))
    equation.solve(
        state, (0.0, times[-1]), dt=1e-4, solver="runge-kutta", adaptive=True, tolerance=1e-11, tracker=saves
    )
    np.testing.assert_allclose(memory.times, times, atol=1e-9)
    values = np.array(
        [np.atleast_2d(field.data) if isinstance(state, pde.FieldCollection) else field.data[None] for field in memory]
    )
    return np.moveaxis(values, 1, -1)


def heat(rng):
    """Diffusion of random numbers: grid, equation, state, times, diffusivities."""
    grid = pde.CartesianGrid([[0, 8], [0, 9]], [32, 24], periodic=True)
    state = pde.ScalarField(grid, rng.uniform(size=grid.shape))
    return grid, pde.DiffusionPDE(diffusivity=0.3), state, np.linspace(0.0, 1.0, 11), [0.3]


def fisher(rng):
    """A spreading species, in the same form."""
    grid = pde.CartesianGrid([[0, 1]], 26)
    x = grid.cell_coords[..., 0]
    hump = 0.5 * (np.tanh((x - 0.4) / 0.02) - np.tanh((x - 0.6) / 0.02))
    equation = pde.PDE({"u": "0.01 * laplace(u) + u * (1 - u)"}, bc={"derivative": 0})
    return grid, equation, pde.ScalarField(grid, hump), np.linspace(0.0, 5.0, 11), [0.01]


def brusselator(rng):
    """An oscillating reaction, in the same form."""
    grid = pde.CartesianGrid([[0, 4], [0, 3]], [16, 12])
    fields = [pde.ScalarField(grid, rest + 0.3 * rng.standard_normal(grid.shape)) for rest in (1.0, 3.0)]
    rates = {"u": "0.05 * laplace(u) + 1 + u**2 * v - 4 * u", "v": "0.4 * laplace(v) + 3 * u - u**2 * v"}
    equation = pde.PDE(rates, bc={"derivative": 0})
    return grid, equation, pde.FieldCollection(fields), np.linspace(0.0, 10.0, 11), [0.05, 0.4]


def gray_scott(rng):
    """A dose that feeds on an inflow, in the same form."""
    grid = pde.CartesianGrid([[0, 1]], 64, periodic=True)
    dose = np.exp(-(((grid.cell_coords[..., 0] - 0.5) / 0.08) ** 2))
    fields = [pde.ScalarField(grid, 1.0 - 0.5 * dose), pde.ScalarField(grid, 0.25 * dose)]
    rates = {
        "u": "2e-5 * laplace(u) - u * v**2 + 0.04 * (1 - u)",
        "v": "1e-5 * laplace(v) + u * v**2 - 0.1 * v",
    }
    equation = pde.PDE(rates, bc="auto_periodic_neumann")
    return grid, equation, pde.FieldCollection(fields), np.linspace(0.0, 400.0, 11), [2e-5, 1e-5]


def main() -> None:
    """Simulate all fields and write the file."""
    data = {}
    for number, make in enumerate((heat, fisher, brusselator, gray_scott)):
        grid, equation, state, times, diffusivity = make(np.random.default_rng(number))
        name = make.__name__
        data[f"{name}_times"] = times
        data[f"{name}_values"] = simulate(equation, state, times)
        data[f"{name}_diffusivity"] = np.array(diffusivity)
        data[f"{name}_spacing"] = np.array(grid.discretization)
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **data)
    for name, value in data.items():
        print(name, value.shape, value.min(), value.max())
    print(TARGET, TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
