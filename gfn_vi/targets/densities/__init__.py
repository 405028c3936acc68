"""Densities on R^d, one file per kind. A density knows its log and what is known of its integral, modes and samples."""
