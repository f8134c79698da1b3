"""Panels of series from the rows of a table, and predictions in the caller's containers."""

from skneuralde.data.clock import Clock
from skneuralde.data.convert import to_rows
from skneuralde.data.future import future_rows
from skneuralde.data.panel import Panel
from skneuralde.data.roles import Roles, Rows, read_row_times
from skneuralde.data.rows_to_panel import as_panel
from skneuralde.data.scaling import weighted_scaling
from skneuralde.data.table import Table, as_table, check_features, take_rows
from skneuralde.data.targets import OutputFormat, read_targets

__all__ = [
    "Clock",
    "OutputFormat",
    "Panel",
    "Roles",
    "Rows",
    "Table",
    "as_panel",
    "as_table",
    "check_features",
    "future_rows",
    "read_row_times",
    "read_targets",
    "take_rows",
    "to_rows",
    "weighted_scaling",
]
