"""The way from X and y to a panel, as an estimator goes it."""

from types import SimpleNamespace

import pytest

from skneuralde.data import Clock, Roles, as_panel, as_table, read_targets


def _read(X, y, *, sample_weight=None, time_unit="auto", require_unit=False, **parameters):
    table = as_table(X)
    roles = Roles.fit(table, y, **parameters)
    rows = roles.read(table)
    targets = read_targets(y, rows, roles=roles)
    clock = Clock.fit(rows.times, rows.codes, time_unit, require_unit=require_unit)
    panel = as_panel(rows, targets.values, clock=clock, roles=roles, sample_weight=sample_weight)

    def ask(X):
        return as_panel(roles.read(X), clock=clock, roles=roles)

    return SimpleNamespace(
        roles=roles, rows=rows, targets=targets, output=targets.output, clock=clock, panel=panel, ask=ask
    )


@pytest.fixture
def read():
    """Function `(X, y, sample_weight=None, **parameters) -> roles, rows, targets, output, clock, panel, ask`."""
    return _read
