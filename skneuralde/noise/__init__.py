"""Noise as a pure function of its keys."""

from skneuralde.noise.brownian import Brownian
from skneuralde.noise.keys import series_key

__all__ = ["Brownian", "series_key"]
