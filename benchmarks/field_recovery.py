"""Errors of coefficients learned from fields that py-pde has simulated, over ten seeds.

The data are ``tests/estimators/data/pypde_fields.npz``, made by ``tools/pypde_fields.py``. Seeds draw the network's
weights, the points of collocation and the noise. The standard deviation of the noise is a share of that of the field
over all points and times, or of its largest value. All settings are the defaults. Run ``python
benchmarks/field_recovery.py [case ...]``.
"""

import sys
import time
from pathlib import Path

import numpy as np

from skneuralde import NeuralPDEField

SEEDS = range(10)
SHARE = 0.01
DATA = np.load(Path(__file__).resolve().parents[1] / "tests" / "estimators" / "data" / "pypde_fields.npz")


def fit(name, reaction, diffusivity, boundary, noise, seed):
    values = DATA[f"{name}_values"]
    shocks = np.random.default_rng(seed).standard_normal(values.shape)
    seen = values + noise * shocks
    spacing = DATA[f"{name}_spacing"]
    model = NeuralPDEField(reaction, diffusivity, spacing=spacing, boundary=boundary, random_state=seed)
    return model.fit(DATA[f"{name}_times"][:, None], seen)


def diffusivity_error(model, name):
    return np.abs(model.diffusivity_ / DATA[f"{name}_diffusivity"] - 1.0).max()


def logistic_error(model):
    """Relative L2 error of the learned u (1 - u) over the range of the field."""
    u = np.linspace(DATA["fisher_values"].min(), DATA["fisher_values"].max(), 201)[:, None]
    true = u * (1.0 - u)
    return np.linalg.norm(model.reaction_field(u) - true) / np.linalg.norm(true)


def heat(noise, seed):
    model = fit("heat", None, "learn", "periodic", noise, seed)
    return {"diffusivity": diffusivity_error(model, "heat")}


def fisher(diffusivity, noise, seed):
    model = fit("fisher", "mlp", diffusivity, "neumann_cell", noise, seed)
    errors = {"reaction": logistic_error(model)}
    return errors if diffusivity != "learn" else {**errors, "diffusivity": diffusivity_error(model, "fisher")}


HEAT, FISHER = (DATA[f"{name}_values"] for name in ("heat", "fisher"))
#: Learned coefficients, and the largest errors that pass.
CASES = {
    "heat": (lambda seed: heat(0.0, seed), {"diffusivity": 0.01}),
    "heat, noise 1% of largest": (lambda seed: heat(SHARE * HEAT.max(), seed), {"diffusivity": 0.01}),
    "Fisher-KPP, D known": (lambda seed: fisher(0.01, 0.0, seed), {"reaction": 0.02}),
    "Fisher-KPP": (lambda seed: fisher("learn", 0.0, seed), {"reaction": 0.02, "diffusivity": 0.01}),
    "Fisher-KPP, D known, noise 1% of deviation": (
        lambda seed: fisher(0.01, SHARE * FISHER.std(), seed),
        {"reaction": 0.10},
    ),
    "Fisher-KPP, D known, noise 1% of largest": (
        lambda seed: fisher(0.01, SHARE * FISHER.max(), seed),
        {"reaction": 0.10},
    ),
    "Fisher-KPP, noise 1% of deviation": (
        lambda seed: fisher("learn", SHARE * FISHER.std(), seed),
        {"reaction": 0.10, "diffusivity": 0.01},
    ),
    "Fisher-KPP, noise 1% of largest": (
        lambda seed: fisher("learn", SHARE * FISHER.max(), seed),
        {"reaction": 0.10, "diffusivity": 0.01},
    ),
}

if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        run, bounds = CASES[name]
        began = time.process_time()
        errors = [run(seed) for seed in SEEDS]
        seconds = (time.process_time() - began) / len(SEEDS)
        for coefficient, bound in bounds.items():
            values = np.array([error[coefficient] for error in errors])
            passed = f", {np.sum(values <= bound)} of {len(values)} within {bound:.0%}"
            summary = f"median {np.median(values):.2%}, largest {values.max():.2%}"
            print(
                f"{name}: relative error of the {coefficient} {summary}{passed}, {seconds:.1f} s of CPU each",
                flush=True,
            )
