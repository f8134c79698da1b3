"""Parameters of the equations of fields."""

from __future__ import annotations

from typing import Any

import numpy as np

from skneuralde.problems import is_source
from skneuralde.terms import Parameter, summands


def split_reaction(spec: Any) -> tuple[Any, list[Any]]:
    """The reaction of single points, as a coefficient is specified, and the sources on the grid."""
    sources: list[Any] = []
    parts: list[Any] = []
    for part in summands(spec):
        if is_source(part):
            sources.append(part)
        else:
            parts.append(part)
    return (parts if len(parts) > 1 else parts[0] if parts else None), sources


def is_learned(diffusivity: Any) -> bool:
    """Whether the diffusivity of some field is learned from an initial value that the data suggest."""
    parts = diffusivity if isinstance(diffusivity, (list, tuple)) else [diffusivity]
    return any(isinstance(part, str) for part in parts)


def read_diffusivity(spec: Any, guess: np.ndarray | None) -> Any:
    """The argument ``diffusivity`` of `Laplacian`; learned values start at the guess."""
    if spec is None:
        return 0.0
    if isinstance(spec, str):
        if spec != "learn":
            raise ValueError(f"diffusivity={spec!r} is not known; the only string is 'learn'.")
        assert guess is not None
        return Parameter(guess if len(guess) > 1 else guess[0], positive=True)
    if isinstance(spec, (list, tuple)):
        return [read_diffusivity(part, None if guess is None else guess[[k]]) for k, part in enumerate(spec)]
    return spec
