"""
A pendulum with observed angle
==============================

A pendulum is kicked at random and filmed: ten pictures a second show its angle, with an error of about a tenth of a
radian. Its velocity is hidden. The equation is known up to four parameters, which are learned together by the
likelihood of the angles: the pull of gravity, the friction, the size of the kicks and the error of the pictures. With
``origin="smooth"`` the states are then inferred from all pictures, before and after, and so is the velocity.

At well chosen states the drift is a single parameter, so `drift_field` and `diffusion_field` give the standard errors
of the parameters. Differences of successive pictures, which need no model, are five times as far from the velocity as
the inferred states.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from skneuralde import NeuralSDERegressor, Problem, solve

SPACING, N_PICTURES = 0.1, 300
PULL, FRICTION, KICKS, ERROR = 4.0, 0.15, 0.5, 0.12


class Pendulum(torch.nn.Module):
    """Changes of angle and velocity."""

    def __init__(self, pull=2.0, friction=0.5):
        super().__init__()
        self.pull = torch.nn.Parameter(torch.tensor(pull))
        self.friction = torch.nn.Parameter(torch.tensor(friction))

    def forward(self, t, u):
        angle, velocity = u.unbind(-1)
        return torch.stack([velocity, -self.pull * angle.sin() - self.friction * velocity], -1)


class Kicks(torch.nn.Module):
    """Noise of the velocity alone."""

    def __init__(self, size=1.0):
        super().__init__()
        self.log_size = torch.nn.Parameter(torch.tensor(size).log())

    def forward(self, t, u):
        return torch.stack([torch.zeros_like(u[:, 0]), self.log_size.exp().expand(len(u))], -1)


def film(seed):
    """Times, angles on the pictures, and the true states."""
    times = SPACING * np.arange(N_PICTURES)
    truth = Problem(Pendulum(PULL, FRICTION), Kicks(KICKS))
    with torch.no_grad():
        states = solve(truth, [2.2, 0.0], times, rtol=1e-2, random_state=seed).ys[0].numpy()
    return times, states[:, 0] + np.random.default_rng(seed).normal(scale=ERROR, size=N_PICTURES), states


def learned_numbers(model):
    """Estimates and standard errors: the coefficients at states where only one parameter remains."""
    drift, drift_std = model.drift_field([[np.pi / 2, 0.0], [0.0, 1.0]], return_std=True)
    kicks, kicks_std = model.diffusion_field([[0.0, 0.0]], return_std=True)
    return {
        "pull": (PULL, -drift[0, 1], drift_std[0, 1]),
        "friction": (FRICTION, -drift[1, 1], drift_std[1, 1]),
        "kicks": (KICKS, kicks[0, 1], kicks_std[0, 1]),
    }


def differences(angles):
    """Velocities from the pictures before and after, without a model."""
    return np.gradient(angles, SPACING)


def report(model, states, angles, mean, std):
    for name, (truth, value, error) in learned_numbers(model).items():
        print(f"  {name:8} {value:.3f} +- {error:.3f}, truth {truth}")
    print(f"  error    {model.model_.noise_std.item():.3f}, truth {ERROR}")
    for k, name in enumerate(("angle", "velocity")):
        inside = np.mean(np.abs(mean - states)[:, k] < 1.96 * std[:, k])
        print(f"  inferred {name}: off by {distance(mean[:, k], states[:, k]):.3f}, {inside:.0%} in the 95% band")
    print(f"  pictures: off by {distance(angles, states[:, 0]):.3f}")
    print(f"  differences of pictures: off by {distance(differences(angles), states[:, 1]):.3f}")


def distance(these, those):
    return float(np.sqrt(np.mean((these - those) ** 2)))


def draw_phase_space(axes, states, angles, mean, std, shown):
    """The states in a window of time; inferred states with one standard deviation each way."""
    axes.plot(
        angles[shown], differences(angles)[shown], "x", color="0.6", markersize=4, label="differences of pictures"
    )
    axes.plot(*states[shown].T, color="black", lw=1.5, label="truth")
    axes.errorbar(
        *mean[shown].T,
        xerr=std[shown, 0],
        yerr=std[shown, 1],
        fmt="o",
        color="tab:blue",
        ecolor="tab:blue",
        markersize=3,
        elinewidth=0.7,
        label="inferred, one std each way",
    )
    axes.set(title="Phase space, the first ten seconds", xlabel="angle", ylabel="velocity")
    axes.legend(fontsize="small", loc="upper right")


def draw_over_time(axes, fine, mean, std, times, states, name):
    axes.fill_between(fine, mean - 1.96 * std, mean + 1.96 * std, color="tab:blue", alpha=0.3, lw=0)
    axes.plot(fine, mean, color="tab:blue", lw=1, label="inferred, 95% band")
    axes.plot(times, states, color="black", lw=1, ls="--", label="truth")
    axes.set(ylabel=name, xlim=(times[0], times[-1]))


def draw(model, times, angles, states):
    figure, axes = plt.subplot_mosaic(
        [["phase", "angle"], ["phase", "velocity"]], figsize=(12, 5.5), width_ratios=(1, 1.3), layout="constrained"
    )
    mean, std = model.predict_states(times[:, None], return_std=True)
    draw_phase_space(axes["phase"], states, angles, mean, std, times < 10.0)
    fine = np.linspace(0.0, times[-1], 4 * N_PICTURES)
    mean, std = model.predict_states(fine[:, None], return_std=True)
    axes["angle"].plot(times, angles, "o", color="tab:orange", markersize=2.5, label="pictures")
    for k, name in enumerate(("angle", "velocity")):
        draw_over_time(axes[name], fine, mean[:, k], std[:, k], times, states[:, k], name)
    axes["angle"].set(title="Observed: the angle")
    axes["angle"].legend(fontsize="small", ncols=3, loc="lower right")
    axes["velocity"].set(title="Hidden: the velocity", xlabel="seconds")
    return figure


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    times, angles, states = film(seed)
    print(f"Learning a pendulum from {N_PICTURES} angles ...", flush=True)
    model = NeuralSDERegressor(
        drift=Pendulum(),
        diffusion=Kicks(),
        n_states=2,
        observation_noise="learn",
        origin="smooth",
        uncertainty="laplace",
        random_state=seed,
    ).fit(times[:, None], angles)
    mean, std = model.predict_states(times[:, None], return_std=True)
    report(model, states, angles, mean, std)
    figure = draw(model, times, angles, states)
    figure.savefig(folder / "pendulum.png", dpi=110)
    print(f"  {folder / 'pendulum.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
