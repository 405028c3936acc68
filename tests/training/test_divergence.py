"""A replica that becomes non-finite says what was so first, where and when, and what to try; it costs nothing until then."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from building import composed, make_trainer, small_target
from hydra.utils import instantiate
from torch import Tensor

from gfn_vi.core.state_words import state_in_words
from gfn_vi.core.types import Role
from gfn_vi.training.divergence import Attempt
from gfn_vi.training.freezing import FreezeWatch
from gfn_vi.training.result import divergence, final_arrays, result_line
from gfn_vi.training.trainer import Trainer

SMALL = ("trainer.batch_size=8", "trainer.n_trajectories=80", "evaluation=sampled", "evaluation.n_samples=500")
GRID = ("target.side=4", "sampler=tabular")
DOMAINS = {
    "grid": GRID,
    "replayed": (*GRID, "exploration=replay"),
    "graphs": (*small_target("dag"), "sampler=mlp", "sampler.hidden=[6]"),
    "molecules": (*small_target("molecules"), "sampler=molecule_mpnn", "sampler.width=6"),
    "density": (*small_target("gaussian"), "sampler=diffusion", "sampler.n_steps=3", "sampler.hidden=[6]"),
    "pathwise": (
        *(*small_target("gaussian"), "sampler=diffusion", "sampler.n_steps=3", "sampler.hidden=[6]"),
        *("objective=reverse_kl", "estimator@objective.estimator=pathwise", "baseline@objective.baseline=none"),
    ),
}
SEED = 3


def made(*overrides: str, **top: Any) -> Trainer:
    return make_trainer(*SMALL, *overrides, **{"replicas": 2, "seed": SEED} | top)


def parameters(trainer: Trainer, role: Role) -> list[Tensor]:
    return [p.data for p in trainer.parts.optimizer.groups[role]]


def spoil_reward(trainer: Trainer, value: float, from_call: int) -> list[Tensor]:
    """Make the first reward of replica 1 `value` from that call on; return the list to which its states are added."""
    target, states = trainer.parts.target, []
    original, calls = target.log_reward, 0

    def log_reward(x: Tensor) -> Tensor:
        nonlocal calls
        found, calls = original(x), calls + 1
        if calls >= from_call and found.dim() == 2 and found.shape[0] == 2:
            states.append(x[1, 0].detach().clone())
            place = torch.zeros_like(found, dtype=torch.bool)
            place[1, 0] = True
            found = torch.where(place, value, found)
        return found

    target.log_reward = log_reward
    return states


@pytest.mark.parametrize(
    ("domain", "value"), [*((domain, math.nan) for domain in DOMAINS), ("grid", math.inf), ("density", -math.inf)]
)
def test_a_reward_is_named_with_its_state_and_update(domain: str, value: float) -> None:
    trainer = made(*DOMAINS[domain])
    if domain != "density":
        trainer.update()
    states = spoil_reward(trainer, value, from_call=1)
    trainer.update()
    line = trainer.divergences[1]
    update = 1 if domain == "density" else 2
    assert line.startswith(f"replica 1 (seed 4) became non-finite in update {update} and was frozen: log R of gfn_vi.targets.")
    assert f" is {value:g}" in line
    assert f" at {state_in_words(trainer.parts.target, states[0])}; try a reward that is finite" in line
    assert list(trainer.divergences) == [1]
    trainer.update()
    assert trainer.divergences == {1: line}, "it is said once"


@pytest.mark.parametrize(
    ("target", "state", "words"),
    [
        (small_target("tiny_dag"), None, r"the state \(\d+(, \d+)*\)"),
        (small_target("dag"), None, r"the graph without edges"),
        (small_target("molecules"), None, r"the molecule without blocks"),
        (("target=logistic_regression",), [0.5], r"the state \(.* = 0\.5, .*, \.\.\. \(\d+ in all\)\)|the state \(.* = 0\.5\)"),
        (("target=gaussian",), [math.nan], r"the state \(nan(, nan)*\)"),
    ],
)
def test_states_are_told_in_the_words_of_their_target(target: tuple[str, ...], state: list[float] | None, words: str) -> None:
    found = made_target(*target)
    tensor = found.initial(1)[0] if state is None else torch.full((found.dim,), state[0])
    assert re.fullmatch(words, state_in_words(found, tensor))


def made_target(*overrides: str) -> Any:
    return instantiate(composed(*overrides).target)


def test_edges_of_a_graph_have_the_names_of_its_nodes() -> None:
    target = made_target(*small_target("dag"))
    source, one = target.initial(1), f"({'|'.join(target.node_names)})"
    state = target.step(source, target.forward_mask(source).int().argmax(-1))[0]
    assert re.fullmatch(f"the graph {one} -> {one}", state_in_words(target, state))


@pytest.mark.parametrize(("role", "name"), [(Role.FORWARD, "P_F"), (Role.BACKWARD, "P_B"), (Role.LOG_Z, "log Z")])
def test_parameters_are_named_by_their_group(role: Role, name: str) -> None:
    trainer = made(*GRID)
    trainer.update()
    parameters(trainer, role)[0][0] = math.inf
    trainer.update()
    line = trainer.divergences[0]
    assert (
        f"parameters of {name} were not finite after update 1 (the first is inf); try a smaller optimizer.lr_{role.value} "
        in line
    )
    assert list(trainer.divergences) == [0]


@pytest.mark.parametrize(("role", "name"), [(Role.FORWARD, "log P_F"), (Role.BACKWARD, "log P_B")])
def test_a_log_probability_is_named_with_its_step(role: Role, name: str) -> None:
    """Weights of 1e200 are finite, logits are not."""
    trainer = made("target.side=4", "sampler.hidden=[6]")
    for parameter in parameters(trainer, role):
        parameter[1] *= 1e200
    trainer.update()
    line = trainer.divergences[1]
    way = re.search(
        rf"{name} is (nan|-inf) at step \d of a trajectory, (from|stopping in) the state (\(\d, \d\))(.*?) \(the", line
    )
    assert way is not None
    if role is Role.BACKWARD:  # of the stop step it is 0
        assert way[2] == "from"
        assert way[4].startswith(" to the state (")
        assert way[3] not in way[4]
    assert re.search(rf"\(the largest parameter of {name[4:]} is \d\.?\d*e\+199\)", line)
    assert re.search(rf"; try a smaller optimizer\.lr_{role.value} \(now .*\) or optimizer\.clip_norm=10$", line)


def test_a_policy_of_nan_is_named_before_the_reward_of_what_it_stops_in() -> None:
    """It stops where nothing may stop, and such a molecule has no reward."""
    trainer = made(*DOMAINS["molecules"])
    for parameter in parameters(trainer, Role.FORWARD):
        parameter[1] *= 1e200
    trainer.update()
    assert "log P_F is nan at step 1 of a trajectory, stopping in the molecule without blocks" in trainer.divergences[1]
    final_arrays(trainer, SEED, 16)


def test_a_state_of_a_density_that_is_not_finite_is_named() -> None:
    trainer = made(*DOMAINS["density"])
    for parameter in parameters(trainer, Role.FORWARD):
        parameter[1] *= 1e200
    trainer.update()
    way = r"step \d of a trajectory led from the state \(([-+\de., ]*)\) to the state \(.*(inf|nan).*\)"
    assert re.search(way, trainer.divergences[1])


def test_a_density_that_underflows_far_out_names_the_rates_too() -> None:
    trainer = made(*DOMAINS["density"])
    parameters(trainer, Role.FORWARD)[-1][1] = 1e300
    trainer.update()
    line = trainer.divergences[1]
    assert re.search(r"log R of \S+ is -inf \(a reward of 0 has no logarithm\) at the state \(\S*e\+\d+, ", line)
    assert "; try a smaller optimizer.lr_forward (now " in line


def test_a_score_that_is_not_finite_is_the_rewards() -> None:
    trainer = made(*DOMAINS["density"], "sampler.langevin=scalar")
    score, target = trainer.parts.target.score, trainer.parts.target

    def spoiled(x: Tensor) -> Tensor:
        found = score(x).clone()
        found[-1] = math.nan
        return found

    target.score = spoiled
    trainer.update()
    assert "the gradient of log R of gfn_vi.targets.densities.gaussian.Gaussian is nan at the state (" in trainer.divergences[1]


def test_a_loss_that_overflows_names_the_largest_log_weight_and_a_penalty() -> None:
    trainer = made(*GRID, dtype="float32")
    parameters(trainer, Role.LOG_Z)[0][1] = 2e30
    trainer.update()
    line = trainer.divergences[1]
    assert "the loss is inf, its terms are finite: the largest |log P_F - log P_B - log R + log Z| is 2e+30, for" in line
    assert line.endswith("penalty@objective.penalty=huber or dtype=float64")
    assert "lr_log_Z (now 0.1), a smaller optimizer.lr_" in line, "the largest rate comes first"


class Steep:
    """An objective with a term of value 0 whose gradient at log P_B is not finite."""

    def __init__(self, objective: Any) -> None:
        self.objective = objective

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objective, name)

    def __call__(self, evaluation: Any) -> Tensor:
        steep = (evaluation.log_pb - evaluation.log_pb.detach()).sum((1, 2)).abs().sqrt()
        return self.objective(evaluation) + steep


def test_a_gradient_is_named_by_its_group() -> None:
    trainer = made(*GRID)
    object.__setattr__(trainer.parts, "objective", Steep(trainer.parts.objective))
    trainer.update()
    for line in trainer.divergences.values():
        assert re.search(r": \d+ entries of the gradient of P_B were not finite, at a loss of \d", line)
        assert "try a smaller optimizer.lr_backward (now" in line
        assert "lr_forward" not in line
    assert 1 in trainer.divergences


class SteepInOne(Steep):
    """Replica 0 has an infinite loss, and replica 1 alone a gradient that is not finite."""

    def __call__(self, evaluation: Any) -> Tensor:
        steep = (evaluation.log_pb - evaluation.log_pb.detach())[1].sum().abs().sqrt()
        return self.objective(evaluation) + torch.stack([torch.full_like(steep, math.inf), steep])


def test_each_replica_has_its_own_cause_and_its_own_rate() -> None:
    trainer = made(*GRID, "optimizer.lr_backward=[1e-3,2e-2]")
    object.__setattr__(trainer.parts, "objective", SteepInOne(trainer.parts.objective))
    trainer.update()
    assert "the loss is inf, its terms are finite" in trainer.divergences[0]
    assert "a smaller optimizer.lr_backward (now 0.001)" in trainer.divergences[0]
    assert " entries of the gradient of P_B were not finite, at a loss of " in trainer.divergences[1]
    assert "try a smaller optimizer.lr_backward (now 0.02)" in trainer.divergences[1]


def test_what_is_evaluated_again_is_no_call_of_the_others() -> None:
    """Modified detailed balance asks for the reward of every state that it evaluates."""
    overrides = (*small_target("dag"), "sampler=mlp", "sampler.hidden=[6]", "objective=modified_detailed_balance")
    trainer, sound = made(*overrides), made(*overrides)
    for each in (trainer, sound):
        each.update()
    for parameter in parameters(trainer, Role.FORWARD):
        parameter[1] *= 1e200
    for each in (trainer, sound):
        each.update()
        each.update()
    assert list(trainer.divergences) == [1]
    assert int(trainer.reward_calls[0]) == int(sound.reward_calls[0])


def test_an_infinite_headline_at_the_end_counts() -> None:
    trainer = made(*GRID, "evaluation=exact")
    trainer.measured = {"jsd": torch.tensor([0.1, math.inf])}
    trainer._judge_the_end()
    assert list(trainer.divergences) == [1]


def finished(trainer: Trainer) -> list[tuple[int, dict[str, list[float]]]]:
    """What a run records to its end."""
    records: list[tuple[int, dict[str, list[float]]]] = []

    def record(step: int, seen: int, calls: Any, seconds: float, metrics: Any) -> None:
        records.append((step, {name: value.tolist() for name, value in metrics.items()}))

    assert trainer.run(record, lambda loss: True)
    return records


ONE_UPDATE = ("trainer.n_trajectories=8", "optimizer=sgd")


def test_parameters_that_the_last_update_spoils_count() -> None:
    """In float32 a rate of 1e39 is infinite."""
    trainer = made(*GRID, *ONE_UPDATE, "optimizer.lr_forward=[1e-3,1e39]", dtype="float32")
    records = finished(trainer)
    (line,) = trainer.divergences.values()
    assert line.startswith("replica 1 (seed 4) became non-finite in the last update: ")
    assert "parameters of P_F were not finite after update 1" in line
    assert [values["frozen"] for _, values in records if "frozen" in values] == [[0, 1]]


def test_what_only_the_last_measurement_shows_counts() -> None:
    """Parameters of 1e37 are finite; differences of logits are not."""
    overrides = ("target.side=4", "sampler.hidden=[6]", "evaluation=exact", "optimizer.lr_forward=[1e-3,1e37]")
    trainer = made(*ONE_UPDATE, *overrides, dtype="float32")
    finished(trainer)
    assert not bool(trainer.parts.optimizer.frozen.any())
    (line,) = trainer.divergences.values()
    assert line.startswith("replica 1 (seed 4) became non-finite by the end, where jsd is not finite: log P_F is nan at step 1")
    assert divergence(trainer) == f"replicas [1] became non-finite and were frozen; the others went on; the first: {line}"
    sound = f"{float(trainer.measured['jsd'][0]):.3g}"
    assert result_line(trainer, "run").startswith(f"run: jsd nan ({sound}), ")
    assert result_line(trainer, "run").endswith("; 1 of 2 became non-finite, the range is that of the others")


def test_sound_runs_say_nothing_and_are_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = made(*GRID)
    calls, evaluate = 0, trainer.parts.sampler.evaluate

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return evaluate(*arguments)

    monkeypatch.setattr(trainer.parts.sampler, "evaluate", counted)
    for _ in range(5):
        trainer.update()
    assert calls == 5
    assert divergence(trainer) is None
    assert "non-finite" not in result_line(trainer, "run")


def test_it_is_remembered_across_processes_with_all_replicas_in_turn() -> None:
    trainer = made(*GRID)
    spoil_reward(trainer, math.nan, from_call=2)
    trainer.update()
    trainer.update()
    again = made(*GRID)
    again.load_state_dict(trainer.state_dict())
    parameters(again, Role.BACKWARD)[0][0] = math.nan
    again.update()
    assert list(again.divergences) == [1, 0]
    text = divergence(again)
    assert text is not None
    first, second, summary = text.splitlines()
    assert first == trainer.divergences[1]
    assert "(seed 3) became non-finite in update 3 and was frozen: " in second
    assert summary == f"replicas [0, 1] became non-finite and were frozen; that is all of them; the first: {first}"


def test_looking_leaves_the_memory_of_an_objective_alone() -> None:
    """Where the loss had to be evaluated again; a second look at the same batch would move a running mean."""
    overrides = (*GRID, "objective=reverse_kl", "baseline@objective.baseline=running_mean")
    trainer, sound = made(*overrides), made(*overrides)
    for each in (trainer, sound):
        each.update()
    object.__setattr__(trainer.parts, "objective", Steep(trainer.parts.objective))
    for each in (trainer, sound):
        each.update()
    assert "entries of the gradient" in trainer.divergences[1]
    remembered, wanted = (t.parts.objective.state_dict()["mean"] for t in (trainer, sound))
    assert remembered.keys() == wanted.keys()
    for name, mean in remembered.items():
        torch.testing.assert_close(mean, wanted[name], rtol=1e-12, atol=0)


def test_a_frozen_replica_has_no_say_in_the_result_though_its_last_numbers_are_finite() -> None:
    trainer = made(*GRID, "evaluation=exact")
    trainer.parts.target.state_graph()
    spoil_reward(trainer, math.nan, from_call=1)
    trainer.update()
    sound, frozen = trainer.measure()["jsd"].tolist()
    assert math.isfinite(frozen)
    assert result_line(trainer, "run").startswith(f"run: jsd nan ({sound:.3g}), ")


def test_what_a_part_raises_then_is_said_and_training_goes_on() -> None:
    trainer = made(*GRID)

    def broken() -> None:
        raise ArithmeticError("no\nluck")

    trainer.parts.objective.state_dict = broken
    parameters(trainer, Role.LOG_Z)[0][0] = 1e200
    trainer.update()
    assert trainer.divergences[0].endswith("its batch cannot be evaluated again (ArithmeticError: no luck)")


def test_flags_are_read_when_they_are_due_and_all_at_the_end() -> None:
    watch = FreezeWatch(lag=2)
    attempts = [Attempt(u, None, None) for u in range(1, 6)]  # type: ignore[arg-type]
    flags = torch.tensor([[0, 0], [0, 1], [0, 1], [0, 1], [1, 1]], dtype=torch.bool)
    seen = [[(replicas, a.update) for replicas, a in watch.see(f, attempt)] for f, attempt in zip(flags, attempts, strict=True)]
    assert seen == [[], [], [], [([1], 2)], [([1], 3)]]
    assert [(replicas, a.update) for replicas, a in watch.read()] == [([1], 4), ([0, 1], 5)]
    assert list(watch.read()) == []
