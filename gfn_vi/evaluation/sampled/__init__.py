"""Estimates from trajectories of P_F, with their standard errors."""
