"""Do intervals hold what they promise? Coverage of forecasts of simulated Ornstein-Uhlenbeck data.

Run ``python benchmarks/calibration.py [word ...]``; a line per case and horizon for the model, for the true law, whose
misses are those of chance alone, and for the exact estimates put in its place, whose misses are also those of their
uncertainty. Standard errors are over data sets. The Kolmogorov-Smirnov test takes one value per data set, so that its
values are independent.
"""

import sys
import time
import warnings

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import kstest, norm

from skneuralde import NeuralSDERegressor
from skneuralde.metrics import interval_coverage, probability_integral_transform

SPACING, AHEAD, N_SAMPLES = 0.3, 5, 2000
LEVELS = {0.5: (0.25, 0.75), 0.9: (0.05, 0.95)}
ENDS = sorted(end for ends in LEVELS.values() for end in ends)
#: Rate 1, mean 0, noise 1.
DECAY = np.exp(-SPACING)


class Reversion(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.5))
        self.mean = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, t, u):
        return -self.rate * (u - self.mean)


class Noise(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.log_size = torch.nn.Parameter(torch.tensor(-0.5))

    def forward(self, t, u):
        return self.log_size.exp() * torch.ones_like(u)


def simulate(seed, n, noise):
    rng = np.random.default_rng(seed)
    values = np.empty(n)
    values[0] = rng.normal(scale=np.sqrt(0.5))
    for i, shock in enumerate(rng.normal(scale=np.sqrt(0.5 * (1 - DECAY**2)), size=n - 1)):
        values[i + 1] = DECAY * values[i] + shock
    return SPACING * np.arange(n)[:, None], values + noise * rng.normal(size=n)


def forecasts(y, decay, mean, variance, noise):
    """Means and deviations of every value given those before, then of the values after the last; by a Kalman filter.

    The law has a stationary mean and variance, and forgets by a factor ``decay`` from one value to the next.
    """
    at, spread, out = 0.0, variance, []
    for i in range(len(y) + AHEAD):
        if i:
            at, spread = decay * at, decay**2 * spread + variance * (1 - decay**2)
        out.append((mean + at, np.sqrt(spread + noise**2)))
        if i < len(y):
            gain = spread / (spread + noise**2)
            at, spread = at + gain * (y[i] - mean - at), (1 - gain) * spread
    return np.array(out)


def exact_estimates(y, noise):
    """Decay, mean, variance and noise of the largest likelihood."""

    def law(x):
        return 1 / (1 + np.exp(-x[0])), x[1], np.exp(x[2]), np.exp(x[3]) if noise else 0.0

    def loss(x):
        return -norm.logpdf(y, *forecasts(y, *law(x))[: len(y)].T).sum()

    start = [1.0, 0.0, np.log(0.5), np.log(noise or 1.0)]
    return law(minimize(loss, start if noise else start[:3], method="BFGS", options={"gtol": 1e-3}).x)


def covered(y, quantiles):
    at = dict(zip(ENDS, np.asarray(quantiles).T, strict=True))
    return [interval_coverage(y, at[low], at[high]) for low, high in LEVELS.values()]


def score_model(model, X, y, n_train, seed):
    """By horizon: coverage of each level, and one probability integral transform."""
    model.fit(X[:n_train], y[:n_train])
    scores = {}
    far = slice(n_train + AHEAD - 1, n_train + AHEAD)
    _, quantiles = model.predict(X[far], quantiles=ENDS)
    draws = model.sample(X[far], N_SAMPLES, random_state=seed)
    pit = probability_integral_transform(y[far], draws, random_state=seed)
    scores[AHEAD] = [*covered(y[far], quantiles), pit[0]]
    model.update_state(X[n_train:], y[n_train:])
    _, quantiles = model.predict(X[n_train:], quantiles=ENDS)
    draws = model.sample(X[-1:], N_SAMPLES, random_state=seed)
    pit = probability_integral_transform(y[-1:], draws, random_state=seed)
    scores[1] = [*covered(y[n_train:], quantiles), pit[0]]
    return scores


def score_law(law, y, n_train):
    """The same of a law with known parameters."""
    mean, std = forecasts(y, *law)[n_train : len(y)].T
    near = mean[:, None] + std[:, None] * norm.ppf(ENDS)
    far_mean, far_std = forecasts(y[:n_train], *law)[-1]
    far = y[n_train + AHEAD - 1 : n_train + AHEAD]
    return {
        1: [*covered(y[n_train:], near), norm.cdf(y[-1], mean[-1], std[-1])],
        AHEAD: [*covered(far, far_mean + far_std * norm.ppf(ENDS)[None]), norm.cdf(far[0], far_mean, far_std)],
    }


def modules(seed, **options):
    return NeuralSDERegressor(Reversion(), Noise(), random_state=seed, **options)


def networks(seed):
    return NeuralSDERegressor(random_state=seed)


def filtering(seed):
    return modules(seed, observation_noise="learn")


#: Model, data sets, observations, of them in training, and the observation noise of the data.
CASES = {
    "modules, 300 observations": (modules, 200, 300, 240, 0.0),
    "modules and observation noise, 300 observations": (filtering, 200, 300, 240, 0.3),
    "networks, 300 observations": (networks, 100, 300, 240, 0.0),
    "networks, 1,000 observations": (networks, 100, 1000, 800, 0.0),
}


def say(name, who, ahead, scores):
    scores = np.array(scores)
    parts = []
    for column, level in enumerate(LEVELS):
        error = scores[:, column].std(ddof=1) / np.sqrt(len(scores))
        off = (scores[:, column].mean() - level) / error
        parts.append(f"{level:.0%}: {scores[:, column].mean():6.1%} ± {error:.1%} ({off:+.1f})")
    p = kstest(scores[:, -1], "uniform").pvalue
    step = "step" if ahead == 1 else "steps"
    print(f"{name}, {ahead} {step} ahead, {who:15} {', '.join(parts)}; KS p = {p:.3f}", flush=True)


def run(name):
    make, n_sets, n, n_train, noise = CASES[name]
    begin = time.perf_counter()
    scores = {"model": [], "true law": [], "exact estimates": []}
    for seed in range(n_sets):
        X, y = simulate(seed, n, noise)
        scores["model"].append(score_model(make(seed), X, y, n_train, seed))
        scores["true law"].append(score_law((DECAY, 0.0, 0.5, noise), y, n_train))
        scores["exact estimates"].append(score_law(exact_estimates(y[:n_train], noise), y, n_train))
    for ahead in (1, AHEAD):
        for who, of_sets in scores.items():
            say(name, who, ahead, [of_set[ahead] for of_set in of_sets])
    print(f"  {n_sets} data sets, {(time.perf_counter() - begin) / n_sets:.1f} s each", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for case in CASES:
        if not sys.argv[1:] or any(word in case for word in sys.argv[1:]):
            run(case)
