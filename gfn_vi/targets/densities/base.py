"""What densities on R^d share, so that a new one says only what is its own: its log-density and the facts that are known."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators


class BaseDensity(ABC):
    """A DensityTarget (gfn_vi/core/protocols.py): R(x) = exp(log_density(x)) on R^d, d = dim.

    A subclass sets `dim`, defines `log_density` and states the facts it knows. Its tensors are attributes in float64: they
    follow `to(device)`, and `in_type_of` gives them in the type of the states.

    log_Z: log of the integral of R, None where nobody knows.
    n_modes, mode_index, mode_mass [n_modes] float64: regions that samples are counted in, and their shares of the mass; None
    where they are not known or too many to count.
    coordinate_names: one for each coordinate, None where they have none; about_coordinates: what their numbers mean, in words.
    has_exact_samples: whether `sample` may be called. has_score: whether log R can be differentiated.
    transport_clip: of a target without variance, whose Wasserstein distances of order 2 do not exist, the longest way that counts
    in a distance of order 1; None where they exist.
    """

    dim: int
    log_Z: float | None = None
    n_modes: int | None = None
    mode_mass: Tensor | None = None
    coordinate_names: tuple[str, ...] | None = None
    about_coordinates: str | None = None
    has_exact_samples: bool = False
    has_score: bool = True
    transport_clip: float | None = None
    device: torch.device = torch.device("cpu")

    @property
    def remarks(self) -> list[str]:
        """Return what the user should know of this target before it is worked with, one sentence each."""
        return []

    @abstractmethod
    def log_density(self, states: Tensor) -> Tensor:
        """Return log R, normalized or not, in the type of the states and differentiable in them: [..., d] -> [...]."""

    def log_reward(self, states: Tensor) -> Tensor:
        """Return log R in float64, differentiable in the states: [..., d] -> [...]."""
        return self.log_density(states.double())

    def score(self, states: Tensor) -> Tensor:
        """Return the gradient of log R in the type of the states, without a graph of its own: [..., d] -> [..., d]."""
        with torch.enable_grad():
            inputs = states.detach().requires_grad_(True)
            total = self.log_density(inputs).sum()
        (gradient,) = torch.autograd.grad(total, inputs)
        return gradient

    def sample(self, n: int, rng: ReplicaGenerators) -> Tensor:
        """Draw n independent states per replica from R / Z exactly: [R, n, d]; only where has_exact_samples."""
        raise NotImplementedError(f"{type(self).__name__} has no exact samples: ask has_exact_samples first")

    def mode_index(self, states: Tensor) -> Tensor:
        """Return the mode that each state belongs to, -1 for none: [..., d] -> [...] long; only where n_modes is known."""
        raise NotImplementedError(f"{type(self).__name__} knows no modes: ask n_modes first")

    def to(self, device: Any) -> Self:
        """Return a copy with its tensors on `device`."""
        moved = copy.copy(self)
        vars(moved).pop("_converted", None)
        for name, value in vars(moved).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        moved.device = torch.device(device)
        return moved

    def in_type_of(self, states: Tensor, name: str) -> Tensor:
        """Return the tensor attribute of that name in the type of the states; it is converted once for each type."""
        value: Tensor = getattr(self, name)
        if value.dtype == states.dtype:
            return value
        key = (name, states.dtype)
        if key not in self._converted:
            self._converted[key] = value.to(states.dtype)
        return self._converted[key]

    @cached_property
    def _converted(self) -> dict[tuple[str, torch.dtype], Tensor]:
        return {}
