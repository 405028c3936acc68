"""Six objectives on the small grids of the paper."""
