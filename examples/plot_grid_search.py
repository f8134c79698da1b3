"""
Which noise, and how large a network?
=====================================

A process that is pulled to a mean, with noise that grows like the root of its level, as in the model of Cox, Ingersoll
and Ross for interest rates. Does the estimator need noise that depends on the state, and how large a network? R2 cannot
tell, since all candidates have about the same mean. A grid search by proper scores of the forecast's distribution can:
the likelihood of the next observation, and the CRPS of forecasts over the whole test part, both after the time up to
which a candidate was trained (`PanelTimeSeriesSplit`).

The error bars in the picture are standard errors over the splits of the difference to the best candidate: all
candidates are scored on the same data, whose own ups and downs are of no interest.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV

from skneuralde import MLP, NeuralSDERegressor, to_rows
from skneuralde.metrics import PanelTimeSeriesSplit, log_likelihood_scorer, neg_crps_scorer

RATE, MEAN, NOISE = 1.0, 1.0, 0.6
N_SERIES, N_TIMES, SPACING, SUBSTEPS = 4, 200, 0.1, 20
SIZES = (2, 10, 50)


def simulate(rng):
    """Series of the square-root process, ``(n_series, n_times, 1)``, and their times."""
    step = SPACING / SUBSTEPS
    x, path = rng.gamma(2 * RATE * MEAN / NOISE**2, NOISE**2 / (2 * RATE), N_SERIES), []
    for _ in range(N_TIMES):
        path.append(x)
        for shocks in rng.normal(scale=np.sqrt(step), size=(SUBSTEPS, N_SERIES)):
            x = np.maximum(x + RATE * (MEAN - x) * step + NOISE * np.sqrt(x) * shocks, 0.0)
    return np.array(path).T[:, :, None], SPACING * np.arange(N_TIMES)


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    X, y = to_rows(*simulate(np.random.default_rng(seed)))
    print(f"Searching over noise and size, {len(y)} observations ...", flush=True)
    search = GridSearchCV(
        NeuralSDERegressor(drift=MLP((10,)), diffusion=MLP(), learning_rate_init=1e-2, max_iter=40, random_state=seed),
        {"noise": ["additive", "diagonal"], "diffusion__hidden_layer_sizes": [(size,) for size in SIZES]},
        scoring={"likelihood": log_likelihood_scorer, "crps": neg_crps_scorer, "r2": "r2"},
        refit="likelihood",
        cv=PanelTimeSeriesSplit(4, test_size=3.0),
    ).fit(X, y)
    print(pd.DataFrame(search.cv_results_).filter(regex="time|mean|std|param_").T.to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
