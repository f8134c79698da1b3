"""Settings that every test shares."""

import gc

import torch
from hypothesis import settings

# The same examples in every run, whatever the load of the machine.
settings.register_profile("derandomised", derandomize=True, deadline=None, max_examples=20, database=None)
settings.load_profile("derandomised")

# The tensors here are small: more threads only fight with the other test workers.
torch.set_num_threads(1)


def pytest_collection_finish():
    """Exempt the imported packages from garbage collection, which would walk through them over and over."""
    gc.collect()
    gc.freeze()
