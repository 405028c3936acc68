"""Six objectives on the small grids of arXiv 2210.00580."""
