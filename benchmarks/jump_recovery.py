"""Errors of learned jumps over ten seeds: Merton's model, a state-dependent rate and size, no jumps.

Merton: ten years of daily data (2,520 days) of a log price with drift 0.08, volatility 0.16 and 12 jumps a year of
-0.01 +- 0.04, compared with the maximum of the exact series, found by scipy. State dependence: 28,000 observations of a
process that returns to zero, whose jumps become more frequent and larger with its level. No jumps: 5,000 observations
of the same process without jumps.
"""

import argparse
import time

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import norm, poisson

from skneuralde import NeuralJumpDiffusion

SEEDS = range(10)
DAYS, STEP = 2520, 1 / 252
DRIFT, VOLATILITY, RATE, MEAN, STD = MERTON = (0.08, 0.16, 12.0, -0.01, 0.04)
TERMS = np.arange(12)
#: The state-dependent process: du = -u dt + 0.5 dW, a jump of 2.5 + 0.6 u +- 0.3 downwards, observed every 0.1.
SPACING, N, N_WITHOUT, SIGMA, JUMP_STD = 0.1, 28_000, 5_000, 0.5, 0.3


def merton(seed):
    rng = np.random.default_rng(seed)
    jumps = rng.poisson(RATE * STEP, DAYS)
    changes = DRIFT * STEP + MEAN * jumps + np.sqrt(VOLATILITY**2 * STEP + STD**2 * jumps) * rng.normal(size=DAYS)
    return np.concatenate([[0.0], np.cumsum(changes)])


def series_log_density(parameters, changes):
    """Merton's series: drift, log volatility, log rate, mean and log standard deviation of jumps."""
    drift, volatility, rate, mean, std = parameters
    volatility, rate, std = np.exp([volatility, rate, std])
    variance = volatility**2 * STEP + TERMS * std**2
    density = norm.logpdf(changes[:, None], drift * STEP + TERMS * mean, np.sqrt(variance))
    return logsumexp(density + poisson.logpmf(TERMS, rate * STEP), axis=1)


def series_estimates(changes):
    """Maximum likelihood estimates by the series, and standard errors from the observed information."""
    start = np.array([DRIFT, np.log(VOLATILITY), np.log(RATE), MEAN, np.log(STD)])

    def loss(parameters):
        return -series_log_density(parameters, changes).sum()

    for _ in range(3):
        start = minimize(loss, start, method="BFGS", options={"gtol": 1e-6}).x
    steps = 1e-4 * np.maximum(np.abs(start), 0.01)
    hessian = np.empty((5, 5))
    for i, a in enumerate(np.diag(steps)):
        for j, b in enumerate(np.diag(steps)):
            corners = loss(start + a + b) - loss(start + a - b) - loss(start - a + b) + loss(start - a - b)
            hessian[i, j] = corners / (4 * steps[i] * steps[j])
    return start, np.sqrt(np.diag(np.linalg.inv(hessian)))


def learned_parameters(model):
    at = {"U": [0.0]}
    t, u = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    with torch.no_grad():
        mean, std = (float(part(t, u)) for part in (model.jump_affect_.mean, model.jump_affect_.std))
    drift, volatility, rate = (
        field(**at)[0] for field in (model.drift_field, model.diffusion_field, model.intensity_field)
    )
    return np.array([drift, np.log(volatility), np.log(rate), mean, np.log(std)])


def merton_errors(seed):
    """Largest distance to the maximum of the series in standard errors, and the likelihood lost per observation."""
    path = merton(seed)
    changes = np.diff(path)
    best, errors = series_estimates(changes)
    times = np.arange(DAYS + 1)[:, None] * STEP
    model = NeuralJumpDiffusion(inputs=(), random_state=seed).fit(times, path)
    distance = np.abs(learned_parameters(model) - best) / errors
    lost = (series_log_density(best, changes).sum() - np.nansum(model.log_likelihood(times, path))) / DAYS
    return distance.max(), lost


def true_rate(u):
    return 0.5 + 2.5 / (1.0 + np.exp(-2.0 * u))


def true_size(u):
    return -2.5 - 0.6 * u


def state_dependent(seed, n, jumps=True, substeps=20):
    """Observations, and the number of jumps; simulated with steps of a twentieth of the spacing."""
    rng = np.random.default_rng(seed)
    h = SPACING / substeps
    # Many short independent paths side by side, each after a burn-in.
    paths = 100
    u, counted, rows = np.zeros(paths), 0, []
    for k in range(-200, n // paths):
        for _ in range(substeps):
            jumped = (rng.random(paths) < -np.expm1(-true_rate(u) * h)) & jumps
            counted += int(jumped.sum()) if k >= 0 else 0
            u = u - u * h + SIGMA * np.sqrt(h) * rng.normal(size=paths)
            u = np.where(jumped, u + true_size(u) + JUMP_STD * rng.normal(size=paths), u)
        rows.append(u)
    values = np.array(rows[200:]).T
    times = np.tile(SPACING * np.arange(values.shape[1]), (paths, 1))
    X = np.column_stack([times.ravel(), np.repeat(np.arange(paths), values.shape[1])])
    return X, values.ravel(), counted


def relative_error(learned, truth):
    return float(np.sqrt(np.mean((learned - truth) ** 2) / np.mean(truth**2)))


def state_dependent_errors(seed):
    """Relative L2 errors of rate and size over the central 90% of the data, and the number of jumps."""
    X, y, counted = state_dependent(seed, N)
    model = NeuralJumpDiffusion(series=1, batch_size=1000, learning_rate_init=5e-3, max_iter=40, random_state=seed).fit(
        X, y
    )
    u = np.linspace(*np.quantile(y, [0.05, 0.95]), 200)
    at = torch.as_tensor(u)[:, None]
    with torch.no_grad():
        size = model.jump_affect_.mean(torch.zeros_like(at), at, at[:, :0])[:, 0].numpy()
    return relative_error(model.intensity_field(u), true_rate(u)), relative_error(size, true_size(u)), counted


def false_alarms(seed):
    """Mean posterior probability of a jump per interval, for data without jumps."""
    X, y, _ = state_dependent(seed, N_WITHOUT, jumps=False)
    model = NeuralJumpDiffusion(series=1, random_state=seed).fit(X, y)
    return np.nanmean(model.jump_probability(X, y))


def show(title, measure, passes):
    passed = 0
    for seed in SEEDS:
        begin = time.perf_counter()
        result = measure(seed)
        passed += bool(passes(result))
        print(f"{title}, seed {seed}: {np.round(result, 5).tolist()} ({time.perf_counter() - begin:.0f} s)", flush=True)
    print(f"{title}: {passed} of {len(SEEDS)} pass", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("merton", "state", "none"))
    only = parser.parse_args().only
    torch.set_num_threads(1)
    if only in (None, "merton"):
        show("Merton: standard errors, nats lost", merton_errors, lambda r: r[0] <= 0.2 and r[1] <= 0.005)
    if only in (None, "state"):
        show(
            "State-dependent: error of rate and size, jumps",
            state_dependent_errors,
            lambda r: max(r[:2]) <= 0.15 and r[2] >= 2000,
        )
    if only in (None, "none"):
        show("No jumps: mean posterior probability", false_alarms, lambda r: r <= 0.005)
