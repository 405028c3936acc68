"""The comparison of the proxy for sEH with published rewards, on rewards that are made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from gfn_vi.experiments.molecule_correlation import published_proxy
from molecule_weights import weights_file

from gfn_vi.targets.molecules.assembly import Assembly
from gfn_vi.targets.molecules.block_set import read_block_set
from gfn_vi.targets.molecules.held_out import read_objects
from gfn_vi.targets.molecules.proxies.seh import SEHProxy

BLOCKS = [{"smiles": "CN", "attach": [0, 1]}, {"smiles": "F", "attach": [0]}, {"smiles": "Cl", "attach": [0]}]
# the middle block has no free stem left, and in the second line one is left
LINES = [([1, 0, 2], [[0, 1, 0, 0], [1, 2, 1, 0]]), ([0, 1], [[0, 1, 0, 0]])]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Blocks, weights, and molecules with the rewards that the network gives them in the order of the lines."""
    blocks, molecules = tmp_path / "blocks.json", tmp_path / "molecules.jsonl"
    blocks.write_text(json.dumps(BLOCKS))

    def write(rewards: list[float]) -> None:
        lines = [{"blocks": b, "bonds": bonds, "reward": r} for (b, bonds), r in zip(LINES, rewards, strict=True)]
        molecules.write_text("\n".join(map(json.dumps, lines)))

    write([1.0, 1.0])
    block_set = read_block_set(str(blocks), None)
    proxy = SEHProxy(weights=weights_file(), floor=0.1, ceiling=None, scale=8.0, digest=None)
    values = proxy(Assembly(block_set).of_trees(*read_objects(str(molecules), block_set, 8))).clamp(min=0.1)
    write(((values / 8) ** 10).tolist())
    return str(blocks), weights_file(), str(molecules)


def test_rewards_are_those_of_the_order_of_the_file(files: tuple[str, str, str]) -> None:
    found = published_proxy.compare(*files)
    torch.testing.assert_close(found.in_file_order, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-6)
    assert found.is_full.tolist() == [True, False]
    assert float(found.canonical[1]) < 1e-6


def test_another_reward_is_told(files: tuple[str, str, str]) -> None:
    path = Path(files[2])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["reward"] = (5.0 / 8) ** 10
    path.write_text("\n".join(map(json.dumps, lines)))
    assert float(published_proxy.compare(*files).in_file_order.max()) > 1e-3
