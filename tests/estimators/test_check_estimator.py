"""Every check that scikit-learn has for an estimator: of equations with noise, without, and with jumps."""

import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skneuralde import NeuralJumpDiffusion, NeuralSDERegressor

#: Most checks do not ask how well an estimator learns: one runs them as it is, the others with few and small steps.
SHORT = {"hidden_layer_sizes": (8,), "max_iter": 20, "learning_rate_init": 2e-2}
ESTIMATORS = [NeuralSDERegressor(), NeuralSDERegressor(diffusion=None, **SHORT), NeuralJumpDiffusion(**SHORT)]
BY_DEFAULT = [NeuralSDERegressor(diffusion=None), NeuralJumpDiffusion()]
#: What could depend on the settings: the score, and that a weight is a repetition.
OF_LEARNING = ("check_regressors_train", "check_sample_weight_equivalence_on_dense_data")


@parametrize_with_checks(ESTIMATORS)
def test_every_check_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", OF_LEARNING)
@pytest.mark.parametrize("estimator", BY_DEFAULT)
def test_default_settings_learn_as_asked(estimator, name):
    checks = [check for _, check in estimator_checks_generator(estimator) if check.func.__name__ == name]
    checks[0](clone(estimator))


def test_no_tag_excuses_a_failure():
    for estimator in (*ESTIMATORS, *BY_DEFAULT):
        tags = estimator.__sklearn_tags__()
        assert not tags.regressor_tags.poor_score
        assert not tags.non_deterministic
