"""The bound of scripts/benchmark.py: arithmetic against numbers by hand and torch's own count, and what an update is over it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.arithmetic import arithmetic, operations_of_layers, operations_per_state
from benchmark.cases import Job
from benchmark.measure import counted_arithmetic, distinct_counts, look_closely
from benchmark.report import result_lines, summarized
from gfn_vi.build import build_trainer

HEAD = {"implementation": "gfn_vi", "case": "2x8x64", "replicas": 5, "batch": 64, "mean_length": 8.0, "peak_memory_mb": 1.0}


def sampler_of(*overrides: str, case: str = "2x3x4", replicas: int = 2) -> tuple[Any, torch.Tensor]:
    """The sampler of a case and the features of its source."""
    trainer = build_trainer(Job(case, replicas, 1, 0, 1, "cpu").config(*overrides))[0]
    target: Any = trainer.parts.target
    return trainer.parts.sampler, target.features(target.initial(1))


def test_arithmetic_of_a_network_by_hand() -> None:
    """A 3 x 3 grid, widths 4 and 5: P_F maps 2 of 6 features to 3 logits, P_B to 2. One state, then 2 + 3 of two replicas."""
    sampler, features = sampler_of("sampler.hidden=[4,5]")
    assert operations_of_layers(sampler.forward_net, 2) == [2 * 4, 2 * 4 * 5, 2 * 5 * 3]
    assert operations_of_layers(sampler.forward_net, None) == [2 * 6 * 4, 2 * 4 * 5, 2 * 5 * 3]
    sample, forward, backward = 8 + 40 + 30, 2 * 8 + 3 * (40 + 30), 2 * 8 + 3 * (40 + 20)
    assert operations_per_state(sampler, 2) == sample + forward + backward
    found = arithmetic(sampler, features, 2 + 3)
    assert found["gflop_per_update"] == pytest.approx(5 * (sample + forward + backward) / 1e9)
    assert found["gflop_per_second"] > 0
    assert found["product"].startswith("1024 x 4 x 5, float32, ")
    uniform, _ = sampler_of("sampler.hidden=[4,5]", "sampler.backward=uniform")
    assert operations_per_state(uniform, 2) == sample + forward


def test_arithmetic_is_what_the_networks_do() -> None:
    """Torch counts the same matrix products where the input is dense."""
    sampler, features = sampler_of("sampler.hidden=[4,5]", "sampler.backward=learned", case="dag3x8-mlp", replicas=3)
    states = features.expand(3, 7, -1)  # 7 states of each of 3 replicas
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            sampler.forward_net(states)
        loss = sampler.forward_net(states).sum() + sampler.backward_net(states).sum()
        torch.autograd.grad(loss, [*sampler.forward_net.parameters(), *sampler.backward_net.parameters()])
    assert counter.get_total_flops() == 3 * 7 * operations_per_state(sampler, None)  # type: ignore[operator]


def test_no_arithmetic_of_networks_that_are_not_counted() -> None:
    sampler, features = sampler_of("sampler.width=8", case="dag3x8-transformer")
    assert arithmetic(sampler, features, 5) == {}


def test_the_bound_is_that_of_all_replicas_and_has_its_goal() -> None:
    """2 GFLOP at 200 GFLOP/s, the better of two rounds, are 10 ms for 5 replicas; 24 ms in the median."""
    rate = {"distinct_states": 300.0, "product": "1024 x 256 x 256, float32, threads=2"}
    rounds = [
        HEAD | rate | {"block_ms": [ms]} | {"gflop_per_update": gflop, "gflop_per_second": speed}
        for ms, gflop, speed in ((23.0, 1.5, 200.0), (25.0, 2.5, 150.0))
    ]
    found = summarized(rounds)
    assert (found["bound_ms"], found["times_bound"]) == (pytest.approx(10), pytest.approx(2.4))
    line = result_lines(found)[-1]
    assert "bound 10.00 ms/update, per replica 2.00 ms: 2 GFLOP of the networks on 300 distinct states at 200 GFLOP/s" in line
    assert line.endswith("(products of 1024 x 256 x 256, float32, threads=2); measured / bound 2.4 (goal 3: reached)")
    assert result_lines(found | {"times_bound": 3.1})[-1].endswith("3.1 (goal 3: missed)")
    assert result_lines(found | {"replicas": 8})[-1].endswith("measured / bound 2.4")


def test_the_count_of_torch_leaves_out_padding_and_agrees_with_that_by_hand() -> None:
    """P_F once to sample and once with its gradient, of a network with dense features, at the states of each replica."""
    counted, plain = (build_trainer(Job("dag3x8-mlp", 3, 1, 0, 1, "cpu").config())[0] for _ in range(2))
    found = counted_arithmetic(counted, 2)
    states = sum(sum(distinct_counts(plain.update()[1])) for _ in range(2)) / 2
    assert found["gflop_per_update"] == pytest.approx(states * operations_per_state(plain.parts.sampler, None) / 1e9)  # type: ignore[operator]
    assert found["product"].startswith("1024 x 1024 x 1024, float32, ")


def test_states_of_sampling_are_those_that_the_policy_is_asked_for() -> None:
    """A grid of 16 states is looked up whole, once; of 1,600 states those where trajectories are guessed to go."""
    whole = look_closely(build_trainer(Job("2x4x8", 3, 1, 0, 1, "cpu").config())[0], 2)
    assert (whole["sampled_states"], whole["sampled_batches"]) == (3 * 16, 1)
    trainer = build_trainer(Job("2x40x8", 2, 1, 0, 1, "cpu").config())[0]
    for _ in range(4):
        trainer.update()
    few, guess = look_closely(trainer, 1), trainer.parts.sampler._rehearsal  # type: ignore[attr-defined]
    assert (few["sampled_states"], few["sampled_batches"]) == (2 * guess.rows, guess.rounds)
    assert few["distinct_states"] <= few["sampled_states"] < 2 * 1600
