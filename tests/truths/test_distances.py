"""MMD and Wasserstein distances between samples: by hand, in closed form, and unbiased."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from building import generators
from torch import Tensor

from gfn_vi.core.median import median
from gfn_vi.evaluation.densities.distances import _distances, median_distance, squared_mmd
from gfn_vi.targets.densities.student_mixture import StudentMixture

ONE = torch.tensor(1.0, dtype=torch.float64)


def normal(n: int, dim: int, seed: int, mean: float = 0.0) -> Tensor:
    return generators(seed, 1).normal(n, dim)[0] + mean


def test_mmd_is_the_u_statistic() -> None:
    """By two loops: pairs of one sample with itself are left out within a set, and all pairs count between the sets."""
    x, y, h = normal(7, 3, 0), normal(7, 3, 1, 0.5), 1.3

    def kernel(a: Tensor, b: Tensor) -> float:
        return math.exp(-float((a - b).square().sum()) / (2 * h**2))

    within = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(7) for j in range(7) if i != j) / 42
    between = sum(kernel(a, b) for a in x for b in y) / 49
    assert abs(float(squared_mmd(x, y, ONE * h)) - (within - 2 * between)) < 1e-14


def test_mmd_has_the_mean_of_the_closed_form() -> None:
    """E k(X, Y) = exp(-m^2 / (2 (h^2 + 2))) sqrt(h^2 / (h^2 + 2)) for unit normals m apart: 400 blocks, four standard errors."""
    for mean in (0.0, 1.0):
        blocks = [squared_mmd(normal(50, 1, seed), normal(50, 1, 1000 + seed, mean), ONE) for seed in range(400)]
        values = torch.stack(blocks)
        expected = 2 * math.sqrt(1 / 3) * (1 - math.exp(-(mean**2) / 6))
        assert abs(float(values.mean()) - expected) < 4 * float(values.std()) / 20
        assert 4 * float(values.std()) / 20 < 0.02  # the diagonal alone would add 2 (1 - sqrt(1 / 3)) / 50 = 0.017


def test_points_that_coincide_do_not_make_a_bandwidth() -> None:
    x = torch.tensor([[0.0], [0.0], [0.0], [2.0]], dtype=torch.float64)
    assert float(median_distance(x)) == 2.0


def test_a_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    """As numpy has it, along any axis; of 4 points there are 6 distances, 3 and 4 in their middle."""
    assert float(median_distance(torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64))) == 3.5
    values = normal(6, 5, 0)
    for dim in (0, 1):
        np.testing.assert_allclose(median(values, dim), np.median(values.numpy(), dim), rtol=1e-15)
    assert math.isnan(float(median_distance(torch.zeros(4, 1))))


def test_the_bandwidth_is_that_of_the_exact_samples() -> None:
    """Whatever the other samples are: a sampler does not choose the scale on which it is judged."""
    ours, exact = 5 * normal(20, 2, 0), normal(20, 2, 1)
    pairs = [float((exact[i] - exact[j]).norm()) for i in range(20) for j in range(i)]
    expected = squared_mmd(ours, exact, ONE * float(np.median(pairs)))
    torch.testing.assert_close(_distances(None)["squared_mmd"](ours, exact, ONE), expected, rtol=1e-12, atol=0)


def test_wasserstein_distances_of_a_shift() -> None:
    """A set moved by v: W2 = |v|; sliced, the root of the mean of (v direction)^2."""
    x, v = normal(200, 2, 0), torch.tensor([3.0, 4.0], dtype=torch.float64)
    directions = normal(2, 50, 1)
    directions = directions / directions.norm(dim=0, keepdim=True)
    distances = _distances(None)
    expected = float((v @ directions).square().mean().sqrt())
    torch.testing.assert_close(float(distances["sliced_w2"](x + v, x, directions)), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(float(distances["w2"](x + v, x, directions)), 5.0, rtol=1e-12, atol=0)


def test_clipped_transport_is_an_assignment_of_least_cost() -> None:
    """All pairings of five points, each way at most 1.5 long: by hand. A point that is far away costs the clip, no more."""
    x, y = normal(5, 2, 0), normal(5, 2, 1, 0.5)
    x[2] = 1e6
    ways = (x[:, None] - y).square().sum(-1).sqrt().clamp(max=1.5)
    least = min(float(ways[torch.arange(5), torch.tensor(order)].mean()) for order in itertools.permutations(range(5)))
    distances = _distances(1.5)
    assert set(distances) == {"squared_mmd", "clipped_w1"}
    torch.testing.assert_close(float(distances["clipped_w1"](x, y, ONE)), least, rtol=1e-12, atol=0)
    assert least < 1.5


def test_which_targets_have_no_wasserstein_distance_of_order_two() -> None:
    """t(2) has no variance, t(3) has one."""
    for degrees, clip in ((1, 20.0), (2, 20.0), (3, None)):
        assert StudentMixture(2, 3, degrees, 10.0, 0).transport_clip == clip


def test_samples_that_are_not_finite_have_no_distance() -> None:
    x, y = normal(20, 2, 0), normal(20, 2, 1)
    x[3, 1] = math.inf
    for distance in [*_distances(None).values(), *_distances(1.5).values()]:
        assert math.isnan(float(distance(x, y, torch.eye(2, dtype=torch.float64))))
