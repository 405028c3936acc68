"""Six objectives on a 16 x 16 grid in a few minutes."""
