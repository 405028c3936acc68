"""The space of molecules against tests/molecule_listing.py, which lists it by force: states, moves, P_B, P_T and log Z.

The sets are small, and each has something that a canonical form can get wrong: rings with twelve symmetries, one fragment that
is attached in several ways, chains with a direction, several slots at one atom, slots that nothing is attached through.
"""

from __future__ import annotations

import math

import pytest
import torch
from building import make_sampler
from molecule_listing import Block, Tree
from molecule_spaces import EXACT, Space, log_reward, make_molecules

from gfn_vi import check_target
from gfn_vi.evaluation.exact.ancestors import ancestor_graph, log_terminating_probability
from gfn_vi.evaluation.exact.dynamic_programming import terminating_probability
from gfn_vi.evaluation.exact.tables import policies_on_graph

METHYL, FLUORINE = ("C", [0]), ("F", [0])
INDOLE = "c1ccc2[nH]ccc2c1"
# Blocks; fewest and most of them in a finished molecule.
SETS: dict[str, tuple[list[Block], int, int]] = {
    # six stems that are one class
    "benzene": ([("c1ccccc1", [0, 1, 2, 3, 4, 5]), METHYL, FLUORINE], 1, 4),
    # one fragment attached in three ways: two of it can be undone to one parent in two ways
    "pyridine": ([("c1ccncc1", [0, 1, 2, 4, 5]), ("c1ccncc1", [1, 0, 2, 4, 5]), ("c1ccncc1", [2, 0, 1, 4, 5]), METHYL], 2, 3),
    # chains with a direction: removing either end gives one chain, though no symmetry takes one end to the other
    "amide": ([("CNC=O", [0, 2]), ("CNC=O", [2, 0]), METHYL], 2, 6),
    # three slots at an atom; the first and the third are one fragment, written in two ways; the second has other slots
    "methanol": ([("CO", [1, 0, 0, 0]), ("CO", [0, 1]), ("OC", [1, 0, 1, 1]), FLUORINE], 2, 4),
    # classes that no block is attached through: para of the ring, one end of the linker
    "one_way": ([("c1ccncc1", [1, 0, 5]), ("CNC=O", [0, 2]), METHYL], 2, 4),
    # two slots at one atom; what has no free stem before it is large enough to stop is not made
    "linkers": ([("CNC=O", [0, 2]), ("C=O", [0, 0]), FLUORINE], 4, 5),
    # the same where the size that stops is the third
    "short_linkers": ([("CNC=O", [0, 2]), ("C=O", [0, 0]), FLUORINE], 3, 4),
    # two blocks, and there is nothing left to attach to
    "caps": ([METHYL, FLUORINE], 2, 2),
    # rings without a symmetry, one of them with a hydrogen that its stem replaces, and a ring with four symmetries
    "fused": ([(INDOLE, [4, 0, 5, 8]), (INDOLE, [8, 0, 4, 5]), ("c1ccc2ccccc2c1", [0, 1, 4, 5, 6, 7, 2, 9])], 2, 3),
    # several slots at one atom, which are exchanged by permutations; ethane's two atoms, too
    "centers": ([("CC", [0, 0, 1, 1]), ("N", [0, 0, 0]), FLUORINE], 2, 5),
    # a symmetry of order 48, and one fragment with two sets of slots
    "rings": ([("C1CC1", [0, 0, 1, 1, 2, 2]), ("c1ccccc1", [0, 2, 4]), ("c1ccccc1", [0, 3]), FLUORINE], 2, 4),
}


@pytest.fixture(scope="module", params=SETS)
def space(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Space:
    blocks, min_blocks, max_blocks = SETS[request.param]
    return Space(blocks, make_molecules(blocks, min_blocks, max_blocks, tmp_path_factory.mktemp(request.param)))


def test_every_molecule_is_one_state(space: Space) -> None:
    assert sorted(space.state_keys) == sorted(space.listing.states)
    assert len(space.rows) == len(space.state_keys)
    assert torch.equal(space.states[0], space.target.initial())
    sizes = space.target.n_blocks(space.states).bincount().tolist()
    assert dict(enumerate(sizes)) == {0: 1, **space.listing.sizes}
    assert space.target.fewest_states <= len(space.states)


def test_legal_actions_are_the_children_each_once(space: Space) -> None:
    found = [(space.state_keys[i], space.state_keys[j]) for i, _, j in space.legal()]
    assert len(found) == len(set(found)), "two legal actions lead to one molecule"
    assert set(found) == {(parent, child) for parent, children in space.listing.children.items() for child in children}
    stops = space.target.forward_mask(space.states)[:, -1].tolist()
    assert {key for key, stop in zip(space.state_keys, stops, strict=True) if stop} == space.listing.stops


def test_legal_backward_actions_are_the_parents_each_once(space: Space) -> None:
    found = [(space.state_keys[j], space.state_keys[i]) for i, _, j in space.legal_backward()]
    assert len(found) == len(set(found)), "two legal backward actions lead to one molecule"
    assert set(found) == {(parent, child) for child, parents in space.listing.parents.items() for parent in parents}


def test_an_action_does_what_its_number_says(space: Space) -> None:
    """(i S + s) B + b attaches block b to slot s of block i; the first B begin; a backward action removes its row."""
    target, trees = space.target, space.state_trees
    n_blocks = len(space.blocks)
    assert target.n_actions == (target.max_blocks - 1) * target.n_slots * n_blocks + 1
    assert target.n_backward_actions == target.max_blocks
    for i, action, j in space.legal():
        stem, b = divmod(action, n_blocks)
        row, slot = divmod(stem, target.n_slots)
        if i == 0:
            expected = Tree((target.n_kinds + action,))
        else:
            atom = int(target.blocks.slot_atom[trees[i].blocks[row]][slot])
            expected = space.attached(trees[i], (row, atom), b)
        assert space.key(expected) == space.state_keys[j]
    for i, undo, j in space.legal_backward():
        left = [k for k in range(len(trees[i].blocks)) if k != undo]
        bonds = [(left.index(a), x, left.index(b), y) for a, x, b, y in trees[i].bonds if undo not in (a, b)]
        assert len(bonds) == max(0, len(left) - 1)
        assert space.key(Tree(tuple(trees[i].blocks[k] for k in left), tuple(bonds))) == space.state_keys[j]


def test_an_edge_is_undone_by_its_own_inverse(space: Space) -> None:
    assert check_target(space.target).faults == ()


def test_actions_of_padded_steps_are_harmless(space: Space) -> None:
    """Shorter trajectories of a batch repeat their last state, with action 0, legal or not; what comes out is masked.

    So is what comes out of undoing rows that are no leaves, or empty, which flow matching asks for together with the others.
    """
    rows = torch.arange(space.target.max_blocks).repeat(len(space.states))
    torch.use_deterministic_algorithms(True)  # fills memory that nobody has written with numbers that are no index
    try:
        undo = space.target.backward_action(space.states, torch.zeros(len(space.states), dtype=torch.long))
        action = space.target.forward_action(space.states.repeat_interleave(space.target.max_blocks, 0), rows)
    finally:
        torch.use_deterministic_algorithms(False)
    assert int(undo.min()) >= 0
    assert int(undo.max()) < space.target.n_backward_actions
    assert action.shape == rows.shape


def test_codes_are_those_of_molecules(space: Space) -> None:
    codes = space.target.code(space.states)
    assert codes.dtype == torch.int64
    assert len(codes.unique()) == len(space.state_keys)
    assert torch.equal(space.target.state_index(space.states), torch.arange(len(codes)))


def test_states_alone_and_in_a_batch(space: Space) -> None:
    """What one state gives does not depend on the others, nor on the number of leading axes."""
    target = space.target
    some = space.states[torch.linspace(0, len(space.states) - 1, 24).long()]
    accessors = (target.kinds, target.links, target.free_stems, target.n_blocks, target.code)
    for function in (target.forward_mask, target.backward_mask, target.log_reward, *accessors):
        together = function(some)
        assert torch.equal(torch.stack([function(state) for state in some]), together), function
        boxed = function(some.view(2, 3, 4, *target.state_shape))
        assert torch.equal(boxed, together.view(2, 3, 4, *together.shape[1:])), function
    for mask, move in ((target.forward_mask, target.step), (target.backward_mask, target.backstep)):
        row, action = mask(some).nonzero(as_tuple=True)
        together = move(some[row], action)
        alone = [move(some[i], a) for i, a in zip(row.tolist(), action, strict=True)]
        assert torch.equal(torch.stack(alone), together)


def test_rewards_and_log_partition(space: Space) -> None:
    """SMILES, QED of every molecule, and the sum of all rewards; many trees can be one molecule to a chemist."""
    graph, listing = space.target.state_graph(), space.listing
    stops = graph.log_reward > -math.inf
    keys = [key for key, stop in zip(space.state_keys, stops.tolist(), strict=True) if stop]
    assert space.target.smiles(space.states[stops]) == [listing.smiles[key] for key in keys]
    expected = torch.tensor([log_reward(listing.smiles[key]) for key in keys], dtype=torch.float64)
    torch.testing.assert_close(graph.log_reward[stops], expected, **EXACT)
    assert float(graph.log_partition) == pytest.approx(listing.log_Z(log_reward), rel=1e-10)


def test_terminating_probability_and_uniform_policies(space: Space) -> None:
    """P_T of random tables and of the uniform policy, edge by edge on the listing; P_B is one over the number of parents."""
    graph, listing = space.target.state_graph(), space.listing
    sampler = make_sampler(space.target, backward="uniform", n_replicas=3)
    with torch.no_grad():
        sampler.forward_table[2] = 0.0
    policies = policies_on_graph(sampler, graph)
    edges = [
        (space.state_keys[i], space.state_keys[j]) for i, j in zip(graph.source.tolist(), graph.target.tolist(), strict=True)
    ]
    p_backward = torch.tensor([1 / len(listing.parents[child]) for _, child in edges], dtype=torch.float64)
    torch.testing.assert_close(policies.log_pb.exp(), p_backward[:, None].expand_as(policies.log_pb), **EXACT)
    uniform = listing.uniform_forward()
    in_order = torch.tensor([uniform[edge] for edge in edges], dtype=torch.float64)
    torch.testing.assert_close(policies.log_pf[:, 2].exp(), in_order, **EXACT)
    found = terminating_probability(policies)
    for replica in range(3):
        expected = listing.terminating_probability(dict(zip(edges, policies.log_pf[:, replica].exp().tolist(), strict=True)))
        in_order = torch.tensor([expected.get(key, 0.0) for key in space.state_keys], dtype=torch.float64)
        torch.testing.assert_close(found[:, replica], in_order, **EXACT)
        assert math.fsum(expected.values()) == pytest.approx(1, rel=1e-12)


def test_terminating_probability_by_ancestors(space: Space) -> None:
    """The recursion over what can precede some objects gives what it gives over all states."""
    graph = space.target.state_graph()
    sampler = make_sampler(space.target, n_replicas=2)
    found = terminating_probability(policies_on_graph(sampler, graph))
    rows = (graph.log_reward > -math.inf).nonzero()[:, 0]
    some = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:60]]
    ancestors = ancestor_graph(space.target, graph.states[some], graph.n_states, "most")
    log_ends = log_terminating_probability(sampler, ancestors)
    torch.testing.assert_close(log_ends.exp(), found[some].T, **EXACT)
    assert torch.equal(ancestors.log_reward, graph.log_reward[some])
