"""Samplers of densities on R^d."""
