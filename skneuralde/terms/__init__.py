"""Coefficients of an equation: from what the user gives to a torch module of (t, u, c)."""

from skneuralde.terms.base import Sum, Term
from skneuralde.terms.check import check_term
from skneuralde.terms.inputs import Inputs
from skneuralde.terms.known import Constant, Known, UserModule
from skneuralde.terms.mlp import MLP
from skneuralde.terms.network import Network
from skneuralde.terms.resolve import has_known_units, resolve, resolve_known, summands, trainable

__all__ = [
    "MLP",
    "Constant",
    "Inputs",
    "Known",
    "Network",
    "Sum",
    "Term",
    "UserModule",
    "check_term",
    "has_known_units",
    "resolve",
    "resolve_known",
    "summands",
    "trainable",
]
