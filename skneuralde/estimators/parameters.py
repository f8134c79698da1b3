"""Constraints on the parameters that estimators share, in the form that scikit-learn validates."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from skneuralde.losses import Loss
from skneuralde.solvers import Controller, Solver
from skneuralde.terms import Parameter

SHARED: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "noise": [StrOptions({"diagonal", "additive", "general"})],
    "calculus": [StrOptions({"ito", "stratonovich"})],
    "control_interpolation": [StrOptions({"auto", "next", "linear", "previous"})],
    "origin": [StrOptions({"auto", "start", "last", "smooth"})],
    "inputs": ["array-like"],
    "n_states": [Interval(Integral, 1, None, closed="left"), None],
    "observation": ["array-like", callable, None],
    "observation_noise": [
        StrOptions({"auto", "none", "learn"}),
        Interval(Real, 0, None, closed="neither"),
        "array-like",
        Parameter,
    ],
    "loss": [str, Loss],
    "debiased": ["boolean"],
    "n_paths": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), "array-like", callable],
    "n_predict_paths": [Interval(Integral, 2, None, closed="left")],
    "solver": [str, Solver],
    "controller": [str, Controller, None],
    "rtol": [Interval(Real, 0, None, closed="neither")],
    "atol": [Interval(Real, 0, None, closed="left")],
    "dt": [Interval(Real, 0, None, closed="neither"), None],
    "max_steps": [Interval(Integral, 1, None, closed="left")],
    "optimizer": [StrOptions({"auto", "adam", "lbfgs"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "warm_start": ["boolean"],
    "uncertainty": [StrOptions({"laplace", "ensemble"}), None],
    "n_members": [Interval(Integral, 2, None, closed="left")],
    "on_epoch": [callable, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "device": [str, torch.device, None],
}
