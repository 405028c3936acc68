"""The theorems of arXiv 2210.00580, measured to floating-point precision."""
