"""Deviations of the published code from arXiv 2210.00580, and what they change."""
