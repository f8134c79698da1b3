"""
A grid search over noise and network sizes
==========================================

The process reverts to a mean, and its noise grows like the square root of its level, as in the model of Cox, Ingersoll
and Ross for interest rates. Is additive noise enough, or must it depend on the state, and how large should the networks
be? R2 judges the mean alone, which is about the same for all candidates. A grid search by proper scores judges the
forecast distribution: the likelihood of the next observation, and the CRPS of forecasts over the whole test part. Test
parts follow the training data in time (`PanelTimeSeriesSplit`).

All candidates are scored on the same data. The picture shows differences from the selected candidate, with standard
errors over the splits, since these are more precise than the scores themselves. The likelihood clearly prefers noise
that depends on the state. The CRPS of long forecasts does not distinguish the candidates, because both kinds of noise
add up to about the same standard deviation. Choose the score for the question.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skneuralde import MLP, NeuralSDERegressor, to_rows
from skneuralde.metrics import CRPSScorer, PanelTimeSeriesSplit, log_likelihood_scorer

RATE, MEAN, NOISE = 1.0, 1.0, 0.8
N_SERIES, N_TIMES, SPACING, SUBSTEPS = 6, 150, 0.1, 20
SIZES = [(2,), (20,)]
SCORERS = {"log likelihood": log_likelihood_scorer, "negative CRPS": CRPSScorer(n_samples=100)}
N_SPLITS = 4


def simulate(rng):
    """Series of the square-root process, ``(n_series, n_times, 1)``, and their times."""
    step = SPACING / SUBSTEPS
    x, path = rng.gamma(2 * RATE * MEAN / NOISE**2, NOISE**2 / (2 * RATE), N_SERIES), []
    for _ in range(N_TIMES):
        path.append(x)
        for shocks in rng.normal(scale=np.sqrt(step), size=(SUBSTEPS, N_SERIES)):
            x = np.maximum(x + RATE * (MEAN - x) * step + NOISE * np.sqrt(x) * shocks, 0.0)
    return np.array(path).T[:, :, None], SPACING * np.arange(N_TIMES)


def describe(candidate):
    """Short description of a candidate."""
    size = candidate.get("diffusion__hidden_layer_sizes", (0,))[0]
    kind = "additive" if candidate["noise"] == "additive" else f"diagonal, {size} units"
    return f"{kind}; drift {candidate['drift__hidden_layer_sizes'][0]} units"


def make_search(seed):
    drift = {"drift__hidden_layer_sizes": SIZES}
    model = NeuralSDERegressor(
        drift=MLP(),
        diffusion=MLP(),
        rtol=1e-2,
        optimizer="adam",
        learning_rate_init=1e-2,
        max_iter=60,
        random_state=seed,
    )
    return GridSearchCV(
        model,
        # Additive noise is a constant: its network has no inputs, and its size does not matter.
        [{"noise": ["additive"], **drift}, {"noise": ["diagonal"], "diffusion__hidden_layer_sizes": SIZES, **drift}],
        scoring=SCORERS,
        refit="log likelihood",
        cv=PanelTimeSeriesSplit(N_SPLITS, test_size=1.5),
    )


def compare(search, scorer):
    """Mean scores and mean differences from the selected candidate, with standard errors; best likelihood first."""
    results = search.cv_results_
    scores = np.stack([results[f"split{k}_test_{scorer}"] for k in range(N_SPLITS)], 1)
    differences = scores - scores[search.best_index_]
    table = pd.DataFrame(
        {
            "mean": scores.mean(1),
            "difference": differences.mean(1),
            "error": differences.std(1, ddof=1) / np.sqrt(N_SPLITS),
        },
        [describe(candidate) for candidate in results["params"]],
    )
    return table.iloc[np.argsort(results["rank_test_log likelihood"], kind="stable")]


def draw_scores(axes, table, scorer):
    for name, row in table.iterrows():
        colour = "tab:orange" if name.startswith("additive") else "tab:blue"
        axes.errorbar(row["difference"], name, xerr=row["error"], fmt="o", color=colour, capsize=3)
    axes.axvline(0.0, color="grey", ls=":", lw=1)
    axes.invert_yaxis()
    axes.set(title=scorer, xlabel="difference from the selected one")


def draw_diffusion(axes, models, y):
    levels = np.linspace(*np.quantile(y, [0.005, 0.995]), 100)
    for (label, model), colour in zip(models.items(), ("tab:blue", "tab:orange"), strict=True):
        axes.plot(levels, model.diffusion_field(levels), color=colour, lw=2, label=label)
    axes.plot(levels, NOISE * np.sqrt(levels), color="black", ls="--", lw=1, label="truth")
    axes.plot(y, np.zeros(len(y)), "|", color="0.6", markersize=8, alpha=0.3)
    axes.set(title="Diffusion, learned from all data", xlabel="level (ticks: data)", ylim=(-0.03, 1.8))
    axes.legend(fontsize="small", loc="upper left")


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    X, y = to_rows(*simulate(np.random.default_rng(seed)))
    y = y.squeeze()
    print(f"Searching over noise and sizes of networks, {len(y)} observations ...", flush=True)
    search = make_search(seed).fit(X, y)
    tables = {scorer: compare(search, scorer) for scorer in SCORERS}
    for scorer, table in tables.items():
        print(f"  {scorer}:")
        for name, row in table.iterrows():
            print(f"    {name:32} {row['mean']:7.4f}, {row['difference']:7.4f} +- {row['error']:.4f} from the selected")
    worst = search.cv_results_["params"][int(np.argmax(search.cv_results_["rank_test_log likelihood"]))]
    models = {
        f"best: {describe(search.best_params_)}": search.best_estimator_,
        f"worst: {describe(worst)}": clone(search.estimator).set_params(**worst).fit(X, y),
    }
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    draw_diffusion(axes[0], models, np.asarray(y))
    for ax, (scorer, table) in zip(axes[1:], tables.items(), strict=True):
        draw_scores(ax, table, scorer)
    axes[2].tick_params(labelleft=False)
    figure.savefig(folder / "grid_search.png", dpi=110)
    print(f"  {folder / 'grid_search.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
