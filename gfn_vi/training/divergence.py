"""What became non-finite first in a replica, and what to try: looked for once, when the replica is frozen.

An update computes, in this order, from the parameters: states, log P_F, log R, log P_B, log F, log-weights, loss, gradient.
What is not finite spoils all that comes after it, so the first of them is named. The batch is evaluated again for that: a
frozen replica keeps the parameters that it had then.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.protocols import Sampler
from gfn_vi.core.state_words import state_in_words
from gfn_vi.core.types import Evaluation, Role, Trajectories
from gfn_vi.training.parts import Parts

WORDS = {Role.FORWARD: "P_F", Role.BACKWARD: "P_B", Role.FLOW: "log F", Role.LOG_Z: "log Z"}
FAR = 1e6  # a coordinate beyond which a sampler has leapt, not the reward failed
CLIP_NORM = 10  # what is proposed where gradients are not clipped


@dataclass(frozen=True)
class Attempt:
    """One update: its number, counted from 1, the sampler as it was in training then, and what it learned from."""

    update: int
    sampler: Sampler
    trajectories: Trajectories


@dataclass(frozen=True)
class Cause:
    """The first quantity that was not finite, in words; roles: whose rates have to do with it, none where the reward does."""

    words: str
    roles: tuple[Role, ...]
    is_loss: bool = False


class Diagnosis:
    """The search for the cause in one update, for one replica after the other."""

    def __init__(self, parts: Parts, attempt: Attempt) -> None:
        self.parts, self.attempt = parts, attempt
        self.trajectories = attempt.trajectories

    @cached_property
    def evaluation(self) -> Evaluation:
        """The batch as the parameters see it, with gradients."""
        return self.attempt.sampler.evaluate(self.trajectories, self.parts.objective.needs)

    @cached_property
    def loss(self) -> Tensor:
        """The loss of the batch: [R]. The objective's memory stays as it is."""
        objective = self.parts.objective
        remembered = copy.deepcopy(objective.state_dict())
        loss = objective(self.evaluation)
        objective.load_state_dict(remembered)
        return loss

    def line(self, replica: int) -> str:
        """Return what was not finite first in a replica, and what to try."""
        cause = self.cause(replica)
        return f"{cause.words}; try {_in_one(self._remedies(cause, replica))}"

    def cause(self, replica: int) -> Cause:
        """Return the first cause that is found; where everything is finite when evaluated again, words that say so."""
        finders: tuple[Callable[[int], Cause | None], ...] = (
            *(self._parameters, self._states, self._log_pf, self._reward, self._log_pb),
            *(self._flows, self._log_weights, self._loss, self._gradient),
        )
        everything = tuple(self.parts.optimizer.groups)
        found = (cause for find in finders if (cause := find(replica)) is not None)
        return next(found, Cause("loss or gradient, which were finite when the batch was evaluated again", everything))

    # -- from parameters to the gradient ------------------------------------------------------------------------------

    def _parameters(self, r: int) -> Cause | None:
        for role, parameters in self.parts.optimizer.groups.items():
            values = torch.cat([p.detach()[r].flatten() for p in parameters])
            wrong = values[~values.isfinite()]
            if len(wrong) > 0:
                since = f"after update {self.attempt.update - 1}" if self.attempt.update > 1 else "from the start"
                count = f"{len(wrong)} of {len(values)} parameters of {WORDS[role]}"
                return Cause(f"{count} were not finite {since} (the first is {_number(wrong[0])})", (role,))
        return None

    def _states(self, r: int) -> Cause | None:
        states = self.trajectories.states[r]
        wrong = ~states.flatten(2).isfinite().all(-1)  # [B, T+1]
        if not bool(wrong.any()):
            return None
        step, b = _first(wrong.T)
        if step == 0:
            return Cause(f"a trajectory began at {self._words(states[b, 0])}", (Role.FORWARD, Role.BACKWARD))
        before = states[b, step - 1]
        if getattr(self.attempt.sampler, "uses_score", False):
            target: Any = self.parts.target
            score = target.score(before[None])[0]
            if not bool(score.isfinite().all()):
                return self._of_the_reward("the gradient of log R", score[~score.isfinite()][0], before)
        words = f"step {step} of a trajectory led from {self._words(before)} to {self._words(states[b, step])}"
        return Cause(words, (Role.FORWARD, Role.BACKWARD))

    def _reward(self, r: int) -> Cause | None:
        log_reward = self.trajectories.log_reward[r]
        wrong = ~log_reward.isfinite()
        if not bool(wrong.any()):
            return None
        (b,) = _first(wrong)
        return self._of_the_reward("log R", log_reward[b], self.trajectories.terminal_states()[r, b])

    def _of_the_reward(self, name: str, value: Tensor, state: Tensor) -> Cause:
        target: Any = self.parts.target
        about = " (a reward of 0 has no logarithm)" if name == "log R" and float(value) == -math.inf else ""
        whose = getattr(target, "name", None) or f"{type(target).__module__}.{type(target).__qualname__}"
        words = f"{name} of {whose} is {_number(value)}{about} at {self._words(state)}"
        is_far_out = state.is_floating_point() and float(state.abs().max()) > FAR  # any density underflows somewhere
        return Cause(words, (Role.FORWARD,) if is_far_out else ())

    def _log_pf(self, r: int) -> Cause | None:
        return self._of_steps(r, Role.FORWARD, self.evaluation.log_pf[r])

    def _log_pb(self, r: int) -> Cause | None:
        return self._of_steps(r, Role.BACKWARD, self.evaluation.log_pb[r])

    def _of_steps(self, r: int, role: Role, log_probs: Tensor) -> Cause | None:
        states = self.trajectories.states[r]
        wrong = ~log_probs.isfinite() & self.trajectories.mask[r]
        if not bool(wrong.any()):
            return None
        step, b = _first(wrong.T)
        before, after = states[b, step], states[b, step + 1]
        way = f"from {self._words(before)} to {self._words(after)}"
        way = f"stopping in {self._words(after)}" if torch.equal(before, after) else way
        learned = role if role in self.parts.optimizer.groups else Role.FORWARD
        largest = max(float(p.detach()[r].abs().max()) for p in self.parts.optimizer.groups[learned])
        about = f"at step {step + 1} of a trajectory, {way} (the largest parameter of {WORDS[learned]} is {largest:.3g})"
        return Cause(f"log {WORDS[role]} is {_number(log_probs[b, step])} {about}", (learned,))

    def _flows(self, r: int) -> Cause | None:
        states = self.trajectories.states[r]
        for name, flows in (("log F", self.evaluation.log_flow), ("the log of the inflow", self.evaluation.log_inflow)):
            wrong = None if flows is None else ~flows[r].isfinite()  # [B, T+1] or [B, T]
            if flows is not None and wrong is not None and bool(wrong.any()):
                step, b = _first(wrong.T)
                return Cause(
                    f"{name} is {_number(flows[r, b, step])} at {self._words(states[b, step])}", (Role.FORWARD, Role.FLOW)
                )
        return None

    def _log_weights(self, r: int) -> Cause | None:
        e = self.evaluation
        behavior = None if e.log_behavior is None else e.trajectory_log_pf - e.log_behavior
        for name, value in (("log P_F - log P_B - log R", e.log_ratio()), ("log P_F - log of the behavior's density", behavior)):
            if value is not None and not bool(value[r].isfinite().all()):
                (b,) = _first(~value[r].isfinite())
                return Cause(f"{name} is {_number(value[r, b])} for a trajectory to {self._end(r, b)}", self._both)
        return None

    def _loss(self, r: int) -> Cause | None:
        if bool(self.loss[r].isfinite()):
            return None
        residual = self.evaluation.residual()[r].detach()
        b = int(residual.abs().argmax())
        size = f"the largest |log P_F - log P_B - log R + log Z| is {float(residual[b].abs()):.3g}, for a trajectory to"
        return Cause(f"the loss is {_number(self.loss[r])}, its terms are finite: {size} {self._end(r, b)}", self._both, True)

    def _gradient(self, r: int) -> Cause | None:
        optimizer = self.parts.optimizer
        found = torch.autograd.grad(self.loss.sum(), optimizer.parameters, allow_unused=True, retain_graph=True)
        gradients = {p: g[r] for p, g in zip(optimizer.parameters, found, strict=True) if g is not None}
        wrong = {
            role: bad
            for role, parameters in optimizer.groups.items()
            if (bad := sum(int((~gradients[p].isfinite()).sum()) for p in parameters if p in gradients))
        }
        if wrong:
            counts = " and ".join(f"{n} entries of the gradient of {WORDS[role]}" for role, n in wrong.items())
            return Cause(f"{counts} were not finite, at a loss of {_number(self.loss[r])}", tuple(wrong))
        return None

    # -- in words -----------------------------------------------------------------------------------------------------

    @property
    def _both(self) -> tuple[Role, ...]:
        return tuple(self.parts.optimizer.groups)

    def _words(self, state: Tensor) -> str:
        return state_in_words(self.parts.target, state)

    def _end(self, r: int, b: int) -> str:
        return self._words(self.trajectories.terminal_states()[r, b])

    def _remedies(self, cause: Cause, replica: int) -> list[str]:
        if not cause.roles:
            return ["a reward that is finite and above 0 wherever a trajectory can end"]
        optimizer, sampler = self.parts.optimizer, self.attempt.sampler
        rates = {role: float(optimizer.rates[role][replica]) for role in cause.roles if role in optimizer.rates}
        largest_first = sorted(rates.items(), key=lambda item: -item[1])
        found = [f"a smaller optimizer.lr_{role.value} (now {rate:g})" for role, rate in largest_first if rate > 0]
        clip = optimizer.clip_norm
        found.append(f"optimizer.clip_norm={CLIP_NORM}" if clip is None else f"a smaller optimizer.clip_norm (now {clip:g})")
        if cause.is_loss and type(getattr(self.parts.objective, "penalty", None)).__name__ == "Square":
            found.append("penalty@objective.penalty=huber")
        remedies: Callable[[], list[str]] | None = getattr(sampler, "remedies", None)  # a user's own sampler may know of none
        found += [] if remedies is None else remedies()
        if sampler.log_Z.dtype != torch.float64:
            found.append("dtype=float64")
        return found


def _first(wrong: Tensor) -> list[int]:
    """Return the index of the first true entry, the first axis counting most."""
    index: list[int] = wrong.nonzero()[0].tolist()
    return index


def _number(value: Tensor) -> str:
    return f"{float(value.detach()):.6g}"


def _in_one(words: list[str]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
