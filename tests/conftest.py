"""Settings that every test shares."""

import gc

import torch

# The tensors here are small: more threads only fight with the other test workers.
torch.set_num_threads(1)


def pytest_collection_finish():
    """Exempt the imported packages from garbage collection, which would walk through them over and over."""
    gc.collect()
    gc.freeze()
