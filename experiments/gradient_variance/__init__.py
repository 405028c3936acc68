"""Direction and noise of the gradients of all estimators, along training and off-policy."""
