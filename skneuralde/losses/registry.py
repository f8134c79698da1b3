"""The losses that have a name."""

from __future__ import annotations

import difflib

from skneuralde.losses.base import Loss
from skneuralde.losses.curves import LeastSquares, MeanMatching, PathSquaredError
from skneuralde.losses.likelihood import NegativeLogLikelihood
from skneuralde.losses.moments import MomentMatching
from skneuralde.losses.scores import PairedEnergy, RankedProbability

_LOSSES: dict[str, Loss] = {
    "crps": RankedProbability(),
    "energy": PairedEnergy(),
    "least_squares": LeastSquares(),
    "mean": MeanMatching(),
    "moments": MomentMatching(),
    "nll": NegativeLogLikelihood(),
    "path_mse": PathSquaredError(),
}


def loss_names() -> list[str]:
    """Every name that `get_loss` knows, besides "auto"."""
    return list(_LOSSES)


def get_loss(loss: str | Loss) -> Loss:
    """The loss of this name; a `Loss` is returned as it is.

    Raises
    ------
    ValueError
        If no loss has this name. The message lists the valid names.
    """
    if isinstance(loss, Loss):
        return loss
    if loss in _LOSSES:
        return _LOSSES[loss]
    close = difflib.get_close_matches(str(loss), _LOSSES, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    valid = ", ".join(map(repr, loss_names()))
    raise ValueError(f"unknown loss {loss!r};{hint} valid names are 'auto', {valid}; or pass a skneuralde.losses.Loss")
