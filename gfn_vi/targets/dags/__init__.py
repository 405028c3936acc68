"""Directed acyclic graphs: the posterior of Bayesian structure learning."""
