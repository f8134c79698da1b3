"""Scores of probabilistic forecasts, scorers for model selection, and cross-validation of panels."""

from skneuralde.metrics.calibration import probability_integral_transform
from skneuralde.metrics.scorers import (
    CoverageScorer,
    CRPSScorer,
    EnergyScoreScorer,
    LogLikelihoodScorer,
    log_likelihood_scorer,
    neg_crps_scorer,
    neg_energy_score_scorer,
)
from skneuralde.metrics.scores import crps, energy_score, interval_coverage
from skneuralde.metrics.split import PanelTimeSeriesSplit

__all__ = [
    "CRPSScorer",
    "CoverageScorer",
    "EnergyScoreScorer",
    "LogLikelihoodScorer",
    "PanelTimeSeriesSplit",
    "crps",
    "energy_score",
    "interval_coverage",
    "log_likelihood_scorer",
    "neg_crps_scorer",
    "neg_energy_score_scorer",
    "probability_integral_transform",
]
