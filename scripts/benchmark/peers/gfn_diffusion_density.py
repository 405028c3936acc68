"""Time TB or pathwise training of gfn-diffusion on a density: one case, one line of JSON. Runs in .peers/gfn_diffusion.

The code is that of the repository GFNOrg/gfn-diffusion, cloned to .peers/gfn_diffusion/source: its energies, its sampler with its
`--pis_architectures --zero_init`, its losses, its optimizer and the update of its energy_sampling/train.py, on-policy and
without clipping. joint_layers is 1, so that its network is that of gfn_vi: state and time embedded and added, one hidden layer.
Its train.py has no branch for `--mode_fwd pis`; its loss `pis` is called directly.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch_updates import main, time_updates

SOURCE = Path(__file__).resolve().parents[3] / ".peers" / "gfn_diffusion" / "source"
sys.path.insert(0, str(SOURCE / "energy_sampling"))

from energies import ManyWell, TwentyFiveGaussianMixture  # noqa: E402
from gflownet_losses import fwd_tb, pis  # noqa: E402
from models import GFN  # noqa: E402
from utils import get_gfn_optimizer  # noqa: E402

ENERGIES = {"gmm25": TwentyFiveGaussianMixture, "many_well": ManyWell}
LOSSES = {"tb": fwd_tb, "pathwise": pis, "sticking_the_landing": pis}  # the one estimator along the noise that it has


class Training:
    """Its sampler, Adam and loss."""

    def __init__(self, given: argparse.Namespace) -> None:
        device, width = torch.device("cpu"), given.width
        self.energy, self.batch, self.loss = ENERGIES[given.target](device=device), given.batch, LOSSES[given.loss]
        self.gfn = GFN(
            self.energy.data_ndim,
            width,
            width,
            given.n_frequencies,
            width,
            t_scale=given.sigma**2,
            learned_variance=False,
            trajectory_length=given.n_steps,
            pis_architectures=True,
            joint_layers=1,
            zero_init=True,
            device=device,
        )
        self.optimizer = get_gfn_optimizer(self.gfn, given.rate, given.rate_log_z, given.rate)

    def update(self) -> torch.Tensor:
        """Do one update as its train_step does, which reads the loss; return the number of steps of each trajectory: [batch]."""
        self.gfn.zero_grad()
        source = torch.zeros(self.batch, self.energy.data_ndim)
        loss = self.loss(source, self.gfn, self.energy.log_reward)
        loss.backward()
        self.optimizer.step()
        loss.item()
        return torch.full((self.batch,), self.gfn.trajectory_length)

    def log_rewards(self) -> list[float]:
        """Log-rewards of 0 and of a vector of ones, to be compared with those of gfn_vi."""
        points = torch.stack([torch.zeros(self.energy.data_ndim), torch.ones(self.energy.data_ndim)])
        return self.energy.log_reward(points).tolist()


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The case."""
    training = Training(given)
    return time_updates(training.update, given) | {"log_rewards": training.log_rewards()}


if __name__ == "__main__":
    main(measure)
