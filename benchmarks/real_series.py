"""Forecasts of three real series, compared with ARIMA, GARCH and a naive forecast that are fitted on the same rows.

Run ``python benchmarks/real_series.py [word ...]``. The last quarter of each series is held out, and no method is
fitted, chosen or tuned on it. Each method is fitted once and is then given the observed values, one row or one horizon
at a time. The series come with statsmodels and arch.
"""

import sys
import time
import warnings

import arch.data.vix
import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
from arch import arch_model
from scipy.stats import norm, t
from statsmodels.tsa.statespace.sarimax import SARIMAX

from skneuralde import NeuralSDERegressor
from skneuralde.metrics import crps

HELD_OUT, N_SAMPLES = 0.25, 500


def season(dates, harmonics=2):
    angle = 2 * np.pi * (dates.dayofyear.to_numpy() - 1) / 365.25
    waves = {f"{f.__name__}{k}": f(k * angle) for k in range(1, harmonics + 1) for f in (np.sin, np.cos)}
    return pd.DataFrame(waves, index=dates)


def carbon_dioxide():
    """Weekly, with 59 weeks missing."""
    y = sm.datasets.co2.load_pandas().data["co2"]
    return season(y.index), y


def sea_temperature():
    """Monthly surface temperature of the Pacific off Peru."""
    table = sm.datasets.elnino.load_pandas().data.set_index("YEAR")
    dates = pd.date_range(f"{int(table.index[0])}-01-15", periods=table.size, freq="30.4375D")
    y = pd.Series(table.to_numpy().ravel(), index=dates)
    return season(dates), y


def volatility_index():
    """Logarithm of the VIX, with trading days as times."""
    y = np.log(arch.data.vix.load()["vix"].dropna())
    return pd.DataFrame({"day": np.arange(float(len(y)))}), y.reset_index(drop=True)


# For each horizon a method gives the mean, standard deviation, CRPS and log score of every held-out row. Rows are
# forecast in blocks of the horizon, each from the last row before it.


def normal_scores(y, mean, std):
    z = (y - mean) / std
    score = std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return pd.DataFrame({"crps": score, "log": norm.logpdf(y, mean, std), "inside": np.abs(z) < norm.ppf(0.95)})


def sample_scores(y, samples):
    """CRPS of each row; the score treats rows as outputs."""
    return crps(y[None], samples[:, None], multioutput="raw_values")


def blocks(n_train, n, horizon):
    return [slice(first, min(first + horizon, n)) for first in range(n_train, n, horizon)]


def rolled(n_train, n, horizon, forecast):
    """Scores of all blocks, concatenated."""
    return pd.concat([forecast(block) for block in blocks(n_train, n, horizon)], ignore_index=True)


def neural(make, X, y, n_train, horizons):
    model = make().fit(X[:n_train], y[:n_train])

    def forecast(rows):
        there = y[rows].to_numpy()
        samples = model.sample(X[rows], N_SAMPLES, random_state=0)
        scores = normal_scores(there, samples.mean(axis=0), samples.std(axis=0))
        scores["crps"] = sample_scores(there, samples)
        low, high = np.quantile(samples, [0.05, 0.95], axis=0)
        scores["inside"] = (low <= there) & (there <= high)
        model.update_state(X[rows], y[rows])
        return scores

    tables = {horizon: rolled(n_train, len(y), horizon, forecast) for horizon in horizons if horizon > 1}
    if 1 in horizons:
        # All rows are known now, but each is forecast from the row before it, by a normal distribution.
        mean, std = model.predict(X[n_train:], return_std=True)
        tables[1] = normal_scores(y[n_train:].to_numpy(), np.asarray(mean), np.asarray(std))
        tables[1]["log"] = np.where(y[n_train:].isna(), np.nan, model.log_likelihood(X[n_train:], y[n_train:]))
    return tables


def naive(X, y, n_train, horizons):
    """The last value plus a normal increment, with the training mean and standard deviation at that distance."""
    values = y.to_numpy()
    row = np.arange(len(values))
    last = pd.Series(np.where(np.isnan(values), np.nan, row)).ffill().to_numpy().astype(int)
    farthest = max(horizons) + int((row - last).max()) + 1
    moments = {}
    for k in range(1, farthest + 1):
        change = values[k:n_train] - values[: n_train - k]
        moments[k] = np.nanmean(change), np.nanstd(change)

    def forecast(rows):
        start = last[rows.start - 1]
        mean, std = np.array([moments[i - start] for i in row[rows]]).T
        return normal_scores(values[rows], values[start] + mean, std)

    return {horizon: rolled(n_train, len(y), horizon, forecast) for horizon in horizons}


def arima(difference, X, y, n_train, horizons):
    """ARIMA of the order with the least AIC in training; the season is a regression on the same harmonics."""
    values = y.to_numpy()
    waves = X.to_numpy() if len(X.columns) > 1 else None

    def part(rows):
        return {} if waves is None else {"exog": waves[rows]}

    def fitted(order):
        # With differences, the constant is a drift.
        return SARIMAX(values[:n_train], order=order, trend="c", **part(slice(n_train))).fit(disp=False, maxiter=200)

    orders = [(p, difference, q) for p in range(4) for q in range(3)]
    best = min((fitted(order) for order in orders), key=lambda result: result.aic)
    print(f"  ARIMA of order {best.model.order}", flush=True)

    def forecast(rows):
        known = best.apply(values[: rows.start], **part(slice(rows.start)))
        ahead = known.get_forecast(rows.stop - rows.start, **part(rows))
        return normal_scores(values[rows], ahead.predicted_mean, ahead.se_mean)

    tables = {horizon: rolled(n_train, len(y), horizon, forecast) for horizon in horizons if horizon > 1}
    if 1 in horizons:
        ahead = best.apply(values, **part(slice(len(values)))).get_prediction(n_train, len(values) - 1)
        tables[1] = normal_scores(values[n_train:], ahead.predicted_mean, ahead.se_mean)
    return tables


def garch(X, y, n_train, horizons):
    """An autoregression of order 1 whose shocks are Student's t with a GARCH(1, 1) variance."""
    values = 100 * y.to_numpy()
    learned = arch_model(values[:n_train], mean="AR", lags=1, vol="GARCH", dist="t").fit(disp="off")
    known = arch_model(values, mean="AR", lags=1, vol="GARCH", dist="t").fix(learned.params)
    freedom = learned.params["nu"]

    def forecasts(horizon):
        rng = np.random.RandomState(0)
        distribution = known.model.distribution.__class__(seed=rng)
        model = arch_model(values, mean="AR", lags=1, vol="GARCH", dist="t")
        model.distribution = distribution
        return model.fix(learned.params).forecast(
            horizon=horizon, start=n_train - 1, method="simulation", simulations=N_SAMPLES
        )

    tables = {}
    for horizon in horizons:
        ahead = forecasts(horizon)
        parts = []
        for rows in blocks(n_train, len(values), horizon):
            origin, n = rows.start - n_train, rows.stop - rows.start
            mean = ahead.mean.to_numpy()[origin, :n]
            std = np.sqrt(ahead.variance.to_numpy()[origin, :n])
            scores = normal_scores(values[rows] / 100, mean / 100, std / 100)
            draws = ahead.simulations.values[origin, :, :n] / 100
            scores["crps"] = sample_scores(values[rows] / 100, draws)
            if horizon == 1:
                scale = std * np.sqrt((freedom - 2) / freedom) / 100
                scores["log"] = t.logpdf(values[rows] / 100, freedom, mean / 100, scale)
                low, high = np.quantile(draws, [0.05, 0.95], axis=0)
                scores["inside"] = (values[rows] / 100 >= low) & (values[rows] / 100 <= high)
            parts.append(scores)
        tables[horizon] = pd.concat(parts, ignore_index=True)
    return tables


#: Rows, horizons, the neural SDE, and its competitors. Carbon dioxide has a trend, which a network of the state would
#: have to extrapolate, so its networks see the season only.
SERIES = {
    "carbon dioxide, weekly": (
        carbon_dioxide,
        (1, 12),
        # 30 epochs instead of 100 save time, a second per epoch; chosen before any forecast.
        lambda: NeuralSDERegressor(inputs=("controls",), observation_noise="learn", max_iter=30, random_state=0),
        {"ARIMA": lambda *rows: arima(1, *rows), "naive": naive},
    ),
    "sea temperature, monthly": (
        sea_temperature,
        (1, 12),
        lambda: NeuralSDERegressor(random_state=0),
        {"ARIMA": lambda *rows: arima(0, *rows), "naive": naive},
    ),
    "log VIX, daily": (
        volatility_index,
        (1, 5),
        lambda: NeuralSDERegressor(random_state=0),
        {"GARCH": garch, "ARIMA": lambda *rows: arima(0, *rows), "naive": naive},
    ),
}


def difference(ours, theirs, horizon):
    """Mean of ours - theirs and its standard error, by batches of two blocks and at least ten rows."""
    gap, batch = (ours - theirs).to_numpy(), max(2 * horizon, 10)
    means = np.array([np.nanmean(gap[first : first + batch]) for first in range(0, len(gap), batch)])
    means = means[~np.isnan(means)]
    return np.nanmean(gap), means.std(ddof=1) / np.sqrt(len(means))


def verdict(ours, theirs, horizon):
    off, error = difference(ours, theirs, horizon)
    return f"{'win' if off < 0 else 'loss'}, {abs(off) / error:.1f} SE"


def report(name, horizons, tables):
    for horizon in horizons:
        ours = tables["neural SDE"][horizon]
        for method, table in tables.items():
            scores = table[horizon]
            inside = scores["inside"][scores["log"].notna()].mean()
            line = (
                f"{name:24} 1 to {horizon:<2} {method:10} CRPS {np.nanmean(scores['crps']):.4f} "
                f"log score {np.nanmean(scores['log']):6.3f} coverage of 90% {inside:.0%}"
            )
            if method != "neural SDE":
                by_crps = verdict(ours["crps"], scores["crps"], horizon)
                by_log = verdict(-ours["log"], -scores["log"], horizon)
                line += f"; the SDE by CRPS: {by_crps}, by log score: {by_log}"
            print(line, flush=True)


def run(name):
    load, horizons, make, competitors = SERIES[name]
    X, y = load()
    n_train = int(len(y) * (1 - HELD_OUT))
    print(f"{name}: {len(y)} rows, {int(y.isna().sum())} missing, fit on {n_train}", flush=True)
    tables = {}
    for method, score in {"neural SDE": lambda *rows: neural(make, *rows), **competitors}.items():
        begin = time.perf_counter()
        tables[method] = score(X, y, n_train, horizons)
        print(f"  {method}: {time.perf_counter() - begin:.0f} s", flush=True)
    report(name, horizons, tables)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for case in SERIES:
        if not sys.argv[1:] or any(word in case for word in sys.argv[1:]):
            run(case)
