"""What the cases of the benchmark do not say of a device: Fig. 1 at the paper's size, and CUDA graphs. A process of its own:

    PYTHONPATH=scripts python -m benchmark.gpu_checks one-by-one '<Options as JSON>' SETTING...
    PYTHONPATH=scripts python -m benchmark.gpu_checks at-once '<Options as JSON>' SETTING

prints one line of JSON per finding. The second says "ready", waits for a line, and trains for Options.window seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmark.cases import composed
from benchmark.timing import clock, first_wait, times_ms
from gfn_vi.build import build_trainer
from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.training.trainer import Trainer

Finding = dict[str, Any]
REPLAYS, BLOCKS = 10, 3


@dataclass(frozen=True)
class Options:
    """How settings of Fig. 1 are tried: side of the grid, updates that are timed and before that, seconds of training at once."""

    device: str
    side: int
    updates: int
    warmup: int
    window: float


def trainer_of(setting: str, options: Options) -> Trainer:
    """Return the training of a setting of Fig. 1, warm: five seeds, with the paper's budget and schedule."""
    grid = (f"target.side={options.side}", f"device={options.device}", "threads=1")
    trainer = build_trainer(composed(["experiment=hypergrid_objectives", "preset=paper", f"arm={setting}", *grid]))[0]
    if trainer.reward_calls.is_cuda:
        torch.cuda.set_device(trainer.reward_calls.device)  # the one that clock() waits for
    for _ in range(options.warmup):
        trainer.update()
    return trainer


def time_setting(setting: str, options: Options) -> Finding:
    """Return milliseconds of an update and of a measurement, how many of both a run has, and where the host waits."""
    trainer = trainer_of(setting, options)
    (ms,) = times_ms(trainer.update, [options.updates])
    trainer.measure()  # lists the states
    (measure_ms,) = times_ms(trainer.measure, [1])
    budget = trainer.budget
    found = {"setting": setting, "replicas": trainer.n_replicas, "ms": ms, "measure_ms": measure_ms}
    found |= {"updates": budget.steps, "measurements": 1 + budget.steps * budget.batch_size // budget.evaluate_every}
    return found | ({"host_waits": first_wait(trainer.update)} if trainer.reward_calls.is_cuda else {})


def train_at_once(setting: str, options: Options) -> Finding:
    """Return milliseconds per update of a setting while others train on the same device."""
    trainer = trainer_of(setting, options)
    clock()
    print("ready", flush=True)
    sys.stdin.readline()
    start, n = time.perf_counter(), 0
    while n == 0 or time.perf_counter() - start < options.window:
        trainer.update()
        n += 1
        clock()  # what is queued counts when it is done
    return {"setting": setting, "ms": (time.perf_counter() - start) / n * 1e3}


def try_graphs(setting: str, options: Options) -> Iterator[Finding]:
    """Yield milliseconds of a rollout, then of an update without what the host does, as they are and replayed from a CUDA graph.

    The update is only timed: the replayed learning rates are those of the captured one, and no replica would be frozen.
    """
    trainer = trainer_of(setting, options)
    parts, batch = trainer.parts, trainer.budget.batch_size
    sampler: Any = parts.sampler
    frozen = torch.zeros_like(parts.optimizer.frozen)

    def rollout() -> torch.Tensor:
        return sampler.rollout(batch, trainer.rng).actions

    def update() -> torch.Tensor:
        parts.optimizer.frozen = frozen  # a graph reads it where it was, and the optimizer keeps a new one
        with sampler.sharing():
            trajectories = parts.exploration.collect(sampler, batch, trainer.rng, trainer.seen)
            evaluation = sampler.evaluate(trajectories, parts.objective.needs)
        loss = parts.objective(evaluation)
        parts.optimizer.step(loss, trainer.seen)
        return trajectories.actions

    for name, call in (("rollout", rollout), ("update", update)):
        found: Finding = {"graph": name, "setting": setting, "ms": min(times_ms(call, [REPLAYS] * BLOCKS))}
        try:
            found["replayed_ms"], same_draws = replayed(call, trainer.rng)
        except RuntimeError as error:  # whatever cannot be captured says why in its first line
            yield found | {"problem": str(error).splitlines()[0]}
            continue
        # a second update has other parameters than the first
        yield found | ({"same_draws": same_draws} if name == "rollout" else {})


def replayed(call: Callable[[], torch.Tensor], rng: ReplicaGenerators) -> tuple[float, bool]:
    """Return milliseconds of a call replayed from a CUDA graph, and whether a replay returns what the call does.

    Raises RuntimeError where it cannot be captured.
    """
    if rng.device.type != "cuda":
        raise RuntimeError(f"device={rng.device.type} has no CUDA graphs")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph: Any = torch.cuda.CUDAGraph()
    for generator in rng.generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=stream):
        drawn = call()
    ms = min(times_ms(graph.replay, [REPLAYS] * BLOCKS))
    state = rng.state_dict()
    graph.replay()
    again = drawn.clone()
    rng.load_state_dict(state)
    return ms, torch.equal(again, call())


def main(what: str, options: Options, settings: list[str]) -> Iterator[Finding]:
    """Yield what is found, in the order it is found."""
    torch.set_num_threads(1)
    if what == "at-once":
        yield train_at_once(settings[0], options)
        return
    yield from (time_setting(setting, options) for setting in settings)
    yield from try_graphs(settings[0], options)  # last: a capture that fails may leave nothing usable behind


if __name__ == "__main__":
    for finding in main(sys.argv[1], Options(**json.loads(sys.argv[2])), sys.argv[3:]):
        print(json.dumps(finding), flush=True)
