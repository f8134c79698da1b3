"""Errors of estimates over ten seeds, for Ornstein-Uhlenbeck data and the mean of the spiral's paths."""

import sys
from pathlib import Path

import numpy as np
import torch

from skneuralde import NeuralSDERegressor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import plot_spiral_sde as example
import spiral_true_mean as spiral

SEEDS, N, SPACING = range(10), 5000, 0.5
#: Standard errors of the rate, the mean and the logarithm of the noise at rate 1, mean 0, noise 1.
STANDARD_ERRORS = np.array([np.sqrt(np.expm1(2 * SPACING) / N) / SPACING, 1 / np.sqrt(N * SPACING), 1 / np.sqrt(2 * N)])


class Reversion(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.3))
        self.mean = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, t, u):
        return -self.rate * (u - self.mean)


class Noise(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.log_size = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(self, t, u):
        return self.log_size.exp() * torch.ones_like(u)


def ornstein_uhlenbeck(seed):
    rng = np.random.default_rng(seed)
    decay = np.exp(-SPACING)
    values = np.empty(N + 1)
    values[0] = rng.normal(scale=np.sqrt(0.5))
    for i, shock in enumerate(rng.normal(scale=np.sqrt(0.5 * (1 - decay**2)), size=N)):
        values[i + 1] = decay * values[i] + shock
    return SPACING * np.arange(N + 1)[:, None], values


def exact_estimates(values):
    """Maximum likelihood given the first value: a regression of each value on the one before."""
    slope, intercept = np.polyfit(values[:-1], values[1:], 1)
    variance = np.mean((values[1:] - slope * values[:-1] - intercept) ** 2)
    rate = -np.log(slope) / SPACING
    return np.array([rate, intercept / (1 - slope), 0.5 * np.log(variance * 2 * rate / (1 - slope**2))])


def modules(seed):
    """Distance of the estimates to the exact ones, in standard errors."""
    times, values = ornstein_uhlenbeck(seed)
    model = NeuralSDERegressor(Reversion(), Noise(), random_state=seed).fit(times, values)
    learned = np.array([p.item() for p in model.problem_.parameters()])
    return (np.abs(learned - exact_estimates(values)) / STANDARD_ERRORS).max()


def networks(seed):
    """Relative root mean square errors of the drift and diffusion curves over the central 90% of the data."""
    times, values = ornstein_uhlenbeck(seed)
    model = NeuralSDERegressor(random_state=seed).fit(times, values)
    u = torch.linspace(*np.quantile(values, [0.05, 0.95]), 200, dtype=torch.float64)[:, None]
    with torch.no_grad():
        drift, diffusion = (c(torch.zeros_like(u), u, u[:, :0]) for c in (model.drift_, model.diffusion_))
    relative = [((drift + u).square().mean() / u.square().mean()).sqrt(), (diffusion - 1).square().mean().sqrt()]
    return [float(error) for error in relative]


def spiral_ratio(seed):
    """Distance of the trained mean to the true mean, divided by that of the data."""
    X, y, truth = (
        spiral.TIMES[:, None],
        spiral.simulate(100, np.random.default_rng(seed)).mean(axis=0),
        spiral.true_mean(),
    )
    model = example.make_regressor(seed, optimizer="lbfgs", max_iter=15).fit(X, y)
    return example.distance(model.predict(X), truth) / example.distance(y, truth)


if __name__ == "__main__":
    worst = max(modules(seed) for seed in SEEDS)
    print(f"Ornstein-Uhlenbeck, modules: at most {worst:.1e} standard errors from the exact estimates")
    drift, diffusion = np.median([networks(seed) for seed in SEEDS], axis=0)
    print(f"Ornstein-Uhlenbeck, networks: median error of the drift {drift:.1%}, of the diffusion {diffusion:.1%}")
    ratios = np.sort([spiral_ratio(seed) for seed in SEEDS])
    print(f"Spiral: ratios {np.round(ratios, 2).tolist()}, {np.sum(ratios <= 1.25)} of 10 at most 1.25")
