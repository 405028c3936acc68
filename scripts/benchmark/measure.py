"""One measurement of gfn_vi. Runs as a process of its own, so that its peak memory is that of the case:

    PYTHONPATH=scripts python -m benchmark.measure '<Job as JSON>'

prints the result as one line of JSON; of several jobs one line each, as they come.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from statistics import mean, median
from typing import Any
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.arithmetic import arithmetic, product_rate
from benchmark.cases import BAD_SETTINGS, COLLECT, DAG, DENSITY, EXACT, HYPERGRID, MEASUREMENTS, MOLECULES, Job
from benchmark.timing import clock, first_wait, times_ms
from gfn_vi import __version__
from gfn_vi.build import build_trainer
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Role, Trajectories
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.evaluation.gradients.statistics import GradientStatistics
from gfn_vi.training.trainer import Trainer

# Measurements of each kind at most, and updates whose phases and states are looked at.
EVALUATIONS, GRADIENTS, STATISTICS, CLOSE_LOOKS = 20, 10, 3, 20
LOOKED_AT = 160  # batches of a replica in such updates: finding out what is distinct takes a while
LARGE = 1024  # rows and columns of a matrix whose products are as fast as they get
PHASES = ("sample", "reward", "loss", "backward", "optimizer", "rest")  # of an update


def time_updates(job: Job, trainer: Trainer) -> dict[str, Any]:
    """block_ms: milliseconds per update of each block; mean_length: steps of a trajectory, the stop step included.

    rewards_per_update: evaluations of the reward, of all replicas together.
    """
    masks: list[torch.Tensor] = []
    calls = int(trainer.reward_calls.sum())
    block_ms = times_ms(lambda: masks.append(trainer.update()[1].mask), job.blocks)
    rewards = (int(trainer.reward_calls.sum()) - calls) / job.updates
    length = mean(float(mask.sum(2).double().mean()) for mask in masks)
    return {"block_ms": block_ms, "mean_length": length, "rewards_per_update": rewards}


def distinct_counts(trajectories: Trajectories) -> list[int]:
    """Return of each replica the number of distinct states that its batch visits."""
    counts = []
    for states, mask in zip(trajectories.states[:, :, :-1], trajectories.mask, strict=True):
        counts.append(len({state.tobytes() for state in states[mask].cpu().numpy()}))  # sorting graphs would take far longer
    return counts


class Stopwatch:
    """Seconds by phase. A phase inside another one stops the outer one, so the seconds add up to the whole."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: read at every change of phase; it waits for an accelerator, which works on while the program goes ahead."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._clock, self._open, self._since = clock, "", 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what runs inside as `name`; also a decorator of functions."""
        outer = self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, name: str) -> str:
        """Open another phase and return the one before."""
        now, before = self._clock(), self._open
        self.seconds[before] += now - self._since
        self._open, self._since = name, now
        return before


@contextmanager
def phases_timed(trainer: Trainer, stopwatch: Stopwatch) -> Iterator[None]:
    """Time the methods that `trainer` calls until the end of the block, those of other objects of the same classes too."""
    parts = trainer.parts
    methods = [
        ("sample", type(parts.exploration), "collect"),
        ("reward", type(parts.target), "log_reward"),
        ("loss", type(parts.sampler), "evaluate"),
        ("loss", type(parts.objective), "__call__"),
        ("optimizer", type(parts.optimizer), "step"),
        ("backward", torch.autograd, "grad"),  # an optimizer calls one of these two
        ("backward", torch.autograd, "backward"),
    ]
    with ExitStack() as stack:
        for phase, owner, name in methods:
            stack.enter_context(patch.object(owner, name, stopwatch.phase(phase)(getattr(owner, name))))
        yield


def look_closely(trainer: Trainer, n_updates: int) -> dict[str, Any]:
    """Milliseconds per update by phase, and which visited states are distinct; slower than plain updates, so apart from them.

    distinct_share: distinct / visited states, mean over replicas; distinct_states: of an update, of all replicas together.
    sampled_states: those that P_F is evaluated at to sample, also of all, in so many sampled_batches.
    """
    stopwatch, shares, distinct = Stopwatch(clock), [], []
    with phases_timed(trainer, stopwatch), policies_counted(trainer) as evaluated:
        for _ in range(n_updates):
            with stopwatch.phase("rest"):
                trajectories = trainer.update()[1]
            counts, visited = distinct_counts(trajectories), trajectories.mask.sum((1, 2)).tolist()
            shares.append(mean(n / of for n, of in zip(counts, visited, strict=True)))
            distinct.append(sum(counts))
    phases_ms = {phase: stopwatch.seconds[phase] / n_updates * 1e3 for phase in PHASES}
    found = {"phases_ms": phases_ms, "distinct_share": mean(shares), "distinct_states": mean(distinct)}
    sampled = {"sampled_states": sum(evaluated) / n_updates, "sampled_batches": len(evaluated) / n_updates} if evaluated else {}
    return found | sampled


@contextmanager
def policies_counted(trainer: Trainer) -> Iterator[list[int]]:
    """Yield a list that takes the number of states, of all replicas, of each batch in which a discrete sampler samples."""
    kind, evaluated = type(trainer.parts.sampler), []
    plain = getattr(kind, "forward_log_probs", None)

    def counting(sampler: Any, states: torch.Tensor, tilt: Any = None, *, counts: list[int] | None = None) -> torch.Tensor:
        evaluated.append(len(states) * states.shape[1] if counts is None else sum(counts))
        return plain(sampler, states, tilt, counts=counts)  # type: ignore[misc]

    with nullcontext() if plain is None else patch.object(kind, "forward_log_probs", counting):
        yield evaluated


def counted_arithmetic(trainer: Trainer, n_updates: int) -> dict[str, Any]:
    """Return gflop_per_update as torch counts it for P_F on the distinct visited states, and the rate of large products.

    That is once without a gradient, as when sampling, then once with it; networks_ms: what this takes, the rest of P_F included.
    """
    sampler: Any = trainer.parts.sampler
    forward = list(sampler.forward_net.parameters())
    spent, operations = [], []

    def evaluate(states: torch.Tensor) -> None:
        with torch.no_grad():
            sampler.heads(states, [Role.FORWARD])
        torch.autograd.grad(sampler.heads(states, [Role.FORWARD])[Role.FORWARD].sum(), forward)

    for _ in range(n_updates):
        trajectories = trainer.update()[1]
        states = distinct_states(trajectories)
        counts = distinct_counts(trajectories)
        spent += times_ms(partial(evaluate, states), [1])
        with FlopCounterMode(display=False) as counter:
            evaluate(states)
        operations.append(counter.get_total_flops() * mean(counts) / max(counts))  # without the padding of replicas
    square = torch.rand(1, LARGE, LARGE, dtype=sampler.dtype, device=states.device)
    return {"networks_ms": median(spent), "gflop_per_update": mean(operations) / 1e9} | product_rate(square)


def distinct_states(trajectories: Trajectories) -> torch.Tensor:
    """Return the distinct states that the steps start from, [R, n, *state]; a replica with fewer has one of them more often."""
    found = []
    for states, mask in zip(trajectories.states[:, :, :-1], trajectories.mask, strict=True):
        found.append(torch.unique(states[mask].flatten(1), dim=0).view(-1, *states.shape[2:]))
    most = max(map(len, found))
    return torch.stack([states[torch.arange(most, device=states.device).clamp(max=len(states) - 1)] for states in found])


def exact_gradients(trainer: Trainer) -> dict[str, Any]:
    """Return the exact gradients of all losses and divergences on the whole graph, for every role."""
    gradients = ExactGradients(trainer.parts.sampler, trainer.parts.target.state_graph())  # type: ignore
    under = gradients.under("P_F")
    values = {
        "TB": under.residual_square(),
        "DB": under.steps(torch.square),
        "SubTB": under.subtrajectories(0.9),
        "log-variance": under.log_ratio_variance(),
        "KL(P_F, P_B)": under.kl_forward_backward(),
        "KL(P_B, P_F)": under.kl_backward_forward(),
    }
    return {name: gradients(value) for name, value in values.items()}


def time_measurement(job: Job, trainer: Trainer) -> dict[str, Any]:
    """first_ms builds the state graph, too; block_ms are one measurement each; what: what was measured."""
    if job.name == EXACT:
        call, most, what = trainer.measure, EVALUATIONS, "all exact metrics (the first builds the state graph)"
    elif job.name == "exact_gradients":
        call, most = (lambda: exact_gradients(trainer)), GRADIENTS
        what = f"exact gradients of {', '.join(call())}"
    else:
        metric = next(m for m in trainer.parts.metrics if isinstance(m, GradientStatistics))
        call, most = (lambda: metric(trainer.parts.moment(trainer.metric_rng))), STATISTICS  # type: ignore[arg-type]
        what = f"{len(metric.objectives)} estimators, {metric.n_batches} batches of {job.case.batch}"
    first_ms, *block_ms = times_ms(call, [1] * (1 + min(job.updates, most)))
    jsd = {"jsd": float(trainer.measured["jsd"].mean())} if job.name == EXACT else {}
    return {"first_ms": first_ms, "block_ms": block_ms, "what": what, **jsd}


def known_log_rewards(target: Any) -> list[float]:
    """Log-rewards of two objects; a peer must agree.

    Of a density: 0 and a vector of ones. Of DAGs: the chain X1 -> X2 -> ... and all edges from a lower to a higher number.
    """
    found: list[float] = []
    if not hasattr(target, "step"):
        return found + target.log_reward(torch.tensor([[0.0], [1.0]]).expand(2, target.dim)).tolist()
    d = target.state_shape[-1]
    for edges in ([(i, i + 1) for i in range(d - 1)], list(itertools.combinations(range(d), 2))):
        states = target.initial(1)
        for i, j in edges:
            states = target.step(states, torch.tensor([i * d + j], device=states.device))
        found.append(float(target.log_reward(states)))
    return found


def memory() -> dict[str, Any]:
    """Resident memory of this process at its peak, in units of 1e6 bytes, and of the accelerator where there is one."""
    unit = 1 if sys.platform == "darwin" else 1024
    found: dict[str, Any] = {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    if torch.cuda.is_initialized():
        found["peak_device_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
        found["device_name"] = torch.cuda.get_device_name()
    return found


def measure(job: Job) -> dict[str, Any]:
    """Return everything about one case and number of replicas."""
    torch.set_num_threads(job.threads)
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()  # of the job before
    versions = {"version": __version__, "torch": torch.__version__}
    if job.name == COLLECT:
        from benchmark.collecting import time_collection

        return versions | time_collection(job) | memory()
    trainer = build_trainer(job.config())[0]
    if trainer.reward_calls.is_cuda:
        torch.cuda.set_device(trainer.reward_calls.device)  # the one that clock() waits for
    for _ in range(job.warmup):
        trainer.update()
    if job.name in MEASUREMENTS:
        return versions | time_measurement(job, trainer) | memory()
    found = time_updates(job, trainer) | memory()
    looks = min(job.updates, CLOSE_LOOKS, max(1, LOOKED_AT // job.replicas))
    found |= look_closely(trainer, looks)  # comes last: it needs memory of its own
    if job.case.kind in (HYPERGRID, DAG):
        target: Any = trainer.parts.target
        found |= arithmetic(trainer.parts.sampler, target.features(target.initial(1)), found["distinct_states"])
    if job.case.kind == MOLECULES:
        found |= counted_arithmetic(trainer, looks)
    found["log_Z"] = [float(value) for value in trainer.parts.sampler.log_Z.detach()]
    if job.case.kind in (DAG, DENSITY):
        found["log_rewards"] = known_log_rewards(trainer.parts.target)
    if trainer.reward_calls.is_cuda:
        found["host_waits"] = first_wait(trainer.update)  # stops an update halfway, so after everything else
    return versions | found


if __name__ == "__main__":
    try:
        for job in sys.argv[1:]:
            print(json.dumps(measure(Job(**json.loads(job)))), flush=True)
    except ConfigError as error:  # one line on stderr says why
        print(error, file=sys.stderr)
        sys.exit(BAD_SETTINGS)
