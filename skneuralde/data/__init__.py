"""Rows of a caller's table -> panels of series, and predictions back into the caller's containers."""

from skneuralde.data.clock import Clock
from skneuralde.data.panel import Panel, as_panel
from skneuralde.data.roles import Roles, Rows
from skneuralde.data.scaling import Scaling, weighted_scaling
from skneuralde.data.table import Table, as_table, check_features
from skneuralde.data.targets import Output, Targets, read_targets

__all__ = [
    "Clock",
    "Output",
    "Panel",
    "Roles",
    "Rows",
    "Scaling",
    "Table",
    "Targets",
    "as_panel",
    "as_table",
    "check_features",
    "read_targets",
    "weighted_scaling",
]
