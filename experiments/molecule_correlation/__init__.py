"""Does a sampler of molecules give them probabilities in proportion to their rewards? Figure 2 of arXiv 2210.00580."""
