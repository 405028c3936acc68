"""Six objectives on the hypergrid, on-policy and off-policy: Fig. 1 of arXiv 2210.00580."""
