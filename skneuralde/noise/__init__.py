"""Noise as a pure function of its keys: Brownian motion and Poisson processes."""

from skneuralde.noise.brownian import Brownian
from skneuralde.noise.deviation_table import DeviationTable
from skneuralde.noise.dyadic import DEPTH, floor_log2, floor_power_of_two, power_of_two
from skneuralde.noise.increment_table import IncrementTable
from skneuralde.noise.increments import Increments
from skneuralde.noise.intervals import Deviation
from skneuralde.noise.keys import absorb, keyed_normals, series_key
from skneuralde.noise.poisson import PoissonProcesses

__all__ = [
    "DEPTH",
    "Brownian",
    "Deviation",
    "DeviationTable",
    "IncrementTable",
    "Increments",
    "PoissonProcesses",
    "absorb",
    "floor_log2",
    "floor_power_of_two",
    "keyed_normals",
    "power_of_two",
    "series_key",
]
