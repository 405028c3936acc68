"""What must not change a number of networks on trees of blocks, and what they refuse."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from block_trees import N_SLOTS, BlockTrees
from building import generators, make_target
from small_molecule_networks import EXACT, NAMES, ROLES, TREES, make
from torch import Tensor, nn

from gfn_vi.core.errors import ConfigError
from gfn_vi.core.protocols import MoleculeTarget
from gfn_vi.core.types import Role
from gfn_vi.samplers.discrete.molecule_attention import MoleculeAttentionSampler
from gfn_vi.samplers.discrete.molecule_layers import WholeHead
from gfn_vi.samplers.discrete.molecule_mpnn import MoleculeMpnnSampler
from gfn_vi.samplers.discrete.molecule_sampler import MoleculeSampler
from gfn_vi.samplers.discrete.molecule_trees import list_trees
from gfn_vi.samplers.score_norms import trajectory_score_norms


@pytest.mark.parametrize("backward", ["learned", "tied"])
@pytest.mark.parametrize("name", NAMES)
def test_replicas_are_separate_networks(name: str, backward: str) -> None:
    """On different states, of which one replica's are larger: as the single replica with its seed; no gradient crosses over."""
    together = make(name, backward, replicas=3)
    states = torch.stack([TREES.random(9, seed=3, largest=n) for n in (6, 2, 4)])
    there = states[..., 0] >= 0

    def heads(sampler: MoleculeSampler, r: slice) -> dict[Role, Tensor]:
        out = sampler.heads(states[r], ROLES)
        return {**out, Role.BACKWARD: out[Role.BACKWARD].where(there[r], 0.0)}  # where there is no block it may be anything

    out = heads(together, slice(0, 3))
    for r in range(3):
        alone = heads(make(name, backward, seed=r), slice(r, r + 1))
        for role in ROLES:
            torch.testing.assert_close(out[role][r], alone[role][0], **EXACT)
    parameters = [p for p in together.parameters() if p is not together.log_Z]
    for r in range(3):
        loss = sum(out[role][r].square().sum() for role in ROLES)
        grads = torch.autograd.grad(loss, parameters, retain_graph=True)
        assert all(bool(g.isfinite().all()) for g in grads)
        assert all(bool(g[q].any()) == (q == r) for g in grads for q in range(3))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_neither_empty_rows_nor_other_states_change_a_number(name: str) -> None:
    small, large = make(name), make(name, target=BlockTrees(max_blocks=9))
    for part in large.modules():
        if isinstance(part, WholeHead):
            part.widen.weight *= 9 / 6  # the sum over blocks is divided by N
    states = TREES.random(18, seed=4, largest=5)  # with 6 of 6 blocks nothing is free
    links = nn.functional.pad(states, (0, 0, 0, 3), value=-1)
    a, b = small.heads(states[None], ROLES), large.heads(links[None], ROLES)
    cells = 5 * N_SLOTS * TREES.n_block_choices
    torch.testing.assert_close(a[Role.FORWARD][..., :-1], b[Role.FORWARD][..., :cells], **EXACT)
    assert not bool(b[Role.FORWARD][..., cells:-1].any())
    torch.testing.assert_close(a[Role.FORWARD][..., -1], b[Role.FORWARD][..., -1], **EXACT)
    torch.testing.assert_close(a[Role.FLOW], b[Role.FLOW], **EXACT)
    there = states[None, ..., 0] >= 0
    torch.testing.assert_close(a[Role.BACKWARD][there], b[Role.BACKWARD][..., :6][there], **EXACT)
    for n in range(18):
        alone = small.heads(states[None, n : n + 1], ROLES)
        for role in ROLES:
            mask = there[0, n] if role is Role.BACKWARD else slice(None)
            torch.testing.assert_close(alone[role][0, 0][mask], a[role][0, n][mask], **EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_lists_of_the_whole_grid_give_the_same_numbers_and_gradients(name: str) -> None:
    """As they are on an accelerator, where nothing may wait for a count."""
    sampler = make(name, "tied", replicas=2, flow=False)
    states = torch.stack([TREES.random(8, seed=s, largest=5) for s in (5, 6)])
    parameters = [p for p in sampler.parameters() if p is not sampler.log_Z]
    results = []
    for compact in (True, False):
        trees = list_trees(states[..., 0], states[..., 1:], sampler.words, torch.float64, compact)
        stems, remove, stop = sampler.forward_net(trees)
        remove = remove.where(states[..., 0] >= 0, 0.0)
        loss = stems.sin().sum() + remove.square().sum() + stop.square().sum()
        results.append((stems, remove, stop, *torch.autograd.grad(loss, parameters)))
    assert list_trees(states[..., 0], states[..., 1:], sampler.words, torch.float64, False).compact is False
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_score_norms_are_those_of_one_backward_pass_for_each_state(name: str) -> None:
    sampler = make(name, "tied", replicas=2, flow=False)
    states = TREES.random(5, seed=7).expand(2, -1, -1, -1)
    out = sampler.heads(states, [Role.FORWARD, Role.BACKWARD])
    value = out[Role.FORWARD].log_softmax(-1)[..., -1] + out[Role.BACKWARD][..., 0]
    parameters = list(sampler.parameters())
    norms = trajectory_score_norms(value, parameters)
    for r, n in product(range(2), range(5)):
        grads = torch.autograd.grad(value[r, n], parameters, retain_graph=True, allow_unused=True)
        wanted = sum(g[r].square().sum() for g in grads if g is not None)
        torch.testing.assert_close(norms[r, n], wanted, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_copies_and_single_precision(name: str) -> None:
    sampler = make(name, replicas=2)
    states = torch.stack([TREES.random(9, seed=s) for s in (8, 9)])
    out = sampler.heads(states, ROLES)
    twice = sampler.repeated(2).heads(states.repeat_interleave(2, 0), ROLES)
    low = sampler.to(torch.float32).heads(states, ROLES)
    for role in ROLES:
        torch.testing.assert_close(twice[role], out[role].repeat_interleave(2, 0), **EXACT)
        assert low[role].dtype == torch.float32
        torch.testing.assert_close(low[role].double(), out[role], rtol=1e-3, atol=1e-4)


# -- what is refused -------------------------------------------------------------------------------------------------------


def test_it_is_a_molecule_target() -> None:
    assert isinstance(TREES, MoleculeTarget)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": make_target("grid2x2")}, "use target=molecules, or sampler=mlp"),
        ({"width": 0}, "sampler.width=0"),
        ({"steps": 0}, "sampler.steps=0"),
        ({"layers": 0}, "sampler.layers=0"),
        ({"heads": 0}, "sampler.heads=0"),
        ({"width": 6, "heads": 4}, "expected a multiple of sampler.heads=4"),
        ({"backward": "none"}, "sampler.backward=none"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused_in_one_line(changes: dict, words: str) -> None:
    both = {"target": TREES, "rng": generators(0, 1), "width": 8, "backward": "uniform", "flow": False, "log_Z": 0.0}
    own = [(MoleculeMpnnSampler, {"steps": 2}), (MoleculeAttentionSampler, {"layers": 1, "heads": 2})]
    makers = [(maker, keys) for maker, keys in own if not set(changes) - {*both, *keys}]
    assert makers
    for maker, keys in makers:
        with pytest.raises(ConfigError) as refused:
            maker(**{**both, **keys, **changes})
        assert words in str(refused.value)
        assert "\n" not in str(refused.value)
