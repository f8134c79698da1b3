"""
Bacteria and a nutrient in a cube
=================================

Bacteria spread from a few droplets through a cube of 32 x 32 x 32 points, eat a nutrient that diffuses, and die when it
is gone. The data are seven snapshots of one culture. Both diffusivities are learned from them, and a network of the two
concentrations at a point that describes growth, consumption and death. Another culture, with droplets elsewhere, is
then forecast from its first snapshot alone.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from skneuralde import Laplacian, NeuralPDEField, Problem, solve

POINTS = 32
SPACING = 1.0 / (POINTS - 1)
TIMES = np.arange(7.0)
DIFFUSIVITY = (0.002, 0.01)
SHOWN = np.array([0, 1, 2, 4, 6])


def reaction(t, u):
    """Growth and death of bacteria, consumption of the nutrient."""
    bacteria, nutrient = u.unbind(-1)
    eaten = bacteria * nutrient
    return torch.stack([eaten - 0.2 * bacteria, -eaten], -1)


def start(rng, n_droplets=4):
    """Droplets of bacteria in a nutrient that differs from place to place, (32, 32, 32, 2)."""
    axes = np.linspace(0.0, 1.0, POINTS)
    place = np.stack(np.meshgrid(axes, axes, axes, indexing="ij"), -1)
    bacteria, nutrient = np.zeros(place.shape[:3]), np.ones(place.shape[:3])
    for centre in rng.uniform(0.2, 0.8, size=(n_droplets, 3)):
        bacteria += rng.uniform(0.3, 0.9) * np.exp(-((place - centre) ** 2).sum(-1) / 0.01)
    for wave, phase in zip(rng.uniform(-8.0, 8.0, size=(3, 3)), rng.uniform(0.0, 6.3, size=3), strict=True):
        nutrient += 0.15 * np.sin(place @ wave + phase)
    return np.stack([bacteria, nutrient], -1)


def simulate(rng):
    truth = Problem(reaction, operator=Laplacian(list(DIFFUSIVITY), SPACING, ndim=3))
    return solve(truth, start(rng), TIMES, rtol=1e-4, atol=1e-6).ys[0].numpy()


def relative(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


def report(model, states, predicted, truth):
    for name, found, true in zip(("bacteria", "nutrient"), model.diffusivity_, DIFFUSIVITY, strict=True):
        print(f"  diffusivity of {name}: {found:.6f}, truth {true}")
    rates = reaction(None, torch.from_numpy(states)).numpy()
    print(f"  reaction: off by {relative(model.reaction_field(states), rates):.2%} over the visited states")
    for t, fields, true in zip(TIMES[1:], predicted[1:], truth[1:], strict=True):
        errors = [relative(fields[..., k], true[..., k]) for k in range(2)]
        print(f"  another culture at t = {t:g}: bacteria off by {errors[0]:.3%}, nutrient by {errors[1]:.3%}")


def draw(predicted, truth):
    """Slices through the middle of the test culture: truth, prediction and error of both fields."""
    figure, axes = plt.subplots(6, len(SHOWN), figsize=(10, 11.5), layout="constrained")
    middle = POINTS // 2
    for k, name in enumerate(("bacteria", "nutrient")):
        true, found = (fields[SHOWN, :, :, middle, k] for fields in (truth, predicted))
        largest = np.abs(found - true).max()
        rows = (("truth", true), ("prediction", found), ("error", found - true))
        for row, (label, values) in enumerate(rows, start=3 * k):
            limits = (-largest, largest) if label == "error" else (0.0, true.max())
            for column, t in enumerate(TIMES[SHOWN]):
                image = axes[row, column].imshow(
                    values[column],
                    cmap="RdBu_r" if label == "error" else "viridis",
                    vmin=limits[0],
                    vmax=limits[1],
                )
                axes[row, column].set(xticks=[], yticks=[])
                if row == 0:
                    axes[row, column].set_title(f"t = {t:g}")
            axes[row, 0].set_ylabel(f"{name}, {label}")
            figure.colorbar(image, ax=axes[row, :], pad=0.01, aspect=12)
    return figure


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    y, truth = simulate(rng), simulate(rng)
    print(f"Learning from {len(TIMES)} snapshots of {POINTS} x {POINTS} x {POINTS} points ...", flush=True)
    model = NeuralPDEField(spacing=SPACING, stages=("collocation",), max_iter=6, random_state=seed).fit(
        TIMES[:, None], y
    )
    states = y.reshape(-1, 2)
    predicted = model.update_state(TIMES[:1, None], truth[:1]).predict(TIMES[:, None])
    report(model, states, predicted, truth)
    draw(predicted, truth).savefig(folder / "field_3d.png", dpi=80)
    print(f"  {folder / 'field_3d.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
