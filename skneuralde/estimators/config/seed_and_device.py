"""The seed and the device of a fit."""

from __future__ import annotations

import numpy as np
import torch


def fresh_seed(random_state: int | np.random.RandomState | np.random.Generator | None) -> int:
    """A seed, drawn without numpy's global random state."""
    if isinstance(random_state, (np.random.RandomState, np.random.Generator)):
        draw = random_state.integers if isinstance(random_state, np.random.Generator) else random_state.randint
        return int(draw(2**31 - 1))
    return int(np.random.default_rng(random_state).integers(2**31 - 1))


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device that the parameter names.

    Raises
    ------
    ValueError
        If the device is not available.
    """
    if device is None:
        return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} is not available: {error}. Use device='auto' or None for the CPU."
        ) from error
    return chosen
