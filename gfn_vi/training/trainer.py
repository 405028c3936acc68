"""The training loop: collect, evaluate, descend; measure, record and save when due.

Clocks count trajectories per replica. Measuring draws from its own generators and changes nothing, so more or fewer
evaluations leave training bit for bit the same.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.patience import told_if_slow
from gfn_vi.core.protocols import Metric, Sampler
from gfn_vi.core.reliability import MARK, WEIGHTS_OF, Weights, weights_behind
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.seeds import replica_seeds
from gfn_vi.core.types import Evaluation, Trajectories
from gfn_vi.training.divergence import Attempt, Diagnosis
from gfn_vi.training.freezing import LAG, FreezeWatch
from gfn_vi.training.parts import Parts

logger = logging.getLogger(__name__)

Record = Callable[[int, int, Sequence[int], float, Mapping[str, Tensor]], None]
"""(step, trajectories, reward calls of each replica, wall seconds, name -> [R]): where records go."""


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
        self.seed = seed
        # of each replica that became non-finite, in this order, what was so first and what to try
        self.divergences: dict[int, str] = {}
        self._watch = FreezeWatch(LAG if device.type == "cuda" else 0)
        self.rng = ReplicaGenerators(seed, n_replicas, "rollout", device, dtype)
        self.metric_rng = ReplicaGenerators(seed, n_replicas, "evaluation", device, dtype)
        self.step = 0
        counters = getattr(parts.sampler, "counters", ("reward_calls",))
        self.calls = {name: torch.zeros(n_replicas, dtype=torch.long, device=device) for name in counters}
        self._calls_before = self._calls_now()
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

    def training_sampler(self) -> Sampler:
        """Return the sampler of the next batch: that of the parts, on other steps where training has steps of its own."""
        in_training = getattr(self.parts.sampler, "in_training", None)  # a sampler of a user's own may be the same always
        sampler: Sampler = self.parts.sampler if in_training is None else in_training(self.seen)
        return sampler

    def collect(self) -> Trajectories:
        """Draw the next batch as the exploration does: trajectories [R, batch_size]."""
        return self._collect(self.training_sampler())

    def _collect(self, sampler: Sampler) -> Trajectories:
        if hasattr(sampler, "forget"):
            sampler.forget()
        return self.parts.exploration.collect(sampler, self.budget.batch_size, self.rng, self.seen)

    def evaluate(self, trajectories: Trajectories) -> Evaluation:
        """Return what the current parameters say of a batch, differentiable, with what the objective needs."""
        return self.training_sampler().evaluate(trajectories, self.parts.objective.needs)

    def update(
        self, trajectories: Trajectories | None = None, evaluation: Evaluation | None = None, loss: Tensor | None = None
    ) -> tuple[Tensor, Trajectories, Evaluation]:
        """Do one update and return its loss [R], trajectories and evaluation.

        Without arguments the trainer draws, evaluates and asks the objective. In a loop of one's own any of the three steps is
        replaced by giving its result; these four lines are one update without arguments:

            trajectories = trainer.collect()                  # or of one's own: [R, batch_size]
            evaluation = trainer.evaluate(trajectories)       # with gradient
            loss = trainer.parts.objective(evaluation)        # or any other differentiable loss: [R]
            trainer.update(trajectories, evaluation, loss)

        They are the same up to rounding: in one update sampling and evaluation may share what both need. Each replica descends
        its own entry of the loss. With a batch that is given, rewards that were asked for since the last update or measurement
        count as those of this update. Raises ConfigError for a batch of another size, since clocks count
        trajectories, for a loss that is not [R] or has no gradient, and for an evaluation or a loss without its trajectories.
        """
        p = self.parts
        self._check_given(trajectories, evaluation, loss)
        sampler = self.training_sampler()
        before = self._calls_before if trajectories is not None else self._calls_now()
        if trajectories is None:
            with self._sharing(sampler):
                trajectories = self._collect(sampler)
                evaluation = sampler.evaluate(trajectories, p.objective.needs)
        elif evaluation is None:
            evaluation = sampler.evaluate(trajectories, p.objective.needs)
        loss = p.objective(evaluation) if loss is None else loss
        p.optimizer.step(loss, self.seen)
        self._calls_before = self._calls_now()
        for name, calls in self.calls.items():
            calls.add_(self._calls_before[name] - before[name])
        # behind the counts: a batch that is evaluated again asks for rewards that training has not asked for
        self._explain(self._watch.see(p.optimizer.frozen, Attempt(self.step + 1, sampler, trajectories)))
        for observer in p.observers:
            observer.observe(trajectories)
        if hasattr(sampler, "remember"):
            sampler.remember()
        self.step += 1
        return loss.detach(), trajectories, evaluation

    def _sharing(self, sampler: Sampler) -> AbstractContextManager[None]:
        """Return a context for a batch and its evaluation; where an exploration might change parameters, nothing is shared."""
        if hasattr(sampler, "sharing") and getattr(self.parts.exploration, "only_rolls_out", False):
            return sampler.sharing()
        return nullcontext()

    def _check_given(self, trajectories: Trajectories | None, evaluation: Evaluation | None, loss: Tensor | None) -> None:
        """Refuse what is no result of the steps of an update."""
        if trajectories is None:
            given = "evaluation" if evaluation is not None else "loss"
            alone = evaluation is None and loss is None
            require(alone, f"update({given})", "without trajectories", "give the trajectories that it is of, too")
            return
        found, size = list(trajectories.mask.shape[:2]), [self.n_replicas, self.budget.batch_size]
        require(found == size, "update(trajectories)", found, f"expected [replicas, trainer.batch_size] = {size}")
        if loss is not None:
            shape = f"expected one number for each replica, [{self.n_replicas}], not their sum"
            require(list(loss.shape) == [self.n_replicas], "update(loss)", list(loss.shape), shape)
            require(loss.requires_grad, "update(loss)", "without gradient", "compute it from trainer.evaluate(trajectories)")

    def _calls_now(self) -> dict[str, Tensor]:
        return {name: getattr(self.parts.sampler, name).clone() for name in self.calls}

    def measure(self) -> dict[str, Tensor]:
        """Return all metrics that are due, at the current parameters: name -> [R]."""
        p = self.parts
        self.measured = {}
        moment = p.moment(self.metric_rng)
        for metric in p.metrics:
            if self._due(metric):
                self.measured |= metric(moment)
        self._calls_before = self._calls_now()
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

    def weights_behind(self, metric: str) -> dict[int, list[Weights]]:
        """Return replica -> the weights that a metric rests on, as last measured; replicas where it is NaN are left out."""
        if metric not in WEIGHTS_OF or metric not in self.measured:
            return {}
        found = weights_behind(metric, {name: dict(enumerate(values.tolist())) for name, values in self.measured.items()})
        return {r: weights for r, weights in found.items() if not math.isnan(self.measured[metric][r])}

    def headline_mark(self) -> str:
        """Return the mark of a headline that rests on importance weights which do not carry it in all replicas, else ""."""
        found = {} if self.parts.headline is None else self.weights_behind(self.parts.headline.metric)
        return "" if all(weights.is_reliable for of_replica in found.values() for weights in of_replica) else f" {MARK}"

    def _due(self, metric: Metric) -> bool:
        """Return whether a metric is measured now: at both ends of the run, and every `every` trajectories in between."""
        every = getattr(metric, "every", None)
        if every is None or self.step in (0, self.budget.steps):
            return True
        return bool(self.seen // every > (self.seen - self.budget.evaluate_every) // every)

    def run(self, record: Record, after_update: Callable[[Tensor], bool], before_end: Callable[[], None] | None = None) -> bool:
        """Train to the end, or until after_update(loss [R]) says False, and return whether the end was reached.

        before_end: called after the last update, where state and records are those that a longer run would have; not called where
        that update made parameters non-finite, which a longer run would find out later. A frozen replica's metrics are still
        recorded: they are those of its last finite parameters.
        """
        budget = self.budget
        if self.step == 0:
            names = ", ".join(type(metric).__name__ for metric in self.parts.metrics)
            with told_if_slow(f"measuring {self.n_replicas} untrained replica{'s' * (self.n_replicas > 1)} by {names}"):
                self._record(record, self.measure())
        while self.step < budget.steps:
            loss, trajectories, evaluation = self.update()
            last, is_due = self.step == budget.steps, budget.due(budget.record_every, self.step)
            is_sound = last and not self._freeze_at_the_end(trajectories)
            if is_sound and not is_due and before_end is not None:
                before_end()
            if last or is_due:
                self._record(record, self.training_statistics(loss, trajectories, evaluation))
            if is_sound and is_due and before_end is not None:
                before_end()
            if last or budget.due(budget.evaluate_every, self.step):
                self._record(record, self.measure())
            if last:
                self._judge_the_end()
            if not after_update(loss):
                return False
        return True

    def measure_if_due(self, record: Record) -> None:
        """Measure and record what a run that goes on measures after the present number of updates."""
        if self.step > 0 and self.budget.due(self.budget.evaluate_every, self.step):
            self._record(record, self.measure())

    # -- what became non-finite ---------------------------------------------------------------------------------------

    def _explain(self, found: Iterable[tuple[list[int], Attempt]], when: str = "in update {} and was frozen") -> None:
        """Say and remember of the replicas that are not known yet what was not finite first, and what to try."""
        for replicas, attempt in found:
            fresh = [r for r in replicas if r not in self.divergences]
            diagnosis = Diagnosis(self.parts, attempt)
            for r in fresh:
                who = f"replica {r} (seed {replica_seeds(self.seed, self.n_replicas)[r]}) became non-finite"
                try:
                    why = diagnosis.line(r)
                except Exception as error:  # noqa: BLE001 - whatever a part raises on such numbers: the other replicas go on
                    why = f"its batch cannot be evaluated again ({type(error).__name__}: {error})"
                self.divergences[r] = " ".join(f"{who} {when.format(attempt.update)}: {why}".split())
                logger.warning(self.divergences[r])

    def _freeze_at_the_end(self, trajectories: Trajectories) -> bool:
        """Freeze the replicas whose parameters the last update made non-finite, and return whether there are any.

        No other update will find out.
        """
        optimizer = self.parts.optimizer
        self._explain(self._watch.read())
        before = optimizer.frozen
        optimizer.freeze_non_finite()
        replicas = optimizer.frozen.nonzero().squeeze(1).tolist()
        self._explain([(replicas, Attempt(self.step + 1, self.parts.sampler, trajectories))], "in the last update")
        return bool((optimizer.frozen != before).any())

    def _judge_the_end(self) -> None:
        """Count as diverged, too, what the final measurement alone shows: a headline that is not finite."""
        headline = self.parts.headline
        if headline is None or headline.metric not in self.measured:
            return
        replicas = (~self.measured[headline.metric].isfinite()).nonzero().squeeze(1).tolist()
        if replicas:
            rng = ReplicaGenerators(self.seed, self.n_replicas, "divergence", self.rng.device, self.rng.dtype)
            sampler = self.parts.sampler
            attempt = Attempt(self.step + 1, sampler, sampler.rollout(self.budget.batch_size, rng))
            self._explain([(replicas, attempt)], f"by the end, where {headline.metric} is not finite")

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
        self._explain(self._watch.read())
        return {
            "step": self.step,
            "wall_seconds": self.wall_seconds,
            "calls": self.calls,
            "rng": self.rng.state_dict(),
            "metric_rng": self.metric_rng.state_dict(),
            "sampler": p.sampler.state_dict(),
            "sampler_memory": p.sampler.memory() if hasattr(p.sampler, "memory") else None,
            "optimizer": p.optimizer.state_dict(),
            "objective": p.objective.state_dict(),
            "exploration": p.exploration.state_dict(),
            "observers": [observer.state_dict() for observer in p.observers],
            "divergences": self.divergences,
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
        self._calls_before = self._calls_now()
        if hasattr(p.sampler, "recall"):
            p.sampler.recall(state.get("sampler_memory"))  # checkpoints of earlier releases have none
        p.optimizer.load_state_dict(state["optimizer"])
        p.objective.load_state_dict(state["objective"])
        p.exploration.load_state_dict(state["exploration"])
        self.divergences = dict(state.get("divergences", {}))  # older checkpoints have none
        for observer, saved in zip(p.observers, state["observers"], strict=True):
            observer.load_state_dict(saved)
