"""Molecules: trees of building blocks, and rewards of the molecules that they make."""
