"""
A neural jump diffusion learned from the mean of its paths
==========================================================

The spiral du = (u^3)' A dt + 0.2 u dW, whose first component halves at rate 2. All that is seen is the mean of 100
paths at 30 times. Drift and effect of the jumps are two networks, the rate is known; then it is learned too. Single
paths before and after training show what a mean hides: that they jump.

The gradient in the rate is not that of automatic differentiation, for which the times of jumps are given: each path is
simulated once more with one jump more, and what that changes is the gradient. A mean does not tell what of its fall is
drift and what are jumps, so that the rate that fits it need not be 2.
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import spiral_true_mean as spiral

from skneuralde import MLP, Jump, NeuralJumpDiffusion, Problem, solve

COLOURS = ("tab:blue", "tab:orange")
RATE = 2.0


def drift(t, u):
    return u**3 @ u.new_tensor(spiral.A)


def noise(t, u):
    return spiral.NOISE * u


def halve(t, u):
    return u * u.new_tensor([0.5, 1.0])


def cube(u):
    return u**3


def true_paths(n_paths, seed):
    problem = Problem(drift, noise, jumps=(Jump(RATE, halve),))
    return solve(
        problem, spiral.START, spiral.TIMES, solver="sosri2", rtol=None, dt=spiral.TIMES[1] / 4, n_paths=n_paths,
        random_state=seed,
    ).ys.numpy()  # fmt: skip


def make_model(seed, **parts):
    return NeuralJumpDiffusion(
        **{"drift": MLP((50,), features=cube), "diffusion": noise, "jump_rate": RATE, "jump_affect": MLP((50,))}
        | parts,
        loss="mean",
        debiased=False,
        n_paths=200,
        n_predict_paths=10_000,
        dt=spiral.TIMES[1] / 2,
        random_state=seed,
    )


def draw(axes, model, X, y, title):
    ts = np.linspace(0.0, 1.2, 241)
    paths = model.sample(ts[:, None], 200, random_state=1)
    for k, colour in enumerate(COLOURS):
        axes.plot(ts, paths[:5, :, k].T, color=colour, alpha=0.5, linewidth=0.8)
        axes.plot(ts, paths[:, :, k].mean(axis=0), color=colour, linewidth=2, label=f"mean of u{k + 1}")
        axes.plot(X[:, 0], y[:, k], "o", color=colour, markeredgecolor="black", markersize=4)
    axes.axvline(1.0, color="grey", linestyle=":", linewidth=1)
    axes.set(title=title, ylim=(-2.6, 2.6))


def distance(mean, other):
    return float(np.sqrt(np.mean((mean - other) ** 2)))


def main(folder, seed=1, max_iter=300):
    folder.mkdir(parents=True, exist_ok=True)
    X = spiral.TIMES[:, None]
    y, truth = true_paths(100, seed).mean(axis=0), true_paths(40_000, 12345).mean(axis=0)
    print("Learning drift and jumps from the mean of 100 paths ...", flush=True)
    untrained = make_model(seed).set_params(learning_rate_init=1e-9, max_iter=1).fit(X, y)
    figure, axes = plt.subplots(3, 1, figsize=(7, 10), sharex=True, layout="constrained")
    draw(axes[0], untrained, X, y, "Before training")
    cases = {
        "drift and effect": {},
        "drift, effect and rate": {"jump_rate": MLP(inputs=()), "max_jump_rate": 10.0},
    }
    for place, (name, parts) in zip(axes[1:], cases.items(), strict=True):
        begun = time.perf_counter()
        model = make_model(seed, **parts).set_params(learning_rate_init=1e-2, max_iter=max_iter).fit(X, y)
        learned, given = distance(model.predict(X), truth), distance(y, truth)
        rate = f", rate {model.intensity_field([[2.0, 0.0]])[0]:.2f}" if parts else ""
        print(
            f"  {name}: distance to the true mean {learned:.4f}, of the data {given:.4f}, ratio {learned / given:.2f}"
            f"{rate} ({time.perf_counter() - begun:.0f} s)",
            flush=True,
        )
        draw(place, model, X, y, f"After training of {name}")
    axes[-1].set_xlabel("t  (data up to the dotted line)")
    axes[-1].legend(loc="lower left")
    figure.savefig(folder / "jump_spiral.png", dpi=110)
    print(f"  {folder / 'jump_spiral.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the picture")
    main(parser.parse_args().save)
