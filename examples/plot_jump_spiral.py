"""
A neural jump diffusion learned from the mean of its paths
==========================================================

The equation is the spiral du = (u^3)' A dt + 0.2 u dW, whose first component halves at rate 2. The data are the mean of
100 paths at 30 times. Drift and affect, the state after a jump, are two networks. The rate is known at first, and then
learned as well. Single paths before and after training show jumps, which are not visible in the mean.

With a known rate the jump times are fixed, and the distance of the means is a smooth function of the weights.
Quasi-Newton steps find its minimum, from the best of three random starts, with more and more paths. A learned rate
moves the jumps. Automatic differentiation treats jump times as given, so its gradient in the rate is wrong. Instead,
each path is simulated once more with one jump more, and the change gives the gradient. A mean does not separate drift
from jumps, so the fitted rate need not be 2.

Nor does a mean identify the noise. In the last stage the noise is a third network, and the data are the 100 paths
themselves. Their likelihood separates noise from jumps, and so identifies the rate as well.
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import spiral_true_mean as spiral
import torch

from skneuralde import MLP, Jump, NeuralJumpDiffusion, Problem, solve, to_rows

COLOURS = ("tab:blue", "tab:orange")
RATE = 2.0
X = spiral.TIMES[:, None]


def drift(t, u):
    return u**3 @ u.new_tensor(spiral.A)


def noise(t, u):
    return spiral.NOISE * u


def halve(t, u):
    return u * u.new_tensor([0.5, 1.0])


def cube(u):
    return u**3


class Rate(torch.nn.Module):
    """A learned rate, which starts at half of the true rate."""

    def __init__(self):
        super().__init__()
        self.log_rate = torch.nn.Parameter(torch.tensor(np.log(0.5 * RATE)))

    def forward(self, t, u):
        return self.log_rate.exp().expand(len(u))


def true_paths(n_paths, seed):
    problem = Problem(drift, noise, jumps=(Jump(RATE, halve),))
    return solve(
        problem, spiral.START, spiral.TIMES, solver="sosri2", rtol=None, dt=spiral.TIMES[1] / 4, n_paths=n_paths,
        random_state=seed,
    ).ys.numpy()  # fmt: skip


def make_model(seed, **parts):
    settings = {
        "drift": MLP((50,), features=cube),
        "diffusion": noise,
        "jump_rate": RATE,
        "jump_affect": MLP((50,)),
        "loss": "mean",
        "debiased": False,
        "n_predict_paths": 10_000,
        "dt": spiral.TIMES[1],
        "random_state": seed,
    }
    return NeuralJumpDiffusion(**settings | parts)


def learned_parts(model):
    return {"drift": model.drift_, "jump_affect": model.jump_affect_, "jump_rate": model.jump_rate_}


def finish(model, y):
    """Continue with so many paths that the minimum hardly depends on their noise."""
    return model.set_params(optimizer="lbfgs", warm_start=True, n_paths=3000, max_iter=3).fit(X, y)


def learn_drift_and_affect(y, seed):
    quick = {"optimizer": "lbfgs", "n_paths": 30, "max_iter": 4}
    starts = [make_model(3 * seed + k, **quick).fit(X, y) for k in range(3)]
    best = min(starts, key=lambda model: model.loss_)
    return finish(best.set_params(warm_start=True, n_paths=(100, 300), max_iter=6).fit(X, y), y)


def learn_rate(y, seed, before):
    """Train drift, affect and rate together; then train drift and affect with the rate fixed."""
    start = learned_parts(before) | {"jump_rate": Rate()}
    rough = make_model(seed, **start, max_jump_rate=10.0, learning_rate_init=1e-2, n_paths=64, max_iter=60).fit(X, y)
    start = learned_parts(rough) | {"jump_rate": rate_of(rough)}
    return finish(make_model(seed, **start, optimizer="lbfgs", n_paths=300, max_iter=3).fit(X, y), y)


def learn_noise(paths, seed):
    """Train all parts by the likelihood of the paths; then train on the mean with rate and noise fixed."""
    parts = {"jump_rate": Rate(), "diffusion": MLP((10,)), "max_jump_rate": 10.0}
    options = {"loss": "nll", "origin": "start", "learning_rate_init": 1e-2, "max_iter": 40}
    rough = make_model(seed, **parts | options).fit(*to_rows(paths, spiral.TIMES))
    start = learned_parts(rough) | {"jump_rate": rate_of(rough), "diffusion": lambda t, u: rough.diffusion_(t, u)}
    y = paths.mean(axis=0)
    return finish(make_model(seed, **start, optimizer="lbfgs", n_paths=300, max_iter=1).fit(X, y), y)


def rate_of(model):
    return float(model.intensity_field([[2.0, 0.0]])[0])


def noise_error(model, paths):
    """Relative root mean square error of the learned size of the noise, over the states of the paths."""
    states = paths.reshape(-1, paths.shape[-1])
    truth = np.abs(spiral.NOISE * states)
    return distance(np.abs(model.diffusion_field(states)), truth) / distance(truth, 0.0)


def distance(mean, other):
    return float(np.sqrt(np.mean((mean - other) ** 2)))


def rows(model, times):
    """Rows of X for these times."""
    if model.series_ == [None]:
        return times[:, None]
    return to_rows(np.empty((1, len(times), 2)), times)[0]


def draw(axes, model, y, title):
    ts = np.linspace(0.0, 1.2, 241)
    paths = model.sample(rows(model, ts), 200, random_state=1)
    for k, colour in enumerate(COLOURS):
        axes.plot(ts, paths[:5, :, k].T, color=colour, alpha=0.5, linewidth=0.8)
        axes.plot(ts, paths[:, :, k].mean(axis=0), color=colour, linewidth=2, label=f"mean of u{k + 1}")
        axes.plot(X[:, 0], y[:, k], "o", color=colour, markeredgecolor="black", markersize=4)
    axes.axvline(1.0, color="grey", linestyle=":", linewidth=1)
    axes.set(title=title, ylim=(-2.6, 2.6))


def main(folder, seed=1):
    folder.mkdir(parents=True, exist_ok=True)
    paths, truth = true_paths(100, seed), true_paths(40_000, 12345).mean(axis=0)
    y = paths.mean(axis=0)
    figure, axes = plt.subplots(4, 1, figsize=(7, 13), sharex=True, layout="constrained")
    print("Learning drift and jumps from the mean of 100 paths ...", flush=True)
    draw(axes[0], make_model(seed, learning_rate_init=1e-9, max_iter=1, n_paths=4).fit(X, y), y, "Before training")
    stages = {
        "drift and affect": lambda _: learn_drift_and_affect(y, seed),
        "drift, affect and rate": lambda before: learn_rate(y, seed, before),
        "drift, affect, rate and noise": lambda _: learn_noise(paths, seed),
    }
    model = None
    for place, (name, learn) in zip(axes[1:], stages.items(), strict=True):
        begun = time.perf_counter()
        model = learn(model)
        learned, given = distance(np.asarray(model.predict(rows(model, spiral.TIMES))), truth), distance(y, truth)
        print(
            f"  {name}: distance to the true mean {learned:.4f}, of the data {given:.4f}, ratio {learned / given:.2f}, "
            f"rate {rate_of(model):.2f} ({time.perf_counter() - begun:.0f} s)",
            flush=True,
        )
        draw(place, model, y, f"After training of {name}")
    axes[-1].set_xlabel("t  (data up to the dotted line)")
    axes[-1].legend(loc="lower left")
    figure.savefig(folder / "jump_spiral.png", dpi=110)
    print(f"  {folder / 'jump_spiral.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the picture")
    main(parser.parse_args().save)
