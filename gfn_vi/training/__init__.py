"""The training loop with its optimizers, learning-rate schedules and progress bar; nothing here writes to disk."""
