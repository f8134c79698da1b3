"""One gradient step on the spiral: 100 paths, 30 save times, a 2-50-2 network of u^3 as the drift.

The step is a forward simulation, the squared distance of the mean to data, reverse mode and an update by Adam. It is in
float64 and with 29 steps of size 1/29, so that every competitor evaluates the network equally often (except the last
one, of higher order, which needs more).
"""

import time

import measure
import numpy as np
import torch
import torchsde

import skneuralde
from skneuralde import MLP, NeuralSDERegressor, Problem

N_PATHS, N_TIMES, NOISE = 100, 30, 0.2
STEP = 1.0 / (N_TIMES - 1)
TIMES = torch.linspace(0.0, 1.0, N_TIMES, dtype=torch.float64)
START = torch.tensor([2.0, 0.0], dtype=torch.float64)
#: A spiral without noise; the data do not affect the time.
DATA = torch.stack([2 * torch.exp(-TIMES) * torch.cos(4 * TIMES), 2 * torch.exp(-TIMES) * torch.sin(4 * TIMES)], -1)


class CubicNetwork(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 50), torch.nn.Tanh(), torch.nn.Linear(50, 2)).double()

    def forward(self, t, u):
        return self.layers(u**3)


def cube(u):
    return u**3


def proportional(t, u):
    return NOISE * u


def training_step(network, simulate):
    """A step of Adam on the mean of ``simulate()``, which has shape (time, path, dim)."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def step():
        loss = (simulate().mean(1) - DATA).square().sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def by_hand():
    network = CubicNetwork()

    def simulate():
        u = START.expand(N_PATHS, 2)
        saved = [u]
        for dw in STEP**0.5 * torch.randn(N_TIMES - 1, N_PATHS, 2, dtype=torch.float64):
            u = u + STEP * network(0.0, u) + NOISE * u * dw
            saved.append(u)
        return torch.stack(saved)

    return training_step(network, simulate)


def ours_solve():
    # The problem trains a deep copy of the network.
    problem = Problem(CubicNetwork(), proportional)

    def simulate():
        # A fresh seed per step, as in training.
        seed = int(torch.randint(2**31, ()))
        ys = skneuralde.solve(problem, START, TIMES, solver="euler", dt=STEP, n_paths=N_PATHS, random_state=seed).ys
        return ys.transpose(0, 1)

    return training_step(problem, simulate)


def ours_fit():
    epochs = 20
    stamps = []
    estimator = NeuralSDERegressor(
        MLP((50,), features=cube),
        proportional,
        loss="mean",
        debiased=False,
        solver="euler",
        dt=STEP,
        n_paths=N_PATHS,
        max_iter=epochs,
        optimizer="adam",
        random_state=0,
        on_epoch=lambda state: stamps.append(time.perf_counter()),
    )

    def fit():
        stamps.clear()
        estimator.fit(TIMES.numpy()[:, None], DATA.numpy())
        return float(np.median(np.diff(stamps)))

    return fit


def torchsde_method(method):
    def build():
        network = CubicNetwork()
        network.noise_type, network.sde_type = "diagonal", "ito"
        network.f, network.g = network.forward, proportional
        start = START.repeat(N_PATHS, 1)
        return training_step(network, lambda: torchsde.sdeint(network, start, TIMES, method=method, dt=STEP))

    return build


if __name__ == "__main__":
    measure.run(
        "One gradient step through 100 paths of the spiral",
        {
            "Euler loop by hand": by_hand,
            "skneuralde, solve": ours_solve,
            "skneuralde, fit": ours_fit,
            "torchsde, euler": torchsde_method("euler"),
            "torchsde, srk": torchsde_method("srk"),
        },
        repeats=30,
    )
