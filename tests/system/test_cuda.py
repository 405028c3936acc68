"""Training on a CUDA device: what it computes is what the CPU computes, it resumes, and rollouts never wait for the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from building import choices, make_exploration, make_objective, make_trainer
from torch import Tensor

from gfn_vi.core.replicas import ReplicaGenerators
from gfn_vi.core.types import Need, Role, Trajectories
from gfn_vi.evaluation.gradients.batch_gradients import BatchGradients, Estimator
from gfn_vi.evaluation.gradients.expected_gradients import expected_gradients
from gfn_vi.evaluation.gradients.statistics import GradientStatistics
from gfn_vi.runs.checkpoint import load_checkpoint, save_checkpoint
from gfn_vi.training.trainer import Trainer
from gfn_vi.verification.theorem_errors import TheoremErrors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TESTED: training on CUDA, no CUDA device here")

DEVICE = "cuda"
R = 2
SMALL = ("target.side=5", "sampler.hidden=[12]", "trainer.batch_size=12", "trainer.n_trajectories=240")
EXPLORATIONS = ("on_policy", "stop_bias", "replay", "mixture", "backward_rollout")


def trained(*overrides: str, updates: int = 3) -> Trainer:
    trainer = make_trainer(*SMALL, *overrides, replicas=R, dtype="float32", device=DEVICE)
    for _ in range(updates):
        loss = trainer.update()[0]
        assert loss.device.type == DEVICE
        assert bool(loss.isfinite().all())
    assert not bool(trainer.parts.optimizer.frozen.any())
    return trainer


def on_cpu(trajectories: Trajectories) -> Trajectories:
    values = {f.name: getattr(trajectories, f.name) for f in fields(trajectories)}
    return Trajectories(**{k: v.cpu() if isinstance(v, Tensor) else v for k, v in values.items()})


@contextmanager
def no_synchronization() -> Iterator[None]:
    """Whatever makes the host wait for the device raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("exploration", EXPLORATIONS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_cpu_says_the_same_of_the_same_trajectories(optimizer: str, exploration: str) -> None:
    """Generators differ between devices, so the trajectories of the fourth update and the parameters after it are moved."""
    overrides = (f"optimizer={optimizer}", f"exploration={exploration}")
    trainer = trained(*overrides)
    _, drawn, _ = trainer.update()
    host = make_trainer(*SMALL, *overrides, replicas=R, dtype="float32").parts
    host.sampler.load_state_dict(trainer.parts.sampler.state_dict())
    needs = host.objective.needs
    moved = on_cpu(drawn)
    ours, theirs = trainer.parts.sampler.evaluate(drawn, needs), host.sampler.evaluate(moved, needs)
    for name in ("log_pf", "log_pb", "log_reward", "log_Z"):
        at_device, at_host = getattr(ours, name).cpu(), getattr(theirs, name)
        torch.testing.assert_close(at_device, at_host, rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
    loss = trainer.parts.objective(ours)
    torch.testing.assert_close(loss.cpu(), host.objective(theirs), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moved.log_reward, host.target.log_reward(moved.terminal_states()).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("exploration", EXPLORATIONS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_measures_and_goes_on_from_a_checkpoint(optimizer: str, exploration: str, tmp_path: Path) -> None:
    """A checkpoint is read on the CPU; the next update draws the same trajectories and has the same loss."""
    overrides = (f"optimizer={optimizer}", f"exploration={exploration}")
    trainer = trained(*overrides)
    measured = trainer.measure()
    assert measured
    for name, value in measured.items():
        assert value.shape == (R,), name
        assert bool(value.isfinite().all()), name
    save_checkpoint(tmp_path / "checkpoint.pt", trainer.state_dict())
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state is not None
    resumed = trained(*overrides, updates=0)
    resumed.load_state_dict(state)
    (loss, drawn, _), (again, redrawn, _) = trainer.update(), resumed.update()
    assert torch.equal(drawn.actions, redrawn.actions)
    torch.testing.assert_close(again, loss, rtol=1e-4, atol=1e-5)
    assert resumed.seen == trainer.seen
    assert torch.equal(resumed.reward_calls, trainer.reward_calls)
    for p in resumed.parts.sampler.parameters():
        assert p.device.type == DEVICE
        assert bool(p.isfinite().all())


@pytest.mark.parametrize("exploration", EXPLORATIONS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_rollouts_do_not_synchronize(optimizer: str, exploration: str) -> None:
    """Explorations with a memory keep part of it on the host: there the rollouts they are made of are watched."""
    trainer = trained(f"optimizer={optimizer}", f"exploration={exploration}")
    sampler, explorer = trainer.parts.sampler, trainer.parts.exploration
    with no_synchronization():
        if explorer.has_density:
            drawn = explorer.collect(sampler, 12, trainer.rng, trainer.seen)
        else:
            drawn = sampler.rollout(12, trainer.rng)
            sampler.backward_rollout(drawn.terminal_states(), trainer.rng)
    assert drawn.batch == 12


def test_a_space_that_is_not_listed_is_rolled_out_without_synchronizing() -> None:
    trainer = trained("target.max_enumerated_states=1", "evaluation=sampled")
    with no_synchronization():
        drawn = trainer.parts.sampler.rollout(12, trainer.rng)
    assert bool((drawn.mask.sum(2) >= 1).all())


def test_gradients_of_batches_are_those_of_the_cpu() -> None:
    """Of the same trajectories; and the statistics made of them are measured on the device."""
    overrides = (
        *("evaluation=gradients", "evaluation.metrics.gradients.n_batches=16", "sampler.flow=true"),
        "+objective@evaluation.metrics.gradients.estimators.flows=detailed_balance",
    )
    trainer = trained(*overrides)
    measured = trainer.measure()
    for name, value in measured.items():
        assert value.shape == (R,), name
        assert bool(value.isfinite().all()) or "pareto_k" in name, name
    (metric,) = (m for m in trainer.parts.metrics if isinstance(m, GradientStatistics))
    host = make_trainer(*SMALL, *overrides, replicas=R, dtype="float32").parts.sampler
    host.load_state_dict(trainer.parts.sampler.state_dict())
    drawn = trainer.parts.sampler.rollout(6 * 8, trainer.rng)
    needs = frozenset({Need.FLOW})
    (there,) = BatchGradients(trainer.parts.sampler, list(Role), [needs], 25).chunks(drawn, 6)
    (here,) = BatchGradients(host, list(Role), [needs], 25).chunks(on_cpu(drawn), 6)
    for name, objective in metric.objectives.items():
        ours, theirs = there.gradients(Estimator(objective)), here.gradients(Estimator(objective))
        for role, gradient in ours.items():
            assert gradient.device.type == DEVICE
            torch.testing.assert_close(gradient.cpu(), theirs[role], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("target", ["target=hypergrid", "target=tiny_dag"])
def test_exact_gradients_and_theorems_are_those_of_the_cpu(target: str) -> None:
    """Every objective that has exact gradients, under P_F, P_B and a tilted policy; float64, sums in another order."""
    small = ("sampler.hidden=[12]", "sampler.flow=true", *(["target.side=5"] if "grid" in target else []))
    host, device = (make_trainer(target, *small, replicas=R, device=d).parts for d in ("cpu", DEVICE))
    device.sampler.load_state_dict(host.sampler.state_dict())
    graphs = [parts.target.state_graph() for parts in (host, device)]
    tilt = make_exploration("stop_bias").tilt(0)
    for name in choices("objective"):
        if name == "modified_detailed_balance" and "dag" in target:
            continue
        for measure in ("P_F", "P_B", tilt):
            wanted = expected_gradients(host.sampler, graphs[0], make_objective(name), measure)
            found = expected_gradients(device.sampler, graphs[1], make_objective(name), measure)
            assert (wanted is None) == (found is None)
            for role, gradient in (wanted or {}).items():
                assert found is not None
                torch.testing.assert_close(found[role].cpu(), gradient, rtol=1e-8, atol=1e-10)
    rng = ReplicaGenerators(0, R, "test", DEVICE, torch.float64)
    errors = TheoremErrors(5)(device.moment(rng))
    assert all(float(error.max()) < 1e-9 for error in errors.values())


@pytest.mark.parametrize("n_nodes", [4, 13])
def test_graphs_on_the_device_are_those_of_the_cpu(n_nodes: int) -> None:
    """Closures, masks and scores, of a table of all local scores (4 nodes) and of a growing one (13)."""
    overrides = ("target=dag", "data@target.data=erdos_renyi", f"target.data.n_nodes={n_nodes}")
    network = ("sampler=dag_transformer", "sampler.width=8", "trainer.batch_size=12", "evaluation.n_samples=20")
    trainer = make_trainer(*overrides, *network, replicas=R, dtype="float32", device=DEVICE)
    target, host = trainer.parts.target, make_trainer(*overrides, *network, replicas=R).parts.target
    for _ in range(3):
        drawn = trainer.update()[1]
    states = drawn.states
    assert states.device.type == DEVICE
    assert torch.equal(target.forward_mask(states).cpu(), host.forward_mask(states.cpu()))
    undo = states[..., 0, :, :].flatten(-2).long().argmax(-1)
    has_edge = states[..., 0, :, :].flatten(-2).bool().any(-1)
    assert torch.equal(target.backstep(states, undo)[has_edge].cpu(), host.backstep(states.cpu(), undo.cpu())[has_edge.cpu()])
    torch.testing.assert_close(target.log_reward(states).cpu(), host.log_reward(states.cpu()), rtol=1e-9, atol=1e-9)
    for name, value in trainer.measure().items():
        assert bool(value.isfinite().all()), name
