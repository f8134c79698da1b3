"""
A credit spread, forecast with bands
====================================

How much more do lower-rated companies pay? The difference between Moody's Baa and Aaa bond yields, monthly since 1919,
jumps up in crises, returns from there, and varies more when it is high. A neural SDE learns both from the data until
1998: a drift that pulls back and a diffusion that grows with the spread. Then the model forecasts every year from 1999
to 2018 from the December before; ``update_state`` adds the new observations without training again.

The naive forecast is the last value times the relative changes over the same number of months in the training data: a
random walk with fat tails and calibrated variance.
"""

import argparse
from pathlib import Path

import arch.data.default
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scoringrules
import torch

from skneuralde import NeuralSDERegressor

HORIZON = 12
FIRST_FORECAST = "1999-01-01"
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
N_SAMPLES = 1000


def load():
    yields = arch.data.default.load()
    return (yields["BAA"] - yields["AAA"]).rename("spread")


def progress(state):
    if state.epoch == 1 or state.epoch % 20 == 0:
        print(f"  epoch {state.epoch:3d}: negative log likelihood per month {state.loss:7.4f}", flush=True)


def naive_paths(history, changes, rng):
    """Samples (time, sample): the last value times past relative changes over 1, 2, ... months."""
    steps = np.arange(1, HORIZON + 1)
    return np.stack([history.iloc[-1] * rng.choice(changes[step], N_SAMPLES) for step in steps])


def forecast_every_year(model, train, tail):
    """One row per held-out month: quantiles, and the CRPS of the model and of the naive forecast."""
    rng = np.random.default_rng(0)
    logs = np.log(train.to_numpy())
    changes = {step: np.exp(logs[step:] - logs[:-step]) for step in range(1, HORIZON + 1)}
    history, tables = train, []
    for first in range(0, len(tail), HORIZON):
        year = tail.iloc[first : first + HORIZON]
        _, quantiles = model.predict(year.index, quantiles=LEVELS)
        samples = model.sample(year.index, N_SAMPLES, random_state=0)
        table = pd.DataFrame(np.asarray(quantiles), index=year.index, columns=LEVELS)
        table["observed"] = year
        table["crps"] = scoringrules.crps_ensemble(year.to_numpy(), samples.T)
        table["naive_crps"] = scoringrules.crps_ensemble(year.to_numpy(), naive_paths(history, changes, rng))
        tables.append(table)
        # The model sees a year only after its forecast.
        model.update_state(year.index, year)
        history = pd.concat([history, year])
    return tables


def coverage(table, low, high):
    return table["observed"].between(table[low], table[high]).mean()


def score_line(label, result):
    model, naive = result["crps"].mean(), result["naive_crps"].mean()
    print(f"  CRPS {label:22} neural SDE {model:.4f}, naive {naive:.4f} ({1 - model / naive:.0%} better)")


def report(result):
    print(f"{len(result)} held-out months, each forecast 1 to {HORIZON} months ahead; CRPS, smaller is better:")
    score_line("all", result)
    # Two years of crisis weigh as much as the rest, so also score without them.
    score_line("without 2008 and 2009", result[~result.index.year.isin([2008, 2009])])
    by_year = result.groupby(result.index.year)[["crps", "naive_crps"]].mean()
    print(f"  better in {(by_year['crps'] < by_year['naive_crps']).sum()} of {len(by_year)} years")
    print(f"  coverage of the 50% band: {coverage(result, 0.25, 0.75):.0%}")
    print(f"  coverage of the 90% band: {coverage(result, 0.05, 0.95):.0%}")


def draw(model, train, tail, tables):
    figure, axes = plt.subplot_mosaic([["forecast", "forecast"], ["drift", "diffusion"]], figsize=(10, 7))
    axis = axes["forecast"]
    for number, table in enumerate(tables):
        label = {} if number else {"label": "90% band"}
        axis.fill_between(table.index, table[0.05], table[0.95], color="tab:blue", alpha=0.2, lw=0, **label)
        label = {} if number else {"label": "50% band"}
        axis.fill_between(table.index, table[0.25], table[0.75], color="tab:blue", alpha=0.35, lw=0, **label)
    recent = pd.concat([train.iloc[-4 * HORIZON :], tail])
    axis.plot(recent.index, recent, color="black", lw=1.2, label="observed")
    axis.axvline(tail.index[0], color="gray", ls=":", lw=1)
    axis.set(title="Each year forecast from the December before", ylabel="Baa - Aaa, percentage points")
    axis.legend(loc="upper left")
    levels = torch.linspace(*train.quantile([0.01, 0.99]), 200, dtype=torch.float64)[:, None]
    for name, coefficient in (("drift", model.drift_), ("diffusion", model.diffusion_)):
        with torch.no_grad():
            values = coefficient(torch.zeros_like(levels), levels)
        axes[name].plot(levels, values, color="tab:blue")
        axes[name].set(title=f"Learned {name}", xlabel="spread")
    axes["drift"].axhline(0, color="gray", lw=0.8)
    axes["drift"].set_ylabel("per day")
    axes["diffusion"].set_ylabel("per square root of a day")
    figure.tight_layout()
    return figure


def main():
    parser = argparse.ArgumentParser(description="Forecast a credit spread with bands.")
    parser.add_argument("--save", type=Path, help="folder for the picture; without it, show it")
    save = parser.parse_args().save
    spread = load()
    train, tail = spread[:FIRST_FORECAST].iloc[:-1], spread[FIRST_FORECAST:]
    print(f"Credit spread: fit on {len(train)} months until {train.index[-1]:%B %Y}")
    model = NeuralSDERegressor(random_state=0, on_epoch=progress).fit(train.index, train)
    tables = forecast_every_year(model, train, tail)
    report(pd.concat(tables))
    figure = draw(model, train, tail, tables)
    if save is None:
        plt.show()
    else:
        save.mkdir(parents=True, exist_ok=True)
        figure.savefig(save / "real_series.png", dpi=120)
        print(f"  picture: {save / 'real_series.png'}")


if __name__ == "__main__":
    main()
