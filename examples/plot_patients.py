"""
Patients, forecast from their first visits
==========================================

A drug is given by infusions of one hour. Its concentration and the patients' response are measured at irregular times,
and not always both. The table has a row per patient and time: the time, with its time zone, is an index level, the
infusion is a control, weight and age are context, and values that were not measured are NaN.

Half of the equation is known: the drug leaves one compartment at a rate that depends on weight and age as in
pharmacology. The effect of the concentration on the response is unknown: a small network gives the level to which the
response is pulled. Its curve and all parameters are learned together by the likelihood of the measurements. For new
patients, `update_state` infers the state from the first visits, and the plan of their infusions becomes a forecast.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from skneuralde import NeuralSDERegressor

N_PATIENTS, N_NEW, N_DRAWN, HOURS, KNOWN_HOURS, EVERY = 20, 12, 3, 60, 16, 12
VOLUME, CLEARANCE, WEIGHT_POWER, AGE_SLOPE = 30.0, 4.0, 0.75, 0.01
SPEED, DISTURBANCES, ERRORS = 0.3, (0.08, 0.15), (0.4, 0.2)
N_UNITS = 4
FEATURES, OUTPUTS = ["weight", "age", "infusion"], ["concentration", "response"]


def true_target(concentration):
    """The level to which a concentration pulls the response."""
    return 1 + 5 * concentration**2 / (25 + concentration**2)


class Drug(torch.nn.Module):
    """Change of concentration and response per hour; controls and context are weight, age and infusion."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.logs = torch.nn.Parameter(torch.tensor([50.0, 2.0, 1.0]).log())
        self.powers = torch.nn.Parameter(torch.tensor([0.0, 0.0]))
        self.slopes = torch.nn.Parameter(torch.randn(N_UNITS, generator=generator))
        self.offsets = torch.nn.Parameter(torch.randn(N_UNITS, generator=generator))
        self.heights = torch.nn.Parameter(torch.zeros(N_UNITS + 1))

    def target(self, concentration):
        """A network of one small layer."""
        units = torch.tanh(self.slopes * concentration[:, None] / 5 + self.offsets)
        return units @ self.heights[:-1] + self.heights[-1]

    def clearance(self, weight, age):
        return self.logs[1].exp() * (weight / 70) ** self.powers[0] * torch.exp(-self.powers[1] * (age - 50))

    def forward(self, t, u, c):
        concentration, response = u.unbind(-1)
        weight, age, infusion = c.unbind(-1)
        volume, _, speed = self.logs.exp()
        volume = volume * weight / 70
        change = (infusion - self.clearance(weight, age) * concentration) / volume
        return torch.stack([change, speed * (self.target(concentration) - response)], -1)


class Disturbances(torch.nn.Module):
    """Noise proportional to the concentration, and additive noise of the response."""

    def __init__(self):
        super().__init__()
        self.logs = torch.nn.Parameter(torch.tensor([0.2, 0.3]).log())

    def forward(self, t, u):
        return self.logs.exp() * torch.stack([u[:, 0], torch.ones_like(u[:, 1])], -1)


def simulate(weight, age, infusion, step, rng):
    """States after each step of constant infusion."""
    volume = VOLUME * weight / 70
    clearance = CLEARANCE * (weight / 70) ** WEIGHT_POWER * np.exp(-AGE_SLOPE * (age - 50))
    concentration, response, states = 0.0, 1.0, []
    for rate, (first, second) in zip(infusion, rng.normal(scale=np.sqrt(step), size=(len(infusion), 2)), strict=True):
        change = (rate - clearance * concentration) / volume
        pull = SPEED * (true_target(concentration) - response)
        concentration += step * change + DISTURBANCES[0] * concentration * first
        response += step * pull + DISTURBANCES[1] * second
        states.append((concentration, response))
    return np.array(states)


def admit(number, rng, step=0.05):
    """The hidden course of a patient, the measurements, and the rows of the table: visits and changes of infusion."""
    weight, age = rng.normal(75, 14), rng.uniform(25, 80)
    hours = step * np.arange(1, round(HOURS / step) + 1)
    # A row's infusion acts over the time that ends there.
    given = (hours > 1) & ((hours - 1 - 1e-9) % EVERY < 1)
    infusion = np.where(given, rng.choice([200.0, 300.0, 400.0]), 0.0)
    states = simulate(weight, age, infusion, step, rng)
    visits = np.sort(rng.choice(len(hours), size=14, replace=False))
    visits = np.union1d(visits, [0])
    changes = np.flatnonzero(np.diff(infusion) != 0)
    start = pd.Timestamp("2025-03-03 08:00", tz="Europe/Berlin") + pd.Timedelta(hours=int(rng.integers(0, 30 * 24)))
    index = pd.MultiIndex.from_product(
        [[f"patient {number:02d}"], (start + pd.to_timedelta(hours, unit="h")).round("s")], names=["patient", "time"]
    )
    course = pd.DataFrame(states, index, OUTPUTS).assign(weight=weight, age=age, infusion=infusion, hour=hours)
    measured = course[OUTPUTS] + rng.normal(scale=ERRORS, size=states.shape)
    unseen = np.ones(states.shape, dtype=bool)
    unseen[visits] = rng.random((len(visits), 2)) < 0.25
    unseen[0] = False
    return course, measured.mask(unseen), np.union1d(visits, changes)


def enrol(numbers, rng):
    """The courses of patients, and the rows of their tables."""
    courses, tables = [], []
    for number in numbers:
        course, measured, rows = admit(number, rng)
        courses.append(course)
        tables.append(course[["weight", "age", "infusion", "hour"]].join(measured).iloc[rows])
    return pd.concat(courses), pd.concat(tables)


def forecast(model, courses, table):
    """Forecasts of the visits after the first hours, and of the whole course of some patients."""
    known = table["hour"] <= KNOWN_HOURS
    model.update_state(table.loc[known, FEATURES], table.loc[known, OUTPUTS])
    later = table[~known]
    _, bands = model.predict(later[FEATURES], quantiles=[0.05, 0.95])
    # Rows every quarter of an hour include all changes of infusions.
    shown = courses.index.unique("patient")[:N_DRAWN]
    fine = courses.loc[shown].groupby("patient", group_keys=False).apply(lambda course: course.iloc[4::5])
    return later, bands, fine, *model.predict(fine[FEATURES], quantiles=[0.05, 0.95])


def report(model, later, bands):
    drug = model.drift_.function
    values = [*drug.logs.exp().tolist(), *drug.powers.tolist(), *model.diffusion_.function.logs.exp().tolist()]
    values += model.model_.noise_std.tolist()
    names = ["volume", "clearance", "speed of response", "power of weight", "slope of age"]
    names += [f"{what} of {output}" for what in ("disturbance", "error") for output in OUTPUTS]
    truths = [VOLUME, CLEARANCE, SPEED, WEIGHT_POWER, AGE_SLOPE, *DISTURBANCES, *ERRORS]
    for name, value, truth in zip(names, values, truths, strict=True):
        print(f"  {name:28} {value:7.3f}, truth {truth}")
    for k, name in enumerate(OUTPUTS):
        seen = later[name].dropna().index
        inside = later[name].between(*bands[:, k].T)[seen].mean()
        print(f"  {name}: {inside:.0%} of {len(seen)} later measurements of {N_NEW} new patients in the 90% band")


def draw_patient(axes, course, table, mean, bands):
    for k, (ax, name) in enumerate(zip(axes, OUTPUTS, strict=True)):
        hours, known = course["hour"], table["hour"] <= KNOWN_HOURS
        ax.fill_between(hours, *bands[:, k].T, color="tab:blue", alpha=0.3, lw=0, label="90% band")
        ax.plot(hours, mean[name], color="tab:blue", lw=1, label="forecast")
        ax.plot(hours, course[name], color="black", lw=1, ls="--", label="truth")
        ax.plot(table["hour"][known], table[name][known], "o", color="black", markersize=4, label="known")
        ax.plot(
            table["hour"][~known],
            table[name][~known],
            "o",
            color="black",
            markerfacecolor="white",
            markersize=4,
            label="later",
        )
        ax.axvline(KNOWN_HOURS, color="grey", ls=":", lw=1)
        ax.set(xlim=(0, HOURS))
        for start in hours[course["infusion"].diff() > 0]:
            ax.axvspan(start - 0.25, start + 0.75, color="tab:red", alpha=0.15, lw=0)
    axes[0].set_title(f"{table['weight'].iloc[0]:.0f} kg, {table['age'].iloc[0]:.0f} years")
    axes[1].set_xlabel("hours")


def draw_learned(axes, model):
    drug = model.drift_.function
    levels = torch.linspace(0, 14, 100, dtype=torch.float64)
    with torch.no_grad():
        axes[0].plot(levels, drug.target(levels), color="tab:blue", label="learned")
        axes[0].plot(levels, true_target(levels), color="black", ls="--", lw=1, label="truth")
        axes[0].set(title="Effect on the response", xlabel="concentration")
        weight = torch.linspace(45, 110, 50, dtype=torch.float64)
        for age, colour in ((30, "tab:green"), (75, "tab:orange")):
            truth = CLEARANCE * (weight / 70) ** WEIGHT_POWER * np.exp(-AGE_SLOPE * (age - 50))
            axes[1].plot(weight, drug.clearance(weight, age), color=colour, label=f"age {age}")
            axes[1].plot(weight, truth, color="black", ls="--", lw=1)
    axes[1].set(title="Clearance, litres per hour", xlabel="weight, kg")
    for ax in axes:
        ax.legend(fontsize="small")


def draw(model, table, fine, mean, bands):
    figure, axes = plt.subplots(2, N_DRAWN + 1, figsize=(14, 6), layout="constrained")
    for k, patient in enumerate(fine.index.unique("patient")):
        rows = fine.index.get_level_values("patient") == patient
        draw_patient(axes[:, k], fine[rows], table.loc[patient], mean[rows], bands[rows])
    for ax, name in zip(axes[:, 0], OUTPUTS, strict=True):
        ax.set_ylabel(name)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize="small", ncols=5, loc="outside lower left")
    draw_learned(axes[:, -1], model)
    return figure


def main(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    _, table = enrol(range(N_PATIENTS), rng)
    print(f"Learning from {N_PATIENTS} patients, {table[OUTPUTS].notna().sum().sum()} measurements ...", flush=True)
    model = NeuralSDERegressor(
        drift=Drug(seed),
        diffusion=Disturbances(),
        observation_noise="learn",
        time_unit="h",
        rtol=1e-2,
        max_iter=6,
        n_predict_paths=300,
        random_state=seed,
    ).fit(table[FEATURES], table[OUTPUTS])
    courses, new = enrol(range(N_PATIENTS, N_PATIENTS + N_NEW), rng)
    later, bands, *course = forecast(model, courses, new)
    report(model, later, bands)
    figure = draw(model, new, *course)
    figure.savefig(folder / "patients.png", dpi=110)
    print(f"  {folder / 'patients.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, default=Path("."), help="folder for the pictures")
    main(parser.parse_args().save)
