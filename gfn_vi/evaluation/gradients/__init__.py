"""Gradients: exact expected ones, and those of batches."""
