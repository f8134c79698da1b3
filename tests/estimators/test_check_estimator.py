"""Every check that scikit-learn has for an estimator: of equations with noise, without, and with jumps."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from skneuralde import NeuralJumpDiffusion, NeuralSDERegressor

ESTIMATORS = [NeuralSDERegressor(), NeuralSDERegressor(diffusion=None), NeuralJumpDiffusion()]


@parametrize_with_checks(ESTIMATORS)
def test_every_check_of_scikit_learn(estimator, check):
    check(estimator)


def test_no_tag_excuses_a_failure():
    for estimator in ESTIMATORS:
        tags = estimator.__sklearn_tags__()
        assert not tags.regressor_tags.poor_score
        assert not tags.non_deterministic
