"""The training loop: collect, evaluate, descend; measure, record and save when due.

Clocks count trajectories per replica. Measuring draws from its own generators and changes nothing, so more or fewer
evaluations leave training bit for bit the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.headline import Headline
from gfn_vi.core.patience import told_if_slow
from gfn_vi.core.protocols import Exploration, Metric, Moment, Objective, References, Sampler, Target
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Evaluation, Trajectories
from gfn_vi.training.optimizers import ReplicaOptimizer


class Observer(Protocol):
    """An object that watches the training trajectories and has numbers to record."""

    def observe(self, trajectories: Trajectories) -> None:
        """Take in the trajectories of an update; every batch is shown."""

    def statistics(self) -> dict[str, Tensor]:
        """Return the values to record by name, each [R]."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the observer remembers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""


Record = Callable[[int, int, Sequence[int], float, Mapping[str, Tensor]], None]
"""(step, trajectories, reward calls of each replica, wall seconds, name -> [R]): where records go."""


@dataclass(frozen=True)
class Parts:
    """The parts that training is made of.

    moment: from a metric's generators to a measurement of the sampler as it is then; headline: what the run is judged by;
    references: what stands for exact samples of the target in measurements, None where nothing does.
    """

    target: Target
    sampler: Sampler
    exploration: Exploration
    objective: Objective
    optimizer: ReplicaOptimizer
    metrics: Sequence[Metric]
    observers: Sequence[Observer]
    moment: Callable[[ReplicaGenerators], Moment]
    headline: Headline | None
    references: References | None = None


@dataclass(frozen=True)
class Budget:
    """The budget of a run: n_trajectories, batch_size, evaluate_every and record_every are trajectories per replica."""

    n_trajectories: int
    batch_size: int
    evaluate_every: int
    record_every: int

    @property
    def steps(self) -> int:
        """Return the number of updates."""
        return -(-self.n_trajectories // self.batch_size)

    def due(self, every: int, step: int) -> bool:
        """Return whether the trajectories after `step` updates crossed a multiple of `every` in the last one."""
        return (step * self.batch_size) // every > ((step - 1) * self.batch_size) // every


class Trainer:
    """The training of one run of R replicas."""

    def __init__(
        self,
        parts: Parts,
        budget: Budget,
        seed: int | Sequence[int],
        n_replicas: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """seed: of replica 0, and replica r has seed + r; or a list with the seed of each."""
        self.parts, self.budget, self.n_replicas = parts, budget, n_replicas
        self.rng = ReplicaGenerators(seed, n_replicas, "rollout", device, dtype)
        self.metric_rng = ReplicaGenerators(seed, n_replicas, "evaluation", device, dtype)
        self.step = 0
        counters = getattr(parts.sampler, "counters", ("reward_calls",))
        self.calls = {name: torch.zeros(n_replicas, dtype=torch.long, device=device) for name in counters}
        self.measured: dict[str, Tensor] = {}
        self._elapsed, self._started = 0.0, time.perf_counter()

    @property
    def seen(self) -> int:
        """Return the number of trajectories per replica so far."""
        return self.step * self.budget.batch_size

    @property
    def reward_calls(self) -> Tensor:
        """Return the evaluations of the reward that training has asked for, [R] long; those for metrics are not among them."""
        return self.calls["reward_calls"]

    @property
    def wall_seconds(self) -> float:
        """Return the seconds spent on this run, earlier processes included."""
        return self._elapsed + time.perf_counter() - self._started

    def update(self) -> tuple[Tensor, Trajectories, Evaluation]:
        """Do one update and return its loss [R], trajectories and evaluation."""
        p = self.parts
        before = {name: getattr(p.sampler, name).clone() for name in self.calls}
        in_training = getattr(p.sampler, "in_training", None)  # a sampler of a user's own may be the same always
        sampler = p.sampler if in_training is None else in_training(self.seen)
        trajectories = p.exploration.collect(sampler, self.budget.batch_size, self.rng, self.seen)
        evaluation = sampler.evaluate(trajectories, p.objective.needs)
        loss = p.objective(evaluation)
        p.optimizer.step(loss, self.seen)
        for name, calls in self.calls.items():
            calls.add_(getattr(p.sampler, name) - before[name])
        for observer in p.observers:
            observer.observe(trajectories)
        self.step += 1
        return loss.detach(), trajectories, evaluation

    def measure(self) -> dict[str, Tensor]:
        """Return all metrics that are due, at the current parameters: name -> [R]."""
        p = self.parts
        self.measured = {}
        moment = p.moment(self.metric_rng)
        for metric in p.metrics:
            if self._due(metric):
                self.measured |= metric(moment)
        if self.step == 0 and p.headline is not None:
            known = f"expected one of those measured here: {', '.join(self.measured) or 'none'}"
            require(p.headline.metric in self.measured, "evaluation.headline.metric", p.headline.metric, known)
        watched = p.optimizer.schedule.watches
        if watched is not None and watched in self.measured:
            p.optimizer.schedule.observe(self.measured[watched], self.seen)
        return self.measured

    def headline(self) -> float | None:
        """Return the mean over replicas of the headline as last measured; None where there is none."""
        headline = self.parts.headline
        return None if headline is None or headline.metric not in self.measured else float(self.measured[headline.metric].mean())

    def _due(self, metric: Metric) -> bool:
        """Return whether a metric is measured now: at both ends of the run, and every `every` trajectories in between."""
        every = getattr(metric, "every", None)
        if every is None or self.step in (0, self.budget.steps):
            return True
        return bool(self.seen // every > (self.seen - self.budget.evaluate_every) // every)

    def run(self, record: Record, after_update: Callable[[Tensor], bool]) -> bool:
        """Train to the end, or until after_update(loss [R]) says False, and return whether the end was reached.

        A frozen replica's metrics are still recorded: they are those of its last finite parameters.
        """
        budget = self.budget
        if self.step == 0:
            names = ", ".join(type(metric).__name__ for metric in self.parts.metrics)
            with told_if_slow(f"measuring {self.n_replicas} untrained replicas by {names}"):
                self._record(record, self.measure())
        while self.step < budget.steps:
            loss, trajectories, evaluation = self.update()
            last = self.step == budget.steps
            if last or budget.due(budget.record_every, self.step):
                self._record(record, self.training_statistics(loss, trajectories, evaluation))
            if last or budget.due(budget.evaluate_every, self.step):
                self._record(record, self.measure())
            if not after_update(loss):
                return False
        return True

    def training_statistics(self, loss: Tensor, trajectories: Trajectories, evaluation: Evaluation) -> dict[str, Tensor]:
        """Return what is recorded of an update besides measurements: name -> [R]."""
        p = self.parts
        statistics = {
            "loss": loss,
            "grad_norm": p.optimizer.grad_norm,
            "frozen": p.optimizer.frozen.double(),
            "batch_length": trajectories.mask.sum(-1).double().mean(-1),
            "batch_log_reward": trajectories.log_reward.double().mean(-1),
        }
        if "score_calls" in self.calls:
            statistics["score_calls"] = self.calls["score_calls"].double()
        statistics |= p.sampler.statistics() | p.objective.statistics(evaluation) | p.exploration.statistics()
        for observer in p.observers:
            statistics |= observer.statistics()
        return statistics

    def _record(self, record: Record, metrics: Mapping[str, Tensor]) -> None:
        if metrics:
            record(self.step, self.seen, self.reward_calls.tolist(), self.wall_seconds, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training needs to go on bit for bit."""
        p = self.parts
        return {
            "step": self.step,
            "wall_seconds": self.wall_seconds,
            "calls": self.calls,
            "rng": self.rng.state_dict(),
            "metric_rng": self.metric_rng.state_dict(),
            "sampler": p.sampler.state_dict(),
            "optimizer": p.optimizer.state_dict(),
            "objective": p.objective.state_dict(),
            "exploration": p.exploration.state_dict(),
            "observers": [observer.state_dict() for observer in p.observers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        p = self.parts
        self.step, self._elapsed, self._started = state["step"], state["wall_seconds"], time.perf_counter()
        for name, calls in self.calls.items():
            calls.copy_(state["calls"][name])
        self.rng.load_state_dict(state["rng"])
        self.metric_rng.load_state_dict(state["metric_rng"])
        p.sampler.load_state_dict(state["sampler"])
        p.optimizer.load_state_dict(state["optimizer"])
        p.objective.load_state_dict(state["objective"])
        p.exploration.load_state_dict(state["exploration"])
        for observer, saved in zip(p.observers, state["observers"], strict=True):
            observer.load_state_dict(saved)
