"""Time TB training of torchgfn on the hypergrid: one case, one line of JSON. Runs in .peers/torchgfn, which has no gfn_vi.

The settings follow the package's own tutorial train_hypergrid_simple.py, on-policy with the log-probabilities of the
rollout kept (nothing is evaluated twice), and what costs a user nothing: the fused optimizer, no clipping, no asserts
(run it with python -O, which also switches off the validation of torch.distributions).
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from typing import Any

import torch
from gfn.estimators import DiscretePolicyEstimator
from gfn.gflownet import TBGFlowNet
from gfn.gym import HyperGrid
from gfn.preprocessors import KHotPreprocessor
from gfn.samplers import Sampler
from gfn.utils.modules import MLP
from torch_updates import main, time_updates


class Training:
    """Two separate 2 x 256 ReLU networks, log Z, one Adam with two rates."""

    def __init__(self, given: argparse.Namespace) -> None:
        rewards = {"R0": given.r0, "R1": given.r1, "R2": given.r2}
        self.batch = given.batch
        self.env = HyperGrid(given.dims, given.side, "original", rewards)
        features = KHotPreprocessor(height=given.side, ndim=given.dims)
        forward = MLP(features.output_dim, self.env.n_actions, hidden_dim=given.width, n_hidden_layers=2)
        backward = MLP(features.output_dim, self.env.n_actions - 1, hidden_dim=given.width, n_hidden_layers=2)
        policy = DiscretePolicyEstimator(forward, self.env.n_actions, preprocessor=features, is_backward=False)
        reverse = DiscretePolicyEstimator(backward, self.env.n_actions, preprocessor=features, is_backward=True)
        self.gflownet = TBGFlowNet(pf=policy, pb=reverse, init_logZ=0.0)
        self.sampler = Sampler(policy)
        groups = [
            {"params": self.gflownet.pf_pb_parameters(), "lr": given.rate},
            {"params": self.gflownet.logz_parameters(), "lr": given.rate_log_z},
        ]
        self.optimizer = torch.optim.Adam(groups, fused=True)

    def update(self) -> torch.Tensor:
        """One update; the number of steps of each trajectory, the stop step included: [batch]."""
        trajectories = self.sampler.sample_trajectories(self.env, n=self.batch, save_logprobs=True)
        self.optimizer.zero_grad()
        self.gflownet.loss(self.env, trajectories, recalculate_all_logprobs=False).backward()
        self.optimizer.step()
        return trajectories.terminating_idx


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The case."""
    training = Training(given)
    found = time_updates(training.update, given)
    return found | {"log_Z": float(training.gflownet.logZ.detach()), "version": version("torchgfn")}


if __name__ == "__main__":
    main(measure)
