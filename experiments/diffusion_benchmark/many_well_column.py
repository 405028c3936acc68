"""What the published column of many_well can mean, in numbers: python -m gfn_vi.experiments.diffusion_benchmark.many_well_column

The target is a product of equal pairs, and only the first coordinate of a pair has two wells. So what a sampler loses by giving
wells up is a sum over pairs, each of them an integral over a line. "whole_machinery.md" says what follows.
"""

from __future__ import annotations

import math

import numpy as np
import ot
import torch

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.targets.densities.many_well import ManyWell

N_PAIRS, N_SAMPLES, SEEDS = 16, 2000, 4
N_NODES, END = 1601, 5.0  # of the line: P_T of T = 100 steps has no mass that counts beyond its end


def log_well(x: np.ndarray) -> np.ndarray:
    """Return the log-density of the first coordinate of a pair, not normalized."""
    return -(x**4) + 6 * x**2 + x / 2


def bound_error(n_steps: int, right_only: bool) -> float:
    """Return log Z - ELBO of one pair in nats, of steps N(x_k + drift, 1 / T) whose drift is the conditional mean of the bridge.

    The end of the bridge is drawn from the target, or from its right well alone; the noise is not learned, and P_B is the bridge.
    """
    x = np.linspace(-END, END, N_NODES)
    spacing, variance = x[1] - x[0], 1 / n_steps
    target = np.exp(log_well(x) - log_well(x).max())
    target /= target.sum() * spacing
    ahead = np.where(right_only & (x < 0), 0.0, target)
    ahead /= ahead.sum() * spacing
    means: list[np.ndarray] = []
    for k in range(n_steps - 1, 0, -1):  # the distribution of the bridge at time k / T, and where it goes from each state
        joint = ahead[:, None] * _normal(x[None] - k / (k + 1) * x[:, None], k / (k + 1) * variance) * spacing**2
        mass = joint.sum(0)
        means.insert(0, np.divide((joint * x[:, None]).sum(0), mass, out=x.copy(), where=mass > 1e-250))
        ahead = mass / spacing
    learned = _normal(x - (ahead * x).sum() * spacing, variance)
    learned /= learned.sum() * spacing
    found = -0.5 * math.log(2 * math.pi * variance) - 0.5  # E log P_F of the first step, whose log P_B is 0
    for k, mean in enumerate(means, 1):
        forward = _normal(x[:, None] - mean[None], variance)
        backward = _log_normal(x[None] - k / (k + 1) * x[:, None], k / (k + 1) * variance)
        joint = learned[None] * forward * spacing**2
        found += (joint * (_log_normal(x[:, None] - mean[None], variance) - backward)).sum()
        learned = joint.sum(1) / spacing
    return float(found - (learned * np.log(np.maximum(target, 1e-300))).sum() * spacing)


def _log_normal(x: np.ndarray, variance: float) -> np.ndarray:
    return -0.5 * (x**2 / variance + math.log(2 * math.pi * variance))


def _normal(x: np.ndarray, variance: float) -> np.ndarray:
    return np.exp(_log_normal(x, variance))


def w2(n_left: int | None, seed: int) -> float:
    """Return W2 of exact samples to samples with the first n_left pairs in the left well, the others right; None: exact ones."""
    target, rng = ManyWell(2 * N_PAIRS), ReplicaGenerators(seed, 1, "many_well_column", torch.device("cpu"), torch.float64)
    exact, many = target.sample(N_SAMPLES, rng)[0], target.sample(40 * N_SAMPLES, rng)[0]
    chosen = many[:N_SAMPLES].clone()
    for pair in range(N_PAIRS if n_left is not None else 0):
        assert n_left is not None
        first = many[:, 2 * pair]
        chosen[:, 2 * pair] = first[(first < 0) == (pair < n_left)][:N_SAMPLES]
    share = np.full(N_SAMPLES, 1 / N_SAMPLES)
    return float(np.sqrt(ot.emd2(share, share, torch.cdist(chosen, exact).square().numpy(), numItermax=10**7)))


def main() -> None:
    """Print the numbers of the section, most of a minute's work."""
    left = ManyWell(2 * N_PAIRS).left_mass
    wrong, lost = math.log((1 - left) / left), -math.log(1 - left)
    every, right = (N_PAIRS * bound_error(100, right_only) for right_only in (False, True))
    print(f"mass of a left well {left:.6f}; reweighted error of the right wells alone {N_PAIRS * lost:.3f}")
    print(f"log Z - ELBO, T = 100, sigma = 1: right wells alone {right:.2f}, all wells {every:.2f}")
    for n_left in (None, 0, 4, 5, 6):
        distances = [w2(n_left, seed) for seed in range(SEEDS)]
        what = "exact samples" if n_left is None else f"{n_left} pairs in the left well, the others right"
        errors = (
            "" if n_left is None else f"; bound {right + n_left * wrong:.1f}, reweighted {N_PAIRS * lost + n_left * wrong:.1f}"
        )
        print(f"{what}: W2 {min(distances):.2f} to {max(distances):.2f}{errors}")


if __name__ == "__main__":
    main()
