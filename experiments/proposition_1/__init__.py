"""The theorems, to floating-point precision."""
