"""Peak memory of fit on panels of ragged series, compared with the memory of the data.

Every panel has series of 2 to 500 observations in a DataFrame of three columns: time, series and value. A new process
builds it, reads its resident memory, and fits. The slope between the two largest panels is the memory per byte of data;
the intercept is the fixed part: the modules that the first fit loads, and one batch. Linux only.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import measure
import numpy as np
import pandas as pd
import torch

from skneuralde import NeuralSDERegressor

SIZES, ROUNDS, BATCH = (1_000, 4_000, 10_000), 3, 1_000


def ragged_panel(n_series):
    """Independent series of 2 to 500 observations at unit spacing."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(2, 501, size=n_series)
    begin = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return pd.DataFrame(
        {
            "time": np.arange(len(begin), dtype=np.float64) - begin,
            "series": np.repeat(np.arange(n_series), lengths),
            "value": generator.normal(size=len(begin)),
        }
    )


def megabytes_of(name):
    """A memory figure of this process from the kernel, such as VmRSS."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 2**10
    raise ValueError(name)


def measure_one(n_series):
    """Megabytes of the data, of fit's peak above the memory before, and of the memory kept after fit."""
    data = ragged_panel(n_series)
    X, y = data[["time", "series"]], data["value"]
    size = data.memory_usage(index=False, deep=True).sum() / 2**20
    del data
    estimator = NeuralSDERegressor(series="series", loss="nll", max_iter=1, batch_size=BATCH, random_state=0)
    gc.collect()
    before = megabytes_of("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    estimator.fit(X, y)
    gc.collect()
    return {"data": size, "peak": megabytes_of("VmHWM") - before, "after": megabytes_of("VmRSS") - before}


def run():
    print("\nFit of a panel of ragged series, one epoch")
    print(f"{measure.machine()}; one thread; medians of {ROUNDS}")
    print(f"{'series':>8}  {'data':>8}  {'peak above the process':>22}  {'ratio':>5}  {'kept':>8}")
    sizes, peaks = [], []
    for n_series in SIZES:
        command = [sys.executable, sys.argv[0], "--only", str(n_series)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(ROUNDS)
        ]
        size, peak, after = (statistics.median(r[key] for r in runs) for key in ("data", "peak", "after"))
        sizes.append(size)
        peaks.append(peak)
        print(f"{n_series:8d}  {size:5.0f} MB  {peak:19.0f} MB  {peak / size:5.2f}  {after:5.0f} MB")
    slope = (peaks[-1] - peaks[-2]) / (sizes[-1] - sizes[-2])
    print(f"slope {slope:.2f} times the data, intercept {peaks[-1] - slope * sizes[-1]:.0f} MB")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description="Peak memory of fit on ragged panels")
    parser.add_argument("--only", type=int, help="measure this number of series here and print JSON")
    only = parser.parse_args().only
    if only is None:
        run()
    else:
        print(json.dumps(measure_one(only)))
