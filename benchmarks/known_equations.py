"""Errors of estimates from simulated data, for equations whose answer is known, over ten seeds each.

Run ``python benchmarks/known_equations.py [name ...]``. A line per equation says how many of the ten seeds pass, and
lists their errors.
"""

import sys
import time
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import ncx2

from skneuralde import MLP, NeuralSDERegressor

SEEDS = range(10)


class Module(torch.nn.Module):
    """A coefficient with named parameters."""

    def __init__(self, function, **start):
        super().__init__()
        self.function = function
        for name, value in start.items():
            setattr(self, name, torch.nn.Parameter(torch.tensor(float(value))))

    def forward(self, t, u):
        return self.function(self, u)


def values_of(module):
    return {name: parameter.item() for name, parameter in module.function.named_parameters()}


# Ornstein-Uhlenbeck: rate 1, mean 0, noise 1.


def ornstein_uhlenbeck(seed, n, spacing):
    rng = np.random.default_rng(seed)
    decay = np.exp(-spacing)
    values = np.empty(n + 1)
    values[0] = rng.normal(scale=np.sqrt(0.5))
    for i, shock in enumerate(rng.normal(scale=np.sqrt(0.5 * (1 - decay**2)), size=n)):
        values[i + 1] = decay * values[i] + shock
    return spacing * np.arange(n + 1)[:, None], values


def check_ornstein_uhlenbeck(spacing, n=5000):
    """Largest distance to the exact estimates of rate, mean and log noise, in standard errors."""

    def distance(seed):
        times, y = ornstein_uhlenbeck(seed, n, spacing)
        model = NeuralSDERegressor(
            Module(lambda m, u: -m.rate * (u - m.mean), rate=0.5, mean=0.5),
            Module(lambda m, u: m.log_size.exp() * torch.ones_like(u), log_size=-0.5),
            random_state=seed,
        ).fit(times, y)
        slope, intercept = np.polyfit(y[:-1], y[1:], 1)
        variance = np.mean((y[1:] - slope * y[:-1] - intercept) ** 2)
        rate = -np.log(slope) / spacing
        exact = np.array([rate, intercept / (1 - slope), 0.5 * np.log(variance * 2 * rate / (1 - slope**2))])
        # From the normal regression: var(slope) = (1 - decay^2) / n, and that of the log noise follows from both.
        decay = np.exp(-spacing)
        rate_error = np.sqrt((1 - decay**2) / n) / (spacing * decay)
        of_rate = 0.5 - spacing * decay**2 / (1 - decay**2)
        log_error = np.sqrt(1 / (2 * n) + (of_rate * rate_error) ** 2)
        errors = np.array([rate_error, 1 / np.sqrt(n * spacing), log_error])
        learned = values_of(model.drift_) | values_of(model.diffusion_)
        return np.abs((np.array([learned["rate"], learned["mean"], learned["log_size"]]) - exact) / errors).max()

    return distance


# Geometric Brownian motion: growth 0.1, volatility 0.3, against the exact estimates from log returns.


def geometric(seed, n=2500, spacing=0.05):
    rng = np.random.default_rng(seed)
    mu, sigma = 0.1, 0.3
    returns = (mu - 0.5 * sigma**2) * spacing + sigma * np.sqrt(spacing) * rng.normal(size=n)
    y = np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    times = spacing * np.arange(n + 1)[:, None]
    model = NeuralSDERegressor(
        Module(lambda m, u: m.growth * u, growth=0.0),
        Module(lambda m, u: m.log_size.exp() * u, log_size=-0.5),
        rtol=1e-6,
        random_state=seed,
    ).fit(times, y)
    exact_sigma = returns.std() / np.sqrt(spacing)
    exact_mu = returns.mean() / spacing + 0.5 * exact_sigma**2
    errors = np.array([sigma / np.sqrt(n * spacing), 1 / np.sqrt(2 * n)])
    learned = np.array([values_of(model.drift_)["growth"], values_of(model.diffusion_)["log_size"]])
    return np.abs((learned - [exact_mu, np.log(exact_sigma)]) / errors).max()


# Cox-Ingersoll-Ross: rate 1, mean 1, noise 0.5, against the exact estimates by the non-central chi-square distribution.


def square_root(seed, n=1000, spacing=0.02):
    rng = np.random.default_rng(seed)
    rate, mean, noise = 1.0, 1.0, 0.5

    def scale(rate, noise):
        return 2 * rate / (noise**2 * (1 - np.exp(-rate * spacing)))

    y = np.empty(n + 1)
    y[0] = mean
    freedom = 4 * rate * mean / noise**2
    for i in range(n):
        c = scale(rate, noise)
        y[i + 1] = rng.noncentral_chisquare(freedom, 2 * c * y[i] * np.exp(-rate * spacing)) / (2 * c)

    def loss(parameters):
        rate, mean, noise = np.exp(parameters)
        c = scale(rate, noise)
        density = ncx2.logpdf(2 * c * y[1:], 4 * rate * mean / noise**2, 2 * c * y[:-1] * np.exp(-rate * spacing))
        return -(density + np.log(2 * c)).sum()

    exact = minimize(loss, np.log([rate, mean, noise]), method="BFGS", options={"gtol": 1e-3})
    errors = np.sqrt(exact.hess_inv.diagonal())
    model = NeuralSDERegressor(
        Module(lambda m, u: m.log_rate.exp() * (m.log_mean.exp() - u), log_rate=-0.3, log_mean=0.3),
        Module(lambda m, u: m.log_size.exp() * u.sqrt(), log_size=-1.0),
        rtol=1e-6,
        random_state=seed,
    ).fit(spacing * np.arange(n + 1)[:, None], y)
    learned = values_of(model.drift_) | values_of(model.diffusion_)
    learned = np.array([learned["log_rate"], learned["log_mean"], learned["log_size"]])
    return np.abs((learned - exact.x) / errors).max()


# A double well: drift u - u^3, noise 0.7; zeros at -1, 0, 1 and a barrier of 1/4.


def simulate(drift, diffusion, start, spacing, n, seed, fine=50):
    """Paths (n, dim) by fine Euler steps."""
    rng = np.random.default_rng(seed)
    u, h, values = np.array(start, dtype=float), spacing / fine, []
    for _ in range(n):
        values.append(u.copy())
        for _ in range(fine):
            u = u + h * drift(u) + np.sqrt(h) * diffusion(u) * rng.normal(size=u.shape)
    return np.array(values)


def double_well(seed, n=100_000, spacing=0.1):
    y = simulate(lambda u: u - u**3, lambda u: 0.7, [1.0], spacing, n, seed, fine=20)[:, 0]
    # The drift changes the likelihood little beside the noise: Adam stops before it is found.
    model = NeuralSDERegressor(
        hidden_layer_sizes=(20,), noise="additive", optimizer="lbfgs", tol=1e-8, max_iter=30, random_state=seed
    ).fit(spacing * np.arange(n)[:, None], y)
    grid = np.linspace(-1.5, 1.5, 3001)
    with torch.no_grad():
        f = model.drift_(torch.zeros(3001, 1).double(), torch.tensor(grid)[:, None], None)[:, 0].numpy()
    zeros = grid[:-1][np.diff(np.sign(f)) != 0]
    if len(zeros) != 3:
        return np.inf
    potential = -np.concatenate([[0.0], np.cumsum(0.5 * (f[1:] + f[:-1]) * np.diff(grid))])
    left, top, right = np.interp(zeros, grid, potential)
    off = max(abs(zeros[0] + 1), abs(zeros[1]), abs(zeros[2] - 1))
    barrier = max(abs((top - left) / 0.25 - 1), abs((top - right) / 0.25 - 1))
    return max(off / 0.05, barrier / 0.15)


# Lotka-Volterra: growth and death are known, the interaction is not.


def lotka_volterra(seed, n=100, spacing=0.1, n_series=40):
    rng = np.random.default_rng(seed)
    growth = np.array([1.1, -0.4])

    def interaction(u):
        return np.stack([-0.4 * u[..., 0] * u[..., 1], 0.1 * u[..., 0] * u[..., 1]], -1)

    series, times, values = [], [], []
    for i in range(n_series):
        start = rng.uniform([2, 1], [12, 5])
        path = simulate(lambda u: growth * u + interaction(u), lambda u: 0.03 * u, start, spacing, n, 1000 * seed + i)
        series.append(np.full(n, i)), times.append(spacing * np.arange(n)), values.append(path)
    X = np.column_stack([np.concatenate(times), np.concatenate(series)])
    Y = np.concatenate(values)
    model = NeuralSDERegressor(
        [lambda t, u: u * torch.tensor(growth, dtype=u.dtype), MLP((32,))],
        Module(lambda m, u: m.log_size.exp() * u, log_size=-2.0),
        series=1,
        learning_rate_init=1e-2,
        batch_size=128,
        random_state=seed,
    ).fit(X, Y)
    u = torch.tensor(Y)
    with torch.no_grad():
        found = model.drift_.terms[1](torch.zeros(len(u), 1).double(), u, None).numpy()
    truth = interaction(Y)
    return np.sqrt(((found - truth) ** 2).sum() / (truth**2).sum()) / 0.05


# A pendulum whose angle is observed with noise; the velocity is inferred. Force 4, friction 0.2, kicks of 0.5.


def swing(m, u):
    angle, velocity = u.unbind(-1)
    return torch.stack([velocity, -m.force * angle.sin() - m.friction * velocity], -1)


def kicks(t, u):
    return torch.tensor([0.0, 0.5], dtype=u.dtype).expand_as(u)


def pendulum(seed, n, spacing=0.1):
    """The learned force, errors of the velocity by the learned and by the true model, and its standard deviation."""

    def force(u):
        return np.array([u[1], -4 * np.sin(u[0]) - 0.2 * u[1]])

    states = simulate(force, lambda u: np.array([0.0, 0.5]), [1.0, 0.0], spacing, n, seed)
    y = states[:, 0] + 0.1 * np.random.default_rng(100 + seed).normal(size=n)
    times = spacing * np.arange(n)[:, None]

    def error(drift, noise):
        model = NeuralSDERegressor(
            drift, kicks, n_states=2, observation_noise=noise, origin="smooth", random_state=seed
        ).fit(times, y)
        return model, np.sqrt(np.mean((model.predict_states(times)[:, 1] - states[:, 1]) ** 2))

    model, learned = error(Module(swing, force=2.0, friction=0.5), "learn")
    truth = SimpleNamespace(force=4.0, friction=0.2)
    _, least = error(lambda t, u: swing(truth, u), 0.1)
    return model.drift_.function.force.item(), learned, least, states[:, 1].std()


def pendulum_beside_true_model(seed):
    """On every path, no model infers the velocity better than the true one."""
    force, learned, least, _ = pendulum(seed, 1000)
    return max((learned / least - 1) / 0.01, abs(force / 4 - 1) / 0.1)


def pendulum_velocity(seed):
    """Over 400 units of time, quiet and lively parts of a path average out."""
    force, learned, _, std = pendulum(seed, 4000)
    return max((learned / std) ** 2 / 0.05, abs(force / 4 - 1) / 0.1)


#: The error of each equation, the largest error that passes, and its unit.
EQUATIONS = {
    "Ornstein-Uhlenbeck, 5,000 at spacing 0.1": (check_ornstein_uhlenbeck(0.1), 0.05, "standard errors"),
    "Ornstein-Uhlenbeck, 5,000 at spacing 1": (check_ornstein_uhlenbeck(1.0), 0.05, "standard errors"),
    "Ornstein-Uhlenbeck, 5,000 at spacing 3": (check_ornstein_uhlenbeck(3.0), 0.05, "standard errors"),
    "geometric, 2,500 at spacing 0.05": (geometric, 0.2, "standard errors"),
    "square root (Cox-Ingersoll-Ross), 1,000 at spacing 0.02": (square_root, 0.2, "standard errors"),
    "double well, 100,000 at spacing 0.1": (double_well, 1.0, "of 5% of a zero and 15% of the barrier"),
    "Lotka-Volterra, 40 series of 100 at spacing 0.1": (lotka_volterra, 1.0, "of 5% of the interaction"),
    "pendulum, 1,000 angles at spacing 0.1": (
        pendulum_beside_true_model,
        1.0,
        "of 1% more error of the velocity than the true model, and 10% of the force",
    ),
    "pendulum, 4,000 angles at spacing 0.1": (
        pendulum_velocity,
        1.0,
        "of 5% of the velocity's variance (R2 0.95) and 10% of the force",
    ),
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name, (measure, most, unit) in EQUATIONS.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        begin = time.perf_counter()
        errors = sorted(float(measure(seed)) for seed in SEEDS)
        print(
            f"{name}: {sum(e <= most for e in errors)} of {len(errors)} seeds within {most} {unit}; "
            f"{', '.join(f'{e:.2g}' for e in errors)} ({(time.perf_counter() - begin) / len(errors):.1f} s each)",
            flush=True,
        )
