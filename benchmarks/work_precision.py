"""Strong error against time for skneuralde, torchsde and diffrax, one thread each, in turns.

The error of a library is measured against its own fine solution on the same Brownian paths, over all save times; times
are medians. Libraries are compared at equal error, by interpolation between the settings of each method. diffrax needs
an interpreter with the packages of requirements-diffrax.txt; without ``--diffrax-python`` it is left out.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import measure
from equations import EQUATIONS
from measured import Row

HERE = Path(__file__).parent
ERRORS = (3e-2, 1e-2, 3e-3, 1e-3)
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
#: The best settings found for diffrax; a search through all of them takes an hour.
DIFFRAX = {False: ("SPaRK", "SPaRK, PI, step"), True: ("ShARK", "ShARK, PI, step", "SRA1, PI, step")}
NAMES = ("skneuralde", "torchsde", "diffrax")
EXPLANATION = """Measured by `make bench`: {machine}; one thread.

Errors are strong errors: root mean squares over 30 save times and 200 paths, against the library's own fine solution
on the same Brownian paths. Times are medians for 100 paths, of each library's best method at that error (interpolated
between its settings); ratios are to ours. An adaptive step of torchsde is shared by all paths. diffrax steps to each
save time, and its compile time of several seconds is not counted."""


def measure_all(task: list[str], problem: str, diffrax_python: str | None) -> list[Row]:
    """The rows of every competitor for one task."""
    rows = []
    for name, python in (("ours", sys.executable), ("torchsde", sys.executable), ("diffrax", diffrax_python)):
        if python is None:
            continue
        methods = ["--methods", *DIFFRAX[EQUATIONS[problem].additive]] if name == "diffrax" else []
        command = [python, str(HERE / f"competitor_{name}.py"), "--problem", problem, *task, *methods]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ONE_THREAD})
        if done.returncode:
            print(f"{name} stopped early on {problem}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        rows += [Row(**json.loads(line)) for line in done.stdout.splitlines()]
    return rows


def at_error(rows: Iterable[Row], error: float, what: str) -> float | None:
    """A method's ``seconds`` or ``drift_evaluations`` at an error, between two of its settings; None outside them.

    If the least accurate setting of a method has a smaller error, its cost is returned.
    """
    points = sorted((r.strong_error, getattr(r, what)) for r in rows if math.isfinite(r.strong_error))
    if not points or points[0][0] > error:
        return None
    for (low, at_low), (high, at_high) in pairwise(points):
        if low <= error <= high:
            share = math.log(error / low) / math.log(high / low)
            return at_low ** (1.0 - share) * at_high**share
    return points[-1][1]


def best(rows: list[Row], competitor: str, adaptive: bool, error: float) -> tuple[float, str] | None:
    """The fastest method of a competitor at an error: seconds and name."""
    own = [r for r in rows if r.competitor == competitor and r.setting.startswith("tol") == adaptive]
    times = [(at_error([r for r in own if r.method == m], error, "seconds"), m) for m in {r.method for r in own}]
    return min(((t, m) for t, m in times if t is not None), default=None)


def comparison(rows: list[Row], competitors: list[str]) -> list[str]:
    """Lines of a table: the best times of each competitor at equal errors."""
    lines = [
        "| steps | error | " + " | ".join(competitors) + " |",
        "|---|---|" + "---|" * len(competitors),
    ]
    for adaptive in (False, True):
        for error in ERRORS:
            row, ours = [], best(rows, "skneuralde", adaptive, error)
            for name in competitors:
                found = best(rows, name, adaptive, error)
                ratio = "" if ours is None or found is None or name == "skneuralde" else f", {found[0] / ours[0]:.1f}x"
                row.append("–" if found is None else f"{found[0] * 1e3:.3g} ms ({found[1].split(', ad')[0]}){ratio}")
            lines.append(f"| {'adaptive' if adaptive else 'fixed'} | {error:.0e} | " + " | ".join(row) + " |")
    return lines


def tolerances(rows: list[Row]) -> list[str]:
    """Lines of a table: error and evaluations of our adaptive methods by tolerance."""
    own = [r for r in rows if r.competitor == "skneuralde" and r.setting.startswith("tol")]
    methods = list(dict.fromkeys(r.method for r in own))
    lines = ["| rtol = atol | " + " | ".join(m.removesuffix(", adaptive") for m in methods) + " |"]
    lines.append("|---|" + "---|" * len(methods))
    for setting in dict.fromkeys(r.setting for r in own):
        entries = {r.method: f"{r.strong_error:.1e}, {r.drift_evaluations:.0f}" for r in own if r.setting == setting}
        lines.append(f"| {setting.removeprefix('tol ')} | " + " | ".join(entries.get(m, "–") for m in methods) + " |")
    return lines


def fewer_evaluations(rows: list[Row], error: float) -> str:
    """A sentence: evaluations of adaptive steps and of Euler's at an error."""
    own = [r for r in rows if r.competitor == "skneuralde"]
    adaptive, euler = (
        at_error([r for r in own if r.method == method], error, "drift_evaluations")
        for method in ("sosri, adaptive", "euler")
    )
    if adaptive is None or euler is None:
        return f"At an error of {error:.0e} there is nothing to compare."
    return (
        f"At an error of {error:.0e} adaptive steps of `sosri` evaluate the drift {adaptive:.0f} times, fixed steps of "
        f"`euler` {euler:.0f} times: {euler / adaptive:.0f} times as often."
    )


def report(diffrax_python: str | None) -> Iterator[str]:
    """The page of the comparison, part by part."""
    competitors = [name for name in NAMES if name != "diffrax" or diffrax_python]
    yield "# Work and precision of the stochastic solvers\n\n" + EXPLANATION.format(machine=measure.machine())
    for problem, equation in EQUATIONS.items():
        rows = measure_all(["--budget", "0.2"], problem, diffrax_python)
        part = [f"## {problem.capitalize()}", "", f"{equation.formula}.", "", *comparison(rows, competitors)]
        part += ["", "Strong error and drift evaluations per path at a tolerance:", "", *tolerances(rows)]
        if problem in ("spiral", "transient"):
            part += ["", fewer_evaluations(rows, 3e-3)]
        yield "\n".join(part)
    for paths in (100, 10_000):
        task = ["--gradient", "--budget", "0.4", "--paths", str(paths)]
        rows = measure_all(task, "spiral", diffrax_python)
        part = [f"## A gradient step through {paths:,} paths of the spiral", ""]
        part += [
            "The drift is a 2-50-2 network of u^3. A step is a forward pass, a backward pass and an update.",
            "",
        ]
        yield "\n".join([*part, *comparison(rows, competitors)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--diffrax-python", help="an interpreter with diffrax")
    parser.add_argument("--output", type=Path, help="also write the page to this file")
    arguments = parser.parse_args()
    parts = []
    for part in report(arguments.diffrax_python):
        print(part, end="\n\n", flush=True)
        parts.append(part)
        if arguments.output:
            arguments.output.write_text("\n\n".join(parts) + "\n")
