"""Posteriors over directed acyclic graphs: Table 2 of arXiv 2210.00580 (section 4.3)."""
