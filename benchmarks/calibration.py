"""Coverage of prediction intervals on simulated Ornstein-Uhlenbeck data.

Run ``python benchmarks/calibration.py [word ...]``. For each case and horizon it prints a line for the model, one for
the true model, which misses by chance alone, and one for the maximum likelihood estimate, which also misses by the
uncertainty of its parameters. Forecasts of one data set share its estimates. A data set is therefore one observation in
standard errors and in the test for uniform ranks.
"""

import sys
import time
import warnings

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import f, kstest, norm

from skneuralde import NeuralSDERegressor
from skneuralde.metrics import interval_coverage, probability_integral_transform

SPACING, AHEAD = 0.3, 5
LEVELS = {0.5: (0.25, 0.75), 0.9: (0.05, 0.95)}
ENDS = sorted(end for ends in LEVELS.values() for end in ends)
#: By steps ahead. A rank among any number of samples is uniform; one step ahead there are many ranks.
N_SAMPLES = {1: 200, AHEAD: 2000}
#: Number of classes of ranks.
N_CLASSES = 10
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
    """Means and standard deviations of every value given those before, then of the values after the last.

    They come from a Kalman filter. ``mean`` and ``variance`` are stationary, and ``decay`` is the autocorrelation of
    neighbouring values.
    """
    at, var, out = 0.0, variance, []
    for i in range(len(y) + AHEAD):
        if i:
            at, var = decay * at, decay**2 * var + variance * (1 - decay**2)
        out.append((mean + at, np.sqrt(var + noise**2)))
        if i < len(y):
            gain = var / (var + noise**2)
            at, var = at + gain * (y[i] - mean - at), (1 - gain) * var
    return np.array(out)


def exact_estimates(y, noise):
    """Maximum likelihood estimates of decay, mean, variance and noise."""

    def parameters(x):
        return 1 / (1 + np.exp(-x[0])), x[1], np.exp(x[2]), np.exp(x[3]) if noise else 0.0

    def loss(x):
        return -norm.logpdf(y, *forecasts(y, *parameters(x))[: len(y)].T).sum()

    start = [1.0, 0.0, np.log(0.5), np.log(noise or 1.0)]
    return parameters(minimize(loss, start if noise else start[:3], method="BFGS", options={"gtol": 1e-3}).x)


def covered(y, quantiles):
    at = dict(zip(ENDS, np.asarray(quantiles).T, strict=True))
    return [interval_coverage(y, at[low], at[high]) for low, high in LEVELS.values()]


def score_model(model, X, y, n_train, seed):
    """By horizon: coverage of each level, and the probability integral transforms."""
    model.fit(X[:n_train], y[:n_train])
    scores = {AHEAD: score_rows(model, X, y, slice(n_train + AHEAD - 1, n_train + AHEAD), N_SAMPLES[AHEAD], seed)}
    model.update_state(X[n_train:], y[n_train:])
    scores[1] = score_rows(model, X, y, slice(n_train, None), N_SAMPLES[1], seed)
    return scores


def score_rows(model, X, y, rows, n_samples, seed):
    _, quantiles = model.predict(X[rows], quantiles=ENDS)
    draws = model.sample(X[rows], n_samples, random_state=seed)
    return covered(y[rows], quantiles), probability_integral_transform(y[rows], draws, random_state=seed)


def score_parameters(parameters, y, n_train):
    """The same for an Ornstein-Uhlenbeck process with given parameters."""
    near = forecasts(y, *parameters)[n_train : len(y)]
    far = forecasts(y[:n_train], *parameters)[-1:]
    scores = {}
    for ahead, values, (mean, std) in ((1, y[n_train:], near.T), (AHEAD, y[n_train + AHEAD - 1 :][:1], far.T)):
        quantiles = mean[:, None] + std[:, None] * norm.ppf(ENDS)
        scores[ahead] = covered(values, quantiles), norm.cdf(values, mean, std)
    return scores


def uniformity(ranks):
    """p value of uniform ranks (data sets, rows); rows of one data set may depend on each other.

    Hotelling's test of the mean, over data sets, of the shares of ranks in each class. With a single rank per data set,
    the Kolmogorov-Smirnov test, which needs no classes.
    """
    n_sets, n_rows = ranks.shape
    if n_rows == 1:
        return kstest(ranks[:, 0], "uniform").pvalue
    counts = np.array([np.histogram(of_set, N_CLASSES, (0, 1))[0] for of_set in ranks])
    excess = counts[:, 1:] / n_rows - 1 / N_CLASSES  # the first class is known from the others
    mean, free = excess.mean(0), N_CLASSES - 1
    distance = n_sets * mean @ np.linalg.solve(np.cov(excess.T), mean)
    return f.sf(distance * (n_sets - free) / (free * (n_sets - 1)), free, n_sets - free)


def modules(seed, **options):
    return NeuralSDERegressor(Reversion(), Noise(), random_state=seed, **options)


def networks(seed):
    return NeuralSDERegressor(random_state=seed)


def filtering(seed):
    return modules(seed, observation_noise="learn")


#: Model, number of data sets, observations, observations in training, and the observation noise of the data.
CASES = {
    "modules, 300 observations": (modules, 200, 300, 240, 0.0),
    "modules and observation noise, 300 observations": (filtering, 200, 300, 240, 0.3),
    "modules and observation noise, 1,000 observations": (filtering, 200, 1000, 800, 0.3),
    "networks, 300 observations": (networks, 100, 300, 240, 0.0),
    "networks, 1,000 observations": (networks, 100, 1000, 800, 0.0),
    # Enough data sets to see the effect of the uncertainty of the estimates.
    "no model, observation noise, 300 observations": (None, 3000, 300, 240, 0.3),
    "no model, observation noise, 1,000 observations": (None, 1000, 1000, 800, 0.3),
}


def say(name, who, ahead, scores):
    coverage = np.array([shares for shares, _ in scores])
    parts = []
    for column, level in enumerate(LEVELS):
        mean, error = coverage[:, column].mean(), coverage[:, column].std(ddof=1) / np.sqrt(len(scores))
        parts.append(f"{level:.0%}: {mean:6.2%} ± {error:.2%} ({(mean - level) / error:+.1f})")
    p = uniformity(np.array([ranks for _, ranks in scores]))
    step = "step" if ahead == 1 else "steps"
    print(f"{name}, {ahead} {step} ahead, {who:15} {', '.join(parts)}; p = {p:.3g}", flush=True)


def run(name):
    make, n_sets, n, n_train, noise = CASES[name]
    begin = time.perf_counter()
    scores = {"model": [], "MLE": [], "true model": []}
    for seed in range(n_sets):
        X, y = simulate(seed, n, noise)
        if make is not None:
            scores["model"].append(score_model(make(seed), X, y, n_train, seed))
        scores["MLE"].append(score_parameters(exact_estimates(y[:n_train], noise), y, n_train))
        scores["true model"].append(score_parameters((DECAY, 0.0, 0.5, noise), y, n_train))
    for ahead in (1, AHEAD):
        for who, of_sets in scores.items():
            if of_sets:
                say(name, who, ahead, [of_set[ahead] for of_set in of_sets])
    print(f"  {n_sets} data sets, {(time.perf_counter() - begin) / n_sets:.1f} s each", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for case in CASES:
        if not sys.argv[1:] or any(word in case for word in sys.argv[1:]):
            run(case)
