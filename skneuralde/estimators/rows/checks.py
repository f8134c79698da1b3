"""Checks of the rows that a loss compares."""

from __future__ import annotations


def refuse_empty(weight: float) -> None:
    """Refuse data in which the targets have no weight.

    Raises
    ------
    ValueError
    """
    if weight == 0.0:
        raise ValueError(
            "There is nothing to learn from: no observation follows another one in any series. Give at least two rows "
            "of one series (does series= name the right column?), or loss='energy' for snapshots of different "
            "individuals."
        )
