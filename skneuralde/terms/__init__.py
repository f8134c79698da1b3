"""Coefficients of an equation as torch modules of (t, u, c)."""

from skneuralde.terms.affects import Affect, GaussianAffect, KnownAffect, SetState, SumAffect
from skneuralde.terms.base import Sum, Term
from skneuralde.terms.check import check_term
from skneuralde.terms.copies import Copies, refuse_hidden
from skneuralde.terms.inputs import Inputs
from skneuralde.terms.jumps import BoundedRate, MoveBy
from skneuralde.terms.known import Constant, Known, Number, UserModule, is_constant_rate
from skneuralde.terms.learned import strict_tensors, with_learned
from skneuralde.terms.levels import learned_network, set_level
from skneuralde.terms.mlp import MLP
from skneuralde.terms.network import Network
from skneuralde.terms.parameter import Parameter
from skneuralde.terms.resolve import (
    has_known_units,
    resolve,
    resolve_known,
    resolve_known_affect,
    resolve_known_rate,
    summands,
    trainable,
)
from skneuralde.terms.resolve_jumps import JumpNetworks, rate_bound, resolve_affect, resolve_rate

__all__ = [
    "MLP",
    "Affect",
    "BoundedRate",
    "Constant",
    "Copies",
    "GaussianAffect",
    "Inputs",
    "JumpNetworks",
    "Known",
    "KnownAffect",
    "MoveBy",
    "Network",
    "Number",
    "Parameter",
    "SetState",
    "Sum",
    "SumAffect",
    "Term",
    "UserModule",
    "check_term",
    "has_known_units",
    "is_constant_rate",
    "learned_network",
    "rate_bound",
    "refuse_hidden",
    "resolve",
    "resolve_affect",
    "resolve_known",
    "resolve_known_affect",
    "resolve_known_rate",
    "resolve_rate",
    "set_level",
    "strict_tensors",
    "summands",
    "trainable",
    "with_learned",
]
