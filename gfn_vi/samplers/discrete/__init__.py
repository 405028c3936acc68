"""Samplers over discrete targets: rollouts, evaluation, and the networks that map states to logits."""
