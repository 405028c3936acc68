"""Why an untrained sampler correlates: held-out molecules by size, their rewards, and log P_T before any training.

python -m gfn_vi.experiments.molecule_correlation.untrained
"""

from __future__ import annotations

from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from gfn_vi import build, resolvers
from gfn_vi.evaluation.correlation.metric import Correlation

OVERRIDES = ("experiment=molecule_correlation", "preset=laptop", "arm=molecule_correlation/trajectory_balance", "target.beta=8")


def main() -> None:
    """Print the sizes of the held-out molecules of laptop, and how size, log R and log P_T of untrained samplers correlate."""
    resolvers.register()
    with initialize_config_module("gfn_vi.configs", version_base="1.3"):
        config = compose("train", [*OVERRIDES])
    OmegaConf.resolve(config)
    trainer, _ = build.build_trainer(config)
    parts: Any = trainer.parts
    correlation = next(one for one in parts.metrics if isinstance(one, Correlation))
    found: Any = correlation.arrays(parts.moment(trainer.metric_rng))
    log_p, log_reward = found["log_p_terminating"], found["held_out_log_reward"]
    objects = correlation.held_out.of(parts.target)
    size = parts.target.n_blocks(objects).double()
    counts = torch.bincount(size.long()).tolist()
    print(f"{len(objects)} molecules: " + ", ".join(f"{count} of {n} blocks" for n, count in enumerate(counts) if count))

    def correlates(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([a, b]))[0, 1])

    print(f"size and log R: {correlates(size, log_reward):.2f}")
    for r, one in enumerate(log_p):
        with_size, with_reward = correlates(size, one), correlates(one, log_reward)
        print(f"replica {r}, untrained: size and log P_T {with_size:.2f}, log P_T and log R {with_reward:.2f}")


if __name__ == "__main__":
    main()
