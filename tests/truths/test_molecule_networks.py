"""Networks on trees of blocks: what they compute, written out block by block, and which stems are alike."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise, product

import pytest
import torch
from block_trees import N_SLOTS, RING, SYMMETRIES
from small_molecule_networks import EXACT, NAMES, ROLES, TREES, WIDTH, by_stem, is_free, make
from torch import Tensor, nn

from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.molecule_layers import Hearing
from gfn_vi.samplers.discrete.molecule_mpnn import MessagePassing
from gfn_vi.samplers.discrete.molecule_trees import Vocabulary

# -- the vocabulary --------------------------------------------------------------------------------------------------------


def test_pairs_of_slots_have_one_number_exactly_where_a_symmetry_maps_one_to_the_other() -> None:
    words = make("molecule_mpnn").words
    table = words.slot_pair.view(-1, N_SLOTS, N_SLOTS)[1:-1]
    seen: dict[int, frozenset] = {}
    for kind, symmetries in enumerate(SYMMETRIES):
        n_slots = len(symmetries[0])
        for s, t in product(range(N_SLOTS), repeat=2):
            number = int(table[kind, s, t])
            if s == t or max(s, t) >= n_slots:
                assert number == 0
                continue
            orbit = frozenset((kind, move[s], move[t]) for move in symmetries)
            assert seen.setdefault(number, orbit) == orbit
    assert len(set(seen.values())) == len(seen) == words.n_pairs - 1
    assert len({int(x) for x in table[RING].flatten()} - {0}) == 3, "ortho, meta, para"
    assert not bool(words.slot_pair.view(-1, N_SLOTS, N_SLOTS)[[0, -1]].any())


# -- written out -----------------------------------------------------------------------------------------------------------


def affine(layer: nn.Module, x: Tensor) -> Tensor:
    return x @ layer.weight[0] + layer.bias[0, 0]


def normed(x: Tensor) -> Tensor:
    x = x - x.mean()
    return x / (x.square().mean() + 1e-5).sqrt()


@cache
def gated(encoder: MessagePassing) -> nn.GRUCell:
    """torch's gated recurrent unit (Cho et al. 2014) with the weights of the encoder."""
    cell = nn.GRUCell(WIDTH, WIDTH).double()
    for weight, bias, layer in (("weight_ih", "bias_ih", encoder.update), ("weight_hh", "bias_hh", encoder.recall)):
        getattr(cell, weight).copy_(layer.weight[0].T)
        getattr(cell, bias).copy_(layer.bias[0, 0])
    return cell


class Loop:
    """One tree, computed block by block and slot by slot from the weights of replica 0."""

    def __init__(self, state: Tensor, words: Vocabulary) -> None:
        self.kinds = [k + 1 for k in state[:, 0].tolist() if k >= 0] or [words.n_kinds - 1]
        self.pair = words.slot_pair.view(words.n_kinds, N_SLOTS, N_SLOTS)
        self.slot_class = {
            (i, s): int(words.slot_class[kind, s])
            for i, kind in enumerate(self.kinds)
            for s in range(N_SLOTS)
            if words.slot_class[kind, s] > 0
        }
        links = {(i, s): int(state[i, 1 + s]) for i, s in self.slot_class}
        self.bond = {slot: divmod(link, N_SLOTS) for slot, link in links.items() if link >= 0}

    def distance(self, i: int, j: int) -> int:
        """How many bonds lie between two blocks."""
        reached, steps = {i}, 0
        while j not in reached:
            reached |= {other for (here, _), (other, _) in self.bond.items() if here in reached}
            steps += 1
        return steps

    def heard(self, layer: Hearing, x: list[Tensor]) -> dict[tuple[int, int], Tensor]:
        sent = [affine(layer.send, block) for block in x]
        width = x[0].shape[0]
        first = {}
        for slot, number in self.slot_class.items():
            first[slot] = layer.own[0, number] + sent[slot[0]][:width]
            if slot in self.bond:
                beyond = self.bond[slot]
                first[slot] = first[slot] + layer.beyond[0, self.slot_class[beyond]] + sent[beyond[0]][width:]
            else:
                first[slot] = first[slot] + layer.beyond[0, 0]
        out = dict(first)
        for i, s in first:
            for j, t in self.bond:
                if j == i and t != s:
                    out[i, s] = out[i, s] + layer.pair[0, self.pair[self.kinds[i], s, t]] * first[i, t]
        return {slot: value.relu() for slot, value in out.items()}

    def gathered(self, layer: Hearing, x: list[Tensor]) -> list[Tensor]:
        heard = self.heard(layer, x)
        return [sum(value for (i, _), value in heard.items() if i == row) for row in range(len(x))]

    def encoded(self, encoder: nn.Module) -> list[Tensor]:
        x = [encoder.kind[0, kind] for kind in self.kinds]
        if isinstance(encoder, MessagePassing):
            for _ in range(encoder.steps):
                messages = self.gathered(encoder.hearing, x)
                x = [gated(encoder)(m, h) for m, h in zip(messages, x, strict=True)]
            return x
        x = [a + b for a, b in zip(x, self.gathered(encoder.hearing, x), strict=True)]
        for layer in encoder.layers:
            x = self.attended(layer, x)
        return [normed(block) for block in x]

    def attended(self, layer: nn.Module, x: list[Tensor]) -> list[Tensor]:
        each = len(x[0]) // layer.heads
        parts = [affine(layer.project, normed(block)).view(3, layer.heads, each) for block in x]
        out = []
        for i, block in enumerate(x):
            mixed = []
            for head in range(layer.heads):
                scores = []
                for j in range(len(x)):
                    near = sum(layer.relate[0, d, head] for d in range(4) if self.distance(i, j) <= d)
                    scores.append(parts[i][0, head] @ parts[j][1, head] / math.sqrt(each) + near)
                weights = torch.stack(scores).softmax(0)
                mixed.append(sum(w * parts[j][2, head] for j, w in enumerate(weights)))
            token = block + affine(layer.merge, torch.cat(mixed))
            out.append(token + affine(layer.narrow, affine(layer.widen, normed(token)).relu()))
        return out


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_lists_compute_what_a_loop_over_blocks_and_slots_computes(name: str) -> None:
    sampler = make(name)
    states = TREES.random(21, seed=1)
    out = sampler.heads(states[None], ROLES)
    for row, state in enumerate(states):
        loop = Loop(state, sampler.words)
        x = loop.encoded(sampler.forward_net.encoder)
        stems = loop.heard(sampler.forward_net.stems.hearing, x)
        logits = by_stem(out[Role.FORWARD][0, row])
        free = is_free(state)
        free[0, 0] |= int(state[0, 0]) < 0  # the empty molecule: one stem
        assert not bool(logits[~free[:-1]].any())
        for i, s in free.nonzero().tolist():
            torch.testing.assert_close(logits[i, s], affine(sampler.forward_net.stems.choose, stems[i, s]), **EXACT)
        whole = sampler.forward_net.whole
        stop = affine(whole.narrow, affine(whole.widen, sum(x) / TREES.max_blocks).relu())
        torch.testing.assert_close(out[Role.FORWARD][0, row, -1:], stop, **EXACT)
        x = loop.encoded(sampler.backward_net.encoder)
        remove = sampler.backward_net.blocks
        for i, block in enumerate(x):
            wanted = affine(remove.narrow, affine(remove.widen, block).relu())
            torch.testing.assert_close(out[Role.BACKWARD][0, row, i : i + 1], wanted, **EXACT)


# -- symmetries ------------------------------------------------------------------------------------------------------------


def renamed(state: Tensor, generator: torch.Generator) -> tuple[Tensor, list[int], list[list[int]]]:
    """The same molecule with its rows in another order and every block's slots moved by a symmetry, and where they went."""
    n_blocks = int((state[:, 0] >= 0).sum())
    row_to = torch.randperm(n_blocks, generator=generator).tolist()
    slot_to = []
    for kind in state[:n_blocks, 0].tolist():
        symmetries = SYMMETRIES[kind]
        slot_to.append(list(symmetries[int(torch.randint(len(symmetries), (), generator=generator))]))
    out = torch.full_like(state, -1)
    for i in range(n_blocks):
        out[row_to[i], 0] = state[i, 0]
        for s, link in enumerate(state[i, 1:].tolist()):
            if link >= 0:
                j, t = divmod(link, N_SLOTS)
                out[row_to[i], 1 + slot_to[i][s]] = row_to[j] * N_SLOTS + slot_to[j][t]
    return out, row_to, slot_to


@pytest.mark.parametrize("backward", ["learned", "tied"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_names_of_rows_and_of_symmetric_slots_do_not_matter(name: str, backward: str) -> None:
    sampler = make(name, backward)
    generator = torch.Generator().manual_seed(0)
    states = TREES.random(28, seed=2)
    others, rows, slots = zip(*(renamed(state, generator) for state in states), strict=True)
    a, b = (sampler.heads(x[None], ROLES) for x in (states, torch.stack(others)))
    torch.testing.assert_close(a[Role.FLOW], b[Role.FLOW], **EXACT)
    torch.testing.assert_close(a[Role.FORWARD][..., -1], b[Role.FORWARD][..., -1], **EXACT)
    for n, state in enumerate(states):
        for i, j in enumerate(rows[n]):
            torch.testing.assert_close(a[Role.BACKWARD][0, n, i], b[Role.BACKWARD][0, n, j], **EXACT)
        for i, s in is_free(state).nonzero().tolist():
            mine, theirs = by_stem(a[Role.FORWARD][0, n])[i, s], by_stem(b[Role.FORWARD][0, n])[rows[n][i], slots[n][i][s]]
            torch.testing.assert_close(mine, theirs, **EXACT)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_stems_are_equal_exactly_where_a_symmetry_of_the_molecule_exchanges_them(name: str) -> None:
    """A ring with one bond: two stems ortho, two meta, one para; with two different neighbors none is like another."""
    sampler = make(name)
    one = TREES.state([RING, 3], [(RING, 0, 1, 0)])
    two = TREES.state([RING, 3, 2], [(0, 0, 1, 0), (0, 3, 2, 0)])
    three = TREES.state([RING, 3, 2], [(0, 0, 1, 0), (0, 1, 2, 0)])
    # the neighbors are alike, what is behind them is not
    behind = TREES.state([RING, 3, 3, 2], [(0, 0, 1, 0), (0, 1, 2, 0), (2, 1, 3, 0)])
    states = torch.stack([one, two, three, behind])
    logits = by_stem(sampler.heads(states[None], [Role.FORWARD])[Role.FORWARD][0])[:, 0]  # [4, S, B]
    groups = [[(1, 5), (2, 4), (3,)], [(1, 5), (2, 4)], [(2,), (3,), (4,), (5,)], [(2,), (3,), (4,), (5,)]]
    for ring, alike in zip(logits, groups, strict=True):
        for group in alike:
            torch.testing.assert_close(ring[group[0]], ring[group[-1]], **EXACT)
        for a, b in pairwise(alike):
            assert float((ring[a[0]] - ring[b[0]]).abs().min()) > 1e-4


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_isomers_have_different_flows(name: str) -> None:
    """Two bonds ortho, meta or para; and which of three neighbors in a row is in the middle."""
    sampler = make(name)
    places = [TREES.state([RING, 3, 3], [(0, 0, 1, 0), (0, s, 2, 0)]) for s in (1, 2, 3)]
    middles = [TREES.state([RING, *kinds], [(0, s, s + 1, 0) for s in range(3)]) for kinds in ((1, 2, 3), (2, 1, 3), (1, 3, 2))]
    flow = sampler.heads(torch.stack(places + middles)[None], [Role.FLOW])[Role.FLOW][0, :, 0]
    assert float(torch.pdist(flow[:, None]).min()) > 1e-5
