"""One measurement of gfn_vi. Runs as a process of its own, so that its peak memory is that of the case:

    PYTHONPATH=scripts python -m benchmark.measure '<Job.to_dict() as JSON>'

prints the result as one line of JSON.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmark.cases import BAD_SETTINGS, COLLECT, OUT_OF_MEMORY, Job, block_sizes
from benchmark.dags import DagCase
from benchmark.machine import lacks_memory
from benchmark.overrides import composed
from benchmark.phases import PHASES, Stopwatch, phases_timed
from gfn_vi import __version__
from gfn_vi.build import build_trainer
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.protocols import DiscreteTarget
from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.gradients.expected_gradients import ExactGradients
from gfn_vi.evaluation.gradients.statistics import GradientStatistics
from gfn_vi.training.trainer import Trainer

# Measurements of each kind at most, and updates whose phases and states are looked at.
EVALUATIONS, GRADIENTS, STATISTICS, CLOSE_LOOKS = 20, 10, 3, 20

# Odd multipliers of a hash of states are drawn from this seed.
HASH_SEED = 0


def build(job: Job) -> Trainer:
    """A trainer as scripts/train.py builds it."""
    return build_trainer(composed(job))[0]


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Waits for the device; does nothing for the CPU."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


def time_updates(trainer: Trainer, sizes: list[int], synchronize: Callable[[], None]) -> dict[str, Any]:
    """block_ms: milliseconds per update of each block; mean_length: steps of a trajectory, the stop step included.

    rewards_per_update: evaluations of the reward, of all replicas together.
    """
    block_ms, lengths, calls = [], [], int(trainer.reward_calls.sum())
    for size in sizes:
        synchronize()
        start = time.perf_counter()
        masks = [trainer.update()[1].mask for _ in range(size)]
        synchronize()
        block_ms.append((time.perf_counter() - start) / size * 1e3)
        lengths += [float(mask.sum(2).double().mean()) for mask in masks]
    rewards = (int(trainer.reward_calls.sum()) - calls) / sum(sizes)
    return {"block_ms": block_ms, "mean_length": sum(lengths) / len(lengths), "rewards_per_update": rewards}


def distinct_share(trajectories: Trajectories) -> float:
    """Distinct / visited states of the batch, mean over replicas.

    States are told apart by a linear hash to 64 bits: sorting graphs of hundreds of entries takes longer than the update.
    """
    shares = []
    n_entries = trajectories.states[0, 0, 0].numel()
    odd = torch.randint(-(2**62), 2**62, (n_entries,), generator=torch.Generator().manual_seed(HASH_SEED)) * 2 + 1
    for states, mask in zip(trajectories.states[:, :, :-1], trajectories.mask, strict=True):
        visited = states[mask].flatten(1).cpu()
        shares.append(len((visited.long() @ odd).unique()) / len(visited))
    return sum(shares) / len(shares)


def look_closely(trainer: Trainer, n_updates: int, synchronize: Callable[[], None]) -> tuple[dict[str, float], float]:
    """(milliseconds per update by phase, share of distinct states); slower than plain updates, so apart from them."""
    stopwatch, shares = Stopwatch(synchronize), []
    with phases_timed(trainer, stopwatch):
        for _ in range(n_updates):
            with stopwatch.phase("rest"):
                trajectories = trainer.update()[1]
            shares.append(distinct_share(trajectories))
    phases_ms = {phase: stopwatch.seconds[phase] / n_updates * 1e3 for phase in PHASES}
    return phases_ms, sum(shares) / len(shares)


def time_measurements(measure: Callable[[], object], n: int, synchronize: Callable[[], None]) -> dict[str, Any]:
    """first_ms builds the state graph, too; block_ms are one measurement each."""

    def once_ms() -> float:
        synchronize()
        start = time.perf_counter()
        measure()
        synchronize()
        return (time.perf_counter() - start) * 1e3

    return {"first_ms": once_ms(), "block_ms": [once_ms() for _ in range(n)]}


def exact_gradients(trainer: Trainer) -> dict[str, Any]:
    """The exact gradients of all losses and divergences on the whole graph, for every role."""
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


def time_case(job: Job, trainer: Trainer, synchronize: Callable[[], None]) -> dict[str, Any]:
    """A case that is a measurement and no training."""
    if job.case.measurement == "exact_gradients":
        names = list(exact_gradients(trainer))
        found = time_measurements(lambda: exact_gradients(trainer), min(job.updates, GRADIENTS), synchronize)
        return found | {"what": f"exact gradients of {', '.join(names)}"}
    if job.case.measurement == "gradient_statistics":
        metric = next(m for m in trainer.parts.metrics if isinstance(m, GradientStatistics))
        call = lambda: metric(trainer.parts.moment(trainer.metric_rng))  # type: ignore[arg-type]  # noqa: E731
        found = time_measurements(call, min(job.updates, STATISTICS), synchronize)
        return found | {"what": f"{len(metric.objectives)} estimators, {metric.n_batches} batches of {job.case.batch}"}
    found = time_measurements(trainer.measure, min(job.updates, EVALUATIONS), synchronize)
    return found | {"jsd": float(trainer.measured["jsd"].mean())}


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Resident memory of this process at its peak, in units of 1e6 bytes, and of the accelerator where there is one."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    if device.type == "cuda":
        peak["peak_device_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return peak


def measure(job: Job) -> dict[str, Any]:
    """Everything about one case and number of replicas."""
    torch.set_num_threads(job.threads)
    result: dict[str, Any] = {"version": __version__, "torch": torch.__version__}
    if job.case.measurement == COLLECT:
        from benchmark.collecting import time_collection

        return result | time_collection(job) | peak_memory_mb(torch.device("cpu"))
    trainer = build(job)
    device = trainer.reward_calls.device
    synchronize = synchronizer(device)
    for _ in range(job.warmup):
        trainer.update()
    if device.type == "cuda":
        result["device_name"] = torch.cuda.get_device_name(device)
    if job.case.measurement:
        return result | time_case(job, trainer, synchronize) | peak_memory_mb(device)
    found = time_updates(trainer, block_sizes(job.updates), synchronize)
    peak = peak_memory_mb(device)  # before a closer look, which needs memory of its own
    phases_ms, distinct = look_closely(trainer, min(job.updates, CLOSE_LOOKS), synchronize)
    found |= {"phases_ms": phases_ms, "distinct_share": distinct}
    found["log_Z"] = [float(value) for value in trainer.parts.sampler.log_Z.detach()]
    if isinstance(job.case, DagCase):
        found["log_rewards"] = known_log_rewards(trainer.parts.target)  # type: ignore[arg-type]
    return result | found | peak


def known_log_rewards(target: DiscreteTarget) -> list[float]:
    """Of the chain X1 -> X2 -> ... and of all edges that lead from a lower to a higher number: a peer must agree."""
    d = target.state_shape[-1]
    found = []
    for edges in ([(i, i + 1) for i in range(d - 1)], list(itertools.combinations(range(d), 2))):
        states = target.initial(1)
        for i, j in edges:
            states = target.step(states, torch.tensor([i * d + j], device=states.device))
        found.append(float(target.log_reward(states)))
    return found


def main() -> int:
    """Entry point; returns the exit status (2: the settings cannot work, one line on stderr says why)."""
    try:
        result = measure(Job.from_dict(json.loads(sys.argv[1])))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_SETTINGS
    except (MemoryError, RuntimeError) as error:  # of torch, a RuntimeError that says so
        if not (isinstance(error, MemoryError) or lacks_memory(str(error))):
            raise
        return OUT_OF_MEMORY
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
