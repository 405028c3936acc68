"""Hypergrids and the rewards on them."""
