"""Metrics of molecules that were drawn: the best of them, their diversity, modes, different ones. Definitions: docs/metrics.md.

All are of the samples that the general metrics read, and cost no rollout of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gfn_vi.core.errors import require
from gfn_vi.core.protocols import Arrays
from gfn_vi.evaluation.base import BaseMetric
from gfn_vi.evaluation.measurement import Measurement
from gfn_vi.evaluation.molecules.arrays import best_rows, molecule_arrays
from gfn_vi.evaluation.molecules.fingerprints import add_modes, fingerprints, mean_distance
from gfn_vi.evaluation.molecules.modes import RewardedMolecules, check_modes, least_log_reward

MEASURED = ("top_k_value", "top_k_log_reward", "top_k_diversity", "modes_drawn", "unique_fraction")


class MoleculeMetrics(BaseMetric):
    """Top-k mean, diversity, number of modes, share of different molecules and mean size of the samples of P_F."""

    kind = "sampled"
    summary = ("top_k_value", "modes_drawn")
    family = RewardedMolecules
    family_choice = "target=molecules"

    def __init__(self, n_samples: int, k: int, mode_threshold: float | None, mode_similarity: float, n_shown: int) -> None:
        """n_samples: trajectories of P_F per replica; k: different molecules that top-k metrics are means over.

        mode_threshold: value of the proxy that a mode exceeds, None for 7/8 of the proxy's scale; mode_similarity: Tanimoto
        similarity to all better modes that it stays below; n_shown: molecules that are kept for the files of the finished run.
        """
        key = "evaluation.metrics.molecules"
        require(n_samples >= 2, "evaluation.n_samples", n_samples, "expected a whole number >= 2: errors need a variance")
        require(k >= 1, f"{key}.k", k, "expected a whole number >= 1")
        require(n_shown >= 1, f"{key}.n_shown", n_shown, "expected a whole number >= 1")
        check_modes(mode_threshold, mode_similarity, key)
        self.n_samples, self.k, self.n_shown = n_samples, k, n_shown
        self.mode_threshold, self.mode_similarity = mode_threshold, mode_similarity

    @torch.no_grad()
    def __call__(self, moment: Measurement) -> dict[str, Tensor]:
        """Return the metrics of this moment: name -> [R] float64."""
        trajectories, _ = moment.samples
        states, log_reward = trajectories.terminal_states(), trajectories.log_reward.double()
        found = [self._of_replica(moment.target, *one) for one in zip(states, log_reward, strict=True)]
        size = moment.target.n_blocks(states).double()
        error = size.std(-1) / size.shape[-1] ** 0.5
        table = log_reward.new_tensor(found)
        return dict(zip(MEASURED, table.T, strict=True)) | {"sampled_n_blocks": size.mean(-1), "sampled_n_blocks_se": error}

    def records(self, target: RewardedMolecules, exact: bool, sampled: bool) -> list[str]:
        """Return the names of all of them."""
        return [*MEASURED, "sampled_n_blocks", "sampled_n_blocks_se"]

    def arrays(self, moment: Measurement) -> Arrays:
        """Return the best molecules of the samples of all replicas, for the files of the finished run."""
        trajectories, _ = moment.samples
        states, log_reward = trajectories.terminal_states().flatten(0, 1), trajectories.log_reward.double().flatten()
        best = best_rows(moment.target, states, log_reward)[: self.n_shown]
        return molecule_arrays("best", moment, states[best], log_reward[best])

    def _of_replica(self, target: RewardedMolecules, states: Tensor, log_reward: Tensor) -> list[float]:
        """Return the numbers named in MEASURED of molecules [n, *state] with their log-rewards [n]."""
        rows = best_rows(target, states, log_reward)
        different: dict[str, int] = {}  # the best state of every SMILES, the best first
        for smiles, row in zip(target.smiles(states[rows]), rows.tolist(), strict=True):
            different.setdefault(smiles, row)
        rows = rows.new_tensor(list(different.values()))
        top, n_good = rows[: self.k], int((log_reward[rows] > least_log_reward(target, self.mode_threshold)).sum())
        prints = fingerprints(target.molecules(states[rows[: max(len(top), n_good)]]))
        modes: list[object] = []
        add_modes(modes, prints[:n_good], self.mode_similarity)
        return [
            float(target.values(states[top]).mean()),
            float(log_reward[top].mean()),
            mean_distance(prints[: len(top)]),
            float(len(modes)),
            len(rows) / len(states),
        ]
