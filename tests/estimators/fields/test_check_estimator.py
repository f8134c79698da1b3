"""scikit-learn's own checks of `NeuralPDEField`: rows of single points."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from skneuralde import NeuralPDEField


@parametrize_with_checks([NeuralPDEField()])
def test_check_estimator(estimator, check):
    check(estimator)
