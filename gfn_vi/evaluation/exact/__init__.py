"""Exact sums over all trajectories, by listing or by dynamic programming on a state graph."""
