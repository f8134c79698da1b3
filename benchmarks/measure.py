"""Measurement of time and peak memory of competitors, each in its own process, in turns, on one thread."""

import argparse
import gc
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

#: Builds a competitor and returns its unit of work, a function without arguments that returns its own seconds, or None
#: to be timed here.
Build = Callable[[], Callable[[], float | None]]


def run(title: str, competitors: Mapping[str, Build], *, repeats: int, rounds: int = 3, unit: float = 1e3) -> None:
    """Compare competitors; the first one is the reference of the ratios.

    Parameters
    ----------
    title : str
    competitors : mapping of name to builder
    repeats : int
        Timed units of work per process.
    rounds : int
        Processes per competitor, in turns, so that other load on the machine affects all of them.
    unit : float
        Seconds are multiplied by this for printing; 1e3 prints milliseconds.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--only", choices=competitors, help="measure one competitor here and print JSON")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    if only is not None:
        print(json.dumps(_measure(competitors[only], repeats)))
        return
    results: dict[str, list[dict]] = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, measured in results.items():
            command = [sys.executable, sys.argv[0], "--only", name]
            measured.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    _print_table(title, results, unit)


def _measure(build: Build, repeats: int) -> dict:
    before = _peak_megabytes()
    work = build()
    work()  # the first call includes lazy initialisation
    gc.collect()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        own = work()
        seconds.append(time.perf_counter() - start if own is None else own)
    return {"seconds": seconds, "peak": _peak_megabytes(), "growth": _peak_megabytes() - before}


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _print_table(title: str, results: Mapping[str, list[dict]], unit: float) -> None:
    print(f"\n{title}")
    print(f"{machine()}; one thread; medians of {sum(len(r['seconds']) for r in next(iter(results.values())))}")
    width = max(map(len, results))
    label = {1.0: "s", 1e3: "ms"}[unit]
    print(f"{'':{width}}  {'time':>9}     {'ratio':>6}  {'peak memory':>12}  {'of it for the work':>18}")
    reference = None
    for name, measured in results.items():
        median = statistics.median(s for r in measured for s in r["seconds"])
        reference = reference or median
        peak, growth = (max(r[key] for r in measured) for key in ("peak", "growth"))
        timing = f"{median * unit:9.2f} {label:<3} {median / reference:6.2f}"
        print(f"{name:{width}}  {timing}  {peak:9.0f} MB  {growth:15.0f} MB")


def machine() -> str:
    cores = torch.multiprocessing.cpu_count()
    return f"{_cpu_model()}, {cores} cores, Python {platform.python_version()}, torch {torch.__version__}"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
