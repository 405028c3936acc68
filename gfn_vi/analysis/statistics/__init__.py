"""Estimates over replicas, with their uncertainty, and what they say."""
