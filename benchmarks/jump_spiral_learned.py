"""Error of a neural jump diffusion learned from the mean of 100 paths, over ten seeds.

Three stages: drift and affect at a known rate; the rate as well; all of them and the noise, from the paths themselves.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import plot_jump_spiral as example
import spiral_true_mean as spiral

#: Paths behind the true mean: its error is 3% of that of the data.
TRUE_PATHS, MOST = 100_000, 1.25


def timed(function, *arguments):
    begun = time.process_time()
    return function(*arguments), time.process_time() - begun


def measure(seed, truth):
    """Ratios of the three stages: the distance of the trained mean to the true mean, divided by that of the data."""
    paths = example.true_paths(100, seed)
    y = paths.mean(axis=0)
    own, ratios, seconds = example.distance(y, truth), [], []
    learned, spent = timed(example.learn_drift_and_affect, y, seed)
    with_rate, more = timed(example.learn_rate, y, seed, learned)
    with_noise, most = timed(example.learn_noise, paths, seed)
    for model in (learned, with_rate, with_noise):
        mean = np.asarray(model.predict(example.rows(model, spiral.TIMES)))
        ratios.append(example.distance(mean, truth) / own)
    seconds = [spent, more, most]
    print(
        f"seed {seed}: ratios {np.round(ratios, 2).tolist()} in {np.round(seconds).astype(int).tolist()} s; rates "
        f"{example.rate_of(with_rate):.2f}, {example.rate_of(with_noise):.2f}; error of the noise "
        f"{example.noise_error(with_noise, paths):.0%}",
        flush=True,
    )
    return ratios


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=range(10))
    seeds = parser.parse_args().seeds
    truth = example.true_paths(TRUE_PATHS, 12345).mean(axis=0)
    ratios = np.array([measure(seed, truth) for seed in seeds])
    for name, column in zip(("drift and affect", "and the rate", "and the noise"), ratios.T, strict=True):
        print(
            f"{name}: {np.sum(column <= MOST)} of {len(seeds)} at most {MOST}, "
            f"median {np.median(column):.2f}, largest {column.max():.2f}"
        )
