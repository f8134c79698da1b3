"""Names that users import, written out: one that disappears breaks their code."""

import importlib

import pytest

PUBLIC = {
    "skneuralde": """Advection Dirichlet Jump Laplacian MLP NeuralJumpDiffusion NeuralPDEField NeuralSDERegressor
        Parameter Problem Stencil expect solve to_rows""",
    "skneuralde.datasets": "abc_law abc_problem abc_source make_abc_field",
    "skneuralde.metrics": """CRPSScorer CoverageScorer EnergyScoreScorer LogLikelihoodScorer PanelTimeSeriesSplit crps
        energy_score interval_coverage log_likelihood_scorer neg_crps_scorer neg_energy_score_scorer
        probability_integral_transform""",
    "skneuralde.solvers": "Solution SolverError Status get_solver solver_names",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_stay_importable(module):
    missing = [name for name in PUBLIC[module].split() if not hasattr(importlib.import_module(module), name)]
    assert not missing


@pytest.mark.parametrize("module", ["skneuralde", "skneuralde.datasets", "skneuralde.metrics"])
def test_all_lists_the_public_names(module):
    assert set(PUBLIC[module].split()) <= set(importlib.import_module(module).__all__)
