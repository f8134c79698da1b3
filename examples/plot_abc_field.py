"""
Three reacting substances in a plane
====================================

This is a classic problem of neural partial differential equations, from 2019. A is produced along one edge of a square,
diffuses, and reacts with B and C, which do not diffuse. The fields start at random and are saved every 5 up to t = 100.
The diffusion and the source are known. The reaction is a network with 50 hidden units that is applied at each of the
100 x 100 points.

By t = 5 the fields are nearly at rest. Those snapshots show the final state and not the reaction that led there: `fit`
warns, and the learned reaction is right at rest and wrong elsewhere. With five initial fields and twenty early save
times, log-spaced from 0.01 to 5, the same network learns the reaction to a percent or two, and predicts an unseen
initial field to 0.02%. The baseline needs no equation: it replays the training field with the nearest initial state.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from skneuralde import NeuralPDEField
from skneuralde.datasets import abc_law, abc_source, make_abc_field

N_FIELDS = 5
CLASSIC = np.arange(0.0, 101.0, 5.0)
EARLY = np.geomspace(0.01, 5.0, 20)
CHECKS = np.array([0.05, 0.2, 0.5, 1.0, 2.0, 5.0])
NAMES = "ABC"


def simulate(seed):
    """Times, and snapshots (fields, times, 100, 100, 3): the training fields, and one more field to predict."""
    times = np.unique(np.concatenate([CLASSIC, EARLY.round(6), CHECKS]))
    _, y = make_abc_field(N_FIELDS + 1, times=times, random_state=seed)
    return times, y.reshape(N_FIELDS + 1, len(times), *y.shape[1:])


def rows_of(times, runs, chosen):
    """X with the columns run and time, and y, for the chosen times of all runs."""
    at = np.flatnonzero(np.isin(times, chosen))
    X = np.column_stack([np.repeat(np.arange(len(runs)), len(at)), np.tile(times[at], len(runs))])
    return X, runs[:, at].reshape(-1, *runs.shape[2:])


def make_model(seed, **settings):
    return NeuralPDEField(
        ["mlp", abc_source()], diffusivity=[100.0, 0.0, 0.0], series=0, time=1, random_state=seed, **settings
    )


def learn_from_rest(times, fields, seed):
    """The model learned from the classic save times alone, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = make_model(seed, stages=("collocation",), max_iter=20).fit(*rows_of(times, fields[:1], CLASSIC))
    return model, [str(entry.message) for entry in caught]


def learn_from_early_saves(times, fields, seed):
    saves = np.concatenate([CLASSIC, EARLY.round(6)])
    return make_model(seed).fit(*rows_of(times, fields[:N_FIELDS], saves))


def distance(fields, truth):
    """Relative distance (times, 3) of A, B and C over the square, in the Euclidean norm."""
    return np.sqrt(((fields - truth) ** 2).sum(axis=(1, 2)) / (truth**2).sum(axis=(1, 2)))


def predict_unseen(model, start):
    """Fields at ``CHECKS`` and at t = 100 of a new run, from its initial state."""
    model.update_state([[N_FIELDS, 0.0]], start[None])
    return model.predict([[N_FIELDS, t] for t in (*CHECKS, CLASSIC[-1])])


def nearest_run(fields):
    """The training run whose initial state is nearest to that of the last run."""
    return int(((fields[:-1, 0] - fields[-1, 0]) ** 2).sum(axis=(1, 2, 3)).argmin())


def reactions(model, states):
    """The learned and the true reaction at states (n, 3)."""
    return model.reaction_field(states), abc_law(None, torch.from_numpy(states)).numpy()


def relative(learned, true):
    return np.linalg.norm(learned - true) / np.linalg.norm(true)


def report(rest, model, states, errors, replayed):
    print(f"  reaction from the classic times alone: off by {relative(*reactions(rest, states)):.0%} at visited states")
    print(f"  reaction from early times of {N_FIELDS} fields: off by {relative(*reactions(model, states)):.1%}")
    for stage in model.stages_:
        print(f"  stage {stage}")
    print("  an unseen field, relative error of the worst of A, B and C, and of replaying the nearest training field:")
    for t, error, baseline in zip(CHECKS, errors.max(axis=1), replayed.max(axis=1), strict=True):
        print(f"    t = {t:4}: {error:.4%}, replayed {baseline:.2%}")


def draw_maps(truth, predicted):
    """Truth, prediction and error of each substance over time."""
    figure, axes = plt.subplots(9, len(CHECKS), figsize=(9, 13.2), layout="constrained")
    for k, name in enumerate(NAMES):
        error = predicted[..., k] - truth[..., k]
        largest = np.abs(error).max()
        low, high = truth[..., k].min(), truth[..., k].max()
        rows = (("truth", truth[..., k]), ("prediction", predicted[..., k]), ("error", error))
        for row, (label, values) in enumerate(rows, start=3 * k):
            style = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest} if label == "error" else {}
            style = style or {"cmap": "viridis", "vmin": low, "vmax": high}
            for column, t in enumerate(CHECKS):
                image = axes[row, column].imshow(values[column], **style)
                axes[row, column].set(xticks=[], yticks=[])
                if row == 0:
                    axes[row, column].set_title(f"t = {t:g}")
            axes[row, 0].set_ylabel(f"{name}, {label}")
            figure.colorbar(image, ax=axes[row, :], pad=0.01, aspect=12)
    return figure


def draw_reactions(rest, model, states, seed):
    """Learned against true rates at visited states, for both models."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
    some = states[np.random.default_rng(seed).choice(len(states), 4000, replace=False)]
    learned, true = reactions(model, some)
    from_rest, _ = reactions(rest, some)
    for k, (ax, name) in enumerate(zip(axes, NAMES, strict=True)):
        ax.plot(true[:, k], from_rest[:, k], ".", color="tab:orange", ms=2, alpha=0.5, label="from the classic times")
        ax.plot(true[:, k], learned[:, k], ".", color="tab:blue", ms=2, alpha=0.5, label="from early times, 5 fields")
        ends = [true[:, k].min(), true[:, k].max()]
        ax.plot(ends, ends, color="black", lw=1, ls="--", label="equal")
        margin = 0.1 * (ends[1] - ends[0])
        ax.set(title=f"Reaction of {name}", xlabel="true rate", ylim=(ends[0] - margin, ends[1] + margin))
    axes[0].set_ylabel("learned rate")
    axes[0].legend(fontsize="small", markerscale=5, loc="upper left")
    return figure


def draw_surfaces(predicted):
    """A, B and C, predicted at t = 2 and at rest."""
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    rows, columns = np.mgrid[: predicted.shape[1], : predicted.shape[2]]
    for row, (label, fields) in enumerate((("t = 2", predicted[4]), ("t = 100", predicted[-1]))):
        for k, name in enumerate(NAMES):
            ax = figure.add_subplot(2, 3, 3 * row + k + 1, projection="3d")
            ax.plot_surface(columns, rows, fields[..., k], cmap="viridis", rcount=100, ccount=100, lw=0)
            ax.set(title=f"{name} at {label}", xlabel="column", ylabel="row")
            ax.view_init(elev=28, azim=-55 if name == "B" else -125)
    return figure


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    print("Simulating six fields of 100 x 100 points ...", flush=True)
    times, fields = simulate(seed)
    print("Learning from the classic save times of one field ...", flush=True)
    rest, messages = learn_from_rest(times, fields, seed)
    for message in messages:
        print(f"  warned: {message}")
    print(f"Learning from {N_FIELDS} fields with early save times ...", flush=True)
    model = learn_from_early_saves(times, fields, seed)
    predicted = predict_unseen(model, fields[-1, 0])
    checked = np.searchsorted(times, CHECKS)
    truth = fields[-1, checked]
    states = fields[-1, times <= CHECKS[-1]].reshape(-1, 3)
    errors, replayed = distance(predicted[:-1], truth), distance(fields[nearest_run(fields), checked], truth)
    report(rest, model, states, errors, replayed)
    pictures = {
        "abc_maps": draw_maps(truth, predicted[:-1]),
        "abc_reaction": draw_reactions(rest, model, states, seed),
        "abc_surfaces": draw_surfaces(predicted),
    }
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.png", dpi=75)
        print(f"  {folder / f'{name}.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
