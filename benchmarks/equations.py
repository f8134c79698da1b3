"""Equations of the work-precision comparison, written once for numpy, torch and jax.

Noise is diagonal. A function of an equation takes the array module (``numpy``, ``torch`` or ``jax.numpy``) and returns
``drift(t, u)`` or ``diffusion(t, u)`` for states of shape (..., dim).
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

N_SAVES = 30
SPIRAL = ((-0.1, 2.0), (-2.0, -0.1))
SPIRAL_NOISE = 0.2

#: A function of time and state in one array module.
Coefficient = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Equation:
    """An initial value problem and the properties of its noise.

    Attributes
    ----------
    formula : str
    start : tuple of float
    stop : float
        The last of `N_SAVES` save times; the first is 0.
    drift, diffusion : array module -> (t, u) -> array like u
    additive : bool
        Whether the diffusion is constant. If not, it is proportional to the state: ``diffusion = noise * u``.
    noise : float
    """

    formula: str
    start: tuple[float, ...]
    stop: float
    drift: Callable[[ModuleType], Coefficient]
    additive: bool
    noise: float

    @property
    def spacing(self) -> float:
        return self.stop / (N_SAVES - 1)

    @property
    def saves(self) -> np.ndarray:
        return np.linspace(0.0, self.stop, N_SAVES)

    def diffusion(self, xp: ModuleType) -> Coefficient:
        if self.additive:
            return lambda t, u: self.noise * xp.ones_like(u)
        return lambda t, u: self.noise * u

    def stratonovich_drift(self, drift: Coefficient) -> Coefficient:
        """The drift of the same equation in Stratonovich form; the equation itself is in Ito's form."""
        if self.additive:
            return drift
        return lambda t, u: drift(t, u) - 0.5 * self.noise**2 * u


def _spiral(xp: ModuleType) -> Coefficient:
    matrix = xp.asarray(np.array(SPIRAL))
    return lambda t, u: u**3 @ matrix


EQUATIONS = {
    "geometric": Equation(
        formula="du = u dt + 0.5 u dW, u(0) = 1, to t = 1",
        start=(1.0,),
        stop=1.0,
        drift=lambda xp: lambda t, u: u,
        additive=False,
        noise=0.5,
    ),
    "ornstein-uhlenbeck": Equation(
        formula="du = -u dt + 0.5 dW, u(0) = 1, to t = 2",
        start=(1.0,),
        stop=2.0,
        drift=lambda xp: lambda t, u: -u,
        additive=True,
        noise=0.5,
    ),
    "double well": Equation(
        formula="du = (u - u^3) dt + 0.5 dW, u(0) = -1, to t = 5",
        start=(-1.0,),
        stop=5.0,
        drift=lambda xp: lambda t, u: u - u**3,
        additive=True,
        noise=0.5,
    ),
    "spiral": Equation(
        formula="du = (u^3)' A dt + 0.2 u dW, A = [[-0.1, 2], [-2, -0.1]], u(0) = (2, 0), to t = 1",
        start=(2.0, 0.0),
        stop=1.0,
        drift=_spiral,
        additive=False,
        noise=SPIRAL_NOISE,
    ),
    "transient": Equation(
        formula="du = (u - u^3) dt + 0.2 u dW, u(0) = 20, to t = 2: a rate of 1200 that falls to 2",
        start=(20.0,),
        stop=2.0,
        drift=lambda xp: lambda t, u: u - u**3,
        additive=False,
        noise=0.2,
    ),
    "stiff": Equation(
        formula="du = -50 (u - cos t) dt + 0.5 dW, u(0) = 0, to t = 1",
        start=(0.0,),
        stop=1.0,
        drift=lambda xp: lambda t, u: -50.0 * (u - xp.cos(t)),
        additive=True,
        noise=0.5,
    ),
}


def network_weights(width: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights of a 2-50-2 tanh network of u^3 that has learned the spiral's drift.

    The hidden layer is random, and the output layer is the ridge regression of the drift on it, so that no framework
    has to train. Weights are in the layout of ``x @ weight + bias``.
    """
    rng = np.random.default_rng(0)
    cube = rng.uniform(-12.0, 12.0, size=(4000, 2))
    hidden_weight, hidden_bias = rng.normal(scale=0.08, size=(2, width)), rng.normal(scale=0.5, size=width)
    features = np.column_stack([np.tanh(cube @ hidden_weight + hidden_bias), np.ones(len(cube))])
    gram = features.T @ features + 1e-6 * len(cube) * np.eye(width + 1)
    output = np.linalg.solve(gram, features.T @ (cube @ np.array(SPIRAL)))
    return hidden_weight, hidden_bias, output[:-1], output[-1]


def spiral_data() -> np.ndarray:
    """Data that the gradient step compares the mean with; the values do not affect the time."""
    t = EQUATIONS["spiral"].saves
    return 2 * np.exp(-t)[:, None] * np.column_stack([np.cos(4 * t), np.sin(4 * t)])
