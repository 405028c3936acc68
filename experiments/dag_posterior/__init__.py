"""Posteriors over graphs: Table 2 of the paper."""
