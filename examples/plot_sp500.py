"""
Jumps in the S&P 500
====================

Daily returns of the S&P 500, 1999 to 2018, are modelled by an equation with noise and jumps: du = f dt + g(c) dW +
jumps. The log price is scaled by a typical recent range of a day. The features are ranges, trends and falls of past
days, and the diffusion is a network of these features. Jumps model the tails of ordinary days: they occur at a given
rate, 0.3 a day; their mean and standard deviation, and the drift, are learned constants. Time is the number of the
trading day, because a weekend does not have three days of variance.

The model is fitted up to 2013, from five random states. The years 2014 to 2018 are scored by the mean log density of
each day's return given the days before, beside GARCH models of the `arch` package that are fitted on the same days. The
picture shows the days that almost surely had a jump, and the calibration of the density forecasts.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from arch import arch_model
from arch.data import sp500

from skneuralde import MLP, NeuralJumpDiffusion

COMPETITORS = {
    "GARCH, t": {"p": 1, "o": 0, "q": 1, "dist": "t"},
    "GJR-GARCH, skewed t": {"p": 1, "o": 1, "q": 1, "dist": "skewt"},
    "TARCH, skewed t": {"p": 1, "o": 1, "q": 1, "power": 1.0, "dist": "skewt"},
}


def load():
    """Features X, the scaled log price y, and the scale of each day."""
    high, low, close = (100 * np.log(sp500.load()[k]) for k in ("High", "Low", "Adj Close"))
    before = close.shift()
    returns = close - before
    span, down = np.maximum(high, before) - np.minimum(low, before), before - np.minimum(low, before)
    X = pd.DataFrame({"day": np.arange(len(close))}, index=close.index)
    for h in (1, 5, 20):
        X[f"range {h}"] = np.log(past(span, h))
        X[f"trend {h}"] = past(returns, h) / past(span, 20)
        X[f"fall {h}"] = np.log(past(down, h) + 0.05 * (h == 1))
    known = X.notna().all(axis=1)
    size = past(span, 3)[known]
    return X[known], (returns[known] / size).cumsum(), size, returns[known]


def past(series, days):
    """Exponential mean of the values up to the day before."""
    return series.ewm(halflife=days, min_periods=20).mean().shift()


def make_model(X, seed):
    return NeuralJumpDiffusion(
        diffusion=MLP((16,), inputs=("controls",)),
        jump_rate=0.3,
        inputs=(),
        time="day",
        controls=list(X.columns.drop("day")),
        random_state=seed,
    )


def log_densities(X, y, size, test, seed):
    """The fitted model, and the log density of each day's return in percent."""
    model = make_model(X, seed).fit(X[~test], y[~test])
    model.update_state(X[test], y[test])
    return model, model.log_likelihood(X[test], y[test]) - np.log(size[test])


def share_below(model, X, y, levels):
    """Share of observed values below the quantiles of the forecast."""
    _, quantiles = model.predict(X, quantiles=levels)
    return (y.to_numpy()[:, None] < quantiles.to_numpy()).mean(axis=0)


def competitor(returns, test, settings):
    """Mean log density of a model of the `arch` package, and the share of days below its 1% and 5% quantiles."""
    model = arch_model(returns, mean="Constant", **settings)
    fitted = model.fit(last_obs=returns.index[test][0], disp="off")
    later = model.fix(fitted.params)
    scale = later.conditional_volatility[test]
    residual = (returns[test] - fitted.params["mu"]) / scale
    shape = fitted.params[model.volatility.num_params + 1 :].to_numpy()
    density = model.distribution.loglikelihood(shape, residual.to_numpy(), np.ones(test.sum()), individual=True)
    levels = model.distribution.ppf(np.array([0.01, 0.05]), shape)
    return np.mean(density - np.log(scale)), [float(np.mean(residual < level)) for level in levels]


def main(folder, n_states=5):
    folder.mkdir(parents=True, exist_ok=True)
    X, y, size, returns = load()
    test = X.index >= "2014"
    print("Fitting daily returns up to 2013 ...", flush=True)
    print("2014 to 2018: mean log density per day, and the share of days below the 1% and 5% quantiles")
    fits = []
    for seed in range(n_states):
        model, density = log_densities(X, y, size, test, seed)
        fits.append((model, density))
        below = share_below(model, X[test], y[test], [0.01, 0.05])
        print(f"  {f'jump diffusion {seed}':22}{np.mean(density):8.4f}  {below[0]:.1%}  {below[1]:.1%}", flush=True)
    averaged = np.log(np.mean([np.exp(density) for _, density in fits], axis=0))
    print(f"  {'densities averaged':22}{np.mean(averaged):8.4f}")
    model = fits[0][0]
    for name, settings in COMPETITORS.items():
        score, below = competitor(returns, test, settings)
        print(f"  {name:22}{score:8.4f}  {below[0]:.1%}  {below[1]:.1%}")
    figure, axes = plt.subplots(2, 1, figsize=(8, 6), layout="constrained")
    draw_jumps(axes[0], model, X, y, returns)
    draw_transform(axes[1], model, X[test], y[test])
    figure.savefig(folder / "sp500.png", dpi=110)
    print(f"  {folder / 'sp500.png'}")


def draw_jumps(axes, model, X, y, returns):
    move = y.diff()
    probability = model.jump_probability(X, y)
    axes.plot(returns, color="grey", linewidth=0.5, label="return")
    large = (probability > 0.9) & (move.abs() > 3 * move.std())
    axes.plot(returns[large], "o", color="tab:red", markersize=3, label="almost sure jump, beyond three std")
    axes.set(ylabel="return (%)", title="Days with a jump")
    axes.legend(loc="lower right", fontsize="small")


def draw_transform(axes, model, X, y):
    levels = np.linspace(0.05, 0.95, 19)
    share = share_below(model, X, y, list(levels))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.plot(levels, share, "o-", markersize=4)
    axes.set(
        xlabel="level of the forecast's quantile",
        ylabel="days below it",
        title="2014 to 2018: calibration of the forecasts",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the picture")
    main(parser.parse_args().save)
