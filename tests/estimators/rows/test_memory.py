"""What fit holds of a panel: tensors share the memory of its arrays."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from skneuralde import NeuralSDERegressor
from skneuralde.data import Panel
from skneuralde.estimators.config.setup import _writable


def ragged_panel(n_series=30, seed=0):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 40, size=n_series)
    X = pd.DataFrame(
        {
            "time": np.concatenate([np.cumsum(generator.uniform(0.2, 1.0, size=n)) for n in lengths]),
            "series": np.repeat(np.arange(n_series), lengths),
        }
    )
    return X, pd.Series(np.cumsum(generator.normal(size=len(X))), name="value")


def fitted(X, y, **options):
    return NeuralSDERegressor(series="series", loss="nll", max_iter=1, random_state=0, **options).fit(X, y)


def tensors_of(thing: object) -> Iterator[torch.Tensor]:
    """The tensors that an object holds; functions hold what they close over."""
    if isinstance(thing, torch.Tensor):
        yield thing
    held = [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
    held += getattr(thing, "__dict__", {}).values()
    for part in held:
        if type(part).__module__.startswith(("skneuralde.inference", "skneuralde.losses", "torch", "builtins")):
            yield from tensors_of(part)


def bytes_beside(objective: object, panel: Panel) -> int:
    """Memory of an objective's tensors that is not that of the panel's arrays."""
    shared = [(a.ctypes.data, a.ctypes.data + a.nbytes) for a in vars(panel).values() if isinstance(a, np.ndarray)]
    own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors_of(objective)}
    return sum(n for where, n in own.items() if not any(begin <= where < end for begin, end in shared))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_objective_holds_positions_and_weights_only(early_stopping):
    X, y = ragged_panel(n_series=400)  # more transitions than are looked at to choose how finely to propagate
    estimator = fitted(X, y, early_stopping=early_stopping)
    panel, trainer = estimator._kept, estimator._make_trainer()
    parts = [part for part in estimator._objectives(trainer, panel, None, None, 0) if part is not None]
    assert sum(map(len, parts)) == len(X) - 400
    of_sample = 1024 * 7 * 8 * len(parts)
    assert sum(bytes_beside(part, panel) for part in parts) <= 16 * len(X) + of_sample
    for part in parts:
        assert part.targets.source.data_ptr() == part.transitions.series.state.data_ptr() == panel.values.ctypes.data
        assert part.transitions.series.times.data_ptr() == panel.times.ctypes.data


def test_panel_shares_columns_that_are_in_order():
    X, y = ragged_panel()
    panel = fitted(X, y)._kept
    assert np.shares_memory(panel.times, X["time"].to_numpy())
    assert np.shares_memory(panel.values, y.to_numpy())
    assert panel.rows.dtype == panel.series_of.dtype == np.int32


def test_order_in_memory_does_not_matter():
    X, y = ragged_panel()
    y = np.column_stack([y, np.roll(y, 1)])
    X["u"] = np.sin(X["time"])
    one, other = fitted(X, np.ascontiguousarray(y)), fitted(X, np.asfortranarray(y))
    assert one.loss_ == other.loss_


def test_read_only_data():
    array = np.arange(3.0)
    view = array.view()
    view.flags.writeable = False
    assert np.shares_memory(_writable(view), array)
    assert not view.flags.writeable
    array.flags.writeable = False
    assert not np.shares_memory(_writable(array), array)
    assert _writable(array).flags.writeable
