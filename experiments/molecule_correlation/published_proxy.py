"""Whether the proxy for sEH gives the published rewards of the published molecules.

    python -m gfn_vi.experiments.molecule_correlation.published_proxy blocks_PDB_105.json best_params.pkl.gz test_molecules.jsonl

A line of the last file has a molecule and its reward, (max(0.1, value) / 8)^10. The published features mark the atoms with a free
stem, and where there is none the first atom of the first block: which block that is depends on how the molecule was built, which
the molecule itself does not say. So the comparison is made in the order of the file; what a sampler is trained on takes the first
block of the canonical form, and that difference is told beside it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError
from gfn_vi.targets.molecules.assembly import Assembly
from gfn_vi.targets.molecules.block_set import read_block_set
from gfn_vi.targets.molecules.canonical import CanonicalTrees
from gfn_vi.targets.molecules.held_out import read_objects
from gfn_vi.targets.molecules.proxies.seh import SEHProxy

FLOOR, SCALE, EXPONENT = 0.1, 8.0, 10  # of the published rewards
MAX_BLOCKS = 8
CLOSE = 1e-3


@dataclass(frozen=True)
class Comparison:
    """Absolute differences between values and published ones [M]: in the order of the file, and of canonical molecules.

    is_full [M] bool: no stem of the molecule is free.
    """

    in_file_order: Tensor
    canonical: Tensor
    is_full: Tensor


def compare(blocks: str, weights: str, molecules: str) -> Comparison:
    """Return how far the proxy is from the published values of a file of molecules."""
    block_set = read_block_set(blocks, None)
    kinds, links = read_objects(molecules, block_set, MAX_BLOCKS)
    lines = [json.loads(line) for line in Path(molecules).expanduser().read_text(encoding="utf-8").splitlines() if line.strip()]
    published = SCALE * torch.tensor([line["reward"] for line in lines], dtype=torch.float64) ** (1 / EXPONENT)
    assembly, proxy = Assembly(block_set), SEHProxy(weights=weights, floor=FLOOR, ceiling=None, scale=SCALE, digest=None)
    states, _, _ = CanonicalTrees(block_set, MAX_BLOCKS).canonical(kinds + 1, links + 1)
    values = (proxy(assembly.of_trees(kinds, links)), proxy(assembly.molecules(states)))
    errors = [(of.clamp(min=FLOOR) - published).abs() for of in values]
    slots = block_set.n_slots_of[kinds.clamp(min=0)] * (kinds >= 0)
    return Comparison(errors[0], errors[1], slots.sum(1) == (links >= 0).sum((1, 2)))


def main() -> None:
    """Print the largest difference, in units of the proxy, and how many molecules differ by more than 0.001."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("blocks", "weights", "molecules"):
        parser.add_argument(name, help=f"file of the {name}")
    arguments = parser.parse_args()
    try:
        found = compare(arguments.blocks, arguments.weights, arguments.molecules)
    except ConfigError as error:
        parser.exit(2, f"error: {error}\n")
    for words, errors in (("in the file's order", found.in_file_order), ("in canonical order", found.canonical)):
        far = int((errors > CLOSE).sum())
        print(f"{words}: {len(errors)} molecules, largest difference {errors.max():.2g}, {far} above {CLOSE:g}")
    with_stem = found.canonical[~found.is_full]
    largest = with_stem.max() if len(with_stem) else 0.0
    print(f"canonical, {len(with_stem)} with a free stem: largest difference {largest:.2g}")


if __name__ == "__main__":
    main()
