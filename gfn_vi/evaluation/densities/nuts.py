"""Chains of the no-U-turn sampler (Hoffman & Gelman 2014, arXiv 1111.4246) by pyro, on the log-density of a target."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from gfn_vi.core.errors import ConfigError, require
from gfn_vi.core.median import median
from gfn_vi.core.protocols import DensityTarget
from gfn_vi.core.replicas import derived_seed
from gfn_vi.core.seeds import is_whole
from gfn_vi.evaluation.references import KEY, BaseChains, Chains


class Nuts(BaseChains):
    """Chains that start apart and adapt by themselves; masses are diagonal, gradients come by autograd, all in float64."""

    def __init__(
        self,
        n_chains: int,
        n_samples: int,
        n_warmup: int,
        start_std: float,
        acceptance: float,
        max_depth: int,
        seed: int,
        largest_r_hat: float,
        smallest_ess: float,
        largest_divergent: float,
    ) -> None:
        """n_samples: that each chain keeps, after n_warmup steps that adapt step size and masses and are thrown away.

        start_std: chains start at draws from N(0, start_std^2 I); acceptance: mean probability of acceptance that the step size
        is adapted to; max_depth: a trajectory has at most 2^max_depth steps. Limits: see BaseChains.
        """
        if find_spec("pyro") is None:
            raise ConfigError(KEY, "Nuts", f"comes with pyro: pip install 'gfn_vi[references]', or reference@{KEY}=null")
        whole = {"n_chains": (n_chains, 2), "n_samples": (n_samples, 8), "n_warmup": (n_warmup, 1), "max_depth": (max_depth, 1)}
        for name, (value, least) in {**whole, "seed": (seed, 0)}.items():
            require(is_whole(value) and value >= least, f"{KEY}.{name}", value, f"expected a whole number >= {least}")
        require(0 < start_std < math.inf, f"{KEY}.start_std", start_std, "expected a finite number > 0")
        require(0 < acceptance < 1, f"{KEY}.acceptance", acceptance, "expected a number between 0 and 1")
        self.n_chains, self.n_samples, self.n_warmup, self.seed = n_chains, n_samples, n_warmup, seed
        self.start_std, self.acceptance, self.max_depth = start_std, acceptance, max_depth
        self.largest_r_hat, self.smallest_ess, self.largest_divergent = largest_r_hat, smallest_ess, largest_divergent

    def draw(self, target: DensityTarget) -> Chains:
        """Draw all chains, one after the other; what is drawn depends on nothing but the target and the keys."""
        chains, divergent = zip(*(self._chain(target, c) for c in range(self.n_chains)), strict=True)
        samples = torch.stack(chains)
        log_reward = target.log_reward(samples.flatten(0, 1)).detach().view(samples.shape[:2])
        r_hat, ess = convergence(samples)
        return {
            "samples": samples,
            "log_reward": log_reward,
            "divergent": torch.stack(divergent),
            "r_hat": r_hat,
            "ess": ess,
        }

    def _chain(self, target: DensityTarget, c: int) -> tuple[Tensor, Tensor]:
        """Return the samples of chain c [N, d], and which of the steps diverged [N]."""
        from pyro.infer import MCMC, NUTS

        generator = torch.Generator().manual_seed(derived_seed(self.seed, f"references/{c}"))
        start = self.start_std * torch.randn(target.dim, dtype=torch.float64, generator=generator)
        height = float(target.log_reward(start))
        require(math.isfinite(height), f"{KEY}.start_std", self.start_std, f"log R is {height} where a chain starts")

        def potential(place: dict[str, Tensor]) -> Tensor:
            return -target.log_reward(place["x"])

        kernel: Any = NUTS(potential_fn=potential, target_accept_prob=self.acceptance, max_tree_depth=self.max_depth)
        chain: Any = MCMC(kernel, self.n_samples, self.n_warmup, {"x": start}, disable_progbar=True)
        with torch.random.fork_rng(devices=[]):  # pyro draws from torch's own generator: no random number of others moves
            torch.set_rng_state(generator.get_state())
            chain.run()
        failed = torch.zeros(self.n_samples, dtype=torch.bool)
        failed[chain.diagnostics()["divergences"]["chain 0"]] = True
        samples: Tensor = chain.get_samples()["x"]
        return samples.detach(), failed


def convergence(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return R-hat and the effective sample size of each coordinate of chains [C, N, d]: [d] and [d].

    Both of ranks (Vehtari et al. 2021): R-hat is the larger one of the split chains and of their distances from the median, which
    sees chains of different width; the effective sample size is that of the bulk.
    """
    from pyro.ops.stats import effective_sample_size, gelman_rubin

    half = samples.shape[1] // 2
    split = torch.cat([samples[:, :half], samples[:, -half:]])
    folded = (split - median(split.flatten(0, 1), 0)).abs()
    scores, distances = _normal_scores(split), _normal_scores(folded)
    return torch.maximum(gelman_rubin(scores), gelman_rubin(distances)), effective_sample_size(scores)


def _normal_scores(values: Tensor) -> Tensor:
    """Replace values [C, N, d] by the normal quantiles of their ranks among all C N values of the coordinate; ties share one."""
    flat = values.flatten(0, 1).T.contiguous()
    ordered = flat.sort(-1).values
    rank = (torch.searchsorted(ordered, flat) + torch.searchsorted(ordered, flat, right=True) + 1).double() / 2
    return torch.special.ndtri((rank - 3 / 8) / (flat.shape[1] + 1 / 4)).T.reshape(values.shape)
