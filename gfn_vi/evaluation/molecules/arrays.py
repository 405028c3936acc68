"""Arrays of the best molecules, for the files of a finished run. Names and shapes: docs/metrics.md."""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.distinct import distinct
from gfn_vi.core.errors import ConfigError
from gfn_vi.core.protocols import Arrays, MoleculeTarget
from gfn_vi.evaluation.exact.ancestors import ancestor_graph, log_terminating_probability
from gfn_vi.evaluation.measurement import Measurement

# States that log P_T is summed over, of all molecules together: seconds, and 1000 molecules of 8 blocks.
MOST_ANCESTORS = 2**17


def best_rows(target: MoleculeTarget, states: Tensor, log_reward: Tensor) -> Tensor:
    """Return the rows [M] of the different molecules among states [n, *state], one each: largest log_reward [n] first."""
    first, _ = distinct(target.code(states))
    return first[log_reward[first].sort(descending=True, stable=True).indices]


def molecule_arrays(prefix: str, moment: Measurement, states: Tensor, log_reward: Tensor) -> Arrays:
    """Return what is known of molecules [M, *state] with their log-rewards [M]: prefix_X, and n_drawn, the size of the samples.

    log_terminating [R, M] is exact, NaN where molecules have more than MOST_ANCESTORS ancestors; drawn [R, M] counts the molecule
    among the samples of each replica.
    """
    target: MoleculeTarget = moment.target
    samples = target.code(moment.samples[0].terminal_states())  # [R, n]
    drawn = torch.stack([(samples == code).sum(1) for code in target.code(states)], 1)
    found: Arrays = {
        "states": states,
        "smiles": target.smiles(states),
        "value": target.values(states),
        "log_reward": log_reward,
        "log_terminating": _log_terminating(moment, states),
        "drawn": drawn,
        "n_blocks": target.n_blocks(states),
    }
    return {f"{prefix}_{name}": array for name, array in found.items()} | {"n_drawn": states.new_tensor(samples.shape[1])}


def _log_terminating(moment: Measurement, states: Tensor) -> Tensor:
    """Return exact log P_T of molecules [M, *state]: [R, M] float64, NaN where they have too many ancestors."""
    try:
        ancestors = ancestor_graph(moment.target, states, MOST_ANCESTORS, "ancestors")
    except ConfigError:
        return torch.full((len(moment.rng), len(states)), torch.nan, dtype=torch.float64, device=states.device)
    return log_terminating_probability(moment.sampler, ancestors)
