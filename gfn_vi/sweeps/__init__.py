"""Sweeps: which runs a command line stands for, how they are launched, what became of them. The sweepers are in hydra_plugins."""
