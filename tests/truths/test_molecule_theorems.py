"""The theorems on spaces of molecules, where several trajectories lead to one object and an action stands for its likes."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import generators, make_exploration, make_sampler
from molecule_listing import Block
from molecule_spaces import make_molecules

from gfn_vi.verification.junctions import junction_choices
from gfn_vi.verification.table import by_dynamic_programming, by_enumeration, count_trajectories

TOLERANCE = 1e-9
AMIDES: list[Block] = [("CNC=O", [0, 2]), ("CNC=O", [2, 0]), ("C", [0])]


@pytest.mark.parametrize(("kind", "backward"), [("tabular", "learned"), ("mlp", "tied")])
def test_theorems_hold_by_recursion(kind: str, backward: str, tmp_path: Path) -> None:
    target = make_molecules(AMIDES, 2, 4, tmp_path)
    graph = target.state_graph()
    sampler = make_sampler(target, kind, backward, n_replicas=2, seed=5)
    checks = list(by_dynamic_programming(sampler, graph, generators(0, 2), 20, junction_choices(graph.n_levels, None, 0)))
    assert {check.theorem for check in checks} == {1, 2, 3, 4, 5, 6}
    for check in checks:
        assert check.holds(TOLERANCE), check


def test_theorems_hold_and_controls_fail_by_listing_trajectories(tmp_path: Path) -> None:
    target = make_molecules(AMIDES, 2, 3, tmp_path)
    assert count_trajectories(target.state_graph()) < 100
    checks = list(by_enumeration(make_sampler(target), target, make_exploration("epsilon_uniform"), 2, 0))
    assert sum(check.must_fail for check in checks) == 6
    for check in checks:
        assert check.holds(TOLERANCE), check
