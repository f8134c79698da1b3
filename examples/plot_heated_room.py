"""
A heated room and its walls
===========================

How well is a house insulated, and what will a plan for the heating do? A thermometer in the room, the power of the
heater and the temperature outside are logged every quarter of an hour for a week; for half a day the thermometer fails.
The equation is the grey-box model of two temperatures that is common for buildings: the heater warms the air in the
room, the air exchanges heat with the walls, the walls lose heat to the outside, and both are disturbed by what nobody
logs. Nobody measures the walls either.

Heat capacities, thermal resistances, both disturbances and the thermometer's error are learned together by the
likelihood, with power and outdoor temperature as controls: columns of X. Then the temperature of the walls is inferred,
and a plan for the next two days, more rows of X, becomes a forecast with bands.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from skneuralde import NeuralSDERegressor

#: Heat capacities in kWh/K, resistances in K/kW.
TRUTH = {"room_capacity": 1.0, "wall_capacity": 6.0, "inner_resistance": 1.2, "outer_resistance": 5.0}
DISTURBANCES, ERROR = (0.25, 0.1), 0.1
PER_HOUR, DAYS, PLANNED_DAYS = 4, 7, 2
CONTROLS = ["power", "outdoor"]


class Heat(torch.nn.Module):
    """Change of the temperatures of room and walls, in degrees per hour."""

    def __init__(self, **start):
        super().__init__()
        self.logs = torch.nn.ParameterDict({name: torch.tensor(value).log() for name, value in start.items()})

    def forward(self, t, u, c):
        value = {name: log.exp() for name, log in self.logs.items()}
        room, wall = u.unbind(-1)
        power, outdoor = c.unbind(-1)
        inwards = (room - wall) / value["inner_resistance"]
        outwards = (wall - outdoor) / value["outer_resistance"]
        return torch.stack([(power - inwards) / value["room_capacity"], (inwards - outwards) / value["wall_capacity"]], -1)


class Disturbances(torch.nn.Module):
    """Noise of its own size for room and walls, in degrees per square root of an hour."""

    def __init__(self, room, wall):
        super().__init__()
        self.logs = torch.nn.Parameter(torch.tensor([room, wall]).log())

    def forward(self, t, u):
        return self.logs.exp().expand_as(u)


def weather_and_heating(rng):
    """The controls: a thermostat that is set back at night at first, then by random as in an experiment; the plan."""
    index = pd.date_range("2025-01-13", periods=24 * PER_HOUR * (DAYS + PLANNED_DAYS), freq="15min", tz="Europe/Copenhagen")
    hours = np.arange(len(index)) / PER_HOUR
    slow = np.cumsum(rng.normal(scale=0.12, size=len(index)))
    outdoor = 1.0 + 3.0 * np.sin(2 * np.pi * (hours - 9) / 24) + slow - slow.mean()
    at_random = 4.0 * np.repeat(rng.random(len(index) // (3 * PER_HOUR) + 1) < 0.6, 3 * PER_HOUR)[: len(index)]
    by_day = 4.5 * ((index.hour >= 6) & (index.hour < 20))
    power = np.where(hours < 24 * DAYS, at_random, by_day)
    return pd.DataFrame({"power": power, "outdoor": outdoor}, index=index)


def simulate(controls, rng, substeps=15):
    """True temperatures: each row's controls act over the quarter of an hour that ends there."""
    step = 1 / (PER_HOUR * substeps)
    state, states = np.array([20.0, 17.0]), []
    for power, outdoor in controls.to_numpy():
        for shocks in rng.normal(scale=np.sqrt(step), size=(substeps, 2)):
            inwards = (state[0] - state[1]) / TRUTH["inner_resistance"]
            outwards = (state[1] - outdoor) / TRUTH["outer_resistance"]
            change = [(power - inwards) / TRUTH["room_capacity"], (inwards - outwards) / TRUTH["wall_capacity"]]
            state = state + step * np.array(change) + DISTURBANCES * shocks
        states.append(state)
    return pd.DataFrame(states, controls.index, ["room", "wall"])


def measure(states, rng):
    """What the thermometer shows; nothing from noon to midnight of the fifth day."""
    shown = states["room"] + rng.normal(scale=ERROR, size=len(states))
    start = states.index[0] + pd.Timedelta(days=4, hours=12)
    return shown.mask((shown.index >= start) & (shown.index < start + pd.Timedelta(hours=12))).rename("temperature")


def report(model, states, mean, std):
    for name, truth in TRUTH.items():
        print(f"  {name.replace('_', ' '):16} {model.drift_.function.logs[name].exp().item():6.3f}, truth {truth}")
    for name, truth, value in zip(("room", "walls"), DISTURBANCES, model.diffusion_field([[20.0, 20.0]])[0], strict=True):
        print(f"  noise of {name:7} {value:6.3f}, truth {truth}")
    print(f"  thermometer      {model.model_.noise_std.item():6.3f}, truth {ERROR}")


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    controls = weather_and_heating(rng)
    states = simulate(controls, rng)
    n = 24 * PER_HOUR * DAYS
    X, y = controls.iloc[:n], measure(states.iloc[:n], rng)
    print(f"Learning a room and its walls from {y.notna().sum()} temperatures of the room ...", flush=True)
    import time
    t0=time.time()
    model = NeuralSDERegressor(
        drift=Heat(room_capacity=2.0, wall_capacity=3.0, inner_resistance=2.0, outer_resistance=2.0),
        diffusion=Disturbances(0.5, 0.5),
        noise="additive",
        n_states=2,
        observation_noise="learn",
        time_unit="h",
        origin="smooth",
        uncertainty="laplace",
        random_state=seed,
        verbose=True,
    ).fit(X, y)
    print(time.time()-t0)
    mean, std = model.predict_states(X, return_std=True)
    print(time.time()-t0)
    report(model, states, mean, std)
    mean, std, bands = model.predict(controls.iloc[n:], return_std=True, quantiles=[0.05,0.95])
    print(time.time()-t0)
    print(mean.tail(), states.iloc[n:].tail(), std.tail(), bands.tail())
    print(model.predict_states(controls.iloc[n:], return_std=True)[0][-3:])
    print(time.time()-t0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
