"""The learned numbers of a fitted equation as a table."""

from __future__ import annotations

import pandas as pd
import torch

from skneuralde.inference import Model


@torch.no_grad()
def parameter_table(model: Model) -> pd.DataFrame:
    """The present values of a model's named parameters, a row for each number."""
    rows = [
        (f"{name}{entry}", float(value[index]), number.unit)
        for name, number in model.numbers.items()
        for value in [number()]
        for entry, index in number.entries().items()
    ]
    names, estimates, units = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"name": names, "estimate": estimates, "unit": units}
    types = {"name": object, "estimate": float, "unit": object}  # texts of object keep None for no unit
    return pd.DataFrame({key: pd.Series(column, dtype=types[key]) for key, column in columns.items()})
