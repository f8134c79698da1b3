import numpy as np
import pandas as pd
import pytest
import torch

from skneuralde.noise import keyed_normals, series_key
from skneuralde.noise.keys import mix, to_normal


def reference_mix(z: int) -> int:
    """SplitMix64's finaliser in Python's integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


@pytest.mark.parametrize("z", [0, 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15, 123456789123456789])
def test_mix_is_splitmix64(z):
    signed = z - 2**64 if z >= 2**63 else z
    assert mix(torch.tensor(signed)).item() % 2**64 == reference_mix(z)


def test_extreme_keys_give_finite_normals():
    extremes = torch.tensor([-(2**63), 2**63 - 1, 0, -1])
    normals = to_normal(extremes)
    assert normals.isfinite().all()
    assert normals[0] == -normals[1]
    assert normals[1] > 8


def test_keyed_normals_are_normal_and_independent():
    n = 200_000
    x = keyed_normals(3, torch.arange(n), torch.zeros(n, dtype=torch.int64))
    y = keyed_normals(3, torch.arange(n), torch.ones(n, dtype=torch.int64))
    five_errors = 5 / n**0.5
    assert abs(x.mean()) < five_errors
    assert abs(x.var() - 1) < five_errors * 2**0.5
    assert abs((x**4).mean() - 3) < five_errors * 96**0.5
    assert abs((x * y).mean()) < five_errors
    assert abs((x[1:] * x[:-1]).mean()) < five_errors


def test_equal_labels_have_equal_keys():
    assert series_key(1) == series_key(1.0) == series_key(np.int64(1)) == series_key(np.float32(1))
    assert series_key("a") == series_key(np.str_("a"))
    assert series_key(("a", 1)) == series_key(("a", np.int64(1)))
    assert series_key(pd.Timestamp("2024-01-01")) == series_key(pd.Timestamp("2024-01-01"))
    labels = [1, 2, 1.5, "1", "a", "b", ("a", 1), ("a", "1"), ("a",), pd.Timestamp("2024-01-01"), None, True, "None"]
    assert len({series_key(label) for label in labels}) == len(labels) - 1  # True == 1
    assert all(0 <= series_key(label) < 2**63 for label in labels)


def test_series_keys_never_change():
    assert series_key("a") == 0x6B0621299E42995C
