"""The exact expected gradient of an objective at the initial parameters of three seeds."""

from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import gfn_vi.commands.train  # noqa: F401 (registers what the configs interpolate with)
from gfn_vi.build import build_trainer
from gfn_vi.evaluation.gradients.expected_gradients import expected_gradients

with initialize_config_module("gfn_vi.configs", version_base="1.3"):
    config = compose("train", ["target.side=8", "objective=reverse_kl", "replicas=3"])
OmegaConf.resolve(config)
trainer, _ = build_trainer(config)
parts = trainer.parts
# under "P_F", "P_B", or the tilt of an exploration; None for an objective that cannot be computed exactly
gradients = expected_gradients(parts.sampler, parts.target.state_graph(), parts.objective, "P_F")
for role, gradient in gradients.items():
    print(role.value, tuple(gradient.shape), gradient.norm(dim=1).tolist())
