"""One measurement of gfn_vi. Runs as a process of its own, so that its peak memory is that of the case:

    python -m gfn_vi.benchmark.measure '<Job.to_dict() as JSON>'

prints the result as one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from hydra import compose, initialize_config_module

from gfn_vi import __version__, resolvers
from gfn_vi.benchmark.cases import BAD_SETTINGS, COLLECT, SETTINGS, Job, block_sizes
from gfn_vi.benchmark.phases import PHASES, Stopwatch, phases_timed
from gfn_vi.build import build_trainer
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.types import Trajectories
from gfn_vi.evaluation.expected_gradients import ExactGradients
from gfn_vi.evaluation.gradient_statistics import GradientStatistics
from gfn_vi.training.trainer import Trainer

# Measurements of each kind at most, and updates whose phases and states are looked at.
EVALUATIONS, GRADIENTS, STATISTICS, CLOSE_LOOKS = 20, 10, 3, 20

MEASUREMENT_OVERRIDES = {
    "exact_gradients": ("sampler.flow=true",),
    "gradient_statistics": (
        *("evaluation=gradients", "evaluation.metrics.gradients.n_batches=64"),
        *("evaluation.metrics.gradients.batch_sizes=[1024]", "trainer.batch_size=64"),
    ),
}


def overrides(job: Job) -> list[str]:
    """The run as command-line overrides: nothing is timed that scripts/train.py would not do."""
    case, s = job.case, SETTINGS
    return [
        *("target=hypergrid", "reward@target.reward=corners", f"target.n_dims={case.dims}", f"target.side={case.side}"),
        *(f"target.r0={s['r0']}", f"target.reward.r1={s['r1']}", f"target.reward.r2={s['r2']}"),
        *("sampler=mlp", f"sampler.hidden=[{s['width']},{s['width']}]", "sampler.backward=learned"),
        *("exploration=on_policy", "objective=trajectory_balance", "optimizer=adam"),
        *(f"optimizer.lr_forward={s['rate']}", f"optimizer.lr_backward={s['rate']}", f"optimizer.lr_log_Z={s['rate_log_z']}"),
        *(f"trainer.batch_size={case.batch}", f"replicas={job.replicas}", f"seed={job.seed}"),
        *("dtype=float32", f"device={job.device}", f"threads={job.threads}"),
        *MEASUREMENT_OVERRIDES.get(case.measurement, ()),
    ]


def build(job: Job) -> Trainer:
    """A trainer as scripts/train.py builds it."""
    resolvers.register()
    with initialize_config_module("gfn_vi.configs", version_base="1.3"):
        config = compose("train", overrides(job))
    return build_trainer(config)[0]


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Waits for the device; does nothing for the CPU."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None


def time_updates(trainer: Trainer, sizes: list[int], synchronize: Callable[[], None]) -> tuple[list[float], float]:
    """(milliseconds per update of each block, mean number of steps of a trajectory, the stop step included)."""
    block_ms, masks = [], []
    for size in sizes:
        synchronize()
        start = time.perf_counter()
        masks += [trainer.update()[1].mask for _ in range(size)]
        synchronize()
        block_ms.append((time.perf_counter() - start) / size * 1e3)
    return block_ms, float(torch.stack([mask.sum(2).double().mean() for mask in masks]).mean())


def distinct_share(trajectories: Trajectories) -> float:
    """Distinct / visited states of the batch, mean over replicas."""
    shares = []
    for states, mask in zip(trajectories.states[:, :, :-1], trajectories.mask, strict=True):
        visited = states[mask].flatten(1)
        shares.append(len(visited.unique(dim=0)) / len(visited))
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
        call = lambda: metric(trainer.parts.sampler, trainer.parts.target, trainer.metric_rng)  # noqa: E731 # type: ignore
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
        from gfn_vi.benchmark.collecting import time_collection

        return result | time_collection(job, overrides(job)) | peak_memory_mb(torch.device("cpu"))
    trainer = build(job)
    device = trainer.reward_calls.device
    synchronize = synchronizer(device)
    for _ in range(job.warmup):
        trainer.update()
    if device.type == "cuda":
        result["device_name"] = torch.cuda.get_device_name(device)
    if job.case.measurement:
        return result | time_case(job, trainer, synchronize) | peak_memory_mb(device)
    block_ms, length = time_updates(trainer, block_sizes(job.updates), synchronize)
    peak = peak_memory_mb(device)  # before a closer look, which needs memory of its own
    phases_ms, distinct = look_closely(trainer, min(job.updates, CLOSE_LOOKS), synchronize)
    log_Z = [float(value) for value in trainer.parts.sampler.log_Z.detach()]
    found = {"block_ms": block_ms, "mean_length": length, "phases_ms": phases_ms, "distinct_share": distinct, "log_Z": log_Z}
    return result | found | peak


def main() -> int:
    """Entry point; returns the exit status (2: the settings cannot work, one line on stderr says why)."""
    try:
        result = measure(Job.from_dict(json.loads(sys.argv[1])))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_SETTINGS
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
