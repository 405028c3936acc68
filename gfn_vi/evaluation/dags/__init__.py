"""Metrics and arrays of targets whose states are directed acyclic graphs."""
