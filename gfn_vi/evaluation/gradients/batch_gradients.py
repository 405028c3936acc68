"""Gradients of many batches at once: a batch is a replica.

M batches of b trajectories are evaluated by a copy of the sampler with M replicas of the same parameters, so that one backward
pass of the summed losses leaves M gradients side by side. All estimators read the same evaluation: they are compared on the same
trajectories at the same parameters. Batches are taken K at a time, which bounds memory and changes no number but by rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from gfn_vi.core.protocols import Objective
from gfn_vi.core.types import Evaluation, Need, Role, Trajectories
from gfn_vi.evaluation.exact.policies import PolicySampler

Gradients = dict[Role, Tensor]

# Rows that go through a network at once, and numbers in the gradients that are held at once: both for all replicas together.
LARGEST_ROWS, LARGEST_GRADIENTS = 2**14, 2**23
# Gradients along the noise are those of an evaluation of their own: what they share with gradients of scores are its values.
ALONG_NOISE = frozenset({Need.PATHWISE, Need.STICKING_THE_LANDING})
# Score norms pull this many vectors back at once (gfn_vi/samplers/score_norms.py).
SCORE_COPIES = 16
# An objective with a memory is shown one batch until what it remembers changes by less than this share, at most so often.
SETTLED, SETTLING_CALLS = 1e-4, 10_000


class RepeatableSampler(PolicySampler, Protocol):
    """A sampler that can be copied into more replicas."""

    def repeated(self, times: int) -> RepeatableSampler:
        """Return a copy with R * times replicas, each replica `times` times in a row, with parameters of their own."""


def repeat_replicas(value: Any, times: int) -> Any:
    """Return nested dicts and lists with every tensor [R, ...] repeated `times` times in a row: [R * times, ...]."""
    if isinstance(value, Tensor):
        return value.repeat_interleave(times, 0)
    if isinstance(value, dict):
        return {key: repeat_replicas(entry, times) for key, entry in value.items()}
    if isinstance(value, list):
        return [repeat_replicas(entry, times) for entry in value]
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [tensor for entry in entries for tensor in _tensors(entry)]


def _change(before: Any, after: Any) -> float:
    """Return the largest change of a remembered number, relative to the largest one; infinite where a new one is remembered."""
    old, new = _tensors(before), _tensors(after)
    if len(old) != len(new):
        return math.inf
    changes = [float(((b - a).abs().max() / b.abs().max().clamp(min=1e-12)).cpu()) for a, b in zip(old, new, strict=True)]
    return max(changes, default=0.0)


class Estimator:
    """An objective as it is measured. One with a memory is replaced by a copy at rest, the same for every batch."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.has_memory = bool(objective.state_dict())
        self._state: dict[str, Any] | None = None

    @torch.no_grad()
    def settled(self, evaluation: Evaluation) -> Estimator:
        """Return the estimator with its memory after seeing this batch repeatedly; measure it on other, independent batches."""
        if not self.has_memory:
            return self
        resting, own = Estimator(self.objective), copy.deepcopy(self.objective)
        for _ in range(SETTLING_CALLS):
            before = copy.deepcopy(own.state_dict())
            own(evaluation)
            if _change(before, own.state_dict()) < SETTLED:
                break
        resting._state = own.state_dict()
        return resting

    def fresh(self, times: int) -> Objective:
        """Return the objective for R * times replicas, with its memory at rest."""
        if not self.has_memory:
            return self.objective
        own = copy.deepcopy(self.objective)
        if self._state is not None:
            own.load_state_dict(repeat_replicas(self._state, times))
        return own


@dataclass(frozen=True)
class Chunk:
    """An evaluation of K batches, numbers start .. start + K - 1: fields of evaluations are [R * K, b, ...].

    evaluations: by what of ALONG_NOISE is asked for; their values are the same.
    """

    start: int
    n_replicas: int
    evaluations: dict[frozenset[Need], Evaluation]
    groups: dict[Role, list[Tensor]]

    @property
    def evaluation(self) -> Evaluation:
        """Return one of the evaluations, for its values."""
        return next(iter(self.evaluations.values()))

    @property
    def n_batches(self) -> int:
        """Return the number of batches K."""
        return len(self.evaluation.mask) // self.n_replicas

    def gradients(self, estimator: Estimator) -> Gradients:
        """Return the gradient of each batch by role: [R, K, P], the parameters in the order of parameter_groups, flattened."""
        with torch.enable_grad():
            loss = estimator.fresh(self.n_batches)(self.evaluations[estimator.objective.needs & ALONG_NOISE])
        parameters = [p for group in self.groups.values() for p in group]
        if not loss.requires_grad:
            found: Sequence[Tensor] = [torch.zeros_like(p) for p in parameters]
        else:
            found = torch.autograd.grad(loss.sum(), parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        rest = iter(found)
        shape = (self.n_replicas, self.n_batches, -1)
        return {role: torch.cat([next(rest).reshape(shape) for _ in group], 2) for role, group in self.groups.items()}

    def per_trajectory(self, values: Tensor) -> Tensor:
        """Return values in the order of the trajectories: [R * K, b] -> [R, K * b]."""
        return values.detach().reshape(self.n_replicas, -1)


class BatchGradients:
    """Gradients of batches at the sampler's current parameters, which stay as they are, with their gradients."""

    def __init__(
        self, sampler: RepeatableSampler, roles: Sequence[Role], needs: Iterable[frozenset[Need]], n_states: int | None
    ) -> None:
        """roles: whose parameters are differentiated; needs: of each estimator; n_states: S where the target can be listed."""
        self.sampler, self.roles, self.n_states = sampler, list(roles), n_states
        self.needs = frozenset[Need]().union(*(needs := list(needs))) - ALONG_NOISE
        self.paths = sorted({need & ALONG_NOISE for need in needs}, key=lambda path: [need.name for need in path])
        self._copies: dict[int, RepeatableSampler] = {}

    def chunks(self, trajectories: Trajectories, n_batches: int, start: int = 0) -> Iterator[Chunk]:
        """Divide [R, n_batches * b] into batches of b in a row, and evaluate as many at once as memory is set aside for."""
        most = self._batches_at_once(trajectories, n_batches)
        n_chunks = -(-n_batches // most)
        bounds = [n_batches * i // n_chunks for i in range(n_chunks + 1)]
        for first, last in pairwise(bounds):
            sampler = self._copy(last - first)
            with torch.enable_grad():
                batches = as_replicas(trajectories, n_batches, first, last)
                evaluations = {path: sampler.evaluate(batches, self.needs | path) for path in self.paths}
            yield Chunk(start + first, self.sampler.n_replicas, evaluations, parameters_of(sampler, self.roles))

    def _batches_at_once(self, trajectories: Trajectories, n_batches: int) -> int:
        n_replicas, n_trajectories, steps = trajectories.mask.shape
        visited = n_trajectories // n_batches * steps
        rows = n_replicas * (visited if self.n_states is None else min(visited, self.n_states))
        entries = sum(p.numel() for group in self.sampler.parameter_groups().values() for p in group)
        copies = SCORE_COPIES if Need.SCORE_NORMS in self.needs else 1
        return max(1, min(n_batches, LARGEST_ROWS // (rows * copies), LARGEST_GRADIENTS // (entries * copies)))

    def _copy(self, times: int) -> RepeatableSampler:
        if times not in self._copies:
            self._copies[times] = self.sampler.repeated(times)
        return self._copies[times]


def parameters_of(sampler: PolicySampler, roles: Sequence[Role]) -> dict[Role, list[Tensor]]:
    """Return the parameters of each of the given roles that has some."""
    groups = sampler.parameter_groups()
    return {role: list(groups[role]) for role in roles if groups.get(role)}


def as_replicas(trajectories: Trajectories, n_batches: int, first: int, last: int) -> Trajectories:
    """Return batches first .. last - 1 of n_batches in a row: [R, n_batches * b] -> [R * (last - first), b]."""

    def pick(x: Tensor) -> Tensor:
        batches = x.unflatten(1, (n_batches, -1))[:, first:last]
        return batches.flatten(0, 1)

    return trajectories.map(pick)
