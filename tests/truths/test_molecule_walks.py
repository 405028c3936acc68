"""Molecules too many to list: each one's children and parents by force, walks there and back, files, and alkanes by number."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest
import torch
from molecule_listing import Block, Listing, Tree
from molecule_spaces import Reader, make_molecules
from rdkit import Chem
from torch import Tensor

from gfn_vi.targets.molecules.molecules import Molecules

# Number of alkanes C_n H_2n+2, mirror images counted once, for n = 1..8 (Cayley 1875; OEIS A000602).
ALKANES = [1, 1, 1, 2, 3, 5, 9, 18]
MIXED: list[Block] = [
    ("c1ccncc1", [0, 1, 2, 4, 5]),
    ("c1ccncc1", [1, 0, 2, 4, 5]),
    ("CNC=O", [0, 2]),
    ("CNC=O", [2, 0]),
    ("C1CC1", [0, 0, 1, 2]),
    ("c1ccc2[nH]ccc2c1", [4, 8]),
    ("C", [0]),
]


def drawn(mask: Tensor, rng: torch.Generator) -> Tensor:
    """One legal action per row, all equally probable; 0 in rows without any."""
    return torch.rand(mask.shape, generator=rng).masked_fill(~mask, -1.0).argmax(1)


def walks(target: Molecules, n: int, seed: int) -> Tensor:
    """n molecules grown by random legal actions, each to a random number of blocks: [n, N, .]."""
    rng = torch.Generator().manual_seed(seed)
    wanted = torch.randint(1, target.max_blocks + 1, (n,), generator=rng)
    states = target.initial(n)
    for _ in range(target.max_blocks):
        grow = target.forward_mask(states)[:, :-1]
        going = grow.any(1) & (target.n_blocks(states) < wanted)
        states = target.step(states, torch.where(going, drawn(grow, rng), target.n_actions - 1))
    return states


def test_alkanes(tmp_path: Path) -> None:
    """Trees of carbon alone: all 24 permutations of four slots at every block, and numbers that are in textbooks."""
    blocks: list[Block] = [("C", [0, 0, 0, 0])]
    assert Listing(blocks, 1, 8).sizes == dict(zip(count(1), ALKANES, strict=False))
    target = make_molecules(blocks, 1, 8, tmp_path)
    states = target.state_graph().states
    assert target.n_blocks(states).bincount().tolist() == [1, *ALKANES]
    assert len(set(target.smiles(states[1:]))) == sum(ALKANES)


def test_long_chains(tmp_path: Path) -> None:
    """Numbers of rows grow by a factor of 4 with every level of a tree, beyond 64 bits in chains of 70: they are ranked."""
    n = 70
    target = make_molecules([("C", [0, 0, 0, 0])], 2, n, tmp_path, limit=10)
    rng = torch.Generator().manual_seed(0)
    descriptions = []
    for _ in range(4):
        row = torch.randperm(n, generator=rng).tolist()
        slots = [torch.randperm(4, generator=rng)[:2].tolist() for _ in range(n)]  # towards the block before, and the next one
        links = torch.zeros(n, 4, dtype=torch.long)
        for i in range(n - 1):
            ends = row[i] * 4 + slots[i][1], row[i + 1] * 4 + slots[i + 1][0]
            links.view(-1)[list(ends)] = torch.tensor(ends[::-1]) + 1
        descriptions.append(links)
    states, _, _ = target._moves.trees.canonical(torch.ones(4, n, dtype=torch.long), torch.stack(descriptions))
    assert torch.equal(states, states[:1].expand_as(states))
    assert torch.equal(target.code(states), states[..., 1].amin(1)), "the root is not the first row"
    neighbors = target.links(states[0]).masked_fill(target.links(states[0]) < 0, 4 * n) // 4
    assert bool((neighbors.amin(1) < torch.arange(n))[1:].all()), "rows are not numbered level by level"
    assert target.smiles(states[:1]) == ["C" * n]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(MIXED, make_molecules(MIXED, 2, 8, tmp_path_factory.mktemp("mixed"), limit=10))


def test_children_and_parents_of_large_molecules(mixed: Reader) -> None:
    """Of molecules with 1 to 8 blocks: legal moves are what attaching every block everywhere, and removing it, makes."""
    target, draw = mixed.target, mixed.drawing
    states = walks(target, 40, seed=1)
    assert target.n_blocks(states).unique().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    for state, tree in zip(states, mixed.trees(states), strict=True):
        key, n = mixed.key(tree), len(tree.blocks)
        actions = target.forward_mask(state)[:-1].nonzero()[:, 0]
        children = mixed.keys(target.step(state.expand(len(actions), *state.shape), actions)) if len(actions) else []
        stems = draw.free_count(tree) if n < target.max_blocks else {}
        grown = {mixed.key(mixed.attached(tree, stem, b)) for stem, k in stems.items() if k for b in range(len(MIXED))}
        assert sorted(children) == sorted(grown)
        undone = target.backward_mask(state).nonzero()[:, 0]
        parents = mixed.keys(target.backstep(state.expand(len(undone), *state.shape), undone))
        degree = [sum(row in (i, j) for i, _, j, _ in tree.bonds) for row in range(n)]
        ends = [row for row in range(n) if degree[row] == 1]
        left = {mixed.key(rest) for rest, stem in (without(tree, row) for row in ends) if leads(mixed, rest, stem, key)}
        assert sorted(parents) == (sorted(left) if n > 1 else [""])


def without(tree: Tree, row: int) -> tuple[Tree, tuple[int, int]]:
    """The tree without a leaf, and the stem that it was at."""
    number = {old: new for new, old in enumerate(k for k in range(len(tree.blocks)) if k != row)}
    ((i, a, j, b),) = [bond for bond in tree.bonds if row in (bond[0], bond[2])]
    bonds = [(number[i], a, number[j], b) for i, a, j, b in tree.bonds if row not in (i, j)]
    stem = (number[j], b) if i == row else (number[i], a)
    return Tree(tuple(tree.blocks[k] for k in number), tuple(bonds)), stem


def leads(reader: Reader, tree: Tree, stem: tuple[int, int], key: str) -> bool:
    """Whether some block attached to the stem makes the molecule of that key."""
    return any(reader.key(reader.attached(tree, stem, b)) == key for b in range(len(reader.blocks)))


def shuffled(tree: Tree, blocks: Sequence[Block], rng: random.Random) -> dict[str, list[list[int]] | list[int]]:
    """A line of a held-out file: the tree of blocks in another order, with its bonds from other ends."""
    order = rng.sample(range(len(tree.blocks)), len(tree.blocks))
    at = {old: new for new, old in enumerate(order)}
    bonds = [rng.choice([[at[i], at[j], a, b], [at[j], at[i], b, a]]) for i, a, j, b in tree.bonds]
    return {"blocks": [tree.blocks[k] for k in order], "bonds": rng.sample(bonds, len(bonds))}


@pytest.mark.parametrize(
    "blocks",
    [MIXED, [("c1ccccc1", [0, 1, 2, 3, 4, 5]), ("CO", [1, 0, 0]), ("OC", [1, 0, 1]), ("F", [0])], [("C", [0, 0, 0, 0])]],
    ids=["mixed", "rings", "alkanes"],
)
def test_every_description_is_one_state(blocks: list[Block], tmp_path: Path) -> None:
    """Molecules written with their blocks in any order are equal states exactly if they are equal molecules."""
    rng = random.Random(2)
    listing = Listing(blocks, 2, 3 if blocks is MIXED else 4)
    keys = rng.sample(sorted(listing.stops), min(150, len(listing.stops)))
    described = [key for key in keys for _ in range(4)]
    lines = [json.dumps(shuffled(listing.trees[key], blocks, rng)) for key in described]
    (tmp_path / "held_out.jsonl").write_text("\n".join(lines) + "\n")
    target = make_molecules(blocks, 2, 5, tmp_path, limit=10)
    states = target.read_objects(str(tmp_path / "held_out.jsonl"))
    assert Reader(blocks, target).keys(states) == described
    _, which = states.unique(dim=0, return_inverse=True)
    assert which.view(-1, 4).amax(1).equal(which.view(-1, 4).amin(1)), "one molecule, several states"
    assert len(which.unique()) == len(target.code(states).unique()) == len(keys)
    assert target.smiles(states) == [listing.smiles[key] for key in described]


def test_random_walks_are_molecules_and_undo_to_nothing(tmp_path: Path) -> None:
    """10,000 walks with the project's own blocks: RDKit accepts what they make, and any way back ends at the source."""
    target = make_molecules(None, 2, 8, tmp_path, limit=10)
    assert not target.enumerable
    states = walks(target, 10_000, seed=3)
    assert int(target.n_blocks(states).max()) == 8
    assert len(target.code(states).unique()) > 7000, "most are different"
    molecules = target.molecules(states)
    n_free = target.free_stems(states).sum((1, 2)).tolist()
    for molecule, free, rows in zip(molecules, n_free, target.n_blocks(states).tolist(), strict=True):
        assert Chem.SanitizeMol(molecule, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE
        assert sum(atom.GetIntProp("free_stems") for atom in molecule.GetAtoms()) == free
        assert {atom.GetIntProp("block") for atom in molecule.GetAtoms()} == set(range(rows))
        assert len(Chem.GetMolFrags(molecule)) == 1
    rng = torch.Generator().manual_seed(4)
    for _ in range(target.max_blocks):
        legal = target.backward_mask(states)
        on_the_way = legal.any(1)
        assert torch.equal(on_the_way, target.n_blocks(states) > 0)
        undo = drawn(legal, rng)[on_the_way]
        before = target.backstep(states[on_the_way], undo)
        after, undo, some = states[on_the_way][:1000], undo[:1000], before[:1000]
        action = target.forward_action(after, undo)
        assert bool(target.forward_mask(some).gather(1, action[:, None]).all())
        assert torch.equal(target.step(some, action), after)
        assert torch.equal(target.backward_action(some, action), undo)
        states[on_the_way] = before
    assert torch.equal(states, target.initial(len(states)))
