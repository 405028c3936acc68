"""Molecules as trees of fragments: the space, its canonical states, chemistry, and what a molecule is worth."""
