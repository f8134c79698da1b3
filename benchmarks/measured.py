"""Competitors of the work-precision comparison: their interface and measurement; imports no framework."""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
from equations import EQUATIONS, Equation

#: Number of paths for strong errors; times are for the number of paths requested.
ERROR_PATHS = 200
#: The steps of the fine solution are the spacing of the save times divided by this.
REFINEMENT = 2**8
TOLERANCES = (3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
#: Steps per spacing of the save times.
SUBSTEPS = (1, 2, 4, 8, 16)
#: A curve ends at the first setting whose unit of work takes longer, in seconds.
LONGEST = 5.0


class FailedError(Exception):
    """A method found no solution at a setting; the setting then has no row."""


@dataclass(frozen=True)
class Work:
    """One setting of one method, ready to run.

    Attributes
    ----------
    run : callable
        The unit of work.
    error : callable
        Strong error and drift evaluations per path.
    compile_seconds : float
    """

    run: Callable[[], object]
    error: Callable[[], tuple[float, float]]
    compile_seconds: float = 0.0


@dataclass(frozen=True)
class Curve:
    """A method with its settings, from cheap to costly: tolerances, or steps if it is not adaptive."""

    method: str
    adaptive: bool
    prepare: Callable[[float], Work]
    tolerances: tuple[float, ...] = TOLERANCES
    substeps: tuple[int, ...] = SUBSTEPS

    def settings(self, equation: Equation) -> Iterable[float]:
        return self.tolerances if self.adaptive else [equation.spacing / n for n in self.substeps]


@dataclass(frozen=True)
class Row:
    competitor: str
    problem: str
    paths: int
    work: str
    method: str
    setting: str
    strong_error: float
    seconds: float
    drift_evaluations: float
    compile_seconds: float


@dataclass(frozen=True)
class Task:
    """Request of `work_precision.py` to the process of a competitor."""

    problem: str
    paths: int
    gradient: bool
    errors: bool
    methods: tuple[str, ...] | None
    budget: float

    @property
    def equation(self) -> Equation:
        return EQUATIONS[self.problem]


def main(competitor: str, curves: Callable[[Task], Iterable[Curve]]) -> None:
    """Measure the curves of a competitor as the command line asks, and print a JSON row for each setting."""
    parser = argparse.ArgumentParser(description=f"Work and precision of {competitor}")
    parser.add_argument("--problem", choices=EQUATIONS, default="spiral")
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--gradient", action="store_true", help="the gradient step through a network, not a solution")
    parser.add_argument("--no-errors", dest="errors", action="store_false", help="times only")
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds of repetitions per setting")
    task = Task(**vars(parser.parse_args()))
    for curve in curves(task):
        if task.methods and curve.method not in task.methods:
            continue
        for setting in curve.settings(task.equation):
            try:
                row = _measure(competitor, task, curve, setting)
            except FailedError:
                continue
            print(json.dumps(asdict(row)), flush=True)
            if row.seconds > LONGEST:
                break


def _measure(competitor: str, task: Task, curve: Curve, setting: float) -> Row:
    work = curve.prepare(setting)
    error, evaluations = work.error() if task.errors else (math.nan, math.nan)
    return Row(
        competitor,
        task.problem,
        task.paths,
        "gradient" if task.gradient else "forward",
        curve.method,
        f"{'tol' if curve.adaptive else 'dt'} {setting:.2g}",
        error,
        _median_seconds(work.run, task.budget),
        evaluations,
        work.compile_seconds,
    )


def _median_seconds(run: Callable[[], object], budget: float) -> float:
    begin = time.perf_counter()
    run()
    if (first := time.perf_counter() - begin) > budget:
        return first
    seconds = []
    while len(seconds) < 3 or (sum(seconds) < budget and len(seconds) < 50):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def strong_error(values: np.ndarray, fine: np.ndarray) -> float:
    """Root mean square over paths, save times and components."""
    return float(np.sqrt(np.mean((np.asarray(values) - np.asarray(fine)) ** 2)))
