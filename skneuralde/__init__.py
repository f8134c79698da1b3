"""Learn differential equations from time series, the scikit-learn way."""
