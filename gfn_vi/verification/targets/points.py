"""The points at which a density on R^d is asked: the origin, points around it of several sizes, and samples where it has them."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.verification.targets.answers import Questions
from gfn_vi.verification.targets.asking import Asked, raised
from gfn_vi.verification.targets.findings import Fault, NotApplicable

# Standard deviations of the points around the origin, points of each size, and exact samples of each of 2 replicas.
SIZES, POINTS_OF_A_SIZE, N_SAMPLES = (0.1, 1.0, 10.0, 100.0), 32, 4096


class Points:
    """Points [n, d] in float64, the origin first; asked: the target."""

    def __init__(self, asked: Asked, seed: int) -> None:
        self.asked, self.seed, self.dim = asked, seed, int(asked.target.dim)
        self.generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(SIZES), POINTS_OF_A_SIZE, self.dim, dtype=torch.float64, generator=self.generator)
        sizes = torch.tensor(SIZES, dtype=torch.float64)[:, None, None]
        self.points = torch.cat([torch.zeros(1, self.dim, dtype=torch.float64), (sizes * noise).flatten(0, 1)])

    @property
    def scope(self) -> str:
        """Return in words what was looked at."""
        sizes = ", ".join(f"{size:g}" for size in SIZES)
        drawn = f" and {2 * N_SAMPLES} exact samples" if self.has_samples else ""
        return f"{len(self.points)} points around the origin, of sizes {sizes}{drawn}; what lies elsewhere is open"

    @property
    def near(self) -> Tensor:
        """Return the points of the sizes up to 1: [n, d]."""
        return self.points[: 1 + 2 * POINTS_OF_A_SIZE]

    def log_reward(self, points: Tensor) -> Tensor:
        """Return log R, of which shape and type are looked at: [..., d] -> [...] float64."""
        return self.asked.tensor("log_reward", (), torch.float64, points)

    def questions(self) -> Questions:
        """Return method -> the points near the origin [n, d], and the question."""
        found: Questions = {"log_reward": (self.near, self.log_reward)}
        if self.asked.attribute("has_score") is not False:
            found["score"] = (self.near, lambda given: self.asked.tensor("score", (self.dim,), None, given))
        return found

    @property
    def has_samples(self) -> bool:
        """Return whether the target says that it draws exact samples."""
        return bool(self.asked.attribute("has_exact_samples"))

    def drawn(self, n: int, seed: int) -> Tensor:
        """Draw n samples of two replicas: [2, n, d]. Raises NotApplicable, or Fault for another shape."""
        if not self.has_samples:
            raise NotApplicable("the target draws no exact samples")
        try:
            found = self.asked.target.sample(n, ReplicaGenerators(seed, 2, "target check", dtype=torch.float64))
        except Exception as error:
            raise Fault(f"sample raises {raised(error)}; set has_exact_samples = False, or mend it") from error
        if not isinstance(found, Tensor) or tuple(found.shape) != (2, n, self.dim):
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise Fault(f"sample({n}, rng) of two replicas returns {got}: return [2, n, d] = {[2, n, self.dim]}")
        return found.double()

    @cached_property
    def samples(self) -> Tensor:
        """Exact samples of two replicas: [2, N_SAMPLES, d]."""
        return self.drawn(N_SAMPLES, self.seed)
