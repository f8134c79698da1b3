"""Noise as a pure function of its keys."""

from skneuralde.noise.brownian import Brownian
from skneuralde.noise.keys import keyed_normals, series_key

__all__ = ["Brownian", "keyed_normals", "series_key"]
