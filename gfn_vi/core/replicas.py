"""Independent seeds in one process: replica r of a run with seed s is the single run with seed s + r (core/seeds.py).

Every random number of a replica comes from generators derived from its seed alone, never from how many replicas there are.
`streams` keep purposes apart (initialization, rollout, evaluation): drawing more from one leaves the others unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from gfn_vi.core.errors import RunError, require
from gfn_vi.core.seeds import replica_seeds


def derived_seed(seed: int, stream: str) -> int:
    """Return a seed of 63 bits, a hash of (seed, stream): neighboring seeds share nothing."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class ReplicaGenerators:
    """One torch.Generator per replica; what is drawn has the replica axis first."""

    def __init__(
        self,
        seed: int | Sequence[int],
        replicas: int,
        stream: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """replicas: R, with seeds seed..seed + R - 1, or those of a list; dtype: type of the numbers drawn."""
        self.device, self.dtype = torch.device(device), dtype
        self.generators = [
            torch.Generator(device=self.device).manual_seed(derived_seed(own, stream)) for own in replica_seeds(seed, replicas)
        ]

    def __len__(self) -> int:
        return len(self.generators)

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform numbers on [0, 1): [R, *shape]."""
        out = torch.empty(len(self), *shape, dtype=self.dtype, device=self.device)
        for row, generator in zip(out, self.generators, strict=True):
            row.uniform_(generator=generator)
        return out

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draw uniform integers in [0, high): [R, *shape] long."""
        out = torch.empty(len(self), *shape, dtype=torch.long, device=self.device)
        for row, generator in zip(out, self.generators, strict=True):
            row.random_(0, high, generator=generator)
        return out

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers: [R, *shape]."""
        out = torch.empty(len(self), *shape, dtype=self.dtype, device=self.device)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out

    def state_dict(self) -> dict[str, Tensor]:
        """Return the generator states on the CPU: {"states": [R, bytes] uint8}."""
        return {"states": torch.stack([g.get_state() for g in self.generators])}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where `state` was taken."""
        if state["states"].shape[1] != self.generators[0].get_state().numel():
            raise RunError(
                f"the checkpoint was written on another kind of device than device={self.device.type}, whose random numbers "
                "cannot be continued here: go on with the device it was started on, or delete the run to start over"
            )
        for generator, saved in zip(self.generators, state["states"], strict=True):
            # clone: torch 2.13 ends with a segmentation fault on a row that is a view into the stack
            generator.set_state(saved.cpu().clone())


def per_replica(value: float | Sequence[float], replicas: int, key: str) -> list[float]:
    """Return a scalar or a list of length R as a list of R floats.

    Raises ConfigError(key) when the length is wrong.
    """
    values = [float(value)] * replicas if isinstance(value, (int, float)) else [float(v) for v in value]
    require(len(values) == replicas, key, value, f"expected one number or a list of replicas={replicas} numbers, one each")
    return values
