"""Nodes on a circle: no edge runs through a node, whatever the graph, and names have the whole outside to themselves."""

from __future__ import annotations

import numpy as np


def on_circle(order: np.ndarray, radius: float) -> np.ndarray:
    """Places [d, 2] of nodes that stand clockwise in this order, the first on top."""
    angles = np.empty(len(order))
    angles[order] = np.pi / 2 - 2 * np.pi * np.arange(len(order)) / len(order)
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def circle_order(graphs: np.ndarray) -> np.ndarray:
    """An order of nodes in which those that edges of the graphs [K, d, d] connect stand close together.

    The total distance of connected nodes along the circle falls as long as moving one node elsewhere can lower it.
    """
    weight = graphs.sum(0)
    weight = (weight + weight.T).astype(float)
    d = len(weight)
    apart = np.abs(np.arange(d)[:, None] - np.arange(d)[None])
    distance = np.minimum(apart, d - apart)
    order = np.arange(d)
    total = (weight * distance).sum()
    improved = True
    while improved:
        improved = False
        for node in range(d):
            rest = order[order != node]
            moved = np.stack([np.insert(rest, place, node) for place in range(d)])
            totals = (weight[moved[:, :, None], moved[:, None, :]] * distance).sum((1, 2))
            if totals.min() < total:
                order, total, improved = moved[totals.argmin()], totals.min(), True
    return order
