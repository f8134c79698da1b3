"""
Error and time as functions of the tolerance
============================================

The spiral SDE du = (u^3)' A dt + 0.2 u dW is solved at many tolerances on the same Brownian paths: a smaller tolerance
resolves the same noise more finely. The left panel shows the strong error at 30 save times, against a fine solution on
those paths, by tolerance. The middle panel shows it by computing time, beside fixed steps. The right panel is a grid
search over ``rtol`` of an estimator that knows the equation, scored on the mean of its paths. Since the noise is the
same everywhere, the score is a smooth curve.
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import spiral_true_mean as spiral
import torch
from sklearn.model_selection import GridSearchCV

from skneuralde import NeuralSDERegressor, Problem, solve
from skneuralde.solvers import SolverError

N_PATHS, SPACING = 200, spiral.TIMES[1]
TOLERANCES = (3e-1, 1e-1, 3e-2, 1e-2, 3e-3)
ADAPTIVE, FIXED = ("sosri2", "sosri", "sriw1"), ("sosri2", "euler")
MATRIX = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=torch.float64)


def drift(t, u):
    return u**3 @ MATRIX


def noise(t, u):
    return spiral.NOISE * u


def simulate(solver, **steps):
    return solve(
        Problem(drift, noise), [2.0, 0.0], spiral.TIMES, solver=solver, n_paths=N_PATHS, random_state=0, **steps
    ).ys


def measure(solver, settings, fine):
    """Strong errors and seconds, for the settings at which the solution stays finite."""
    errors, seconds = [], []
    for steps in settings:
        begin = time.perf_counter()
        try:
            ys = simulate(solver, **steps)
        except SolverError:  # the steps are too long for stability
            continue
        seconds.append(time.perf_counter() - begin)
        errors.append(float((ys - fine).square().mean().sqrt()))
    return errors, seconds


def draw_errors(axes):
    print("Solving the spiral at many tolerances ...", flush=True)
    fine = simulate("sriw1", rtol=None, dt=SPACING / 2**8)
    for name in ADAPTIVE:
        errors, seconds = measure(name, [{"rtol": tol, "atol": tol} for tol in TOLERANCES], fine)
        axes[0].loglog(TOLERANCES, errors, "o-", markersize=4, label=name)
        axes[1].loglog(seconds, errors, "o-", markersize=4, label=f"{name}, adaptive")
        print(f"  {name}: error {errors[0]:.1e} to {errors[-1]:.1e} in {seconds[0]:.2f} to {seconds[-1]:.2f} s")
    for name in FIXED:
        errors, seconds = measure(name, [{"rtol": None, "dt": SPACING / 2**k} for k in range(6)], fine)
        axes[1].loglog(seconds, errors, "s--", markersize=4, label=f"{name}, fixed steps")
    axes[0].set(xlabel="tolerance", ylabel="strong error", title="Error and tolerance")
    axes[1].set(xlabel="seconds for 200 paths", title="Error and time")
    for ax in axes:
        ax.legend(fontsize="small")


def draw_search(axes):
    print("Searching over the tolerance of an estimator ...", flush=True)
    X, rows = spiral.TIMES[:, None], np.arange(len(spiral.TIMES))
    # The equation is known, and the data are an accurate mean of the same 400 paths.
    known = {
        "drift": drift,
        "diffusion": noise,
        "loss": "mean",
        "n_paths": 4,
        "n_predict_paths": 400,
        "random_state": 0,
    }
    y = NeuralSDERegressor(**known, solver="sosri2", rtol=1e-6).fit(X, spiral.true_mean()).predict(X)
    grid = {"rtol": np.geomspace(1e-5, 1.0, 16).tolist()}
    model = NeuralSDERegressor(**known, solver="sosri2")
    search = GridSearchCV(model, grid, cv=[(rows, rows)], scoring="neg_root_mean_squared_error").fit(X, y)
    axes.loglog(grid["rtol"], -search.cv_results_["mean_test_score"], "o-", markersize=4)
    axes.set(xlabel="rtol", ylabel="root mean square error", title="Grid search over rtol of an estimator")
    print(f"  best rtol: {search.best_params_['rtol']:.1e}")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    draw_errors(axes[:2])
    draw_search(axes[2])
    figure.savefig(folder / "tolerance.png", dpi=110)
    print(f"  {folder / 'tolerance.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
