"""Settings that every test shares."""

import torch

# The tensors here are small: more threads only fight with the other test workers.
torch.set_num_threads(1)
