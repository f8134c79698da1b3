"""
A heated room and its walls
===========================

How well is a house insulated, and what is the effect of a heating plan? The room temperature, the power of the heater
and the outdoor temperature are logged every quarter of an hour for six days. The equation is a grey-box model that is
common for buildings, with two temperatures: the heater warms the air in the room, the air exchanges heat with the
walls, and the walls lose heat to the outside. Both temperatures have unknown disturbances, and that of the walls is not
measured.

Heat capacities, thermal resistances, both disturbances and the thermometer's error are learned together by the
likelihood, with power and outdoor temperature as controls: columns of X. Then the temperature of the walls is inferred,
and a plan for the next two days, given as more rows of X, becomes a forecast with bands.

With the true parameters 95% of the wall temperatures are in their band. With the learned parameters it is two thirds,
since the band does not include the uncertainty of the parameters, and most errors have the same sign.
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
PER_HOUR, DAYS, PLANNED_DAYS = 4, 6, 2


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
        return torch.stack(
            [(power - inwards) / value["room_capacity"], (inwards - outwards) / value["wall_capacity"]], -1
        )


class Disturbances(torch.nn.Module):
    """Separate noise of room and walls, in degrees per square root of an hour."""

    def __init__(self, room, wall):
        super().__init__()
        self.logs = torch.nn.Parameter(torch.tensor([room, wall]).log())

    def forward(self, t, u):
        return self.logs.exp().expand_as(u)


def weather_and_heating(rng):
    """The controls: power switched at random, as in an experiment, then the plan, which heats by day only."""
    index = pd.date_range(
        "2025-01-13", periods=24 * PER_HOUR * (DAYS + PLANNED_DAYS), freq="15min", tz="Europe/Copenhagen"
    )
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
    """Readings of the thermometer."""
    return (states["room"] + rng.normal(scale=ERROR, size=len(states))).rename("temperature")


def rates(model):
    """Truth, estimate and standard error of each parameter: the drift at an input where only this parameter remains."""
    room, wall = TRUTH["room_capacity"], TRUTH["wall_capacity"]
    inner, outer = TRUTH["inner_resistance"], TRUTH["outer_resistance"]
    warm = {  # truth; temperatures of room and walls; power and outdoor temperature; index of the temperature
        "heater to room": (1 / room, [0, 0], [1, 0], 0),
        "walls to room": (1 / (room * inner), [0, 1], [0, 0], 0),
        "room to walls": (1 / (wall * inner), [1, 0], [0, 0], 1),
        "outside to walls": (1 / (wall * outer), [0, 0], [0, 1], 1),
    }
    table = {}
    for name, (truth, temperatures, controls, k) in warm.items():
        value, error = model.drift_field([temperatures], context=controls, return_std=True)
        table[name] = {"truth": truth, "estimate": value[0, k], "error": error[0, k]}
    return pd.DataFrame(table).T


def report(model, table, states, shown, mean, std, bands):
    for name, truth in TRUTH.items():
        print(f"  {name.replace('_', ' '):17} {model.drift_.function.logs[name].exp().item():6.3f}, truth {truth}")
    sizes = model.diffusion_field([[20.0, 20.0]])[0]
    for name, size, truth in zip(("room", "walls"), sizes, DISTURBANCES, strict=True):
        print(f"  disturbance {name:5} {size:6.3f}, truth {truth}")
    print(f"  thermometer error {model.model_.noise_std.item():6.3f}, truth {ERROR}")
    print("  heat exchange, degrees per hour:")
    for name, row in table.iterrows():
        print(f"    {name:16} {row['estimate']:.4f} +- {row['error']:.4f}, truth {row['truth']:.4f}")
    n = 24 * PER_HOUR * DAYS
    off = (mean[:n, 1] - states["wall"].iloc[:n]).to_numpy()
    inside = np.mean(np.abs(off) < 1.96 * std[:n, 1])
    print(f"  walls, never measured: off by {np.sqrt(np.mean(off**2)):.2f} degrees, {inside:.0%} in the 95% band")
    planned = shown.iloc[n:].between(bands[0.05], bands[0.95]).mean()
    print(f"  plan: {planned:.0%} of the following two days in the 90% band")


def draw_room(axes, shown, bands, now):
    axes.plot(shown[:now].index, shown[:now], ".", color="black", markersize=2, label="thermometer")
    axes.plot(shown[now:].index, shown[now:], color="black", lw=1, ls="--", label="later measurements")
    axes.fill_between(
        bands.index, bands[0.05], bands[0.95], color="tab:blue", alpha=0.3, lw=0, label="forecast, 90% band"
    )
    axes.plot(bands.index, bands[0.5], color="tab:blue", lw=1)
    axes.set(title="The room", ylabel="degrees Celsius")
    axes.legend(fontsize="small", ncols=3, loc="lower left")


def draw_walls(axes, states, mean, std):
    low, high = mean[:, 1] - 1.96 * std[:, 1], mean[:, 1] + 1.96 * std[:, 1]
    axes.fill_between(states.index, low, high, color="tab:orange", alpha=0.3, lw=0)
    axes.plot(states.index, mean[:, 1], color="tab:orange", lw=1, label="inferred, then forecast, 95% band")
    axes.plot(states.index, states["wall"], color="black", lw=1, ls="--", label="truth, never measured")
    axes.set(title="The walls", ylabel="degrees Celsius")
    axes.legend(fontsize="small", ncols=2, loc="lower left")


def draw_controls(axes, controls):
    axes.fill_between(
        controls.index, controls["power"], step="pre", color="tab:red", alpha=0.4, lw=0, label="power, kW"
    )
    axes.plot(controls.index, controls["outdoor"], color="tab:green", lw=1, label="outdoor, degrees Celsius")
    axes.set(title="Controls: known, and planned")
    axes.legend(fontsize="small", ncols=2, loc="lower left")


def draw_rates(axes, table):
    ratio = table.div(table["truth"], axis=0)
    axes.errorbar(ratio["estimate"], table.index, xerr=1.96 * ratio["error"], fmt="o", color="tab:blue", capsize=3)
    axes.axvline(1.0, color="black", ls="--", lw=1)
    axes.set(title="Heat exchange", xlabel="estimate over truth, 95% intervals", ylim=(3.5, -0.5))


def draw(table, controls, states, shown, mean, std, bands):
    figure = plt.figure(figsize=(13, 7), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(2.6, 1))
    axes = [figure.add_subplot(grid[0, 0])]
    axes += [figure.add_subplot(grid[k, 0], sharex=axes[0]) for k in (1, 2)]
    now = bands.index[0]
    draw_room(axes[0], shown, bands, now)
    draw_walls(axes[1], states, mean, std)
    draw_controls(axes[2], controls)
    for ax in axes:
        ax.axvline(now, color="grey", ls=":", lw=1)
        ax.set_xlim(states.index[0], states.index[-1])
    draw_rates(figure.add_subplot(grid[:, 1]), table)
    return figure


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    controls = weather_and_heating(rng)
    states = simulate(controls, rng)
    shown = measure(states, rng)
    n = 24 * PER_HOUR * DAYS
    print(f"Learning a room and its walls from {n} temperatures of the room ...", flush=True)
    model = NeuralSDERegressor(
        drift=Heat(room_capacity=2.0, wall_capacity=3.0, inner_resistance=2.0, outer_resistance=2.0),
        diffusion=Disturbances(0.5, 0.5),
        noise="additive",
        n_states=2,
        observation_noise="learn",
        time_unit="h",
        origin="smooth",
        uncertainty="laplace",
        n_predict_paths=500,
        random_state=seed,
    ).fit(controls.iloc[:n], shown.iloc[:n])
    mean, std = model.predict_states(controls, return_std=True)
    _, bands = model.predict(controls.iloc[n:], quantiles=[0.05, 0.5, 0.95])
    table = rates(model)
    report(model, table, states, shown, mean, std, bands)
    figure = draw(table, controls, states, shown, mean, std, bands)
    figure.savefig(folder / "heated_room.png", dpi=110)
    print(f"  {folder / 'heated_room.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
