"""A user's own target and objective, in the user's own folder: the examples of the how-to pages, run together."""

from __future__ import annotations

import itertools
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gfn_vi.targets.base import BaseTarget
from gfn_vi.targets.grids.hypergrid import Hypergrid
from gfn_vi.targets.grids.rewards import CornersReward
from system.command import ROOT, Outcome, ended, records, spawn, train

EXAMPLES = ROOT / "docs" / "examples"
SMALL = ("trainer.batch_size=16", "trainer.n_trajectories=320", "evaluation.every=160", "sampler.hidden=[16]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user, somewhere else."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "mine"))


def run_in(folder: Path, *arguments: str) -> Outcome:
    outcome = train(["--config-dir", "my_configs", *arguments], folder)
    assert outcome.code == 0, outcome.err
    return outcome


def test_target_and_objective_together(folder: Path) -> None:
    command = ["--config-dir", "my_configs", "target=my_target", "objective=my_objective", *SMALL]
    outcome = ended(spawn(command, folder))
    assert outcome.code == 0, outcome.err
    rows = records(folder / outcome.directory)
    assert {"loss", "jsd", "modes_covered", "modes_visited", "elbo"} <= {row["metric"] for row in rows}
    again = run_in(folder, "target=my_target", "objective=my_objective", *SMALL)
    assert again.directory == outcome.directory


@pytest.mark.parametrize(
    "choice",
    [
        "objective=detailed_balance",
        "objective=flow_matching",
        "objective=reverse_kl exploration=epsilon_uniform",
        "exploration=backward_rollout sampler.backward=tied",
        "sampler=tabular ~sampler.hidden",
        "+target.max_enumerated_states=100 evaluation.n_samples=50",
        "evaluation=both replicas=2 evaluation.n_samples=50",
    ],
)
def test_the_target_works_with_everything(choice: str, folder: Path) -> None:
    if "max_enumerated_states" in choice:  # as a user would: an attribute, set by the constructor
        source = folder / "my_targets.py"
        text = source.read_text().replace("weight: float)", "weight: float, max_enumerated_states: int)")
        source.write_text(
            text.replace("        require(", "        self.max_enumerated_states = max_enumerated_states\n        require(", 1)
        )
    words = [word for word in choice.split() if word != "~sampler.hidden"]
    small = [word for word in SMALL if "~sampler.hidden" not in choice or "hidden" not in word]
    outcome = run_in(folder, "target=my_target", *small, *words)
    assert ("sampled_elbo" if "n_samples=50" in choice and "both" not in choice else "jsd") in outcome.out


def test_the_target_is_learned(folder: Path) -> None:
    rates = ["optimizer.lr_forward=0.02", "optimizer.lr_backward=0.02", "optimizer.lr_log_Z=0.5"]
    outcome = run_in(folder, "target=my_target", "sampler=tabular", "trainer.n_trajectories=20000", *rates)
    jsd = [float(row["value"]) for row in records(folder / outcome.directory) if row["metric"] == "jsd"]
    assert jsd[0] > 0.1
    assert jsd[-1] < 0.005


def test_a_target_that_lacks_a_method(folder: Path) -> None:
    source = folder / "my_targets.py"
    text = source.read_text().replace("(BaseTarget)", "").replace("def backstep", "def back_step")
    source.write_text(text)
    outcome = train(["--config-dir", "my_configs", "target=my_target", *SMALL], folder)
    assert outcome.code == 2
    lacking = "backstep, initial, mode_index, n_modes, to"
    assert outcome.err == (f"error: target=my_targets.BitStrings: lacks {lacking} of DiscreteTarget (gfn_vi/core/protocols.py)\n")


def test_a_target_that_leaves_a_method_of_the_base_class_open(folder: Path) -> None:
    source = folder / "my_targets.py"
    source.write_text(source.read_text().replace("def backstep", "def back_step"))
    outcome = train(["--config-dir", "my_configs", "target=my_target", *SMALL], folder)
    assert outcome.code == 2
    assert outcome.err == "error: target._target_=my_targets.BitStrings: the class does not define backstep\n"


@pytest.mark.parametrize(
    ("name", "printed"), {"exact_gradients.py": ["log_Z", "forward", "backward"], "my_targets.py": []}.items()
)
def test_the_modules_import_nothing_but_what_they_show(name: str, printed: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], cwd=tmp_path, check=True, capture_output=True, text=True)
    lines = [re.fullmatch(r"(\w+) \(3, \d+\) \[(.+)\]", line) for line in done.stdout.splitlines()]
    assert [line and line[1] for line in lines] == printed
    norms = [float(norm) for line in lines if line for norm in line[2].split(", ")]
    assert len(set(norms)) == 3 * len(printed)  # three seeds differ
    assert all(0 < norm < math.inf for norm in norms)
    assert list(tmp_path.iterdir()) == []


# -- the base class: enumeration by following moves ------------------------------------------------------------------------


class Walked(BaseTarget):
    """A hypergrid that tells the base class only its moves."""

    def __init__(self, grid: Hypergrid) -> None:
        self.grid = grid
        self.n_actions, self.n_backward_actions, self.horizon = grid.n_actions, grid.n_backward_actions, grid.horizon
        self.state_shape, self.n_features, self.every_state_stops = grid.state_shape, grid.n_features, True

    def forward_mask(self, states: torch.Tensor) -> torch.Tensor:
        return self.grid.forward_mask(states)

    def backward_mask(self, states: torch.Tensor) -> torch.Tensor:
        return self.grid.backward_mask(states)

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return self.grid.step(states, actions)

    def backstep(self, states: torch.Tensor, backward_actions: torch.Tensor) -> torch.Tensor:
        return self.grid.backstep(states, backward_actions)

    def backward_action(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return self.grid.backward_action(states, actions)

    def forward_action(self, states: torch.Tensor, backward_actions: torch.Tensor) -> torch.Tensor:
        return self.grid.forward_action(states, backward_actions)

    def features(self, states: torch.Tensor) -> torch.Tensor:
        return self.grid.features(states)

    def log_reward(self, states: torch.Tensor) -> torch.Tensor:
        return self.grid.log_reward(states)


def edges(target: BaseTarget | Hypergrid) -> set[tuple[object, ...]]:
    graph = target.state_graph()
    ends = zip(graph.states[graph.source].tolist(), graph.states[graph.target].tolist(), strict=True)
    actions = zip(graph.forward_action.tolist(), graph.backward_action.tolist(), strict=True)
    return {(*map(tuple, pair), *action) for pair, action in zip(ends, actions, strict=True)}


def test_moves_alone_give_the_same_graph() -> None:
    grid = Hypergrid(n_dims=3, side=4, r0=0.01, reward=CornersReward(r1=0.5, r2=2.0), max_enumerated_states=100)
    walked = Walked(grid)
    assert walked.enumerable
    graph = walked.state_graph()
    assert graph.n_states == 64
    assert edges(walked) == edges(grid)
    assert torch.equal(walked.state_index(graph.states), torch.arange(64))
    assert torch.equal(graph.log_reward, grid.log_reward(graph.states))
    assert walked.n_modes == grid.n_modes
    assert len(graph.level_offsets) == len(grid.state_graph().level_offsets)


def test_the_limit_of_enumeration() -> None:
    walked = Walked(Hypergrid(n_dims=3, side=4, r0=0.01, reward=CornersReward(r1=0.5, r2=2.0), max_enumerated_states=100))
    walked.max_enumerated_states = 63
    assert not walked.enumerable
    assert walked.n_modes is None
    with pytest.raises(ValueError, match=r"target\.max_enumerated_states=63"):
        walked.state_graph()
    assert walked.to("cpu") is not walked


def test_the_example_against_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from my_targets import BitStrings  # type: ignore[import-not-found]

    target = BitStrings(length=4, pattern=[1, 0], weight=0.7)
    graph = target.state_graph()
    assert graph.n_states == 3**4
    assert len(graph.source) == 4 * 2 * 3**3
    strings = ["".join(bits) for bits in itertools.product("01", repeat=4)]
    expected = torch.tensor([0.7 * sum(s[i : i + 2] == "10" for i in range(3)) for s in strings]).double().logsumexp(0)
    assert graph.log_partition.item() == pytest.approx(expected.item(), abs=1e-6)
    assert target.n_modes == sum(s.count("10") == 2 for s in strings)
    # every move can be undone, and done again
    source, child = graph.states[graph.source], graph.states[graph.target]
    assert torch.equal(target.backstep(child, target.backward_action(source, graph.forward_action)), source)
    assert torch.equal(target.forward_action(child, graph.backward_action), graph.forward_action)
