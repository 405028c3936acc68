"""The cosine of batch gradients with a sampled reference, beside the one with the exact gradient.

A batch gradient is g + e with E |e|^2 = s^2, a reference the mean of n trajectories, which are M = n / b batches. A mean of
cosines is about a ratio of means. With r = |g| / s it is r / sqrt(r^2 + 1) with the exact gradient, sqrt(r^2 + 1 / M) /
sqrt(r^2 + 1) with a reference that consists of the small batches, and r^2 / sqrt((r^2 + 1) (r^2 + 1 / M)) with an independent
one: of pure noise 0, sqrt(b / n) and 0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from gfn_vi.experiments.gradient_variance.estimators import chosen, curves_along, signal_to_noise

from gfn_vi.analysis.pictures import style
from gfn_vi.analysis.reading.curves import Curve

ARM = "measurements"
EXACT = "gradients"  # prefixes of the metrics' names
BLUE, _, _, RED = style.palette(4)
REFERENCES = {  # prefix: label, color and marker
    "nested": ("Published: contains the batch", RED, "s"),
    "independent": ("Independent", BLUE, "o"),
}
TRAJECTORIES = 1024  # of either sampled reference, configs/arm/gradient_variance/measurements.yaml
NOISE = "noise"  # its exact gradient is 0, and so is the cosine by definition


def excess(rows: pd.DataFrame, estimator: str, reference: str) -> Curve:
    """Return over batch sizes how far the cosine with a sampled reference exceeds the exact one, by replica."""
    cosine = chosen(rows, ARM, statistic="cosine", role="forward", estimator=estimator)
    sampled = curves_along(cosine[cosine["prefix"] == reference], "batch")[estimator]
    if estimator == NOISE:
        return sampled
    exact = curves_along(cosine[cosine["prefix"] == EXACT], "batch")[estimator]
    return Curve(sampled.x, sampled.values - exact.values, sampled.seeds, 0)


def predicted_excess(rows: pd.DataFrame, estimator: str, reference: str) -> Curve:
    """Return what the formulas above say of it, from the measured ratio of signal and noise."""
    sampled = excess(rows, estimator, reference)
    if estimator == NOISE:
        ratio = np.zeros_like(sampled.values)
    else:
        of_all = signal_to_noise(rows[rows["prefix"] == EXACT], ARM, "forward")
        ratio = curves_along(of_all[of_all["estimator"] == estimator], "batch")[estimator].values
    return Curve(sampled.x, predicted(ratio, sampled.x / TRAJECTORIES, reference), sampled.seeds, 0)


def predicted(ratio: np.ndarray, share: np.ndarray, reference: str) -> np.ndarray:
    """Return the excess for ratios |g| / s and shares b / n."""
    batch, large = np.sqrt(ratio**2 + 1), np.sqrt(ratio**2 + share)
    return (large if reference == "nested" else ratio**2 / large) / batch - ratio / batch
