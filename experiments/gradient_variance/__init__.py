"""Direction and noise of the gradient of every estimator."""
