"""One epoch of maximum likelihood on 100,000 transitions, beside one epoch of scikit-learn's MLPRegressor.

Both have the same network, (50,) with tanh, and the same batch size, 1000. The likelihood has two networks (drift and
diffusion) and needs the Jacobian of the drift. The third line is a lower bound for torch: one evaluation of both
networks per transition and Euler's Gaussian density, without scaling, checks or callbacks. The last line is the
variational bound of a latent equation, as in the examples of torchsde.
"""

import time
import warnings

import measure
import numpy as np
import torch
import torchsde
from sklearn.neural_network import MLPRegressor

from skneuralde import NeuralSDERegressor

N, BATCH, SPACING = 100_000, 1_000, 0.5
#: A latent equation needs observation noise.
OBSERVATION_NOISE = 0.1


def ornstein_uhlenbeck():
    """A path of du = -u dt + sqrt(2) dW, which has a stationary variance of one."""
    decay = np.exp(-SPACING)
    shocks = np.random.default_rng(0).normal(scale=np.sqrt(1 - decay**2), size=N)
    values = np.zeros(N + 1)
    for i, shock in enumerate(shocks):
        values[i + 1] = decay * values[i] + shock
    return SPACING * np.arange(N + 1), values


def mlp_regressor():
    _, values = ornstein_uhlenbeck()
    regressor = MLPRegressor(hidden_layer_sizes=(50,), activation="tanh", batch_size=BATCH, random_state=0)

    def epoch():
        regressor.partial_fit(values[:-1, None], values[1:])

    return epoch


def ours():
    times, values = ornstein_uhlenbeck()
    stamps = []
    estimator = NeuralSDERegressor(
        hidden_layer_sizes=(50,),
        activation="tanh",
        loss="nll",
        batch_size=BATCH,
        max_iter=4,
        optimizer="adam",
        random_state=0,
        on_epoch=lambda state: stamps.append(time.perf_counter()),
    )

    def fit():
        stamps.clear()
        estimator.fit(times[:, None], values)
        return float(np.median(np.diff(stamps)))

    return fit


def torch_by_hand():
    _, values = ornstein_uhlenbeck()
    pairs = torch.as_tensor(np.column_stack([values[:-1], values[1:]]))

    def network():
        return torch.nn.Sequential(torch.nn.Linear(1, 50), torch.nn.Tanh(), torch.nn.Linear(50, 1)).double()

    drift, diffusion = network(), network()
    optimizer = torch.optim.Adam([*drift.parameters(), *diffusion.parameters()], lr=1e-3, fused=True)

    def epoch():
        for batch in torch.randperm(N).split(BATCH):
            start, stop = pairs[batch].split(1, dim=1)
            std = torch.nn.functional.softplus(diffusion(start)) * SPACING**0.5
            residual = (stop - start - SPACING * drift(start)) / std
            loss = (0.5 * residual.square() + std.log()).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return epoch


class Latent(torch.nn.Module):
    """A posterior drift that sees the end of the path, a prior drift, and their common diffusion."""

    sde_type, noise_type = "ito", "diagonal"

    def __init__(self):
        super().__init__()

        def network(width):
            return torch.nn.Sequential(torch.nn.Linear(width, 50), torch.nn.Tanh(), torch.nn.Linear(50, 1)).double()

        self.posterior, self.prior, self.diffusion = network(2), network(1), network(1)

    def f(self, t, u):
        return self.posterior(torch.cat([u, self.goal], 1))

    def h(self, t, u):
        return self.prior(u)

    def g(self, t, u):
        return torch.nn.functional.softplus(self.diffusion(u))


def torchsde_latent():
    """The variational bound of a latent equation, with four Euler steps per transition."""
    _, values = ornstein_uhlenbeck()
    pairs = torch.as_tensor(np.column_stack([values[:-1], values[1:]]))
    sde, times = Latent(), torch.tensor([0.0, SPACING], dtype=torch.float64)
    optimizer = torch.optim.Adam(sde.parameters(), lr=1e-3, fused=True)

    def epoch():
        for batch in torch.randperm(N).split(BATCH):
            start, sde.goal = pairs[batch].split(1, dim=1)
            ends, divergence = torchsde.sdeint(sde, start, times, dt=SPACING / 4, method="euler", logqp=True)
            loss = 0.5 * ((ends[-1] - sde.goal) / OBSERVATION_NOISE).square().mean() + divergence.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return epoch


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    measure.run(
        "One epoch on 100,000 transitions at batch size 1000",
        {
            "MLPRegressor": mlp_regressor,
            "skneuralde, nll": ours,
            "torch by hand, Euler": torch_by_hand,
            "torchsde, latent SDE": torchsde_latent,
        },
        repeats=3,
    )
